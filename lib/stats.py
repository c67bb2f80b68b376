"""Intervals that respect how the examples were sampled: premises and speakers come in groups."""

import numpy as np
from scipy import stats


def accuracy_interval(
    correct: np.ndarray,
    groups: np.ndarray,
    *,
    confidence: float = 0.95,
    n_resamples: int = 9999,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of an accuracy, resampling whole groups.

    Args:
        correct: (N,) bool or 0/1, whether each example was right.
        groups: (N,) the premise or speaker of each example; examples of one group share their fate.
        confidence: coverage, in (0, 1).
        n_resamples: bootstrap resamples.
        seed: of the resampling; equal seeds give equal intervals.

    Returns:
        (low, high), both in [0, 1]. With a single group there is nothing to resample: (nan, nan).

    Source: the ratio-of-sums cluster bootstrap, Davison and Hinkley 1997, section 3.8.
    """
    _, codes = np.unique(groups, return_inverse=True)
    n_right = np.bincount(codes, weights=np.asarray(correct, dtype=float))
    n_examples = np.bincount(codes)
    if len(n_examples) < 2:
        return float("nan"), float("nan")

    def accuracy(right: np.ndarray, total: np.ndarray, axis: int) -> np.ndarray:
        return right.sum(axis=axis) / total.sum(axis=axis)

    interval = stats.bootstrap(
        (n_right, n_examples),
        accuracy,
        paired=True,
        vectorized=True,
        confidence_level=confidence,
        n_resamples=n_resamples,
        batch=1000,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)
