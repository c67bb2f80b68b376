import numpy as np
import pytest

from lib import metrics
from lib.study.reference import FARSTAIL_LABELS, REPORT, Variant


def expand(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    labels, predictions = np.indices(confusion.shape)
    return np.repeat(labels, confusion.flat), np.repeat(predictions, confusion.flat)


@pytest.mark.parametrize("variant", REPORT.values(), ids=REPORT.keys())
def test_the_reports_confusion_matrices_give_its_printed_metrics(variant: Variant) -> None:
    confusion = np.array(variant.confusion)
    found = metrics.summarize(*expand(confusion), class_names=FARSTAIL_LABELS)
    assert found["confusion"] == confusion.tolist()
    assert found["n"] == 1564
    for name in ("accuracy", "macro_f1", "micro_f1", "weighted_f1"):
        assert found[name] == pytest.approx(getattr(variant, name), abs=1e-9)
    for label, f1 in zip(FARSTAIL_LABELS, variant.f1, strict=True):
        assert found["per_class"][label]["f1"] == pytest.approx(f1, abs=1e-8)


def test_metrics_by_hand() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    predictions = np.array([0, 0, 1, 1, 0, 2])
    found = metrics.summarize(labels, predictions, class_names=("a", "b", "c"))
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["uar"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert found["per_class"]["a"] == pytest.approx(
        {"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "n": 3}
    )
    assert found["macro_f1"] == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert found["weighted_f1"] == pytest.approx((3 * 2 / 3 + 2 / 2 + 1) / 6)


def test_a_class_that_does_not_occur_lowers_macro_f1_but_not_uar() -> None:
    found = metrics.summarize(np.array([0, 1]), np.array([0, 1]), class_names=("a", "b", "c"))
    assert found["uar"] == 1
    assert found["macro_f1"] == pytest.approx(2 / 3)
    assert found["per_class"]["c"]["n"] == 0


def test_no_example_is_an_error() -> None:
    with pytest.raises(ValueError, match="no examples"):
        metrics.summarize(np.array([], int), np.array([], int), class_names=("a",))
