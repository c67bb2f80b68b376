"""./inv with Pythons that pretend to make environments and to install packages."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOLS = "bash sh awk cp dirname grep ln ls mkdir readlink rm sed sleep tail touch uname"

# Does what Python does, but for venv (no pip inside), pip (folders only) and invoke (says how it
# was called). PRELUDE runs before each -c, to pretend another version or a missing module.
PYTHON = r"""#!/bin/sh
echo "$0 $*" >>"$CALLS"
real=$(dirname "$0")/real
[ -e "$real" ] || real='BASE'
case "$*" in
"-I -m venv"*)
    pip=$5/lib/pythonVERSION/site-packages/pip-1.dist-info
    rm -rf "$5" && mkdir -p "$5/bin" "$pip"
    ln -s 'BASE' "$5/bin/real" && cp "$0" "$5/bin/python"
    echo "home = $(dirname 'BASE')" >"$5/pyvenv.cfg"
    touch "$pip/METADATA" "$pip/INSTALLER"
    echo pip-1.dist-info/RECORD,, >"$pip/RECORD" ;;
"-I -m pip --version") ;;
"-I -m pip install"*)
    site=$(echo "$(dirname "$0")"/../lib/python3*/site-packages)
    case $PIP in
    fail) echo "ERROR: no network" && exit 1 ;;
    slow) sleep 1 ;;
    esac
    sed -n 's/-/_/g; s/==/-/p' "$(dirname "$0")/../../requirements.txt" | while read -r name; do
        mkdir -p "$site/$name.dist-info" && touch "$site/$name.dist-info/INSTALLER"
    done
    [ $PIP != hang ] || { mkdir "$site/half-1.dist-info" && exec sleep 60; } ;;
"-P -m invoke --search-root"*)
    (: >&9) 2>/dev/null && echo "the lock is still held"
    shift 4
    printf '%s\n' "$0" "$PWD" "$@"
    exit "${INVOKE:-0}" ;;
