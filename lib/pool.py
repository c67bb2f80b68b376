"""Work on many items on all cores, with results in the order of the items."""

import itertools
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped, unused-ignore]

from lib.errors import UserError

TASKS_AHEAD = 4  # per worker: enough to keep it busy, and what waits in memory stays small

_work: Callable[[Any], Any]


def ordered[Item, Result](
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int | None = None,
    chunk: int = 8,
) -> Iterator[Result]:
    """The result of `work` on each item, in order, whatever the number of processes.

    Args:
        work: can be pickled; sent to each process once.
        items: read as they are needed.
        workers: processes; None: one a core. With 1 the work is done in this one.
        chunk: items handed to a process at a time.

    Raises:
        UserError: if `workers` is below 1 or a process died.
    """
    if workers is not None and workers < 1:
        raise UserError(f"{workers} workers cannot work; give 1 or more")
    n_workers = workers or n_cores()
    if n_workers == 1:
        one_thread = ThreadpoolController()
        for item in items:
            with one_thread.limit(limits=1):
                result = work(item)
            yield result
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy locks of other threads
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(n_workers, context, _start, (work,)) as pool:
        try:
            waiting: deque[Future[list[Result]]] = deque()
            for chunk_of_items in itertools.batched(items, chunk):
                waiting.append(pool.submit(_call, chunk_of_items))
                if len(waiting) > TASKS_AHEAD * n_workers:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        except BrokenProcessPool:
            message = "a worker process died, perhaps for want of memory; try --workers 1"
            raise UserError(message) from None
        except BaseException:  # Ctrl-C does not wait for what is queued
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            raise


def n_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _start(work: Callable[[Any], Any]) -> None:
    """Make a worker process ready; Ctrl-C reaches the parent too, which ends it."""
    global _work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ThreadpoolController().limit(limits=1)  # threads on top of processes cost MFCCs six times
    _work = work


def _call(items: Iterable[Any]) -> list[Any]:
    return [_work(item) for item in items]
