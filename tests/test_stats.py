import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from lib import stats


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
