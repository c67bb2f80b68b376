"""Scripts run in forks of one process that has imported torch: that saves seconds with each."""

import itertools
import multiprocessing
import os
import runpy
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
HEAVY = {
    *("train_bert", "train_hubert", "freeze", "prune", "retrain", "evaluate"),
    *("mask_heads", "curve"),
    *("pretrain_bert", "pretrain_hubert", "cluster_units"),
}
IMPORTS = ["tyro", "pandas", "sklearn.metrics", "matplotlib.figure", "lib.fit", "lib.evaluation"]
IMPORTS += ["transformers.models.bert.modeling_bert", "transformers.models.hubert.modeling_hubert"]
_forks = multiprocessing.get_context("forkserver")
_started: list[bool] = []


@dataclass(frozen=True)
class Slot:
    """Where a script runs beside others: variables of its environment, such as its GPU's number."""

    variables: tuple[tuple[str, str], ...] = ()


ALONE = Slot()


@dataclass
class _Running:
    words: Sequence[str]
    slot: Slot
    process: Any
    output: Connection | None
    rest: bytes = b""


def pays(module: str) -> bool:
    """Whether a script needs torch, or runs at no cost since another one did."""
    return module.startswith("scripts.") and (bool(_started) or module[len("scripts.") :] in HEAVY)


def run(
    lines: Sequence[Sequence[str]],
    slots: Sequence[Slot] = (ALONE,),
    *,
    echo: Callable[[Sequence[str], Slot], None],
) -> int:
    """Run command lines to their ends, as many at once as there are slots.

    Signals go on to what runs. After one that fails none is started; those that run may end.

    Args:
        lines: words after `python -m`.
        slots: where one script each runs at a time; with several, what they print is prefixed.
        echo: told each line as it starts, and its slot.

    Returns:
        The exit code of the first one that failed, 128 + N for signal N, or 0.
    """
    if not _started:
        _forks.set_forkserver_preload(IMPORTS)
        _start_server()
        _started.append(True)
    waiting, free, running, code = list(lines), list(slots), list[_Running](), 0
    with _passing_signals_on(running):
        while running or (waiting and not code):
            while waiting and free and not code:
                words, slot = waiting.pop(0), free.pop(0)
                echo(words, slot)
                running.append(_start(words, slot, alone=len(slots) == 1))
            sources = [job.process.sentinel for job in running]
            wait(sources + [job.output for job in running if job.output])
            for job in list(running):
                ended = job.process.exitcode is not None
                _relay(job, to_the_end=ended)
                if ended:
                    running.remove(job)
                    free.insert(0, job.slot)
                    found = job.process.exitcode
                    code = code or (128 - found if found < 0 else found)
    return code


def _start_server() -> None:
    """Start what makes the forks; what is sent to all processes of a job must not end it.

    Else a script that has saved and ended well would seem to have ended otherwise.
    """
    before = {number: signal.signal(number, signal.SIG_IGN) for number in SIGNALS}
    try:
        forkserver.ensure_running()  # it inherits what is ignored; the forks listen again
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _start(words: Sequence[str], slot: Slot, *, alone: bool) -> _Running:
    ours, theirs = (None, None) if alone else _forks.Pipe(duplex=False)
    process = _forks.Process(target=_script, args=(list(words), slot, theirs))
    process.start()
    if theirs is not None:
        theirs.close()
    return _Running(words, slot, process, ours)


def _script(words: list[str], slot: Slot, output: Connection | None) -> None:
    """In the fork: be what `python -m WORDS` would be."""
    os.setpgrp()  # a terminal's Ctrl-C comes from the recipe, and so once
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)  # until the script itself listens
    if output is not None:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    threading.Thread(target=_end_with_the_recipe, daemon=True).start()
    os.chdir(ROOT)
    os.environ.update(slot.variables)
    if "OMP_NUM_THREADS" in os.environ:  # read once by what is imported already
        import torch

        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    module, *sys.argv[1:] = words
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _end_with_the_recipe() -> None:
    """Once the recipe's process is gone, by SIGKILL say, save and end as if asked to."""
    recipe = multiprocessing.parent_process()
    if recipe is not None:
        recipe.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _relay(job: _Running, *, to_the_end: bool) -> None:
    """Print the whole lines that one of several scripts has written, with its name before them."""
    if job.output is None:
        return
    os.set_blocking(job.output.fileno(), False)
    while True:
        try:
            some = os.read(job.output.fileno(), 65536)
        except BlockingIOError:
            break
        if not some:
            to_the_end = True
            break
        job.rest += some
    *whole, job.rest = job.rest.split(b"\n")
    if to_the_end:
        whole += [job.rest] if job.rest else []
        job.output.close()
        job.output = None
    for line in whole:
        last = line.decode(errors="replace").rstrip("\r").rpartition("\r")[2]
        print(f"[{_name(job.words)}] {last}", flush=True)


def _name(words: Sequence[str]) -> str:
    """Of a script among several: its variant, seed and fold."""
    told = dict(itertools.pairwise(words))
    parts = [told.get("--variant", words[0].rpartition(".")[2])]
    if "--run" in told:
        parts = [told.get("--variant", ""), *Path(told["--run"]).name.split("-")[1:]]
    parts += [
        f"{short}{told[flag]}" for flag, short in (("--seed", "s"), ("--fold", "f")) if flag in told
    ]
    return "-".join(part for part in parts if part)


@contextmanager
def _passing_signals_on(running: Sequence[_Running]) -> Iterator[None]:
    def pass_on(number: int, _: Any) -> None:
        for job in running:
            if job.process.exitcode is None:
                os.kill(job.process.pid, signal.SIGTERM if number == signal.SIGHUP else number)

    before = {number: signal.signal(number, pass_on) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
