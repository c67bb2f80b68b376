"""What the scripts share: command line from a dataclass, one-line errors, a progress bar."""

import contextlib
import dataclasses
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import tyro

from lib import launch
from lib.errors import OtherFailed, UserError


def run[Config](
    main: Callable[[Config], Any],
    config: type[Config],
    recipes: Mapping[str, Config] | None = None,
) -> None:
    """Parse the command line into `config`, call `main` with it and exit.

    Args:
        main: the script's work; errors it raises as UserError or OSError become one line, exit 2.
        config: a dataclass; its fields are the options, its attribute docstrings their help.
        recipes: named sets of defaults, chosen by `--recipe`; a flag overrides its default.
    """
    _end_tidily()
    if launch.rank() > 0:  # of several processes the first one speaks
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115
    try:
        main(parse(config, sys.argv[1:], recipes))
        launch.end()
    except UserError as error:
        sys.exit(_fail(str(error)))
    except OtherFailed:
        sys.exit(2)
    except OSError as error:
        sys.exit(_fail(_told(error, config)))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except (MemoryError, RuntimeError) as error:
        problem = _out_of_memory(error, config)
        if problem is None:
            raise
        sys.exit(_fail(problem))


def parse[Config](
    config: type[Config], argv: list[str], recipes: Mapping[str, Config] | None = None
) -> Config:
    """The options that a command line gives; an unknown flag exits with the parser's own words."""
    if not recipes:
        return tyro.cli(config, args=argv)
    chosen = next(iter(recipes))
    for flag, value in zip(argv, [*argv[1:], ""], strict=True):
        if flag == "--recipe" and value in recipes:
            chosen = value
        elif flag.startswith("--recipe=") and flag.partition("=")[2] in recipes:
            chosen = flag.partition("=")[2]
    return tyro.cli(config, args=argv, default=recipes[chosen])


@contextlib.contextmanager
def progress_bar(
    unit: str, *, label: str | None = None
) -> Iterator[Callable[[int, int | None], None]]:
    """What is called with (done, in all if known); a bar on a terminal, silent elsewhere.

    Args:
        unit: what is counted, such as clips; `B` counts bytes as kB and MB, and the bar goes away.
        label: stands before the bar.
    """
    from tqdm import tqdm

    bytes_: dict[str, Any] = {"unit": "B", "unit_scale": True, "leave": False}
    how = bytes_ if unit == "B" else {"unit": f" {unit}"}
    with tqdm(desc=label, disable=None, **how) as bar:

        def progress(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


def _end_tidily() -> None:
    """Let signals that end the script raise, so that what is half-written goes; see __init__.py.

    Those that are ignored, as under nohup, stay so. A training listens in its own way.
    """

    def leave(number: int, _: Any) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        if signal.getsignal(number) is signal.SIG_DFL:
            handler = signal.default_int_handler if number == signal.SIGINT else leave
            signal.signal(number, handler)


def _told(error: OSError, config: type) -> str:
    """What the system would not do, with which file, and what to do about it."""
    where = f"{error.filename}: " if error.filename else ""
    again = any(field.name == "resume" for field in dataclasses.fields(config))
    then = "go on with --resume" if again else "type the command again"
    remedy = ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        remedy = f"; make room there and {then}: what was saved before stays good"
    elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        remedy = "; see who may use it (ls -ld), or choose another place"
    return f"{where}{error.strerror or error}{remedy}"


def _out_of_memory(error: Exception, config: type) -> str | None:
    """What to say and which options to turn, if memory was short; None if it is something else."""
    if type(error).__name__ == "OutOfMemoryError":  # torch's, which need not be imported here
        where = "the GPU"
    elif isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error):
        where = "the machine"
    else:
        return None
    options = {
        "batch_size": "lower --batch-size and raise --accumulation as much",
        "batch_length": "bound --batch-length",
        "activation_checkpointing": "give --activation-checkpointing",
    }
    known = {field.name for field in dataclasses.fields(config)}
    ways = [way for name, way in options.items() if name in known]
    ways += ["take a smaller model" if where == "the machine" else "give --device cpu"]
    return f"{where} is out of memory; {', or '.join(ways)} (what was saved stays good)"


def _fail(message: str) -> int:
    who = f"process {launch.rank()}: " if launch.rank() else ""
    print(f"{who}error: {' '.join(message.split())}", file=sys.stderr)
    return 2
