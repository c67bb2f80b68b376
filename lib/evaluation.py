"""What a trained classifier is worth on a split: a report, and every prediction behind it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from lib import metrics, stats
from lib.loader import Split
from lib.predict import log_softmax, mean_loss


def report(split: Split, logits: np.ndarray, *, class_names: Sequence[str]) -> dict[str, Any]:
    """Loss, metrics of lib.metrics with the accuracy's interval, and the flagged rows apart.

    Args:
        split: with labels, groups and flags.
        logits: (N, C).
        class_names: C names.

    Returns:
        A dict fit for JSON; `ci_low` and `ci_high` are the 95 % interval of the accuracy,
        resampling groups, None with a single group. `subsets` has, for each flag, the same for
        the rows with it and for those without, where there are any: hard_hypothesis and
        hard_overlap hard and easy, female and male, disputed and agreed labels.
    """
    found = _summary(split.labels, logits, split.groups, class_names)
    found["subsets"] = {
        flag: {
            name: _summary(split.labels[rows], logits[rows], split.groups[rows], class_names)
            for name, rows in zip(_names_of(flag), (flagged, ~flagged), strict=True)
            if rows.any()
        }
        for flag, flagged in split.flags.items()
    }
    return found


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
    """What the reference report prints of a test: loss, accuracy, size, F1s, confusion matrix."""
    names = list(found["per_class"])
    width = max(len(str(n)) for row in found["confusion"] for n in row) + 1
    table = [
        f"  {name:>10} " + "".join(f"{n:>{width}}" for n in row)
        for name, row in zip(names, found["confusion"], strict=True)
    ]
    interval = ""
    if found["ci_low"] is not None:
        interval = f" (95 % {found['ci_low']:.4f} to {found['ci_high']:.4f})"
    f1s = ", ".join(f"{name} {found['per_class'][name]['f1']:.4f}" for name in names)
    return [
        f"mean loss {found['loss']:.4f}, accuracy {found['accuracy']:.4f}{interval}, "
        f"n {found['n']}",
        f"macro F1 {found['macro_f1']:.4f}, micro F1 {found['micro_f1']:.4f}, weighted F1 "
        f"{found['weighted_f1']:.4f}, UAR {found['uar']:.4f}",
        f"F1 per class: {f1s}",
        f"confusion (rows true, columns predicted: {' '.join(names)})",
        *table,
    ]


def _names_of(flag: str) -> tuple[str, str]:
    """What the rows with a flag are called, and those without."""
    others = {"female": "male", "disputed": "agreed"}
    return (flag, others[flag]) if flag in others else ("hard", "easy")


def _summary(
    labels: np.ndarray, logits: np.ndarray, groups: np.ndarray, class_names: Sequence[str]
) -> dict[str, Any]:
    predicted = logits.argmax(1)
    low, high = stats.accuracy_interval(predicted == labels, groups)
    return {
        "loss": mean_loss(logits, labels),
        **metrics.summarize(labels, predicted, class_names=class_names),
        "ci_low": None if np.isnan(low) else low,
        "ci_high": None if np.isnan(high) else high,
    }
