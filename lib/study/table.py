"""A study's table: a row for each result, and what must stand above it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lib import files, hub
from lib.figures import SAMPLE
from lib.study.reference import HUBERT_CLASSES, HUBERT_TEST, PARSBERT, PUBLISHED, REPORT
from lib.study.results import POOLED, Result, units, without_fold

FEW_SPEAKERS = 10  # fewer resampled speakers tell little of others
METRICS = ("accuracy", "uar", "macro_f1")


def frame(found: Sequence[Result]) -> pd.DataFrame:
    """The table of a study: a `row` for each result, with columns for folds and seeds as needed."""
    folds = any(result.fold for result in found)
    seeds = any(result.seeds for result in found)
    return pd.DataFrame([row(result, folds=folds, seeds=seeds) for result in found])


def row(result: Result, *, folds: bool = False, seeds: bool = False) -> dict[str, Any]:
    """One row of the table: test figures, flat, with the report's and the published accuracy.

    These two stand only where corpus, split and encoder are theirs and no row was left out.

    Args:
        result: what the row tells of.
        folds: whether the table has a column for the fold.
        seeds: whether it has columns for standard deviations over seeds.
    """
    report, options = result.report, result.options
    test, cost = report["splits"]["test"], report["cost"]
    intervals = ("uar_low", "uar_high") if result.is_speech else ()
    deviations = [f"{name}_sd" for name in METRICS] if seeds else []
    return {
        "variant": options["variant"],
        "seed": f"mean of {len(result.seeds)}" if result.seeds else options["seed"],
        **({"fold": result.fold} if folds else {}),
        **{name: test[name] for name in ("accuracy", "ci_low", "ci_high", "uar", *intervals)},
        **{name: test[name] for name in ("macro_f1", "micro_f1", "weighted_f1")},
        **{name: test.get(name) for name in deviations},
        **{f"f1_{name}": of["f1"] for name, of in test["per_class"].items()},
        **{name: test[name] for name in ("loss", "n")},
        **{name: cost[name] for name in ("params", "trainable_params", "train_s")},
        **{name: cost[name] for name in ("latency_ms_b1", "latency_ms_b32")},
        "report_accuracy": _report_accuracy(result),
        "published_accuracy": _published_accuracy(result),
        "note": "; ".join(_no_result(report)),
    }


def is_as_reported(result: Result) -> bool:
    """Whether a speech run is of what the reference report tested: clips, split, encoder."""
    options = result.options
    encoder = model_id(Path(options["model"]))
    protocol = (options.get("split"), options.get("labels"), options["variant"])
    n = result.report["splits"]["test"]["n"]  # of a part of ShEMO it would be less
    whole = n == HUBERT_CLASSES["test"].n and result.report["limit"] is None
    whole = whole and known_as(result.report) == "shemo"
    return whole and protocol == ("report", "filename", "full") and encoder == hub.HUBERT


def known_as(report: Mapping[str, Any]) -> str | None:
    """The published corpus that a report is of; a generated sample is none."""
    return None if report["sample"] else report["corpus"]


def model_id(folder: Path) -> str | None:
    """The hub's id of a model folder, None for one that no hub has."""
    path = folder / "source.json"
    if not path.is_file():
        return None
    remedy = f"make or download {folder} again"
    found: dict[str, Any] = files.read_json(path, {"id?": (str, None)}, remedy=remedy)
    return found.get("id")


def _report_accuracy(result: Result) -> float | None:
    if result.is_speech:
        return HUBERT_TEST["accuracy"] if is_as_reported(result) else None
    variant = result.options["variant"]
    same = _is_whole_farstail(result) and model_id(Path(result.options["model"])) == PARSBERT
    return REPORT[variant].accuracy if same and variant in REPORT else None


def _published_accuracy(result: Result) -> float | None:
    if result.is_speech or result.options["variant"] != "full" or not _is_whole_farstail(result):
        return None
    return PUBLISHED.get(model_id(Path(result.options["model"])) or "")


def _is_whole_farstail(result: Result) -> bool:
    return known_as(result.report) == "farstail" and result.report["limit"] is None


def notes(study: Path, found: Sequence[Result]) -> list[str]:
    """What must stand above the table so that nobody takes it for more than it is."""
    pooled = {folder for of in found if of.fold == POOLED for folder in of.folders}
    lines = [note for result in found for note in _no_result(result.report)]
    lines += [note for result in found for note in result.report["split_notes"]]
    heads = [of for of in found if of.fold == POOLED or (of.fold and of.folders[0] not in pooled)]
    names = [without_fold(of) for of in heads]
    lines += [
        f"the folds of {name} differ in options or data; only those that do not are pooled"
        for name in names
        if names.count(name) > 1
    ]
    n_groups = [result.report["splits"]["test"]["n_groups"] for result in found]
    if found[0].is_speech and min(n_groups) < FEW_SPEAKERS:
        lines.append(
            f"some rows have only {min(n_groups)} test speakers: what is resampled of so few says "
            "little, and their intervals are too narrow"
        )
    folders = [of.folders for of in units(found)]
    if any(len(of) != len(folders[0]) for of in folders):
        lines.append("some rows are of more seeds or folds than others: compare with care")
    told = {
        tuple(of.report["inputs"].get(name) for name in ("data", "model"))
        + tuple(of.options.get(name) for name in ("labels", "split"))
        for of in found
    }
    if len(told) > 1:
        what = "data, labels, split or encoder" if found[0].is_speech else "data or encoder"
        lines.append(f"runs in {study.name} differ in {what}: compare with care")
    return list(dict.fromkeys(lines))


def _no_result(report: Mapping[str, Any]) -> list[str]:
    """Why one run's figures are no result, if they are none."""
    found = [f"{SAMPLE} (generated data)"] if report["sample"] else []
    if report["limit"] is not None:
        found.append(f"no result: at most {report['limit']} rows of each split (--limit)")
    return found
