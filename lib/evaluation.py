"""What a trained classifier is worth on a split: a report, and every prediction behind it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lib import metrics, stats
from lib.loader import Split
from lib.predict import log_softmax, mean_loss

N_SHOWN = 10  # predictions shown beside their labels


def report(split: Split, logits: np.ndarray, *, class_names: Sequence[str]) -> dict[str, Any]:
    """All figures of a split: overall, of the flagged rows apart, and a look at predictions.

    Args:
        split: with labels, groups and flags.
        logits: (N, C).
        class_names: C names.

    Returns:
        A dict fit for JSON: what `summary` gives; `subsets`, see `parted`; `first_labels` and
        `first_predictions`, class names of the first ten rows; `n_true` and `n_predicted`, rows
        by class.
    """
    predicted = logits.argmax(1)
    data = (split.labels, predicted, split.groups)
    return {
        **summary(*data, class_names=class_names, logits=logits),
        "subsets": parted(*data, split.flags, class_names=class_names, logits=logits),
        **_look(split.labels, predicted, class_names),
    }


def again(
    frame: pd.DataFrame, *, class_names: Sequence[str], flags: Sequence[str] = ()
) -> dict[str, Any]:
    """What `report` says, without the losses, computed from rows of predictions.csv.

    Args:
        frame: rows of one split, of one run or of the folds of one; label and prediction as text.
        class_names: C names.
        flags: columns of 0 and 1 to report apart; empty cells count as 0.
    """
    number_of = {name: number for number, name in enumerate(class_names)}
    labels, predicted = (
        frame[column].map(number_of).to_numpy(np.int64) for column in ("label", "prediction")
    )
    groups = frame["group"].to_numpy()
    flagged = {flag: frame[flag].fillna(0).astype(int).to_numpy(bool) for flag in flags}
    return {
        **summary(labels, predicted, groups, class_names=class_names),
        "subsets": parted(labels, predicted, groups, flagged, class_names=class_names),
        **_look(labels, predicted, class_names),
    }


def summary(
    labels: np.ndarray,
    predicted: np.ndarray,
    groups: np.ndarray,
    *,
    class_names: Sequence[str],
    logits: np.ndarray | None = None,
) -> dict[str, Any]:
    """What lib.metrics gives of predictions, with intervals and a classification report's averages.

    Args:
        labels, predicted: (N,) int in [0, C).
        groups: (N,) speaker or premise of each row.
        class_names: C names.
        logits: (N, C), for the mean loss; without them there is none.

    Returns:
        A dict fit for JSON. `ci_low` and `ci_high` are the 95 % interval of the accuracy,
        resampling groups, and so are uar_low, uar_high, macro_f1_low and macro_f1_high of those;
        None with a single group. `n_groups` counts the groups; `averages` has precision, recall
        and f1, `macro` and `weighted` by class size.
    """
    found: dict[str, Any] = {} if logits is None else {"loss": mean_loss(logits, labels)}
    found |= metrics.summarize(labels, predicted, class_names=class_names)
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
    logits: np.ndarray | None = None,
) -> dict[str, dict[str, dict[str, Any]]]:
    """For each flag the `summary` of the rows with it and of those without, where there are any.

    The parts are called: hard_hypothesis and hard_overlap hard and easy, female female and male,
    disputed disputed and agreed.
    """
    return {
        flag: {
            name: summary(
                labels[rows],
                predicted[rows],
                groups[rows],
                class_names=class_names,
                logits=None if logits is None else logits[rows],
            )
            for name, rows in zip(_names_of(flag), (flagged, ~flagged), strict=True)
            if rows.any()
        }
        for flag, flagged in flags.items()
    }


def predictions(
    name: str, split: Split, logits: np.ndarray, *, class_names: Sequence[str]
) -> pd.DataFrame:
    """A row for each example, from which every metric can be computed again.

    Returns:
        Columns split, id, group, label, the split's own columns, its flags as 0 or 1, prediction,
        and p_<class>: one probability per class, rounded to 9 digits.
    """
    names = np.asarray(class_names)
    probabilities = np.exp(log_softmax(logits)).round(9)
    columns: dict[str, Any] = {
        "split": name,
        "id": split.ids,
        "group": split.groups,
        "label": names[split.labels],
    }
    columns |= split.columns
    columns |= {flag: flagged.astype(int) for flag, flagged in split.flags.items()}
    columns["prediction"] = names[logits.argmax(1)]
    columns |= {f"p_{label}": probabilities[:, i] for i, label in enumerate(class_names)}
    return pd.DataFrame(columns)


def lines(found: Mapping[str, Any]) -> list[str]:
    """What the reference reports print of a split, as lines: figures, classes, confusion matrix."""
    names = list(found["per_class"])
    averages = {f"{name} avg": of | {"n": found["n"]} for name, of in found["averages"].items()}
    rows = found["per_class"] | averages
    wide = max(len(name) for name in rows)
    of_class = [
        f"  {name:>{wide}}"
        + "".join(f"{of[key]:>10.4f}" for key in ("precision", "recall", "f1"))
        + f"{of['n']:>8}"
        for name, of in rows.items()
    ]
    width = max(len(str(n)) for row in found["confusion"] for n in row) + 1
    table = [
        f"  {name:>{wide}} " + "".join(f"{n:>{width}}" for n in row)
        for name, row in zip(names, found["confusion"], strict=True)
    ]
    f1s = ", ".join(f"{name} {found['per_class'][name]['f1']:.4f}" for name in names)
    counts = [
        f"{which} classes: " + ", ".join(f"{k} {n}" for k, n in found[f"n_{which}"].items())
        for which in ("true", "predicted")
    ]
    return [
        f"mean loss {found['loss']:.4f}, accuracy {found['accuracy']:.4f}{_within(found, 'ci')}, "
        f"n {found['n']}",
        f"macro F1 {found['macro_f1']:.4f}{_within(found, 'macro_f1')}, micro F1 "
        f"{found['micro_f1']:.4f}, weighted F1 {found['weighted_f1']:.4f}, UAR "
        f"{found['uar']:.4f}{_within(found, 'uar')}",
        f"F1 per class: {f1s}",
        f"  {'':>{wide}} precision    recall        F1       n",
        *of_class,
        f"confusion (rows true, columns predicted: {' '.join(names)})",
        *table,
        f"first predictions: {' '.join(found['first_predictions'])}",
        f"first labels:      {' '.join(found['first_labels'])}",
        *counts,
    ]


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


def _within(found: Mapping[str, Any], prefix: str) -> str:
    if found[f"{prefix}_low"] is None:
        return ""
    return f" (95 % {found[f'{prefix}_low']:.4f} to {found[f'{prefix}_high']:.4f})"


def _names_of(flag: str) -> tuple[str, str]:
    """What the rows with a flag are called, and those without."""
    others = {"female": "male", "disputed": "agreed"}
    return (flag, others[flag]) if flag in others else ("hard", "easy")
