"""One damaged input after another, each given to a script in a process of its own, and judged."""

import base64
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lib import files
from lib.errors import UserError

GOOD = ("accepted", "one-line error")
FORBIDDEN = ("traceback", "other exit", "crash", "hang", "half-written", "escaped")
OUTCOMES = (*GOOD, *FORBIDDEN)
CANARY = "canary"  # a file that only code from outside would make


@dataclass(frozen=True, kw_only=True)
class Case:
    """One input: a script's command line, and what is changed in the folder it runs in.

    Attributes:
        kind: of input, such as audio.
        what: was done to it, in words.
        script: in scripts/, without the suffix.
        argv: its command line.
        needs: the folders, of those that all inputs share, that are copied for it.
        edits: path → its new bytes; None removes what is there; text makes it a link to there.
        absent: path that must not be there after an error: a script makes it whole or not at all.
        hostile: whether it must be refused: it leads out of its folder, or damage would be silent.
    """

    kind: str
    what: str
    script: str
    argv: tuple[str, ...]
    needs: tuple[str, ...]
    edits: dict[str, bytes | str | None]
    absent: str | None = None
    hostile: bool = False


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one input may take.

    Attributes:
        seconds: of wall-clock time.
        megabytes: of address space, beside what the warm process has already.
        n_open: how many inputs are worked on at once.
    """

    seconds: float = 60.0
    megabytes: int = 2000
    n_open: int = 1


@dataclass
class _Child:
    case: Case
    folder: Path
    started: float = field(default_factory=time.monotonic)


def attempt(
    cases: Iterable[Case], shared: Path, work: Callable[[Case], None], *, limits: Limits
) -> Iterator[tuple[Case, str, str]]:
    """Each case with its outcome, one of OUTCOMES, and what the script said on stderr.

    A case runs in a fork of this process, so what is imported already costs it nothing; this
    process must not have started threads.

    Args:
        cases: to try.
        shared: the folder whose sub-folders a case copies.
        work: runs the case's script as a command line does, in the current folder.
        limits: of each case.
    """
    running: dict[int, _Child] = {}
    waiting = iter(cases)
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        try:
            for number, case in enumerate(waiting):
                folder = Path(place) / str(number)
                running[_start(case, folder, shared, work, limits)] = _Child(case, folder)
                while len(running) >= limits.n_open:
                    yield from _finished(running, limits)
            while running:
                yield from _finished(running, limits)
        finally:
            for pid in running:
                os.killpg(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


def _start(
    case: Case, folder: Path, shared: Path, work: Callable[[Case], None], limits: Limits
) -> int:
    """The process that works on a case."""
    folder.mkdir()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()  # so that what it starts can be ended with it
        _capture(folder)
        lay_out(case, folder / "place", shared)
        os.chdir(folder / "place")
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        most = used + limits.megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
        code = _code_of(work, case)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _capture(folder: Path) -> None:
    for number, name in ((1, "stdout"), (2, "stderr")):
        handle = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, number)
        os.close(handle)
    # Whatever stood for them before (a test's capture) writes to these files from now on.
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def lay_out(case: Case, place: Path, shared: Path) -> None:
    """Make the folder that a case runs in: what it needs of `shared`, changed."""
    place.mkdir(parents=True)
    for name in case.needs:
        shutil.copytree(shared / name, place / name, symlinks=True)
    for name, content in case.edits.items():
        path = place / name
        if path.is_symlink() or path.exists():
            files.remove(path)
        if content is None:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str):
            path.symlink_to(content)
        else:
            path.write_bytes(content)


def _code_of(work: Callable[[Case], None], case: Case) -> int:
    """The exit code of a script, as the interpreter gives it."""
    try:
        work(case)
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(ended.code, file=sys.stderr)
            return 1
        return ended.code or 0
    return 0


def _finished(running: dict[int, _Child], limits: Limits) -> Iterator[tuple[Case, str, str]]:
    """The cases that are done by now, at least after a little while."""
    found = False
    for pid, child in list(running.items()):
        ended, status = os.waitpid(pid, os.WNOHANG)
        hangs = not ended and time.monotonic() - child.started > limits.seconds
        if hangs:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        if ended or hangs:
            found = True
            del running[pid]
            said = (child.folder / "stderr").read_text(encoding="utf-8", errors="replace")
            outcome = "hang" if hangs else judge(child.case, status, said, child.folder / "place")
            shutil.rmtree(child.folder, ignore_errors=True)
            yield child.case, outcome, said
    if not found:
        time.sleep(0.002)


def judge(case: Case, status: int, said: str, place: Path) -> str:
    """The outcome of a case that ended.

    Args:
        case: that ran.
        status: of its process, as os.waitpid gives it.
        said: on stderr.
        place: the folder it ran in.
    """
    if (place / CANARY).exists():
        return "escaped"
    if os.WIFSIGNALED(status):
        return "crash"
    code = os.WEXITSTATUS(status)
    if "Traceback (most recent call last)" in said or code == 1:
        return "traceback"
    if code not in (0, 2):
        return "other exit"
    if code == 2 and not (said.startswith("error: ") and len(said.splitlines()) == 1):
        return "other exit"  # not the one line that it should be
    if _staged(place) or (code == 2 and case.absent and (place / case.absent).exists()):
        return "half-written"
    if code == 2:
        return GOOD[1]
    return "escaped" if case.hostile else GOOD[0]


def _staged(place: Path) -> list[Path]:
    """What lib.files would have removed or renamed."""
    hidden = [path for path in place.rglob(".*") if path.is_dir() and not path.is_symlink()]
    return [path for path in hidden if len(path.suffix) == 9]  # tempfile's eight letters


def table(counts: dict[str, dict[str, int]]) -> str:
    """Inputs by kind and outcome, as lines of text, with their sums."""
    total = {outcome: sum(of.get(outcome, 0) for of in counts.values()) for outcome in OUTCOMES}
    width = max(map(len, [*counts, "all"]))
    lines = [" ".join([" " * width, f"{'inputs':>7}", *(f"{name:>14}" for name in OUTCOMES)])]
    for name, of in [*counts.items(), ("all", total)]:
        figures = [f"{of.get(outcome, 0):>14}" for outcome in OUTCOMES]
        lines.append(" ".join([f"{name:<{width}}", f"{sum(of.values()):>7}", *figures]))
    return "\n".join(lines)


def name(case: Case) -> str:
    """Eight letters that tell a case from others."""
    edits = {path: repr(content) for path, content in case.edits.items()}
    return files.digest([case.script, case.argv, edits])[:8]


def write_case(path: Path, case: Case, outcome: str, said: str) -> None:
    """Write a case as JSON, to be tried again."""
    edits = {
        name: {"bytes": base64.b64encode(content).decode()}
        if isinstance(content, bytes)
        else content
        for name, content in case.edits.items()
    }
    fields = vars(case) | {"edits": edits, "outcome": outcome, "said": said[-4000:]}
    files.write_text(path, json.dumps(fields, indent=2) + "\n")


def read_case(path: Path) -> Case:
    """A case that `write_case` wrote.

    Raises:
        UserError: if the file is missing or something else.
    """
    fields: dict[str, Any] = files.read_json(path)
    try:
        edits = {
            name: base64.b64decode(content["bytes"]) if isinstance(content, dict) else content
            for name, content in fields["edits"].items()
        }
        lists = {name: tuple(fields[name]) for name in ("argv", "needs")}
        known = {name: fields[name] for name in ("kind", "what", "script", "absent", "hostile")}
        whole: dict[str, Any] = known | lists | {"edits": edits}
        return Case(**whole)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{path} is no saved input of scripts.fuzz ({error!r})") from None
