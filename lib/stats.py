"""Intervals and tests that respect how examples were sampled: speakers and premises are groups."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest, chi2

BLOCK = 2_000_000  # draws held at a time
EXACT_BELOW = 25  # discordant rows; with more of them chi-squared is close enough

Interval = tuple[float, float]


def accuracy_interval(
    correct: np.ndarray,
    groups: np.ndarray,
    *,
    confidence: float = 0.95,
    n_resamples: int = 9999,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap interval of an accuracy, resampling whole groups, and seeds.

    Args:
        correct: (N,) bool or 0/1, whether each example was right; (S, N) of S seeds, whose mean
            accuracy the interval is of, see `over_seeds`.
        groups: (N,) the premise or speaker of each example; examples of one group share their fate.
        confidence: coverage, in (0, 1).
        n_resamples: bootstrap resamples.
        seed: of the resampling; equal seeds give equal intervals.

    Returns:
        (low, high), both in [0, 1]. With a single group there is nothing to resample: (nan, nan).

    Source: the ratio-of-sums cluster bootstrap, Davison and Hinkley 1997, section 3.8.
    """
    rows = np.atleast_2d(np.asarray(correct, dtype=float))
    columns = np.concatenate([rows, np.ones((1, rows.shape[1]))]).T
    sums = _resampled(columns, groups, n_resamples=n_resamples, seed=seed)
    return interval(over_seeds(sums[:, :-1] / sums[:, -1:], seed=seed), confidence=confidence)


def intervals(
    labels: np.ndarray,
    predictions: np.ndarray,
    groups: np.ndarray,
    *,
    n_classes: int,
    confidence: float = 0.95,
    n_resamples: int = 9999,
    seed: int = 0,
) -> dict[str, Interval]:
    """The intervals of accuracy, uar and macro_f1, by name, all from the same resamples.

    Args:
        labels: (N,) int in [0, n_classes).
        predictions: (N,) int in [0, n_classes); (S, N) of S seeds, whose mean figures the
            intervals are of, see `over_seeds`.
        groups: (N,) the premise or speaker of each example.
        n_classes: C.
        confidence, n_resamples, seed: as in `accuracy_interval`.

    Returns:
        (low, high) of each; (nan, nan) with a single group.
    """
    drawn = resampled_metrics(
        labels, predictions, groups, n_classes=n_classes, n_resamples=n_resamples, seed=seed
    )
    return {
        name: interval(over_seeds(values, seed=seed), confidence=confidence)
        for name, values in drawn.items()
    }


