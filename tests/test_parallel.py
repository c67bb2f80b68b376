"""Two processes with gloo against one, by losses: each case runs in one launch of the two."""

import json
import os
import pty
import subprocess
import sys
import termios
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from lib import launch, optim, parallel, predict, surgery, train
from lib.course import course
from lib.options import Training
from lib.spec import Spec, read_encoder_config
from tests.conftest import toy_split, without_dropout

ROOT = Path(__file__).resolve().parent.parent
SGD = Training(
    epochs=3, batch_size=8, optimizer="sgd", learning_rate=0.05, pool=2, metric="accuracy"
)
# 50 rows: the last step of an epoch has 2 of 16 (one process: 2 of its 16), unequal for two.
CASES: dict[str, dict[str, Any]] = {
    "whole": {},
    "accumulated": {"options": {"batch_size": 4, "accumulation": 2}},
    "a layer without heads": {"spec": {"heads": {1: ()}}},
    "an unused layer": {"spec": {"read_layers": 2}},
    "frozen below": {"spec": {"frozen_embeddings": True, "frozen_layers": (0, 1)}},
    "layers left out by chance": {"spec": {"layerdrop": 0.5}, "only": "ends"},
}


def trained(model: Path, case: str, *, ranks: int) -> dict[str, Any]:
    """Losses of 20 steps and the last validation, by as many processes as have joined."""
    how = CASES[case]
    spec = Spec(encoder=read_encoder_config(model), labels=("low", "high"), dropout=0.0)
    spec = replace(spec, **how.get("spec", {}))
    options = replace(SGD, **how.get("options", {}))
    if ranks == 1:  # the same global batch
        options = replace(options, batch_size=options.batch_size * 2)
    torch.manual_seed(0)
    classifier = surgery.build(spec, model=model)
    rows = toy_split(100)
    state = train.begin(classifier, options, course(options, rows).total)
    validation = partial(
        predict.validate, classifier, toy_split(13, seed=1), class_names=("low", "high")
    )
    found = list(
        train.steps(state, rows, options, loss_fn=optim.cross_entropy(), validate=validation)
    )
    losses = [record["loss"] for record in found if record["event"] == "step"]
    n = [record["n"] for record in found if record["event"] == "step"]
    last = [record for record in found if record["event"] == "validation"][-1]
    return {
        "losses": losses[:20],
        "n": n[:20],
        "validation": [last["loss"], last["accuracy"], last["n"]],
    }


def worker(model: Path, out: Path) -> None:
    """In each of the two processes: every case, one after another."""
    torch.set_num_threads(1)
    parallel.join(torch.device("cpu"))
    with parallel.parting():
        found = {case: trained(model, case, ranks=2) for case in CASES}
    (out / f"{launch.rank()}.json").write_text(json.dumps(found))


@pytest.fixture(scope="module")
def model(toy_model: Path) -> Path:
    return without_dropout(toy_model)


@pytest.fixture(scope="module")
def by_two(model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    out = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "tests.test_parallel", str(model), str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads((out / f"{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.parametrize("case", [case for case in CASES if "only" not in CASES[case]])
def test_two_processes_learn_what_one_learns(
    case: str, model: Path, by_two: list[dict[str, Any]]
) -> None:
    one = trained(model, case, ranks=1)
    assert len(one["losses"]) == 20
    assert by_two[0][case]["n"] == one["n"]
    # Gradients are sums in another order: about 1e-7 of a loss near 0.7, grown by 20 steps.
    assert by_two[0][case]["losses"] == pytest.approx(one["losses"], abs=2e-5)
    assert by_two[0][case]["validation"][1:] == one["validation"][1:]
    assert by_two[0][case]["validation"][0] == pytest.approx(one["validation"][0], abs=2e-5)


@pytest.mark.parametrize("case", CASES)
def test_both_processes_know_the_same(case: str, by_two: list[dict[str, Any]]) -> None:
    assert by_two[0][case] == by_two[1][case]
    assert sum(by_two[0][case]["n"][:7]) == 100  # an epoch: each row once, none twice


def on_a_terminal(command: list[str]) -> tuple[int, str]:
    """The exit code of a command whose stderr is a terminal, and what it writes there."""
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (24, 100))
    said: list[bytes] = []

    def listen() -> None:
        try:
            while some := os.read(ours, 65536):
                said.append(some)
        except OSError:  # nobody holds the other end any more
            return

    listener = threading.Thread(target=listen)
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=its)
    os.close(its)
    listener.start()
    process.communicate()
    listener.join()
    os.close(ours)
    return process.returncode, b"".join(said).decode()


def test_gpus_2_on_the_cpu_gives_the_run_of_one_process_and_one_progress_bar(
    tmp_path: Path,
) -> None:
    from scripts import scratch_bert, train_bert
    from tests.test_tokens import many, prepared

    data = prepared(tmp_path, many(24))
    how: dict[str, Any] = {"layers": 1, "width": 32}
    sizes = scratch_bert.Config(data=str(data), name="m", out=str(tmp_path), **how)
    scratch_bert.main(sizes)
    common = {"data": str(data), "model": str(tmp_path / "m"), "dropout": 0.0, "epochs": 2.0}
    common |= {"optimizer": "sgd", "learning_rate": 0.05, "device": "cpu", "metric": "loss"}
    config: Any = train_bert.Config
    one = train_bert.main(config(**common, out=str(tmp_path / "one"), batch_size=8))
    flags = [word for name, value in common.items() for word in (_flag(name), str(value))]
    flags += ["--out", str(tmp_path / "two"), "--batch-size", "4", "--gpus", "2"]
    code, said = on_a_terminal([sys.executable, "-m", "scripts.train_bert", *flags])
    assert code == 0, said
    assert "6/6 [" in said, said
    assert said.count("\n") == 1, f"one bar, which ends one line: {said}"
    two = tmp_path / "two" / one.relative_to(tmp_path / "one")
    for name in ("metrics.jsonl", "config.json", "best/model.safetensors"):
        assert (two / name).is_file()
    figures = [
        [json.loads(line).get("loss") for line in (run / "metrics.jsonl").open()]
        for run in (one, two)
    ]
    assert figures[1][:-1] == pytest.approx(figures[0][:-1], abs=1e-5)
    assert len(figures[0]) == 3, "a validation an epoch, and the end"


@pytest.mark.parametrize(("pause", "code"), [(0.0, 0), (1.1, 138)])
def test_a_signal_that_is_heard_twice_at_once_is_one_and_a_later_one_ends_at_once(
    pause: float, code: int
) -> None:
    text = (
        "import os, signal, time\n"
        "from scripts._training import _catch_signals\n"
        "caught = _catch_signals()\n"
        f"os.kill(os.getpid(), signal.SIGUSR1); time.sleep({pause})\n"
        "os.kill(os.getpid(), signal.SIGUSR1)\n"
        "assert caught == [signal.SIGUSR1]\n"
    )
    done = subprocess.run([sys.executable, "-c", text], cwd=ROOT, check=False)
    assert done.returncode == code


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


if __name__ == "__main__":
    worker(Path(sys.argv[1]), Path(sys.argv[2]))
    launch.end()
