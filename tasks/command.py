"""One way to run a script: build the line, quote it, echo it; and paths as the user means them."""

import contextlib
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from invoke import Context, Exit

from lib.errors import UserError
from tasks import warm

ROOT = warm.ROOT


@contextlib.contextmanager
def refusals(option: str = "") -> Iterator[None]:
    """What is wrong with the user's files ends a recipe as it ends a script: in one line.

    Args:
        option: that named them, such as `--run x: `, to stand before what is wrong.
    """
    try:
        yield
    except UserError as error:
        raise Exit(f"error: {option}{' '.join(str(error).split())}", code=2) from None


def run(c: Context, *words: str, then: Sequence[str] = (), **options: object) -> None:
    """Run one command of this environment's Python in the project's folder, and echo it.

    Args:
        c: invoke's.
        words: of the command after `python -m`.
        then: more words, after the options; a flag given twice counts as last given.
        options: flags by name; None leaves one out, True gives it without a value.
    """
    perform(c, [line(*words, then=then, **options)])


def line(*words: str, then: Sequence[str] = (), **options: object) -> list[str]:
    """The words of a command after `python -m`, as `run` has them."""
    found = list(words)
    for name, value in options.items():
        if value is None or value is False:
            continue
        found.append(f"--{name.replace('_', '-')}")
        if value is not True:
            found += [str(item) for item in value] if isinstance(value, list) else [str(value)]
    return [*found, *then]


def perform(
    c: Context, lines: Sequence[Sequence[str]], slots: Sequence[warm.Slot] = (warm.ALONE,)
) -> None:
    """Run command lines, as many at once as there are slots, and echo each as it starts.

    Raises:
        Exit: with the exit code of one that failed.
    """
    if not lines:
        return
    if c.config.run.dry or not all(warm.pays(words[0]) for words in lines):
        for words in lines:
            c.run(pasteable(words), echo=True, pty=sys.stdout.isatty())
        return
    code = warm.run(lines, slots, echo=lambda *told: print(pasteable(*told), flush=True))
    if code:
        raise Exit(code=code)


def check_seeds(seeds: int) -> None:
    """Refuse a number of seeds that is none before anything is fetched or computed."""
    if seeds < 1:
        raise Exit(f"error: --seeds {seeds}: give 1 or more", code=2)


def pasteable(words: Sequence[str], slot: warm.Slot = warm.ALONE) -> str:
    """A command line that does the same in a shell."""
    python = sys.executable
    if Path(python).is_relative_to(ROOT):
        python = str(Path(python).relative_to(ROOT))
    variables = "".join(f"{name}={shlex.quote(value)} " for name, value in slot.variables)
    command = variables + shlex.join([python, "-m", *words])
    return command if Path.cwd() == ROOT else f"cd {shlex.quote(str(ROOT))} && {command}"


def places(at_once: int, device: str) -> list[warm.Slot]:
    """Where several runs go at once: each to a GPU of its own, or to its share of the cores.

    Raises:
        Exit: if there are fewer GPUs.
    """
    if at_once < 1:
        raise Exit(f"error: --at-once {at_once}: give 1 or more", code=2)
    if at_once == 1:
        return [warm.ALONE]
    gpus = [] if device == "cpu" else visible_gpus()
    if gpus and (len(gpus) < at_once or ":" in device):
        raise Exit(
            f"error: --at-once {at_once} --device {device}: there are {len(gpus)} GPUs, "
            "one for each run; give auto or cuda",
            code=2,
        )
    if gpus:
        return [warm.Slot((("CUDA_VISIBLE_DEVICES", gpu),)) for gpu in gpus[:at_once]]
    threads = max(1, (os.cpu_count() or 1) // at_once)
    return [warm.Slot((("OMP_NUM_THREADS", str(threads)),))] * at_once


def visible_gpus(devices: Path = Path("/dev")) -> list[str]:
    """The numbers of the GPUs that this process may use, asked without torch."""
    told = os.environ.get("CUDA_VISIBLE_DEVICES")
    if told is not None:
        return [number.strip() for number in told.split(",") if number.strip()]
    return [str(n) for n in range(len(list(devices.glob("nvidia[0-9]*"))))]


def here(path: str) -> str:
    """A path as the user wrote it, seen from the project; one that is only there means that one."""
    if Path(path).is_absolute() or Path(path).exists() or Path.cwd() == ROOT:
        path = os.path.relpath(path, ROOT) if is_inside(path) else os.path.abspath(path)  # noqa: PTH100
    return path


def is_inside(path: str) -> bool:
    """Whether a path lies in the project, links not followed."""
    return Path(os.path.abspath(path)).is_relative_to(ROOT)  # noqa: PTH100


def flags(c: Context) -> list[str]:
    """What the user gave after `--`."""
    return shlex.split(c.remainder)
