"""Work measured in a process of its own, so that neither side inherits the other's memory."""

import multiprocessing
import shlex
import subprocess
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped, unused-ignore]

from lib.bench.table import Measured
from lib.errors import UserError

LOOK_S = 0.1  # a look at all processes takes milliseconds
# Imported once, by the server that each measurement is a fork of: imports are no part of the work,
# and a server that has computed nothing holds no threads that a fork would lose.
PRELOAD = [
    *("torch", "pandas", "transformers", "transformers.trainer", "accelerate"),
    *("transformers.models.bert.modeling_bert", "transformers.models.hubert.modeling_hubert"),
    *(
        "lib.fit",
        "lib.tokens",
        "lib.speech",
        "lib.bench.peers",
        "lib.bench.peers_speech",
        "lib.bench.ours",
        "lib.bench.warm",
    ),
]


def apart(
    work: Callable[..., Measured], /, *, threads: int | None = None, **options: Any
) -> Measured:
    """What `work(**options)` measures, in a new process, with its peak memory.

    Args:
        work: a function of a module; called in the new process.
        threads: of torch; None for one a core.
        options: its arguments, which can be pickled.

    Raises:
        UserError: if it fails; what a user can mend is told as it was raised.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    mine, its = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(its, work, threads, options))
    process.start()
    its.close()
    try:
        found = mine.recv()
    except EOFError:
        found = "ended without an answer, perhaps for want of memory"
    finally:
        process.join()
    if isinstance(found, Measured):
        return found
    raise UserError(f"{work.__name__}: {found}")


def _work(
    answer: Connection,
    work: Callable[..., Measured],
    threads: int | None,
    options: dict[str, Any],
) -> None:
    import torch
    from transformers.utils import logging

    from lib.pool import n_cores

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    torch.set_num_threads(threads or n_cores())
    on_cuda = str(options.get("device", "cpu")).startswith("cuda")
    try:
        if on_cuda:
            torch.zeros(1, device=options["device"])
        found, peak = watched(lambda: work(**options))
        if on_cuda:
            peak = torch.cuda.max_memory_allocated()
        answer.send(replace(found, peak_bytes=found.peak_bytes or peak))
    except UserError as error:
        answer.send(str(error))
    except Exception:
        answer.send(" ".join(traceback.format_exc().split())[-600:])


def watched[Result](work: Callable[[], Result]) -> tuple[Result, int]:
    """What `work` returns, and the most memory it took in bytes, that of its children with it.

    Resident memory beyond what this process held before, looked at ten times a second. Pages that
    processes share count once for each, so it is an upper bound.
    """
    me = psutil.Process()
    before = peak = _resident(me)
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(LOOK_S):
            peak = max(peak, _resident(me))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        found = work()
    finally:
        done.set()
        watcher.join()
    return found, max(peak, _resident(me)) - before


def peak_of(command: Sequence[str], *, folder: Path) -> int:
    """The most memory in bytes that a command and its children have for themselves.

    Pages of files that they only read, such as packed audio and libraries, do not count: the
    system drops them when it needs room.

    Args:
        command: words.
        folder: to run it in.

    Raises:
        UserError: if it fails.
    """
    peak = 0
    with tempfile.TemporaryFile("w+") as told:
        process = subprocess.Popen(command, cwd=folder, stdout=told, stderr=told)
        try:
            watched_one = psutil.Process(process.pid)
            while process.poll() is None:
                peak = max(peak, _resident(watched_one, own=True))
                time.sleep(LOOK_S)
        finally:
            process.kill()
            process.wait()
        told.seek(0)
        last = told.read().strip().splitlines()[-1:]
    if process.returncode:
        raise UserError(f"{shlex.join(command[:4])} ... failed: {' '.join(last)}")
    return peak


def _resident(process: Any, *, own: bool = False) -> int:
    """Resident bytes of a process and its children; `own`: without pages of files."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            memory = one.memory_info()
        except psutil.NoSuchProcess:
            continue
        total += memory.rss - (getattr(memory, "shared", 0) if own else 0)
    return total


def matrix_peak(*, device: str) -> Measured:
    """The best rate of a square matrix product: float32 on the CPU, bfloat16 on CUDA."""
    import torch

    on_cuda = device.startswith("cuda")
    n, dtype = (8192, torch.bfloat16) if on_cuda else (2048, torch.float32)
    left, right = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(20):
        started = time.perf_counter()
        left @ right
        if on_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return Measured(seconds=min(times), flops=2.0 * n**3)
