"""Each variant against the baseline, on the same examples: differences, and what they show."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from lib import metrics, stats
from lib.study import summary
from lib.study.results import Result, predictions, same_rows, units

BASELINE = "full"
ALPHA = 0.05
NOT_SHOWN = "no difference shown"
METRICS = ("accuracy", "uar", "macro_f1")


def with_baseline(found: Sequence[Result]) -> list[dict[str, Any]]:
    """Each variant of a study against the whole model, as far as both saw the same test rows.

    Args:
        found: of one study, as lib.study.results.of_study gives them. Seeds and folds that are
            together in one of them are compared as one.

    Returns:
        A row for each metric of each variant: variant, baseline, metric, n_seeds, what
        `differences` gives, p_holm (p corrected for the number of variants compared with the same
        baseline), and shown: better, worse or NOT_SHOWN, by p_holm below 0.05.
    """
    wholes = [of for of in units(found) if of.options["variant"] == BASELINE]
    rows: list[dict[str, Any]] = []
    for base in wholes:
        others = [
            of
            for of in units(found)
            if of.options["variant"] != BASELINE and of.fold == base.fold and _pairs(base, of)
        ]
        rows += against(base, others)
    return rows


def against(base: Result, others: Sequence[Result]) -> list[dict[str, Any]]:
    """Rows as `with_baseline` describes them, of results that were tested on the same rows."""
    each = [differences(base, other) for other in others]
    rows = []
    for metric in METRICS:
        corrected = stats.holm([of[metric]["p"] for of in each])
        for other, of, p_holm in zip(others, each, corrected, strict=True):
            row = {"variant": other.options["variant"], "baseline": base.name, "metric": metric}
            row |= {"n_seeds": len(_pairs(base, other)), **of[metric], "p_holm": p_holm}
            rows.append(row | {"shown": verdict(of[metric]["difference"], p_holm)})
    order = {of.options["variant"]: place for place, of in enumerate(others)}
    return sorted(rows, key=lambda row: order[row["variant"]])


def verdict(difference: float, p: float) -> str:
    """What a difference and its corrected p value show; NaN of a single group shows nothing."""
    if not p < ALPHA:
        return NOT_SHOWN
    return "better" if difference > 0 else "worse"


def differences(base: Result, other: Result) -> dict[str, dict[str, Any]]:
    """By how much a result differs from another one in each metric, over their common seeds.

    Both are resampled together: the same groups (speakers, premises) for both, and of several
    seeds the same ones.

    Returns:
        For each of accuracy, uar and macro_f1: difference (other minus base), low and high (its
        95 % interval) and p, of the paired bootstrap, NaN with a single group; for accuracy also
        mcnemar, the p value of McNemar's test for each seed, which takes rows as independent.

    Raises:
        ValueError: if they share no seed, or were tested on different rows.
    """
    pairs = _pairs(base, other)
    if not pairs:
        raise ValueError(f"{base.name} and {other.name} share no seed on the same test rows")
    names = base.report["labels"]
    first = predictions(pairs[0][0])
    labels, groups = summary.numbers(first["label"], names), first["group"].to_numpy()
    ours, theirs = (
        np.stack([summary.numbers(predictions(of)["prediction"], names) for of in side])
        for side in zip(*pairs, strict=True)
    )
    drawn = stats.resampled_metrics(
        labels, np.concatenate([ours, theirs]), groups, n_classes=len(names)
    )
    n_groups, n_seeds = len(np.unique(groups)), len(pairs)
    found: dict[str, dict[str, Any]] = {}
    for metric in METRICS:
        before, after = (
            np.mean([metrics.summarize(labels, of, class_names=names)[metric] for of in side])
            for side in (ours, theirs)
        )
        resampled = stats.over_seeds(drawn[metric][:, n_seeds:] - drawn[metric][:, :n_seeds])
        low, high = stats.interval(resampled)
        p = stats.bootstrap_p(resampled, n_groups=n_groups)
        found[metric] = {"difference": float(after - before), "low": low, "high": high, "p": p}
    found["accuracy"]["mcnemar"] = [
        stats.mcnemar_p(
            int(((one == labels) & (two != labels)).sum()),
            int(((two == labels) & (one != labels)).sum()),
        )
        for one, two in zip(ours, theirs, strict=True)
    ]
    return found


def _pairs(base: Result, other: Result) -> list[tuple[Result, Result]]:
    """The results of each seed that both have, if they were tested on the same rows; else none."""
    sides = [{of.options["seed"]: of for of in whole.seeds or (whole,)} for whole in (base, other)]
    shared = [(sides[0][seed], sides[1][seed]) for seed in sides[0] if seed in sides[1]]
    if shared and same_rows([predictions(of) for of in shared[0]]):
        return shared
    return []
