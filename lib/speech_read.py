"""The clips of a corpus read, checked and resampled on all cores, in order, in bounded memory."""

import hashlib
import itertools
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from lib.audio import BadAudio, Clip, load
from lib.errors import UserError
from lib.pool import n_cores
from lib.speech_listing import Listing, Source
from lib.speech_source import read

CLIPS_PER_TASK, BYTES_PER_TASK = 16, 4_000_000
TASKS_AHEAD = 3  # per worker: that wait, run, or are done and not yet taken
SOURCES_AHEAD = 1000  # that are hashed before the first of them is waited for
CLIPS_PER_WORKER = 100  # a process takes as long to start as to read so many


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What came of one source: a clip, or what is wrong with it; the SHA-256 of its bytes."""

    sha256: str | None
    clip: Clip | None = None
    bad: BadAudio | None = None


def read_clips(
    sources: Listing, *, max_seconds: float, workers: int | None = None
) -> Generator[Reading]:
    """What comes of each source, in order; the result does not depend on the workers.

    Args:
        sources: of a corpus.
        max_seconds: a longer clip is bad.
        workers: processes. None: as many as pay, at most one a core.

    Raises:
        UserError: if `workers` is below 1, or a worker process died.
    """
    if workers is not None and workers < 1:
        raise UserError(f"{workers} workers cannot read audio; give 1 or more")
    n_paying = max(1, min(n_cores(), len(sources) // CLIPS_PER_WORKER))
    n_workers = n_paying if workers is None else workers
    if n_workers == 1:
        yield from (_read(source, max_seconds) for source in sources)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy locks of other threads
    waiting: deque[Future[list[Reading]]] = deque()
    with ProcessPoolExecutor(n_workers, context, _start) as pool:
        try:
            for task in _tasks(sources):
                waiting.append(pool.submit(_read_all, task, max_seconds))
                if len(waiting) > n_workers * TASKS_AHEAD:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        except BrokenProcessPool:
            message = "a process that reads audio died, perhaps for want of memory; try --workers 1"
            raise UserError(message) from None
        except BaseException:
            # Ctrl-C: not the queue, only what is being read is waited for. A process killed while
            # it sends a clip would leave the receiving thread waiting for the rest of it.
            pool.shutdown(cancel_futures=True)
            raise


def hash_sources(sources: Listing) -> Iterator[str | None]:
    """The SHA-256, in hex, of the bytes of each source, in order; None where there are none."""
    with ThreadPoolExecutor(n_cores()) as pool:  # hashing and unpacking release the lock
        for batch in itertools.batched(sources, SOURCES_AHEAD):
            yield from pool.map(_hash, batch)


def _tasks(sources: Listing) -> Iterator[list[Source]]:
    """The sources in portions that are small by number and by bytes."""
    task: list[Source] = []
    n_bytes = 0
    for source in sources:
        task.append(source)
        if source.member is None and os.path.isfile(source.file):
            n_bytes += os.path.getsize(source.file)
        if len(task) == CLIPS_PER_TASK or n_bytes >= BYTES_PER_TASK:
            yield task
            task, n_bytes = [], 0
    if task:
        yield task


def _start() -> None:
    """Make a worker process ready; Ctrl-C reaches the parent too, which ends it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _read_all(sources: list[Source], max_seconds: float) -> list[Reading]:
    return [_read(source, max_seconds) for source in sources]


def _read(source: Source, max_seconds: float) -> Reading:
    sha256 = None
    try:
        data = read(source)
        sha256 = hashlib.sha256(data).hexdigest()
        return Reading(sha256=sha256, clip=load(data, name=source.path, max_seconds=max_seconds))
    except BadAudio as bad:
        return Reading(sha256=sha256, bad=bad)


def _hash(source: Source) -> str | None:
    try:
        return hashlib.sha256(read(source)).hexdigest()
    except BadAudio:
        return None
