"""Each script as a user runs it, on a corpus of a few dozen pairs and a toy model."""

import csv
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lib import checkpoints, files
from lib.study.reference import REPORT
from scripts import (
    _cli,
    clean,
    evaluate,
    floors,
    freeze,
    plot,
    prepare_text,
    prune,
    scratch_bert,
    train_bert,
)

ROOT = Path(__file__).resolve().parent.parent
WORDS = ["کتاب", "خانه", "شهر", "آب", "می‌رود", "دید", "نان", "سبز"]
SCRIPTS = sorted(path.stem for path in (ROOT / "scripts").glob("[a-z]*.py"))


def write_corpus(folder: Path) -> None:
    """FarsTail's three files: a pair is e, c or n by its hypothesis's first word."""
    generator = random.Random(0)
    folder.mkdir(parents=True)
    for name, n in (("Train", 60), ("Val", 18), ("Test", 24)):
        with (folder / f"{name}-word.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t")
            flags = ["hard(hypothesis)", "hard(overlap)"] if name == "Test" else []
            writer.writerow(["premise", "hypothesis", "label", *flags])
            for i in range(n):
                premise = " ".join([name, str(i // 3), *generator.choices(WORDS, k=6)])
                hypothesis = " ".join([WORDS[i % 3], *generator.choices(WORDS, k=4)])
                writer.writerow([premise, hypothesis, "ecn"[i % 3], *[i % 2 for _ in flags]])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the prepared corpus, the toy model and the trained base run."""
    place = tmp_path_factory.mktemp("place")
    write_corpus(place / "raw")
    prepared = prepare_text.Config(data=str(place / "raw"), name="toy", out=str(place))
    prepare_text.main(prepared)
    scratch_bert.main(
        scratch_bert.Config(
            data=str(place / "toy"), name="tiny", layers=4, width=32, out=str(place)
        )
    )
    train_bert.main(training(place))
    return place


def training(place: Path, **options: Any) -> train_bert.Config:
    defaults: dict[str, Any] = {
        "data": str(place / "toy"),
        "model": str(place / "tiny"),
        "out": str(place / "runs"),
        "name": "study",
        "epochs": 2,
        "learning_rate": 2e-3,
        "max_length": 40,
    }
    return train_bert.Config(**(defaults | options))


def fails(capsys: pytest.CaptureFixture[str], script: str, *argv: str) -> str:
    """The one line that a script's error is; it exits with 2."""
    module = importlib.import_module(f"scripts.{script}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script, *argv])
        with pytest.raises(SystemExit) as caught:
            _cli.run(module.main, module.Config, getattr(module, "RECIPES", None))
    assert caught.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


def test_the_five_variants_from_training_to_the_table(place: Path) -> None:
    study = place / "runs/bert/study"
    base = str(study / "full-s0")
    cache = str(place / "cache")
    freeze.main(freeze.Config(run=base, first=0.75, variant="freeze-9", cache_folder=cache))
    freeze.main(freeze.Config(run=base, all_but_last=1, variant="last-and-embeddings"))
    freeze.main(freeze.Config(run=base, keep=0.5, variant="intermediate"))
    prune.main(prune.Config(run=base, fraction=0.4))
    found = [str(study / f"{variant}-s0") for variant in REPORT]
    floors.main(floors.Config(data=str(place / "toy")))
    reports = evaluate.main(evaluate.Config(runs=tuple(found), device="cpu"))
    table = plot.main(plot.Config(study=str(study)))

    assert table["variant"].tolist() == list(REPORT)
    assert len(pd.read_csv(study / "results.csv")) == 5
    whole, by_name = table["params"][0], table.set_index("variant")
    assert by_name["params"]["intermediate"] < whole
    assert by_name["params"]["prune-heads"] < whole
    assert by_name["trainable_params"]["freeze-9"] < by_name["trainable_params"]["full"] == whole
    assert table["report_accuracy"].isna().all(), "the report's figures are not of this corpus"
    page = (study / "results.md").read_text(encoding="utf-8")
    assert "Floors of the same data" in page
    assert "hard_hypothesis" in page
    for folder in found:
        name = Path(folder).name
        assert f"figures/{name}-training.png" in page
        assert f"figures/{name}-confusion.png" in page
        frame = pd.read_csv(Path(folder) / "predictions.csv")
        assert len(frame) == 18 + 24
        test = frame[frame["split"] == "test"]
        accuracy = (test["label"] == test["prediction"]).mean()
        assert reports[folder]["splits"]["test"]["accuracy"] == pytest.approx(accuracy)
    heads = json.loads((study / "prune-heads-s0/heads.json").read_text())
    assert heads["cost"]["after"]["params"] < heads["cost"]["before"]["params"]
    assert len(heads["removed"]) == 8 - sum(map(len, heads["kept"]))
    assert (study / "figures/prune-heads-s0-scores.png").stat().st_size > 5000
    assert (study / "figures/prune-heads-s0-curve.png").stat().st_size > 5000


def test_what_is_done_is_skipped_and_other_options_are_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = place / "runs/bert/study/full-s0"
    before = files.sha256(run / "best/model.safetensors")
    train_bert.main(training(place, resume=True))
    assert "trained already" in capsys.readouterr().out
    assert files.sha256(run / "best/model.safetensors") == before
    flags = ["--data", str(place / "toy"), "--model", str(place / "tiny"), "--name", "study"]
    flags += ["--out", str(place / "runs"), "--epochs", "2", "--learning-rate", "2e-3"]
    line = fails(capsys, "train_bert", *flags, "--max-length", "40")
    assert "exists; --resume" in line
    line = fails(capsys, "train_bert", *flags, "--max-length", "30", "--resume")
    assert "--max-length 40, now 30" in line


def test_evaluation_is_skipped_only_while_it_is_up_to_date(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = place / "runs/bert/copy/full-s0"
    shutil.copytree(place / "runs/bert/study/full-s0", copy)
    (copy / "report.json").unlink()
    config = evaluate.Config(runs=(str(copy),), splits=("test",), device="cpu")
    first = evaluate.main(config)
    capsys.readouterr()
    assert evaluate.main(config) == first
    assert "already" in capsys.readouterr().out
    evaluate.main(evaluate.Config(runs=(str(copy),), splits=("validation", "test"), device="cpu"))
    assert "already" not in capsys.readouterr().out
    (copy / "predictions.csv").unlink()
    evaluate.main(config)
    assert (copy / "predictions.csv").is_file()


def test_a_study_goes_on_from_the_base_runs_weights_or_from_the_pretrained(place: Path) -> None:
    base = place / "runs/bert/study/full-s0"
    trained = {}
    for init in ("base", "pretrained"):
        folder = freeze.main(
            freeze.Config(run=str(base), all_but_last=1, init=init, variant=f"from-{init}")
        )
        trained[init] = folder / "best/model.safetensors"
    from safetensors.torch import load_file

    name = "encoder.encoder.layer.0.output.dense.weight"  # frozen, so as it was at the start
    assert load_file(trained["base"])[name].equal(load_file(base / "best/model.safetensors")[name])
    pretrained = load_file(place / "tiny/model.safetensors")
    (whole,) = [value for key, value in pretrained.items() if key.endswith(name[16:])]
    assert load_file(trained["pretrained"])[name].equal(whole)


def test_a_pruned_run_can_be_pruned_and_frozen_again(place: Path) -> None:
    base = str(place / "runs/bert/study/full-s0")
    once = prune.main(prune.Config(run=base, heads=("0:0", "3:1"), variant="once"))
    twice = prune.main(
        prune.Config(run=str(once), heads=("0:1",), score="magnitude", variant="twice")
    )
    record = json.loads((twice / "best/model.json").read_text())
    assert 0 not in record["spec"]["heads"]["0"]
    assert 1 not in record["spec"]["heads"]["0"]
    cut = freeze.main(freeze.Config(run=str(twice), keep=2, variant="cut"))
    record = json.loads((cut / "best/model.json").read_text())
    assert list(record["spec"]["heads"]) == ["0"], "layer 3 is gone with its heads"
    (report,) = evaluate.main(evaluate.Config(runs=(str(cut),), device="cpu")).values()
    assert report["splits"]["test"]["n"] == 24


def test_the_frozen_part_is_computed_once_for_all_runs_until_it_is_cleared(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, cache = str(place / "runs/bert/study/full-s0"), tmp_path / "data/cache"
    for variant, said in (("first", "rows computed in"), ("second", " MB\n")):
        freeze.main(freeze.Config(run=base, first=2, variant=variant, cache_folder=str(cache)))
        told = capsys.readouterr().out
        assert f"the first 2 frozen layers from {cache}" in told
        assert said in told
    freed = clean.main(clean.Config(delete="cache", root=str(tmp_path)))
    assert freed > 0
    assert not list(cache.glob("*/*"))


@pytest.mark.parametrize(
    ("script", "argv", "expected"),
    [
        ("train_bert", ["--data", "{place}/none"], "scripts.prepare_text"),
        ("train_bert", ["--data", "{place}/toy", "--model", "{place}/none"], "does not exist"),
        ("train_bert", ["--data", "{place}/toy", "--model", "{place}/toy"], "no model folder"),
        ("train_bert", ["--max-length", "9999"], "--max-length 9999"),
        ("train_bert", ["--device", "tpu"], "--device tpu"),
        ("train_bert", ["--amp", "bf16"], "needs a GPU"),
        ("train_bert", ["--name", "../x"], "--name"),
        ("train_bert", ["--limit", "0"], "limit of 0"),
        ("train_bert", ["--batch-size", "0"], "--batch-size 0"),
        ("train_bert", ["--epochs", "-1"], "--epochs -1"),
        ("freeze", ["--run", "{place}/none", "--first", "1"], "no run"),
        ("freeze", ["--run", "{base}", "--first", "9"], "up to 4"),
        ("freeze", ["--run", "{base}"], "give one of"),
        ("freeze", ["--run", "{base}", "--first", "1", "--keep", "1"], "--first, --keep"),
        ("freeze", ["--run", "{base}", "--only", "2-7"], "layers 0-3"),
        ("freeze", ["--run", "{base}", "--keep", "0"], "leaves no layer"),
        ("freeze", ["--run", "{base}", "--all-but-last", "1", "--cache", "on"], "learns"),
        ("freeze", ["--run", "{base}", "--keep", "2", "--variant", "full"], "base run itself"),
        ("prune", ["--run", "{base}", "--fraction", "2"], "from 0 to 1"),
        ("prune", ["--run", "{base}", "--fraction", "0.99"], "may go"),
        ("prune", ["--run", "{base}", "--heads", "0-1"], "layer:head"),
        ("prune", ["--run", "{base}", "--heads", "9:1"], "no head 9:1"),
        ("evaluate", ["--runs", "{place}/none"], "no run"),
        ("plot", ["--study", "{place}/none"], "does not exist"),
        ("plot", ["--study", "{place}"], "no evaluated run"),
        ("floors", ["--data", "{place}/none"], "scripts.prepare_text"),
    ],
)
def test_a_users_mistake_is_one_line_and_leaves_nothing_behind(
    place: Path,
    capsys: pytest.CaptureFixture[str],
    script: str,
    argv: list[str],
    expected: str,
    tmp_path: Path,
) -> None:
    names = {"place": place, "base": place / "runs/bert/study/full-s0"}
    argv = [word.format(**names) for word in argv]
    if script == "train_bert":
        for flag, value in (("--data", place / "toy"), ("--model", place / "tiny")):
            argv += [] if flag in argv else [flag, str(value)]
        argv += ["--out", str(tmp_path)]
    if script == "prune":
        argv += ["--variant", "mistake"]
    assert expected in fails(capsys, script, *argv)
    assert not list(tmp_path.rglob("config.json"))


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_answers_help_and_refuses_an_unknown_flag_without_torch(script: str) -> None:
    code = (
        f"import sys; sys.argv = [{script!r}, '--unknown-flag', '1']\n"
        f"from scripts import {script} as s, _cli\n"
        "try:\n"
        "    _cli.run(s.main, s.Config, getattr(s, 'RECIPES', None))\n"
        "except SystemExit as e:\n"
        "    assert e.code == 2, e.code\n"
        "assert 'torch' not in sys.modules, 'slow to answer'\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "unknown-flag" in done.stdout + done.stderr


def test_a_first_signal_saves_and_a_second_one_ends_at_once(place: Path) -> None:
    code = """
import time
from lib import train
from scripts import _cli, train_bert

step = train._step

def slow(state, *told, **more):
    if state.step == 4:  # as a long step would hold the process
        print("within a step", flush=True)
        time.sleep(SECONDS)
    return step(state, *told, **more)

train._step = slow
_cli.run(train_bert.main, train_bert.Config, train_bert.RECIPES)
"""
    flags = ["--data", str(place / "toy"), "--model", str(place / "tiny"), "--out", str(place)]
    flags += ["--batch-size", "2", "--max-length", "40", "--device", "cpu", "--save-every", "1"]

    def started(name: str, seconds: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", code.replace("SECONDS", seconds), *flags, "--name", name],
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    first, second = started("first", "3"), started("second", "600")
    for process, numbers in ((first, [signal.SIGTERM]), (second, [signal.SIGINT, signal.SIGINT])):
        assert process.stdout is not None
        assert process.stdout.readline() == "within a step\n"
        for number in numbers:
            process.send_signal(number)
            time.sleep(1.2)  # sooner it would pass for the echo of a recipe that passes it on
    said = first.communicate(timeout=60)[1]
    assert first.returncode == 128 + signal.SIGTERM, said
    assert "--resume goes on" in said
    before = time.monotonic()
    said = second.communicate(timeout=60)[1]
    assert second.returncode == 128 + signal.SIGINT, said
    assert "Traceback" not in said
    assert time.monotonic() - before < 5, "at once"
    for name, step in (("first", 5), ("second", 4)):
        found = checkpoints.newest(place / f"bert/{name}/full-s0/checkpoints")
        assert found is not None
        assert found[1]["step"] == step, "at most the step is lost"
