from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics

from lib import evaluation, metrics, surgery
from lib.loader import Batch
from lib.spec import Spec
from lib.study import page
from tests.conftest import ToySplit, toy_split


def scored() -> tuple[ToySplit, np.ndarray]:
    split = toy_split(40)
    split.flags = {"hard_overlap": np.arange(40) % 4 == 0, "hard_hypothesis": np.zeros(40, bool)}
    logits = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    return split, logits


def test_every_reported_figure_can_be_computed_again_from_the_predictions() -> None:
    split, logits = scored()
    report = evaluation.report(split, logits, class_names=("low", "high"))
    frame = evaluation.predictions("test", split, logits, class_names=("low", "high"))
    names = {"low": 0, "high": 1}
    labels, predicted = (frame[c].map(names).to_numpy() for c in ("label", "prediction"))
    again = metrics.summarize(labels, predicted, class_names=("low", "high"))
    assert {key: report[key] for key in again} == again
    probabilities = frame[["p_low", "p_high"]].to_numpy()
    assert np.allclose(probabilities.sum(1), 1)
    assert (probabilities.argmax(1) == predicted).all()
    loss = -np.log(probabilities[np.arange(40), labels]).mean()
    assert report["loss"] == pytest.approx(loss, abs=1e-6)
    hard = frame[frame["hard_overlap"] == 1]
    part = report["subsets"]["hard_overlap"]
    assert part["hard"]["n"] == len(hard) == 10
    assert part["hard"]["accuracy"] == (hard["label"] == hard["prediction"]).mean()
    assert part["easy"]["n"] == 30
    assert list(report["subsets"]["hard_hypothesis"]) == ["easy"], "no row is hard"
    assert frame.columns[:4].tolist() == ["split", "id", "group", "label"]


def test_the_interval_resamples_groups_and_lies_around_the_accuracy() -> None:
    split, logits = scored()
    report = evaluation.report(split, logits, class_names=("low", "high"))
    assert report["ci_low"] < report["accuracy"] < report["ci_high"]
    split.groups[:] = 0
    alone = evaluation.report(split, logits, class_names=("low", "high"))
    assert alone["ci_low"] is None


def test_averages_are_those_of_a_classification_report_and_counts_those_of_the_rows() -> None:
    split, logits = scored()
    report = evaluation.report(split, logits, class_names=("low", "high"))
    predicted = logits.argmax(1)
    theirs = sklearn.metrics.classification_report(split.labels, predicted, output_dict=True)
    for average in ("macro", "weighted"):
        for ours, name in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            found = report["averages"][average][ours]
            assert found == pytest.approx(theirs[f"{average} avg"][name])
    names = np.array(["low", "high"])
    assert report["first_labels"] == names[split.labels[:10]].tolist()
    assert report["first_predictions"] == names[predicted[:10]].tolist()
    assert report["n_true"] == {"low": (split.labels == 0).sum(), "high": split.labels.sum()}
    assert report["n_predicted"]["high"] == predicted.sum()


def test_batches_in_turn_hold_neighbouring_rows_and_change_no_order(
    toy_model: Path, toy_spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    split, _ = scored()
    classifier = surgery.build(toy_spec, model=toy_model)
    usual, _ = evaluation.timed(classifier, split)
    taken: list[list[int]] = []
    collate = split.collate

    def noting(rows: np.ndarray) -> Batch:
        taken.append(rows.tolist())
        return collate(rows)

    monkeypatch.setattr(split, "collate", noting)
    logits, pace = evaluation.timed(classifier, split, in_turn=3)
    assert taken[:2] == [[0, 1, 2], [3, 4, 5]]
    assert len(taken) == 14
    assert pace["steps_per_second"] * pace["seconds"] == pytest.approx(14)
    assert np.allclose(logits, usual, atol=1e-5)


def test_printed_lines_hold_what_the_report_prints() -> None:
    split, logits = scored()
    report = evaluation.report(split, logits, class_names=("low", "high"))
    text = "\n".join(evaluation.lines(report, unit="clips"))
    for name in (
        "macro F1",
        "micro F1",
        "weighted F1",
        "F1 per class",
        "mean loss",
        "n 40",
        "macro avg",
    ):
        assert name in text
    for row in report["confusion"]:
        assert any(line.split()[-2:] == [str(n) for n in row] for line in text.splitlines())


def test_what_could_break_a_table_is_escaped() -> None:
    table = pd.DataFrame([{"a|b": "<x>|\n", "n": 1234567, "f": 0.25, "none": None}])
    assert page.markdown(table).splitlines() == [
        "| a\\|b | n | f | none |",
        "| --- | --- | --- | --- |",
        "| &lt;x>\\|  | 1,234,567 | 0.2500 |  |",
    ]
