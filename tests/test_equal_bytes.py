"""The same command gives the same bytes: in two processes, and with a stop in the middle."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lib import checkpoints
from scripts import _fuzz_world as world

ROOT = Path(__file__).resolve().parent.parent
TEXT = (*world.BERT_RUN, "--epochs", "2", "--batch-size", "2", "--save-every", "2")
SPEECH = (*world.HUBERT_RUN, "--epochs", "3", "--batch-size", "2", "--save-every", "2")
RUNS = {"train_bert": "runs/bert/s/full-s0", "train_hubert": "runs/hubert/s/full-s0"}
STUDIES = {
    "runs/bert/s/freeze-s0": ("freeze", RUNS["train_bert"], ("--first", "1", "--cache", "on")),
    "runs/bert/s/prune-s0": ("prune", RUNS["train_bert"], ("--fraction", "0.25")),
    "runs/hubert/s/keep-s0": ("freeze", RUNS["train_hubert"], ("--keep", "1", "--cache", "on")),
}
SPOKEN = "--mask-time", "0.1", "--layerdrop", "0.2"  # variants of clips, spans hidden


def everything(place: str) -> None:
    """Inputs, runs of both modalities and what is made from them, evaluated."""
    world.warm_up()
    os.chdir(place)
    world.make()
    world.run_script("train_bert", TEXT)
    world.run_script("train_hubert", (*SPEECH, *SPOKEN))
    for folder, (script, base, change) in STUDIES.items():
        variant = Path(folder).name.removesuffix("-s0")
        told = ("--run", base, "--variant", variant, "--cache-folder", "cache", "--device", "cpu")
        world.run_script(script, (*told, *change))
    runs = (*RUNS.values(), *STUDIES)
    world.run_script("evaluate", ("--runs", *runs, "--device", "cpu"))


def test_two_processes_give_equal_bytes_of_everything(tmp_path: Path) -> None:
    started = []
    for number in ("1", "2"):  # and names in sets come in another order
        (tmp_path / number).mkdir()
        code = f"from tests.test_equal_bytes import everything; everything({number!r})"
        code = code.replace(repr(number), repr(str(tmp_path / number)))
        told = {"OMP_NUM_THREADS": "1", "PYTHONHASHSEED": number}
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", code],
                cwd=ROOT,
                env=os.environ | told,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    for process in started:
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
    for folder in (*RUNS.values(), *STUDIES):
        for name in ("metrics.jsonl", "predictions.csv", "best/model.safetensors"):
            one, other = (tmp_path / number / folder / name for number in ("1", "2"))
            assert one.read_bytes() == other.read_bytes(), f"{folder}/{name}"


@pytest.fixture
def as_before() -> Iterator[None]:
    """What --deterministic changes in this process is changed back."""
    attention = ("flash", "mem_efficient", "cudnn")
    cuda: Any = torch.backends.cuda
    before = {name: getattr(cuda, f"{name}_sdp_enabled")() for name in attention}
    yield
    torch.use_deterministic_algorithms(False)
    for name, enabled in before.items():
        getattr(cuda, f"enable_{name}_sdp")(enabled)


class Killed(BaseException):
    """Stands for kill -9: nothing of the process goes on."""


def killed_at(step: int, script: str, argv: tuple[str, ...]) -> None:
    """Run a training that ends as a killed one does when it is to write a step's checkpoint."""
    save = checkpoints.save

    def save_or_die(folder: Path, at: int, *told: Any, **options: Any) -> Path:
        if at >= step:
            raise Killed
        return save(folder, at, *told, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoints, "save", save_or_die)
        with pytest.raises(Killed):
            world.run_script(script, argv)


GPU = pytest.mark.gpu


@pytest.mark.usefixtures("as_before")
@pytest.mark.parametrize("script", list(RUNS))
@pytest.mark.parametrize(
    ("device", "amp"),
    [
        ("cpu", "off"),
        pytest.param("cuda", "off", marks=GPU),
        pytest.param("cuda", "bf16", marks=GPU),
        pytest.param("cuda", "fp16", marks=GPU),
    ],
)
def test_a_deterministic_run_that_was_killed_ends_with_the_bytes_of_a_whole_one(
    tmp_path: Path, script: str, device: str, amp: str
) -> None:
    argv = (*TEXT, "--epochs", "4") if script == "train_bert" else (*SPEECH, *SPOKEN)
    argv = (*argv, "--deterministic", "--device", device, "--amp", amp, "--accumulation", "2")
    with contextlib.chdir(tmp_path):
        world.make()
        world.run_script(script, (*argv, "--variant", "whole"))
        killed_at(4, script, (*argv, "--variant", "killed"))
        world.run_script(script, (*argv, "--variant", "killed", "--resume"))
        whole, killed = (Path(RUNS[script]).with_name(f"{n}-s0") for n in ("whole", "killed"))
        for variant in (whole, killed):
            world.run_script("evaluate", ("--runs", str(variant), "--device", device))
        for name in ("metrics.jsonl", "predictions.csv", "best/model.safetensors"):
            assert (whole / name).read_bytes() == (killed / name).read_bytes(), name
