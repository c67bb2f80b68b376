"""The rows of a table, by hand: folds together, floors of the right rows, figures of others."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lib import files, hub
from lib.errors import UserError
from lib.study import floors, page, reference, results, summary, table

LABELS = ["A", "N"]
OPTIONS: dict[str, Any] = {
    "variant": "full",
    "seed": 0,
    "labels": "filename",
    "split": "speaker",
    "fold": 1,
    "emobox": None,
    "augment": "none",
    "mask": True,
}


def write_run(
    study: Path, said: str, truth: str, *, group: int, loss: float = 1.0, **change: Any
) -> Path:
    """An evaluated run whose test clips, all of one or two speakers, are `truth` and heard `said`.

    `change` is of options, and of the report's corpus, sample and limit.
    """
    of_report = {"corpus": None, "sample": False, "limit": None}
    of_report |= {name: change.pop(name) for name in of_report.keys() & change.keys()}
    options = OPTIONS | {"data": str(study.parent / "data"), "model": str(study.parent / "model")}
    options |= change
    if options["split"] is None:  # text
        options = {name: options[name] for name in ("variant", "seed", "data", "model")}
    fold = f"-f{options['fold']}" if options.get("split") == "speaker" else ""
    folder = study / f"{options['variant']}-s{options['seed']}{fold}"
    folder.mkdir(parents=True)
    frame = pd.DataFrame({"split": "test", "label": list(truth), "prediction": list(said)})
    frame["id"] = range(100 * group, 100 * group + len(frame))
    frame["group"] = [group + i % 2 for i in range(len(frame))]
    frame["female"] = frame["group"] == group
    frame["female"] = frame["female"].astype(int)
    pd.concat([frame.assign(split="train"), frame]).to_csv(folder / "predictions.csv", index=False)
    test = summary.again(frame, class_names=LABELS, flags=["female"]) | {"loss": loss}
    cost = {"params": 10, "trainable_params": 8, "train_s": 3.0}
    cost |= {"latency_ms_b1": 1.0, "latency_ms_b32": 2.0}
    report: dict[str, Any] = {"labels": LABELS, "splits": {"test": test}, "cost": cost}
    report |= {"evaluated": ["test"], "split_notes": []}
    config = {"script": "train_hubert", "options": options, "change": {}, "inputs": {"data": "d"}}
    files.write_json(folder / "config.json", config)
    files.write_json(folder / "report.json", report | of_report | {"inputs": config["inputs"]})
    return folder


def test_folds_together_are_all_their_test_clips_at_once(tmp_path: Path) -> None:
    study = tmp_path / "study"
    write_run(study, "AAAN", "AANN", group=0, loss=1.0)
    write_run(study, "NN", "AN", group=2, loss=4.0, fold=2)
    found = results.of_study(study)
    rows = [table.row(result, folds=True) for result in found]
    assert [row["fold"] for row in rows] == ["pooled", "1", "2"]
    pooled = rows[0]
    assert pooled["n"] == 6
    assert pooled["accuracy"] == pytest.approx(4 / 6)
    assert pooled["uar"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert pooled["loss"] == pytest.approx((4 * 1 + 2 * 4) / 6)
    assert pooled["train_s"] == 6
    test = found[0].report["splits"]["test"]
    assert test["n_groups"] == 4, "speakers of different folds are different ones"
    assert test["subsets"]["female"]["female"]["n"] == 3
    assert any("folds 1, 2 of 5 only" in note for note in table.notes(study, found))


def test_one_run_computed_again_is_what_its_report_says(tmp_path: Path) -> None:
    study = tmp_path / "study"
    folder = write_run(study, "AAAN", "AANN", group=0)
    test = files.read_json(folder / "report.json")["splits"]["test"]
    frame = pd.read_csv(folder / "predictions.csv")
    again = summary.again(frame[frame["split"] == "test"], class_names=LABELS, flags=["female"])
    assert again == {name: value for name, value in test.items() if name != "loss"}


def test_folds_that_were_told_other_things_stay_apart(tmp_path: Path) -> None:
    study = tmp_path / "study"
    write_run(study, "AN", "AN", group=0)
    write_run(study, "AN", "NA", group=2, fold=2, augment="default")
    found = results.of_study(study)
    assert [result.fold for result in found] == ["1", "2"]
    assert any("full-s0 differ in options" in note for note in table.notes(study, found))


def test_seeds_stand_together_before_each_of_them(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for seed, variant, said in ((0, "full", "AANN"), (1, "full", "ANNN"), (0, "freeze-9", "AANN")):
        write_run(study, said, "AAAN", group=0, seed=seed, variant=variant, loss=1.0 + seed)
    found = results.of_study(study)
    assert [result.name for result in found] == [
        "full-mean",
        "full-s0-f1",
        "full-s1-f1",
        "freeze-9-s0-f1",
    ]
    assert [result.name for result in results.units(found)] == ["full-mean", "freeze-9-s0-f1"]
    rows = table.frame(found).to_dict("records")
    mean = rows[0]
    assert mean["seed"] == "mean of 2"
    assert mean["accuracy"] == pytest.approx((0.75 + 0.5) / 2)
    assert mean["accuracy_sd"] == pytest.approx(0.25 / np.sqrt(2))
    assert mean["loss"] == 1.5
    assert mean["uar"] == pytest.approx((rows[1]["uar"] + rows[2]["uar"]) / 2)
    test = found[0].report["splits"]["test"]
    assert test["confusion"] == [[1.5, 1.5], [0, 1]]
    assert np.isnan(rows[3]["accuracy_sd"])
    notes = table.notes(study, found)
    assert "some rows are of more seeds or folds than others: compare with care" in notes


def test_folds_of_seeds_stand_together_once_more(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for seed in (0, 1):
        write_run(study, "AA", "AN", group=0, seed=seed)
        write_run(study, "NN" if seed else "AN", "AN", group=2, fold=2, seed=seed)
    found = results.of_study(study)
    assert [(of.name, of.fold) for of in found] == [
        ("full-mean", "pooled"),
        ("full-s0", "pooled"),
        ("full-s0-f1", "1"),
        ("full-s0-f2", "2"),
        ("full-s1", "pooled"),
        ("full-s1-f1", "1"),
        ("full-s1-f2", "2"),
    ]
    assert found[0].report["splits"]["test"]["accuracy"] == pytest.approx((0.75 + 0.5) / 2)
    assert [of.name for of in results.units(found)] == ["full-mean"]


def test_seeds_of_other_rows_stay_apart(tmp_path: Path) -> None:
    study = tmp_path / "study"
    write_run(study, "AN", "AN", group=0)
    write_run(study, "AN", "AN", group=4, seed=1)
    assert [of.name for of in results.of_study(study)] == ["full-s0-f1", "full-s1-f1"]


def test_text_has_the_columns_that_it_always_had(tmp_path: Path) -> None:
    write_run(tmp_path / "study", "AN", "AN", group=0, split=None)
    (result,) = results.of_study(tmp_path / "study")
    assert " ".join(table.row(result)) == (
        "variant seed accuracy ci_low ci_high uar macro_f1 micro_f1 weighted_f1 f1_A f1_N loss n "
        "params trainable_params train_s latency_ms_b1 latency_ms_b32 report_accuracy "
        "published_accuracy note"
    )


def write_floors(
    data: Path, fold: int, guess: str, truth: str, *, group: str, **change: Any
) -> None:
    from lib.speech_floors import file_name, score

    frame = pd.DataFrame({"id": range(len(truth)), "group": group, "label": list(truth)})
    frame["majority"] = list(guess)
    if fold == 1:
        frame["speaker"] = list(guess)
    path = data / file_name(OPTIONS | {"fold": fold} | change)
    path.parent.mkdir(exist_ok=True)
    table = path.with_suffix(".csv")
    frame.to_csv(table, index=False)
    found = {"fingerprint": "d", "classes": LABELS, "floors": score(frame, class_names=LABELS)}
    files.write_sealed(path.with_suffix(".json"), found, beside=table)


def test_floors_are_of_the_runs_own_test_clips_and_of_folds_together(tmp_path: Path) -> None:
    study, data = tmp_path / "study", tmp_path / "data"
    first = write_run(study, "AN", "AN", group=0)
    second = write_run(study, "AN", "AN", group=2, fold=2)
    assert floors.floors([first]) == []
    write_floors(data, 1, "AAAA", "AAAN", group="x")
    write_floors(data, 1, "NN", "AA", group="z", split="report")
    assert [floor["accuracy"] for floor in floors.floors([first])] == [0.75, 0.75]
    assert floors.floors([first])[0]["ci_low"] is None, "one speaker; NaN is no JSON"
    assert floors.floors([first, second]) == [], "fold 2 has none yet"
    write_floors(data, 2, "AA", "NN", group="y")
    (together,) = floors.floors([first, second])
    assert together["name"] == "majority", "speaker is no floor of all folds"
    assert (together["n"], together["accuracy"]) == (6, 0.5)
    report = write_run(study, "AN", "AN", group=0, split="report")
    found = {floor["name"]: floor["accuracy"] for floor in floors.floors([report, first, second])}
    assert found["majority (report)"] == 0
    assert found["majority (speaker)"] == 0.5
    lines = table.notes(study, results.of_study(study))
    assert "runs in study differ in data, labels, split or encoder: compare with care" in lines


def test_floors_of_other_data_are_none(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "study", "AN", "AN", group=0)
    write_floors(tmp_path / "data", 1, "AA", "AN", group="x")
    config = files.read_json(folder / "config.json")
    files.write_json(folder / "config.json", config | {"inputs": {"data": "other"}})
    assert floors.floors([folder]) == []


def test_the_reports_accuracy_stands_beside_its_own_protocol_only(tmp_path: Path) -> None:
    study = tmp_path / "study"
    (tmp_path / "model").mkdir()
    files.write_json(tmp_path / "model/source.json", {"id": hub.HUBERT})
    write_run(study, "AN" * 300, "AA" * 300, group=0, split="report", corpus="shemo")
    (same,) = results.of_study(study)
    assert table.row(same)["report_accuracy"] == 0.77
    assert table.row(same)["published_accuracy"] is None
    for change in (
        {"split": "speaker"},
        {"split": "emobox"},
        {"labels": "transcript"},
        {"variant": "freeze-9"},
        {"model": str(tmp_path)},
    ):
        other = replace(same, options={**same.options, **change})
        assert table.row(other)["report_accuracy"] is None, change
    fewer = {"test": same.report["splits"]["test"] | {"n": 500}}
    for told in ({"sample": True}, {"limit": 900}, {"corpus": None}, {"splits": fewer}):
        other = replace(same, report={**same.report, **told})
        assert not table.is_as_reported(other), told
    assert "| test | A | 0.9000 | 1.0000 | 1.0000 | 0.5000 |" in page_of(study), (
        "precision, then recall"
    )


def page_of(study: Path) -> str:
    found = results.of_study(study)
    return page.page(study, table.frame(found), [], found, suffix="png")


def test_published_figures_stand_beside_real_corpora_only(tmp_path: Path) -> None:
    write_run(tmp_path / "real", "AN", "AN", group=0, corpus="shemo")
    text = page_of(tmp_path / "real")
    assert "| HuBERT-base, frozen | random 75/25, 2838 clips; test speakers train | 0.8120 " in text
    assert "scripts.floors --data" in text, "what is missing is told how to make"
    write_run(tmp_path / "sample", "AN", "AN", group=0, corpus="shemo", sample=True)
    assert "Published" not in page_of(tmp_path / "sample")
    write_run(tmp_path / "text", "AN", "AN", group=0, corpus="farstail")
    assert "| FaBERT | FarsTail's own | 0.8450 |" in page_of(tmp_path / "text")


def test_a_run_without_test_or_of_an_older_version_is_named(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "study", "AN", "AN", group=0)
    report = files.read_json(folder / "report.json")
    test = report["splits"]["test"]
    files.write_json(folder / "report.json", report | {"splits": {"train": test}})
    with pytest.raises(UserError, match="full-s0-f1 was not evaluated on the test split"):
        results.of_study(tmp_path / "study")
    older = {name: value for name, value in test.items() if name != "n_groups"}
    files.write_json(folder / "report.json", report | {"splits": {"test": older}})
    with pytest.raises(UserError, match="not evaluated by this version; evaluate it again"):
        results.of_study(tmp_path / "study")
    files.write_json(folder / "report.json", report | {"splits": {"test": {"n": 1}}})
    with pytest.raises(UserError, match=r"report\.json is damaged .* evaluate the run again"):
        results.of_study(tmp_path / "study")


def test_the_reports_classes_average_to_what_it_prints() -> None:
    for reported in reference.HUBERT_CLASSES.values():
        f1s = [f1 for _, _, f1 in reported.per_class.values()]
        assert np.mean(f1s) == pytest.approx(reported.macro_f1, abs=0.005)
        for precision, recall, f1 in reported.per_class.values():
            if precision + recall:
                of_both = 2 * precision * recall / (precision + recall)
                assert f1 == pytest.approx(of_both, abs=0.011), "all three are rounded"
    sizes = {"A": 212, "N": 206, "S": 90, "F": 7, "W": 45, "H": 40}
    test = reference.HUBERT_CLASSES["test"]
    right = sum(n * test.per_class[name][1] for name, n in sizes.items())
    assert right / 600 == pytest.approx(test.accuracy, abs=0.005)
    uar = np.mean([recall for _, recall, _ in test.per_class.values()])
    (own,) = [of for of in reference.PUBLISHED_ON["shemo"] if of.source == "the reference report"]
    assert own.uar == pytest.approx(uar, abs=0.01)


def test_a_run_whose_config_lacks_what_places_it_is_named(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "study", "AN", "AN", group=0)
    config = files.read_json(folder / "config.json")
    del config["options"]["variant"]
    files.write_json(folder / "config.json", config)
    with pytest.raises(UserError, match=r"config\.json is damaged \(options\.variant is missing\)"):
        results.of_study(tmp_path / "study")
