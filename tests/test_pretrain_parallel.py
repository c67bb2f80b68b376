"""Learning without labels by two processes with gloo against one, in one launch of the two."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from lib import json_lines, launch, parallel, sample, scratch_bert, scratch_hubert, speech_sample
from scripts import cluster_units, prepare_audio, pretrain_bert, pretrain_hubert

ROOT = Path(__file__).resolve().parent.parent
# Ten clips and 50 lines: the last step of an epoch has fewer rows than there are shares.
# A validation after each step tells that step's loss.
SGD: dict[str, Any] = {
    "device": "cpu",
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "epochs": 2,
    "eval_every": 1,
}
SCRIPTS: dict[str, Any] = {
    "hubert": (pretrain_hubert, {"data": "audio", "batch_size": 2, "seen_share": 0.3}),
    "bert": (pretrain_bert, {"data": "lines.txt", "batch_size": 4}),
}


def learn(world: Path, name: str, *, ranks: int) -> None:
    """Pretrain by as many processes as have been launched."""
    script, options = SCRIPTS[name]
    told = SGD | options | {"data": str(world / options["data"]), "model": str(world / name)}
    told["batch_size"] *= 2 // ranks  # the same global batch
    if name == "bert":
        told["cache_folder"] = str(world / "cache")
    out = world / str(ranks)
    script.main(script.Config(name=name, out=str(out / "models"), runs=str(out / "runs"), **told))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What both learn from, with the runs of one process and of two."""
    world = tmp_path_factory.mktemp("world")
    speech_sample.write_utterances(world / "raw", n=11, seed=0, workers=1)
    prepare_audio.main(prepare_audio.Config(data=str(world / "raw"), out=str(world), name="audio"))
    cluster_units.main(cluster_units.Config(data=str(world / "audio"), split="all", units=6))
    scratch_hubert.make(world / "hubert", options=scratch_hubert.Options(layers=1, width=32))
    lines = list(sample.sentences(50, seed=0))
    (world / "lines.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    small = scratch_bert.Options(layers=1, width=32, vocab=300, positions=64)
    scratch_bert.make(world / "bert", lines, trained_on="x", options=small)
    for name in SCRIPTS:
        learn(world, name, ranks=1)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "tests.test_pretrain_parallel", str(world)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return world


def records(world: Path, name: str, *, ranks: int) -> list[dict[str, Any]]:
    (path,) = (world / str(ranks) / "runs" / "pretrain" / name).glob("*/metrics.jsonl")
    return [record for record in json_lines.read(path) if record["event"] == "validation"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_two_processes_learn_without_labels_what_one_learns(name: str, world: Path) -> None:
    one, two = (records(world, name, ranks=ranks) for ranks in (1, 2))
    assert len(one) == len(two) >= 6
    for alone, shared in zip(one, two, strict=True):
        assert alone["n"] == shared["n"], "hidden places of all processes"
        for figure in ("train_loss", "train_accuracy", "loss", "masked_accuracy"):
            # Gradients are sums in another order: about 1e-7 of the loss, grown by the steps.
            assert shared[figure] == pytest.approx(alone[figure], rel=2e-5), figure


@pytest.mark.parametrize("name", SCRIPTS)
def test_two_processes_make_one_model(name: str, world: Path) -> None:
    folder = world / "2" / "models" / name
    assert json.loads((folder / "source.json").read_text(encoding="utf-8"))["files"]


if __name__ == "__main__":
    torch.set_num_threads(1)
    with mock.patch.object(parallel, "leave"):  # they meet but once
        for case in SCRIPTS:
            learn(Path(sys.argv[1]), case, ranks=2)
    parallel.leave()
    launch.end()
