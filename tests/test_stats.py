import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from lib import metrics, stats


def test_without_groups_the_interval_is_that_of_a_proportion() -> None:
    correct = np.arange(1564) < 1187  # 0.759
    low, high = stats.accuracy_interval(correct, np.arange(1564))
    exact = scipy_stats.binomtest(1187, 1564).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((exact.low, exact.high), abs=0.002)
    assert (high - low) / 2 == pytest.approx(0.021, abs=0.001), "the reference says 2.1 points"


def test_examples_that_share_their_fate_count_once() -> None:
    correct = np.arange(300) < 200
    alone = stats.accuracy_interval(correct, np.arange(300))
    in_tens = stats.accuracy_interval(correct, np.arange(300) // 10)
    ratio = (in_tens[1] - in_tens[0]) / (alone[1] - alone[0])
    assert ratio == pytest.approx(math.sqrt(10), rel=0.1)


def test_equal_seeds_give_equal_intervals_and_one_group_gives_none() -> None:
    correct = np.arange(50) % 3 > 0
    first = stats.accuracy_interval(correct, np.arange(50) // 2, seed=1)
    assert first == stats.accuracy_interval(correct, np.arange(50) // 2, seed=1)
    assert all(math.isnan(x) for x in stats.accuracy_interval(correct, np.zeros(50)))


def test_intervals_of_uar_and_macro_f1_equal_those_of_plain_resampling() -> None:
    generator = np.random.default_rng(0)
    groups = generator.integers(20, size=200)
    labels = generator.choice(3, size=200, p=[0.6, 0.3, 0.1])
    predictions = np.where(generator.random(200) < 0.6, labels, generator.integers(3, size=200))
    found = stats.intervals(labels, predictions, groups, n_classes=3)
    assert found["accuracy"] == stats.accuracy_interval(labels == predictions, groups)
    values = []
    for _ in range(400):
        drawn = generator.choice(20, size=20)
        rows = np.concatenate([np.flatnonzero(groups == group) for group in drawn])
        again = metrics.summarize(labels[rows], predictions[rows], class_names=("a", "b", "c"))
        values.append((again["uar"], again["macro_f1"]))
    for name, of in zip(("uar", "macro_f1"), np.array(values).T, strict=True):
        assert found[name] == pytest.approx(np.quantile(of, [0.025, 0.975]), abs=0.02)


def test_a_class_of_undrawn_speakers_does_not_lower_a_resample() -> None:
    labels = np.array([0, 0, 1, 1])
    found = stats.intervals(labels, labels, np.array([0, 1, 2, 3]), n_classes=3)
    assert found["uar"] == (1, 1), "what occurs is always right"
    assert found["macro_f1"] == pytest.approx((1 / 2, 2 / 3)), "the third class occurs nowhere"


def test_one_group_gives_no_interval_of_any_metric() -> None:
    labels = np.arange(10) % 2
    found = stats.intervals(labels, labels, np.zeros(10), n_classes=2)
    assert all(math.isnan(end) for interval in found.values() for end in interval)
