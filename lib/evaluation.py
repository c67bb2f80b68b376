"""What a trained classifier is worth on a split: a report, and every prediction behind it."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from lib.loader import Split
from lib.models import Classifier
from lib.predict import log_softmax, passes, predict
from lib.study.summary import figures


def timed(
    classifier: Classifier,
    split: Split,
    *,
    dtype: torch.dtype | None = None,
    in_turn: int | None = None,
) -> tuple[np.ndarray, dict[str, float]]:
    """Logits (N, C) of a split, and the pace: seconds, per_second (rows), steps_per_second.

    Args:
        classifier: on its device.
        split: to predict.
        dtype: of autocast, None for full precision.
        in_turn: rows of each batch, one after another; None puts those of one length together.
    """
    order = passes(classifier, split, in_turn=in_turn)
    started = time.perf_counter()
    logits = predict(classifier, split, dtype=dtype, order=order)
    seconds = time.perf_counter() - started
    rates = {"per_second": len(split) / seconds, "steps_per_second": len(order) / seconds}
    return logits, {"seconds": seconds} | rates


def report(split: Split, logits: np.ndarray, *, class_names: Sequence[str]) -> dict[str, Any]:
    """All figures of a split: overall, of the flagged rows apart, and a look at predictions.

    Args:
        split: with labels, groups and flags.
        logits: (N, C).
        class_names: C names.

    Returns:
        What lib.study.summary.figures gives.
    """
    losses = -log_softmax(logits)[np.arange(len(split)), split.labels]
    return figures(
        split.labels,
        logits.argmax(1),
        split.groups,
        flags=split.flags,
        class_names=class_names,
        losses=losses,
    )


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
    # "Int64" stays whole where another split, with other flags, leaves cells empty.
    columns |= {flag: pd.array(flagged, dtype="Int64") for flag, flagged in split.flags.items()}
    columns["prediction"] = names[logits.argmax(1)]
    columns |= {f"p_{label}": probabilities[:, i] for i, label in enumerate(class_names)}
    return pd.DataFrame(columns)


def lines(found: Mapping[str, Any], *, unit: str = "rows") -> list[str]:
    """What the reference reports print of a split, as lines: figures, classes, confusion matrix.

    Args:
        found: of one split, from `report`.
        unit: what its rows are called, such as clips.
    """
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
        *_pace(found, unit),
    ]


def _pace(found: Mapping[str, Any], unit: str) -> list[str]:
    if "seconds" not in found:
        return []
    rates = f"{found['per_second']:.1f} {unit}/s, {found['steps_per_second']:.2f} steps/s"
    return [f"{found['seconds']:.2f} s, {rates}"]


def _within(found: Mapping[str, Any], prefix: str) -> str:
    if found[f"{prefix}_low"] is None:
        return ""
    return f" (95 % {found[f'{prefix}_low']:.4f} to {found[f'{prefix}_high']:.4f})"
