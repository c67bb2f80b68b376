"""The clips of a corpus read, checked and resampled on all cores, in order, in bounded memory."""

import functools
import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lib.audio import BadAudio, Clip, load
from lib.pool import n_cores, ordered
from lib.speech_source import Source, read

CLIPS_PER_TASK, BYTES_PER_TASK = 16, 4_000_000
CLIPS_PER_WORKER = 100  # a process takes as long to start as to read so many


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What came of one source: a clip, or what is wrong with it; the SHA-256 of its bytes."""

    sha256: str | None
    clip: Clip | None = None
    bad: BadAudio | None = None


def read_clips(
    sources: Sequence[Source], *, max_seconds: float, workers: int | None = None
) -> Iterator[Reading]:
    """What comes of each source, in order; the result does not depend on the workers.

    Args:
        sources: of a corpus.
        max_seconds: a longer clip is bad.
        workers: processes. None: as many as pay, at most one a core.

    Raises:
        UserError: if `workers` is below 1, or a worker process died.
    """
    n_paying = max(1, min(n_cores(), len(sources) // CLIPS_PER_WORKER))
    n_workers = n_paying if workers is None else workers
    work = functools.partial(_read_all, max_seconds=max_seconds)
    for readings in ordered(work, _tasks(sources), workers=n_workers, chunk=1):
        yield from readings


def hash_sources(sources: Sequence[Source]) -> Iterator[str | None]:
    """The SHA-256, in hex, of the bytes of each source, in order; None where there are none."""
    with ThreadPoolExecutor(n_cores()) as pool:  # hashing and unpacking release the lock
        yield from pool.map(_hash, sources)


def _tasks(sources: Sequence[Source]) -> Iterator[list[Source]]:
    """The sources in portions that are small by number and by bytes."""
    task: list[Source] = []
    n_bytes = 0
    for source in sources:
        task.append(source)
        if source.member is None and source.file.is_file():
            n_bytes += source.file.stat().st_size
        if len(task) == CLIPS_PER_TASK or n_bytes >= BYTES_PER_TASK:
            yield task
            task, n_bytes = [], 0
    if task:
        yield task


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
