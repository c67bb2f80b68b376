"""report.json: what scripts.evaluate wrote of a run, as everything that reads it may take it."""

from numbers import Real
from pathlib import Path
from typing import Any

from lib import files
from lib.errors import UserError
from lib.shapes import Whole, misfit

RATES = ("accuracy", "uar", "macro_f1", "micro_f1", "weighted_f1")
BOUNDS = ("ci_low", "ci_high", "uar_low", "uar_high", "macro_f1_low", "macro_f1_high")
FIGURES: dict[str, Any] = {
    "n": Whole,
    **dict.fromkeys(RATES, float),
    **{f"{name}?": (float, None) for name in BOUNDS},  # None of a single group
    "n_groups?": Whole,
    "per_class": {str: dict.fromkeys(("precision", "recall", "f1"), float) | {"n": Whole}},
    "confusion": [[Whole]],
    "loss?": Real,
}
SHAPE: dict[str, Any] = {
    "evaluated": [str],
    "labels": [str],
    "sample": bool,
    "limit": (None, Whole),
    "corpus": (None, str),
    "inputs": {str: str},
    "split_notes": [str],
    "leak?": (None, {str: float}),
    "counts?": {"before": {str: Whole}, "after": {str: Whole}},
    "splits": {str: FIGURES | {"loss": Real, "subsets?": {str: {str: FIGURES}}}},
    "cost": {
        **dict.fromkeys(("params", "trainable_params"), Whole),
        **dict.fromkeys(("train_s", "latency_ms_b1", "latency_ms_b32"), float),
    },
}


def read(folder: Path) -> dict[str, Any]:
    """A run's report.

    Args:
        folder: of the run.

    Raises:
        UserError: if there is none, or it is damaged.
    """
    path = folder / "report.json"
    report: dict[str, Any] = files.read_json(path)
    if wrong := misfit(report, SHAPE) or _wrong_sizes(report):
        raise UserError(f"{path} is damaged ({wrong}); evaluate the run again")
    return report


def _wrong_sizes(report: dict[str, Any]) -> str:
    """Where a report's parts are not of the classes and splits that it names."""
    n = len(report["labels"])
    if n < 2 or len(set(report["labels"])) < n:
        return f"labels is {report['labels']!r:.40}"
    for name, of in report["splits"].items():
        if len(of["confusion"]) != n or any(len(row) != n for row in of["confusion"]):
            return f"splits.{name}.confusion is not {n} by {n}"
        if set(of["per_class"]) != set(report["labels"]):
            return f"splits.{name}.per_class is of other classes"
    return ""
