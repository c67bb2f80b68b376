"""From trained speech runs to the table, as a user runs the scripts, on 120 short clips."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

from lib import files
from lib.metrics import summarize
from scripts import evaluate, floors, plot, prepare_shemo, scratch_hubert, train_hubert

LABELS = ("A", "F", "N")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten speakers of a dozen clips, a toy model, and the runs of two folds and of the report's."""
    place = tmp_path_factory.mktemp("place")
    generator = np.random.default_rng(0)
    rows = []
    for speaker in range(10):
        for i, label in enumerate("AAAAAANNNNFF"):
            name = f"{speaker}-{i:02}{label}.wav"
            n = int(generator.integers(2000, 6000))
            pitch = {"A": 0.5, "N": 0.05, "F": 0.2}[label]
            wave = 0.3 * np.sin(pitch * np.arange(n)) + 0.01 * generator.standard_normal(n)
            (place / "raw").mkdir(exist_ok=True)
            soundfile.write(place / "raw" / name, wave, 16000)
            gender = "F" if speaker % 2 else "M"
            rows.append({"path": name, "label": label, "speaker": speaker, "gender": gender})
    pd.DataFrame(rows).to_csv(place / "raw/clips.csv", index=False)
    manifest = str(place / "raw/clips.csv")
    prepare_shemo.main(prepare_shemo.Config(manifest=manifest, name="toy", out=str(place)))
    scratch_hubert.main(scratch_hubert.Config(name="tiny", layers=1, width=32, out=place))
    for fold in (1, 2):
        train(place, name="folds", fold=fold)
    train(place, name="report", split="report", augment="report", mask=False, batch_size=2)
    return place


def train(place: Path, **options: Any) -> None:
    told: dict[str, Any] = {"data": str(place / "toy"), "model": str(place / "tiny")}
    told |= {"out": str(place / "runs"), "features": "trainable", "augment": "none"}
    told |= {"epochs": 1, "learning_rate": 1e-3, "device": "cpu"}
    train_hubert.main(train_hubert.Config(**(told | options)))


def test_two_folds_from_predictions_to_the_table(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = place / "runs/hubert/folds"
    found = [study / f"full-s0-f{fold}" for fold in (1, 2)]
    for fold in (1, 2):
        floors.main(floors.Config(data=str(place / "toy"), fold=fold))
    reports = evaluate.main(evaluate.Config(runs=tuple(map(str, found)), device="cpu"))
    said = capsys.readouterr().out
    assert "macro avg" in said
    assert "first predictions:" in said
    assert "steps/s" in said
    frames = []
    for folder in found:
        report = reports[str(folder)]
        assert list(report["splits"]) == ["train", "validation", "test"]
        assert report["leak"] is None, "no test speaker trains"
        test = report["splits"]["test"]
        assert list(test["subsets"]["female"]) == ["female", "male"]
        assert test["per_second"] > test["steps_per_second"] > 0
        frame = pd.read_csv(folder / "predictions.csv", keep_default_na=False)
        assert frame["split"].value_counts().to_dict() == {
            name: of["n"] for name, of in report["splits"].items()
        }
        frames.append(frame[frame["split"] == "test"])
    speakers = [set(frame["group"]) for frame in frames]
    assert not speakers[0] & speakers[1]
    table = plot.main(plot.Config(study=str(study)))

    assert table["fold"].tolist() == ["pooled", "1", "2"]
    both = pd.concat(frames)
    numbers = [both[c].map(LABELS.index).to_numpy() for c in ("label", "prediction")]
    expected = summarize(*numbers, class_names=LABELS)
    for name in ("accuracy", "uar", "macro_f1", "n"):
        assert table[name][0] == pytest.approx(expected[name])
    assert table["uar_low"][0] <= table["uar"][0] <= table["uar_high"][0]
    text = (study / "results.md").read_text(encoding="utf-8")
    assert "| mfcc-svm |" in text
    assert f"| {sum(map(len, frames))} |\n" in text.split("## Floors")[1], "floors of both folds"
    for name in ("variants", "full-s0-pooled-confusion", "full-s0-pooled-training"):
        assert f"figures/{name}.png" in text
        assert (study / f"figures/{name}.png").stat().st_size > 5000
    assert "full-s0-f2" not in text.split("## Pictures")[1]
    assert (study / "figures/full-s0-f2-training.png").is_file()
    assert not list((study / "figures").glob("*balance*")), "nothing was balanced"
    assert "UAR" in capsys.readouterr().out


def test_the_reports_recipe_is_evaluated_as_it_was_trained(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = place / "runs/hubert/report"
    run = study / "full-s0"
    config = evaluate.Config(runs=(str(run),), device="cpu")
    (report,) = evaluate.main(config).values()
    (made,) = (place / "toy/augmented").glob("report-*/meta.json")
    assert report["counts"] == files.read_json(made)["counts"]
    assert report["splits"]["train"]["n"] == 3 * report["counts"]["before"]["A"]
    assert report["leak"]["n_shared"] == report["leak"]["n_test"]
    leak, padding = report["split_notes"]
    assert "speaker identity alone gives accuracy" in leak
    assert "2 clips, one after another" in padding
    test = report["splits"]["test"]
    assert test["steps_per_second"] * test["seconds"] == pytest.approx(-(-test["n"] // 2))
    capsys.readouterr()
    evaluate.main(config)
    assert "already" in capsys.readouterr().out
    plot.main(plot.Config(study=str(study)))
    assert (study / "figures/full-s0-balance.png").stat().st_size > 5000
    assert "speaker identity alone" in (study / "results.md").read_text(encoding="utf-8")
    assert "speaker identity alone" in capsys.readouterr().out


def test_runs_of_one_process_are_evaluated_each_on_its_own_split(place: Path) -> None:
    runs = [place / f"runs/hubert/{name}" for name in ("folds/full-s0-f2", "report/full-s0")]
    reports = evaluate.main(
        evaluate.Config(runs=tuple(map(str, runs)), splits=("test",), device="cpu", force=True)
    )
    alone = evaluate.main(
        evaluate.Config(runs=(str(runs[1]),), splits=("test",), device="cpu", force=True)
    )
    last = str(runs[1])
    of_test = [found[last]["splits"]["test"]["confusion"] for found in (reports, alone)]
    assert of_test[0] == of_test[1]
    assert reports[last]["counts"] == alone[last]["counts"]
    assert reports[last]["counts"] != reports[str(runs[0])]["counts"]


def test_floors_are_computed_again_only_for_another_split(place: Path) -> None:
    first = floors.main(floors.Config(data=str(place / "toy"), split="report"))
    assert {floor["name"] for floor in first} == {"majority", "duration", "speaker", "mfcc-svm"}
    path = place / "toy/floors-filename-report-f1.json"
    written = path.stat().st_mtime_ns
    assert floors.main(floors.Config(data=str(place / "toy"), split="report")) == first
    assert path.stat().st_mtime_ns == written
    files.write_json(path, files.read_json(path) | {"parts": "of another split"})
    assert floors.main(floors.Config(data=str(place / "toy"), split="report")) == first
    assert "of another split" not in path.read_text()