"-I -c"*) shift 2; code=$1; shift; exec "$real" -I -c "PRELUDE
$code" "$@" ;;
*) exec "$real" "$@" ;;
esac
"""


class Machine:
    """A project in a folder with a space, and a PATH, a HOME and Pythons of its own."""

    def __init__(self, tmp: Path) -> None:
        self.tmp, self.project, self.bin, self.home = tmp, tmp / "a b", tmp / "bin", tmp / "home"
        for folder in (self.project, self.bin, self.home):
            folder.mkdir()
        shutil.copy(ROOT / "inv", self.project)
        self.requirements = self.project / "requirements.txt"
        self.requirements.write_text("some-name==1.0\ninvoke==3\n# Brought by these\nother==2\n")
        for tool in TOOLS.split():
            (self.bin / tool).symlink_to(shutil.which(tool) or "missing")
        self.script("df", "echo head; echo disk 99000000 0 99000000 0 /")
        self.calls = tmp / "calls"
        self.env = {"PATH": str(self.bin), "HOME": str(self.home), "CALLS": str(self.calls)}
        self.env["PIP"] = "ok"

    def script(self, name: str, text: str) -> None:
        """A program on PATH."""
        (self.bin / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.bin / name).chmod(0o755)

    def python(self, path: Path, prelude: str = "") -> Path:
        """A pretended Python at `path`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        text = PYTHON.replace("BASE", str(Path(sys.executable).resolve()))
        path.write_text(text.replace("VERSION", version).replace("PRELUDE", prelude))
        path.chmod(0o755)
        return path

    def environment(self, name: str, packages: str) -> str:
        """A venv at `name` whose Python finds `packages`."""
        folder = self.tmp / name
        python = self.python(self.tmp / "maker")
        subprocess.run([python, "-I", "-m", "venv", "--clear", folder], check=True, env=self.env)
        for package in packages.split():
            next(folder.glob("lib/*/site-packages")).joinpath(f"{package}.dist-info").mkdir()
        self.calls.unlink()
        return str(folder)

    def start(self, *args: str, **env: str) -> subprocess.Popen[str]:
        """./inv with `args`, in a process group of its own."""
        return subprocess.Popen(
            [self.project / "inv", *args],
            env=self.env | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def inv(self, *args: str, **env: str) -> tuple[int, list[str], list[str]]:
        """Exit code, lines of stdout, lines of stderr of ./inv with `args`."""
        process = self.start(*args, **env)
        out, err = process.communicate(timeout=20)
        return process.returncode, out.splitlines(), err.splitlines()

    def n_installs(self) -> int:
        """How often pip was asked to install."""
        return self.calls.read_text().count("-m pip install") if self.calls.exists() else 0


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@pytest.fixture
def ready(machine: Machine) -> Machine:
    """A machine on which ./inv has set up."""
    machine.python(machine.bin / "python3.12")
    assert machine.inv()[0] == 0
    return machine


OLD, NEW = (f"import sys; sys.version_info = (3, {minor}, 0)" for minor in (11, 14))
BARE = "import sys; sys.modules['ensurepip'] = None"


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_an_active_environment_with_the_packages_is_taken(ready: Machine, variable: str) -> None:
    active = ready.environment("active", "Some_Name-9.9 invoke-2")
    code, out, err = ready.inv(**{variable: active})
    assert (code, out[0], err) == (0, f"{active}/bin/python", [])


def test_an_active_environment_without_the_packages_is_passed_over_aloud(ready: Machine) -> None:
    active = ready.environment("active", "invoke-2")
    elsewhere = ready.tmp / "elsewhere"
    (elsewhere / "some_name-1.dist-info").mkdir(parents=True)
    _, out, err = ready.inv(VIRTUAL_ENV=active, PYTHONPATH=str(elsewhere))
    assert out[0] == f"{ready.project}/.venv/bin/python"
    assert len(err) == 1
    assert "lacks some-name:" in err[0]
    assert ready.inv(CONDA_PREFIX=active, CONDA_DEFAULT_ENV="mine")[2]
    assert not ready.inv(CONDA_PREFIX=active, CONDA_DEFAULT_ENV="base")[2], "base is never meant"


@pytest.mark.parametrize("where", ["pyenv", "uv"])
def test_the_first_python_that_answers_makes_the_environment(machine: Machine, where: str) -> None:
    machine.script("python3.12", "echo 'pyenv: python3.12: command not found' >&2; exit 127")
    machine.python(machine.bin / "python3.13", BARE)
    machine.python(machine.bin / "python3", NEW)
    machine.python(machine.bin / "python", OLD)
    good = machine.python(machine.home / ".pyenv/versions/3.12.9/bin/python")
    if where == "uv":
        good = good.rename(machine.home / "python")
        machine.script("uv", f"echo '{good}'")
    code, out, err = machine.inv()
    assert (code, out[0]) == (0, f"{machine.project}/.venv/bin/python")
    assert "GB to download" in err[0]
    assert f"{good} -I -m venv" in machine.calls.read_text()


@pytest.mark.parametrize(
    ("prelude", "says"), [(NEW, "no Python 3.12 or 3.13"), (BARE, r"apt install python3\.1\d-venv")]
)
def test_without_a_python_that_suits_one_line_says_what_to_install(
    machine: Machine, prelude: str, says: str
) -> None:
    machine.python(machine.bin / "python3", prelude)
    code, out, err = machine.inv("--list")
    assert (code, out, len(err)) == (2, [], 1)
    assert re.search(says, err[0])


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_set_up_is_finished_by_the_next_call(machine: Machine, sent: int) -> None:
    machine.python(machine.bin / "python3.12")
    process = machine.start(PIP="hang")
    half = ".venv/lib/*/site-packages/half-1.dist-info"
    end = time.monotonic() + 10
    while not list(machine.project.glob(half)):
        assert time.monotonic() < end
        time.sleep(0.02)
    (os.kill if sent == signal.SIGTERM else os.killpg)(process.pid, sent)
    assert process.wait(timeout=5) in (130, -sent)
    code, _, err = machine.inv()
    assert (code, machine.n_installs()) == (0, 2)
    assert not any("waiting" in line for line in err), "pip is dead, so is its lock"
    assert not list(machine.project.glob(half)), "pip would trust it"


def test_a_finished_environment_is_left_alone(ready: Machine) -> None:
    ready.calls.unlink()
    assert ready.inv()[2] == []
    assert "pip" not in ready.calls.read_text()


def test_changed_requirements_update_the_environment_once(ready: Machine) -> None:
    ready.requirements.write_text(ready.requirements.read_text().replace("1.0", "2.0"))
    activated = {"VIRTUAL_ENV": f"{ready.project}/.venv"}
    assert [ready.inv(**activated)[0], ready.inv(**activated)[0]] == [0, 0]
    assert ready.n_installs() == 2
    assert ready.calls.read_text().count("-m venv") == 1


def test_failing_pip_is_one_clear_line_and_not_a_finished_set_up(machine: Machine) -> None:
    machine.python(machine.bin / "python3.12")
    code, out, err = machine.inv(PIP="fail")
    assert (code, out) == (2, [])
    assert err[-2] == "ERROR: no network"
    assert err[-1].startswith("error: pip could not install the packages")
    assert machine.inv()[0] == 0
    assert machine.n_installs() == 2


def test_two_at_once_set_up_once(machine: Machine) -> None:
    machine.python(machine.bin / "python3.12")
    both = [machine.start(PIP="slow") for _ in range(2)]
    err = "".join(process.communicate(timeout=20)[1] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert machine.n_installs() == 1
    assert "waiting" in err


@pytest.mark.parametrize("slip", ["moved", "no pip", "no python"])
def test_a_broken_or_moved_environment_is_made_anew(ready: Machine, slip: str) -> None:
    if slip == "moved":
        ready.project = ready.project.rename(ready.tmp / "c d")
    elif slip == "no pip":
        (ready.project / ".venv/set-up").unlink()
        next(ready.project.glob(".venv/lib/*/site-packages/pip-1.dist-info/RECORD")).unlink()
    else:
        (ready.project / ".venv/bin/python").unlink()
    code, out, _ = ready.inv()
    assert (code, out[0]) == (0, f"{ready.project}/.venv/bin/python")
    assert ready.calls.read_text().count("-m venv") == 2


def test_too_small_a_disk_is_one_line_before_anything_is_written(machine: Machine) -> None:
    machine.python(machine.bin / "python3.12")
    machine.script("df", "echo head; echo disk 9 8 1000000 9 /")
    code, _, err = machine.inv()
    assert (code, len(err)) == (2, 1)
    assert "GB" in err[0]
    assert not (machine.project / ".venv").exists()


def test_arguments_folder_and_exit_code_pass_through(ready: Machine) -> None:
    link = ready.home / "link"
    link.symlink_to("../a b/inv")
    args = ["bert", "--name", "two words", "", "*", "--", "--rate=$1"]
    got = subprocess.run(
        [link, *args], cwd=ready.home, env=ready.env | {"INVOKE": "7"}, capture_output=True
    )
    lines = [f"{ready.project}/.venv/bin/python", str(ready.home), str(ready.project), *args]
    assert (got.returncode, got.stdout.decode().splitlines()) == (7, lines)


def test_every_requirement_is_one_exact_pin() -> None:
    text = (ROOT / "requirements.txt").read_text()
    pins = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[a-z0-9-]+==[\w.]+", pin)] == []
    names = [pin.split("==")[0] for pin in pins]
    assert len(set(names)) == len(names)
    assert {"torch", "invoke", "pytest"} <= set(re.findall("(.+)==", text.split("# Brought by")[0]))
