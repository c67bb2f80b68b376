"""Intervals that respect how the examples were sampled: premises and speakers come in groups."""

import numpy as np

BLOCK = 2_000_000  # draws held at a time

Interval = tuple[float, float]


def accuracy_interval(
    correct: np.ndarray,
    groups: np.ndarray,
    *,
    confidence: float = 0.95,
    n_resamples: int = 9999,
    seed: int = 0,
) -> Interval:
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
    columns = np.stack([np.asarray(correct, dtype=float), np.ones(len(correct))], axis=1)
    sums = _resampled(columns, groups, n_resamples=n_resamples, seed=seed)
    return _interval(sums[:, 0] / sums[:, 1], confidence)


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

    UAR and macro F1 of a resample are means over the classes that occur in it: it says nothing of
    one whose few speakers were not drawn. A class that never occurs anywhere counts 0 in macro F1,
    as in lib.metrics.

    Args:
        labels, predictions: (N,) int in [0, n_classes).
        groups: (N,) the premise or speaker of each example.
        n_classes: C.
        confidence, n_resamples, seed: as in `accuracy_interval`.

    Returns:
        (low, high) of each; (nan, nan) with a single group.
    """
    one_hot = np.eye(n_classes)
    true, predicted = one_hot[labels], one_hot[predictions]
    columns = np.concatenate([true, predicted, true * predicted], axis=1)
    sums = _resampled(columns, groups, n_resamples=n_resamples, seed=seed)
    n_true, n_predicted, n_right = np.split(sums, 3, axis=1)  # each (R, C)
    occurs = n_true + n_predicted > 0
    nowhere = ~(true + predicted > 0).any(axis=0)
    f1 = np.divide(2 * n_right, n_true + n_predicted, where=occurs, out=np.zeros_like(n_true))
    recall = np.divide(n_right, n_true, where=n_true > 0, out=np.zeros_like(n_true))
    with np.errstate(invalid="ignore"):  # of a single group
        values = {
            "accuracy": n_right.sum(1) / n_true.sum(1),
            "uar": recall.sum(1) / (n_true > 0).sum(1),
            "macro_f1": f1.sum(1) / (occurs | nowhere).sum(1),
        }
    return {name: _interval(found, confidence) for name, found in values.items()}


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


def _interval(values: np.ndarray, confidence: float) -> Interval:
    if np.isnan(values).any():
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
