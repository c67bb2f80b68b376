"""The cases of the benchmark that run whole commands: a recipe, and several processes."""

import contextlib
import importlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lib import runs
from lib.bench.cases import Setting
from lib.bench.ours import Job
from lib.bench.table import Measured, Row
from lib.errors import UserError
from scripts import _cli

ROOT = Path(__file__).resolve().parent.parent
EPOCHS = 3


def recipe(at: Setting) -> list[Row]:
    """`bert-all` as it is typed, beside what its scripts compute in one process, imports left out.

    Each runs once in a copy of the project, so that neither finds what the other has cached.
    """
    job = at.jobs["text"]
    flags = ["--data", str(Path(job.data).absolute()), "--model", str(Path(job.model).absolute())]
    flags += ["--name", "bench", "--epochs", str(EPOCHS), "--limit", str(job.n_train)]
    more = ["--", "--learning-rate", str(job.learning_rate), "--batch-size", str(job.batch_size)]
    line = ["bert-all", *flags, "--device", at.device, *more]
    with _copy(job) as project:
        told = _run([sys.executable, "-m", "invoke", "--dry", *line], project)
        started = time.perf_counter()
        threads = {} if at.threads is None else {"OMP_NUM_THREADS": str(at.threads)}
        _run([sys.executable, "-m", "invoke", *line], project, **threads)
        wall = at.told("recipe", Measured(seconds=time.perf_counter() - started))
    commands = [shlex.split(command) for command in told.splitlines() if " -m scripts." in command]
    with _copy(job) as project:
        parts = at.told("steps", at.apart(steps, commands=commands, folder=str(project)))
    case = f"bert-all, {job.n_train} rows, {EPOCHS} epochs: wall time"
    return [at.row(case, "what its steps compute", [wall], [parts], most=1.25)]


def steps(commands: list[list[str]], *, folder: str, device: str) -> Measured:
    """The seconds of all `main`s of a recipe's commands, one after another in this process.

    Args:
        commands: as words, `python -m scripts.NAME ...`.
        folder: to run in.
        device: stands in the commands.
    """
    os.chdir(folder)
    seconds = 0.0
    for line in commands:
        module, *argv = line[line.index("-m") + 1 :]
        script = importlib.import_module(module)
        config = _cli.parse(script.Config, argv, getattr(script, "RECIPES", None))
        started = time.perf_counter()
        with contextlib.redirect_stdout(None):
            script.main(config)
        seconds += time.perf_counter() - started
    return Measured(seconds=seconds)


def processes(at: Setting) -> list[Row]:
    """Two processes of one thread each (gloo) against one of two threads, on two cores."""
    ours, theirs = [], []
    for _ in range(at.repeats):
        ours.append(at.told("two processes", _trained(at, 2)))
        theirs.append(at.told("one process", _trained(at, 1)))
    return [at.row("two gloo processes", "one process, two threads", ours, theirs, least=0.8)]


def _trained(at: Setting, n: int) -> Measured:
    """Seconds of steps and validations of a training by `n` processes, by its timing.jsonl."""
    job = at.jobs["text"]
    with tempfile.TemporaryDirectory(dir=job.out) as out:
        flags = ["--data", job.data, "--model", job.model, "--epochs", str(job.epochs)]
        flags += ["--limit", str(job.n_train), "--batch-size", str(job.batch_size // n)]
        flags += ["--learning-rate", str(job.learning_rate), "--out", str(Path(out).absolute())]
        launch = [sys.executable, "-m"]
        if n > 1:
            launch += ["torch.distributed.run", "--standalone", f"--nproc-per-node={n}", "-m"]
        line = [*launch, "scripts.train_bert", *flags, "--device", at.device, "--cache", "off"]
        _run(line, ROOT, OMP_NUM_THREADS=str(2 // n))
        return Measured(seconds=runs.train_seconds(Path(out) / "bert/farstail/full-s0"))


@contextlib.contextmanager
def _copy(job: Job) -> Iterator[Path]:
    """A folder with the project's code alone, which goes away with all that was made in it."""
    with tempfile.TemporaryDirectory(dir=job.out) as folder:
        for name in ("lib", "scripts", "tasks"):
            there = Path(folder) / name
            shutil.copytree(ROOT / name, there, ignore=shutil.ignore_patterns("__pycache__"))
        yield Path(folder)


def _run(line: list[str], folder: Path, **environment: str) -> str:
    """What a command prints.

    Raises:
        UserError: if it fails.
    """
    done = subprocess.run(
        line, cwd=folder, capture_output=True, text=True, env=os.environ | environment, check=False
    )
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise UserError(f"{shlex.join(line[:6])} ... failed: {' '.join(last)}")
    return done.stdout