def resampled_metrics(
    labels: np.ndarray,
    predictions: np.ndarray,
    groups: np.ndarray,
    *,
    n_classes: int,
    n_resamples: int = 9999,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """accuracy, uar and macro_f1 of resamples of the groups, the same for all predictions.

    UAR and macro F1 of a resample are means over the classes that occur in it: it says nothing of
    one whose few speakers were not drawn. A class that never occurs anywhere counts 0 in macro F1,
    as in lib.metrics.

    Args:
        labels: (N,) int in [0, n_classes).
        predictions: (N,) or (P, N) int in [0, n_classes), of several runs on the same examples.
        groups: (N,) the premise or speaker of each example.
        n_classes: C.
        n_resamples: R.
        seed: of the resampling.

    Returns:
        (R, P) of each metric; NaN with a single group.
    """
    one_hot = np.eye(n_classes)
    true = one_hot[labels]
    runs = [one_hot[of] for of in np.atleast_2d(predictions)]
    columns = [true] + [part for predicted in runs for part in (predicted, true * predicted)]
    sums = _resampled(
        np.concatenate(columns, axis=1), groups, n_resamples=n_resamples, seed=seed
    ).reshape(n_resamples, 1 + 2 * len(runs), n_classes)
    n_true, n_predicted, n_right = sums[:, :1], sums[:, 1::2], sums[:, 2::2]  # (R, 1 or P, C)
    nowhere = np.stack([~(true + predicted > 0).any(axis=0) for predicted in runs])
    n_both = n_true + n_predicted
    f1 = np.divide(2 * n_right, n_both, where=n_both > 0, out=np.zeros_like(n_both))
    recall = np.divide(n_right, n_true, where=n_true > 0, out=np.zeros_like(n_right))
    with np.errstate(invalid="ignore"):  # of a single group
        return {
            "accuracy": n_right.sum(2) / n_true.sum(2),
            "uar": recall.sum(2) / (n_true > 0).sum(2),
            "macro_f1": f1.sum(2) / ((n_both > 0) | nowhere).sum(2),
        }


def over_seeds(values: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """(R,) means over seeds drawn for each resample, independently of its groups.

    Of S seeds S - 1 are drawn, with replacement: drawing S would understate how much a mean varies
    by (S - 1) / S, which of three seeds is a third. A single seed is itself.

    Args:
        values: (R, S) a metric of each seed in each resample of the groups.
        seed: of the drawing.

    Source: groups and seeds drawn independently, Owen 2007, The pigeonhole bootstrap; one draw
        less, Rao and Wu 1988, Resampling inference with complex survey data.
    """
    n_resamples, n_seeds = values.shape
    if n_seeds == 1:
        return values[:, 0]
    generator = np.random.default_rng([seed, n_seeds])  # not the one that draws the groups
    drawn = generator.integers(n_seeds, size=(n_resamples, n_seeds - 1))
    return np.take_along_axis(values, drawn, axis=1).mean(axis=1)


def interval(values: np.ndarray, *, confidence: float = 0.95) -> Interval:
    """The percentile interval of a statistic's resamples (R,); (nan, nan) if one of them is NaN."""
    if np.isnan(values).any():
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def bootstrap_p(differences: np.ndarray, *, n_groups: int) -> float:
    """The two-sided p value of a difference: that of the widest percentile interval without 0.

    Never below 2 / (R + 1), nor below what a sign test of the groups could reach: without that,
    two speakers who agree would be significant.

    Args:
        differences: (R,) of the resamples.
        n_groups: how many groups were resampled.

    Returns:
        p in (0, 1]; NaN if a difference is.

    Source: Efron and Tibshirani 1993, section 15.4; the one added, Davison and Hinkley 1997, 4.2.
    """
    if np.isnan(differences).any():
        return float("nan")
    rounded = differences.round(12)  # a mean over seeds that is 0 may miss it by float noise
    tail = min((rounded <= 0).sum(), (rounded >= 0).sum())
    p = 2 * (1 + tail) / (1 + len(differences))
    return float(min(1.0, max(p, 2.0 ** (1 - n_groups))))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values corrected for their number, in the same order; NaN stays and is not counted.

    Source: Holm 1979, A simple sequentially rejective multiple test procedure.
    """
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p)[: np.isfinite(p).sum()]  # NaN sorts last
    corrected = np.full(len(p), np.nan)
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1, np.maximum.accumulate(p[order] * factors))
    return corrected.tolist()


def mcnemar_p(n_first: int, n_second: int) -> float:
    """The two-sided p value that two classifiers err alike, from rows that only one got right.

    It takes rows as independent, so where groups hold several it is too sure.

    Args:
        n_first: rows that only the first got right.
        n_second: rows that only the second got right.

    Returns:
        p in [0, 1], exact by the binomial with fewer than 25 such rows, else by chi-squared.

    Source: McNemar 1947; the continuity correction, Edwards 1948.
    """
    n = n_first + n_second
    if n == 0:
        return 1.0
    if n < EXACT_BELOW:
        return float(binomtest(n_first, n).pvalue)
    return float(chi2.sf(max(0, abs(n_first - n_second) - 1) ** 2 / n, df=1))


def _resampled(
    columns: np.ndarray, groups: np.ndarray, *, n_resamples: int, seed: int
) -> np.ndarray:
    """(R, K): the sums of the columns (N, K) over the examples of each resample of the groups.

    NaN with a single group. How the groups are drawn depends on their number and the seed alone.
    """
    _, codes = np.unique(groups, return_inverse=True)
    n_groups = int(codes.max()) + 1
    if n_groups < 2:
        return np.full((n_resamples, columns.shape[1]), np.nan)
    of_group = np.stack([np.bincount(codes, weights=column) for column in columns.T], axis=1)
    generator = np.random.default_rng(seed)
    parts = []
    done = 0
    while done < n_resamples:
        n = min(max(1, BLOCK // n_groups), n_resamples - done)
        drawn = generator.integers(n_groups, size=(n, n_groups))
        drawn += np.arange(n)[:, None] * n_groups
        times = np.bincount(drawn.ravel(), minlength=n * n_groups).reshape(n, n_groups)
        parts.append(times.astype(float) @ of_group)
        done += n
    return np.concatenate(parts)
