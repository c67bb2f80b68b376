"""The figures of a set of predictions, with intervals, parts and averages; needs no torch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lib import metrics, stats

N_SHOWN = 10  # predictions shown beside their labels


def figures(
    labels: np.ndarray,
    predicted: np.ndarray,
    groups: np.ndarray,
    *,
    flags: Mapping[str, np.ndarray],
    class_names: Sequence[str],
    losses: np.ndarray | None = None,
) -> dict[str, Any]:
    """All figures of a split: overall, of the flagged rows apart, and a look at predictions.

    Args:
        labels: (N,) int in [0, C).
        predicted: (N,) int in [0, C), or (S, N) of S seeds.
        groups: (N,) speaker or premise of each row.
        flags: (N,) bool columns; the rows with a flag are reported apart from those without.
        class_names: C names.
        losses: (N,) of each row, in nats; without them there is no mean loss.

    Returns:
        A dict fit for JSON: what `summary` gives; `subsets`, see `parted`; and but of
        seeds `first_labels` and `first_predictions`, class names of the first ten rows, `n_true`
        and `n_predicted`, rows by class.
    """
    return {
        **summary(labels, predicted, groups, class_names=class_names, losses=losses),
        "subsets": parted(labels, predicted, groups, flags, class_names=class_names, losses=losses),
        **(_look(labels, predicted, class_names) if predicted.ndim == 1 else {}),
    }


def again(
    *frames: pd.DataFrame, class_names: Sequence[str], flags: Sequence[str] = ()
) -> dict[str, Any]:
    """What `figures` says, without the losses, computed from rows of predictions.csv.

    Args:
        frames: rows of one split, of one run or of the folds of one, label and prediction as text;
            several of them are of seeds, with the same rows in the same order.
        class_names: C names.
        flags: columns of 0 and 1 to report apart; empty cells count as 0.
    """
    first = frames[0]
    labels = numbers(first["label"], class_names)
    predicted = np.stack([numbers(frame["prediction"], class_names) for frame in frames])
    flagged = {
        flag: (pd.to_numeric(first[flag], errors="coerce") == 1).to_numpy(bool) for flag in flags
    }
    return figures(
        labels,
        predicted[0] if len(frames) == 1 else predicted,
        first["group"].to_numpy(),
        flags=flagged,
        class_names=class_names,
    )


def numbers(names: pd.Series, class_names: Sequence[str]) -> np.ndarray:
    """(N,) int64: the number of each class that is named."""
    number_of = {name: number for number, name in enumerate(class_names)}
    return names.map(number_of).to_numpy(np.int64)


def summary(
    labels: np.ndarray,
    predicted: np.ndarray,
    groups: np.ndarray,
    *,
    class_names: Sequence[str],
    losses: np.ndarray | None = None,
) -> dict[str, Any]:
    """What lib.metrics gives of predictions, with intervals and a classification report's averages.

    Args:
        labels: (N,) int in [0, C).
        predicted: (N,) int in [0, C); (S, N) of S seeds, whose mean figures these are then.
        groups: (N,) speaker or premise of each row.
        class_names: C names.
        losses: (N,) of each row, in nats; without them there is no mean loss.

    Returns:
        A dict fit for JSON. Of seeds, accuracy_sd, uar_sd and macro_f1_sd are the standard
        deviations over them, and the intervals are of the mean, resampling groups and seeds.
        `ci_low` and `ci_high` are the 95 % interval of the accuracy,
        resampling groups, and so are uar_low, uar_high, macro_f1_low and macro_f1_high of those;
        None with a single group. `n_groups` counts the groups; `averages` has precision, recall
        and f1, `macro` and `weighted` by class size.
    """
    found: dict[str, Any] = {} if losses is None else {"loss": float(losses.mean())}
    each = [
        metrics.summarize(labels, of, class_names=class_names) for of in np.atleast_2d(predicted)
    ]
    found |= each[0] if predicted.ndim == 1 else _mean(each)
    if predicted.ndim > 1:
        for name in ("accuracy", "uar", "macro_f1"):
            found[f"{name}_sd"] = float(np.std([of[name] for of in each], ddof=1))
    drawn = stats.intervals(labels, predicted, groups, n_classes=len(class_names))
    for name, interval in drawn.items():
        prefix = "ci" if name == "accuracy" else name
        for end, value in zip(("low", "high"), interval, strict=True):
            found[f"{prefix}_{end}"] = None if np.isnan(value) else value
    found["n_groups"] = len(np.unique(groups))
    rows = list(found["per_class"].values())
    sizes = [float(of["n"]) for of in rows]
    found["averages"] = {
        average: {
            key: float(np.average([of[key] for of in rows], weights=weights))
            for key in ("precision", "recall", "f1")
        }
        for average, weights in (("macro", None), ("weighted", sizes))
    }
    return found


def parted(
    labels: np.ndarray,
    predicted: np.ndarray,
    groups: np.ndarray,
    flags: Mapping[str, np.ndarray],
    *,
    class_names: Sequence[str],
    losses: np.ndarray | None = None,
) -> dict[str, dict[str, dict[str, Any]]]:
    """For each flag the `summary` of the rows with it and of those without, where there are any.

    The parts are called: hard_hypothesis and hard_overlap hard and easy, female female and male,
    disputed disputed and agreed.
    """
    return {
        flag: {
            name: summary(
                labels[rows],
                predicted[..., rows],
                groups[rows],
                class_names=class_names,
                losses=None if losses is None else losses[rows],
            )
            for name, rows in zip(_names_of(flag), (flagged, ~flagged), strict=True)
            if rows.any()
        }
        for flag, flagged in flags.items()
    }


def _look(labels: np.ndarray, predicted: np.ndarray, class_names: Sequence[str]) -> dict[str, Any]:
    """What a reader looks at first: the first ten predictions, and how often each class is said."""
    names = np.asarray(class_names)
    found: dict[str, Any] = {}
    for which, classes in (("labels", labels), ("predictions", predicted)):
        found[f"first_{which}"] = names[classes[:N_SHOWN]].tolist()
    for which, classes in (("true", labels), ("predicted", predicted)):
        counts = np.bincount(classes, minlength=len(names)).tolist()
        found[f"n_{which}"] = dict(zip(class_names, counts, strict=True))
    return found


def _mean(values: Sequence[Any]) -> Any:
    """The mean of numbers, of each entry of tables and of lists; counts that agree stay counts."""
    first = values[0]
    if isinstance(first, dict):
        return {name: _mean([of[name] for of in values]) for name in first}
    if isinstance(first, int) and all(value == first for value in values):
        return first
    return np.mean(values, axis=0).tolist()


def _names_of(flag: str) -> tuple[str, str]:
    """What the rows with a flag are called, and those without."""
    others = {"female": "male", "disputed": "agreed"}
    return (flag, others[flag]) if flag in others else ("hard", "easy")
