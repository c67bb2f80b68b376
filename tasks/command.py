"""One way to run a script: build the line, quote it, echo it; and paths as the user means them."""

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from invoke import Context

ROOT = Path(__file__).resolve().parent.parent


def run(c: Context, *words: str, then: Sequence[str] = (), **options: object) -> None:
    """Run one command of this environment's Python in the project's folder, and echo it.

    Args:
        c: invoke's.
        words: of the command after `python -m`.
        then: more words, after the options; a flag given twice counts as last given.
        options: flags by name; None leaves one out, True gives it without a value.
    """
    python = sys.executable
    if Path(python).is_relative_to(ROOT):
        python = str(Path(python).relative_to(ROOT))
    line = [python, "-m", *words]
    for name, value in options.items():
        if value is None or value is False:
            continue
        line.append(f"--{name.replace('_', '-')}")
        if value is not True:
            line += [str(item) for item in value] if isinstance(value, list) else [str(value)]
    command = shlex.join([*line, *then])
    if Path.cwd() != ROOT:
        command = f"cd {shlex.quote(str(ROOT))} && {command}"
    c.run(command, echo=True, pty=sys.stdout.isatty())


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
