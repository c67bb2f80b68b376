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


def noisy(generator: np.random.Generator, labels: np.ndarray, *rights: float) -> np.ndarray:
    """Predictions, a row for each share of rows that is surely right."""
    guesses = generator.integers(3, size=(len(rights), len(labels)))
    surely = generator.random(guesses.shape) < np.array(rights)[:, None]
    return np.where(surely, labels, guesses)


def test_a_paired_difference_is_resampled_as_scipy_does() -> None:
    generator = np.random.default_rng(3)
    labels = generator.integers(3, size=300)
    both = noisy(generator, labels, 0.7, 0.6)
    drawn = stats.resampled_metrics(labels, both, np.arange(300), n_classes=3)["accuracy"]
    differences = drawn[:, 0] - drawn[:, 1]
    same = scipy_stats.bootstrap(
        tuple((both == labels).astype(float)),
        lambda one, other, axis=-1: one.mean(axis) - other.mean(axis),
        paired=True,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    assert differences == pytest.approx(same.bootstrap_distribution, abs=1e-12)
    assert stats.interval(differences) == pytest.approx(tuple(same.confidence_interval))


def test_one_seed_or_the_same_one_thrice_gives_the_interval_of_one() -> None:
    generator = np.random.default_rng(4)
    labels, groups = generator.integers(3, size=120), np.arange(120) // 4
    said = noisy(generator, labels, 0.5)
    alone = stats.intervals(labels, said[0], groups, n_classes=3)
    assert stats.intervals(labels, said, groups, n_classes=3) == alone
    thrice = stats.intervals(labels, said.repeat(3, axis=0), groups, n_classes=3)
    for name, ends in alone.items():
        assert thrice[name] == pytest.approx(ends), name
    correct = said == labels
    assert stats.accuracy_interval(correct, groups) == alone["accuracy"]


def test_seeds_vary_as_the_variance_of_their_mean_says() -> None:
    of_seed = np.array([0.5, 0.6, 0.9])
    drawn = stats.over_seeds(np.tile(of_seed, (200_000, 1)))
    assert drawn.mean() == pytest.approx(of_seed.mean(), abs=1e-3)
    assert drawn.var() == pytest.approx(of_seed.var(ddof=1) / 3, rel=0.02)


def test_groups_and_seeds_are_drawn_independently_of_each_other() -> None:
    """Were one seed drawn with a group, what differs by group would move what differs by seed."""
    generator = np.random.default_rng(5)
    of_group = stats.resampled_metrics(
        np.zeros(40, int), generator.integers(2, size=40), np.arange(40), n_classes=2
    )["accuracy"]
    of_seed = stats.over_seeds(np.tile(np.array([0.0, 1.0, 5.0]), (len(of_group), 1)))
    assert abs(np.corrcoef(of_group[:, 0], of_seed)[0, 1]) < 0.03


def test_p_and_the_interval_agree_on_zero() -> None:
    differences = np.arange(-30, 9969) / 1000
    p = stats.bootstrap_p(differences, n_groups=100)
    assert p == pytest.approx(2 * 32 / 10000), "31 of 9999 are not above 0, and the one added"
    assert stats.bootstrap_p(-differences, n_groups=100) == p
    low, high = stats.interval(differences, confidence=1 - p + 0.001)
    assert low < 0 < high
    assert stats.interval(differences, confidence=1 - p - 0.001)[0] > 0


def test_p_of_nothing_is_one_and_few_groups_never_give_a_small_one() -> None:
    assert stats.bootstrap_p(np.zeros(999), n_groups=50) == 1
    assert stats.bootstrap_p(np.full(999, 1e-17), n_groups=50) == 1, "float noise is no difference"
    always = np.ones(9999)
    assert stats.bootstrap_p(always, n_groups=50) == pytest.approx(2 / 10000)
    assert stats.bootstrap_p(always, n_groups=2) == 0.5, "two groups agree by chance as often"
    assert math.isnan(stats.bootstrap_p(np.full(9, np.nan), n_groups=1))


def test_holm_by_hand() -> None:
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.6, 0.7]) == [1, 1]
    assert stats.holm([0.04]) == [0.04]
    with_nan = stats.holm([0.02, float("nan"), 0.04])
    assert (with_nan[0], with_nan[2]) == pytest.approx((0.04, 0.04))
    assert math.isnan(with_nan[1])


def test_mcnemar_is_exact_for_few_rows_and_corrected_chi_squared_for_more() -> None:
    by_hand = 2 * (1 + 7 + 21) / 2**7  # 2 of 7 or fewer, both ways
    assert stats.mcnemar_p(2, 5) == pytest.approx(by_hand)
    assert stats.mcnemar_p(5, 2) == stats.mcnemar_p(2, 5)
    assert stats.mcnemar_p(4, 20) == scipy_stats.binomtest(4, 24).pvalue
    expected = scipy_stats.chi2.sf((22 - 8 - 1) ** 2 / 30, df=1)
    assert stats.mcnemar_p(8, 22) == pytest.approx(expected)
    assert stats.mcnemar_p(0, 0) == stats.mcnemar_p(3, 3) == stats.mcnemar_p(20, 20) == 1
