"""A recipe that was stopped just goes on when it is typed again, to the same bytes."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from scripts import _fuzz_world as world
from tasks.studies import CHANGES

ROOT = Path(__file__).resolve().parent.parent
RECIPE = (
    *("bert-all", "--data", "prepared/text", "--model", "models/bert", "--name", "x"),
    *("--epochs", "6", "--device", "cpu", "--", "--batch-size", "2", "--learning-rate", "1e-3"),
    *("--max-length", "24", "--save-every", "2"),
)
STUDY = Path("runs/bert/x")
VARIANTS = ["full", *(variant for _, variant, _ in CHANGES)]
COMPARED = ("metrics.jsonl", "best/model.safetensors", "predictions.csv")

pytestmark = pytest.mark.slow


def project(folder: Path) -> Path:
    """A copy of this project, so that its runs/ is its own, with tiny inputs."""
    for name in ("lib", "scripts", "tasks"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    with contextlib.chdir(folder):
        world.make()
    return folder


def typed(folder: Path) -> subprocess.Popen[str]:
    """The recipe, as if typed in a terminal in that folder."""
    return subprocess.Popen(
        [sys.executable, "-m", "invoke", *RECIPE],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose recipe was left alone."""
    folder = project(tmp_path_factory.mktemp("whole"))
    recipe = typed(folder)
    said, _ = recipe.communicate(timeout=600)
    assert recipe.returncode == 0, said
    return folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_recipe_goes_on_to_the_same_bytes(
    undisturbed: Path, tmp_path: Path, number: signal.Signals
) -> None:
    reference = undisturbed
    folder, draw = project(tmp_path / "project"), random.Random(int(number))
    codes = []
    for variant in ("full", "freeze-9", "intermediate"):  # soon after one of these has begun
        recipe = typed(folder)
        begun = folder / STUDY / f"{variant}-s0/config.json"
        while not begun.is_file() and recipe.poll() is None:
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.4))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(recipe.pid, number)
        said, _ = recipe.communicate(timeout=120)
        codes.append(recipe.returncode)
        if number != signal.SIGKILL:  # of which Python's own helpers complain
            assert "Traceback" not in said
        assert recipe.returncode in (0, 2, -number, 128 + number), said
        assert recipe.returncode != 2 or "another process holds" in said
    assert {-number, 128 + number} & set(codes), "none of them was hit"
    until = time.monotonic() + 300
    while True:
        recipe = typed(folder)
        said, _ = recipe.communicate(timeout=600)
        if "another process holds" not in said or time.monotonic() > until:
            break
        time.sleep(1)  # the script of a recipe that was killed still saves
    assert recipe.returncode == 0, said
    assert "trained already" in said or "going on after step" in said, "nothing is done twice"
    for variant in VARIANTS:
        for name in COMPARED:
            place = STUDY / f"{variant}-s0" / name
            assert (folder / place).read_bytes() == (reference / place).read_bytes(), place
    assert (folder / STUDY / "results.md").is_file()
    assert not [path for path in (folder / STUDY).rglob(".*") if path.is_dir()]
