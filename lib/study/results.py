"""The rows of a study's table: evaluated runs, and the folds of one together; and their floors."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib import files, hub, runs
from lib.errors import UserError
from lib.figures import SAMPLE
from lib.splits import N_FOLDS
from lib.study.reference import HUBERT_CLASSES, HUBERT_TEST, PARSBERT, PUBLISHED, REPORT

POOLED = "pooled"
FEW_SPEAKERS = 10  # fewer resampled speakers tell little of others


@dataclass(frozen=True)
class Result:
    """What one row of the table tells of.

    Attributes:
        name: of the run's folder; of folds together, without the fold.
        options, report: of config.json and report.json; those of folds together have a report of
            the test split alone, and options of the first fold.
        folders: of the run, or of the folds.
        fold: number of the fold, POOLED of folds together, None where there are none.
    """

    name: str
    options: Mapping[str, Any]
    report: Mapping[str, Any]
    folders: tuple[Path, ...]
    fold: str | None = None

    @property
    def is_speech(self) -> bool:
        """Whether the run is of speech; only speech has protocols of splitting."""
        return "split" in self.options


def evaluated_runs(study: Path) -> list[Path]:
    """The evaluated runs of a study, in the report's order of variants, then name, seed and fold.

    Raises:
        UserError: if there is none.
    """
    found = [path.parent for path in study.glob("*/report.json")]
    if not found:
        raise UserError(f"{study} has no evaluated run; `python -m scripts.evaluate` makes reports")
    known = list(REPORT)

    def place(folder: Path) -> tuple[int, str, int, int]:
        options = runs.read_config(folder)["options"]
        variant = options["variant"]
        order = known.index(variant) if variant in known else len(known)
        return order, variant, options["seed"], options.get("fold", 0)

    return sorted(found, key=place)


def of_study(study: Path) -> list[Result]:
    """What the rows of a study's table tell of: each run, before its folds all of them together.

    Folds go together if nothing else was told to them differently and their data is the same.

    Raises:
        UserError: if there is no evaluated run, or one was not evaluated on the test split.
    """
    alike: dict[str, list[Result]] = {}
    for folder in evaluated_runs(study):
        config, report = runs.read_config(folder), files.read_json(folder / "report.json")
        test = report["splits"].get("test")
        if test is None or "n_groups" not in test:
            lack = "on the test split" if test is None else "by this version"
            raise UserError(f"{folder} was not evaluated {lack}; evaluate it again")
        options = config["options"]
        fold = str(options["fold"]) if options.get("split") == "speaker" else None
        told = {name: value for name, value in options.items() if name not in ("fold", "emobox")}
        change = {name: value for name, value in config["change"].items() if name != "base"}
        data = config["inputs"]["data"]
        key = files.digest([told, change, data, "" if fold else folder.name])
        result = Result(folder.name, options, report, (folder,), fold)
        alike.setdefault(key, []).append(result)
    return [
        result
        for folds in alike.values()
        for result in ([_pooled(folds), *folds] if len(folds) > 1 else folds)
    ]


def _pooled(folds: Sequence[Result]) -> Result:
    """The folds together, each clip as predicted by the run that did not know its speaker."""
    from lib.study.summary import again

    first = folds[0]
    tests = [fold.report["splits"]["test"] for fold in folds]
    flags = list(dict.fromkeys(flag for test in tests for flag in test["subsets"]))
    frames = [_test_predictions(fold.folders[0]) for fold in folds]
    found = again(
        pd.concat(frames, ignore_index=True), class_names=first.report["labels"], flags=flags
    )
    sizes = [test["n"] for test in tests]
    found["loss"] = float(np.average([test["loss"] for test in tests], weights=sizes))
    cost: dict[str, Any] = {}
    for name in first.report["cost"]:
        values = [fold.report["cost"][name] for fold in folds]
        total = sum(values)
        mean = round(total / len(values)) if name.endswith("params") else total / len(values)
        cost[name] = total if name == "train_s" else mean
    report = {**first.report, "cost": cost, "splits": {"test": found}, "split_notes": []}
    if len(folds) < N_FOLDS:
        numbers = ", ".join(str(fold.fold) for fold in folds)
        report["split_notes"] = [f"pooled rows are of the folds {numbers} of {N_FOLDS} only"]
    folders = tuple(fold.folders[0] for fold in folds)
    return Result(_without_fold(first), first.options, report, folders, POOLED)


def _without_fold(result: Result) -> str:
    return result.name.removesuffix(f"-f{result.fold}")


def _test_predictions(folder: Path) -> pd.DataFrame:
    text = {"label": str, "prediction": str}
    frame = pd.read_csv(folder / "predictions.csv", keep_default_na=False, dtype=text)
    return frame[frame["split"] == "test"]


def row(result: Result, *, folds: bool = False) -> dict[str, Any]:
    """One row of the table: test figures, flat, with the report's and the published accuracy.

    These two stand only where corpus, split and encoder are theirs and no row was left out.

    Args:
        result: what the row tells of.
        folds: whether the table has a column for the fold.
    """
    report, options = result.report, result.options
    test, cost = report["splits"]["test"], report["cost"]
    intervals = ("uar_low", "uar_high") if result.is_speech else ()
    return {
        "variant": options["variant"],
        "seed": options["seed"],
        **({"fold": result.fold} if folds else {}),
        **{name: test[name] for name in ("accuracy", "ci_low", "ci_high", "uar", *intervals)},
        **{name: test[name] for name in ("macro_f1", "micro_f1", "weighted_f1")},
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
    found = files.read_json(path).get("id") if path.is_file() else None
    return found if isinstance(found, str) else None


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
    names = [_without_fold(of) for of in heads]
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


def floors(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """The floors of the runs' test rows, as scripts.floors wrote them; none where it did not.

    Of several folds those of all of them together. Runs that differ in data, labels or split have
    floors of their own, with what differs in the name.
    """
    alike: dict[tuple[str, ...], dict[Path, str]] = {}
    for folder in folders:
        config = runs.read_config(folder)
        options = config["options"]
        name = "floors"
        if "split" in options:
            from lib.speech_floors import file_name

            name = file_name(options)
        key = tuple(str(options.get(part, "")) for part in ("data", "labels", "split"))
        path = Path(options["data"]) / f"{name}.json"
        alike.setdefault(key, {})[path] = config["inputs"]["data"]
    found = []
    for key, of_fold in alike.items():
        differing = [part for part, *others in zip(key, *alike, strict=True) if len({*others}) > 1]
        suffix = f" ({', '.join(differing)})" if differing else ""
        rows = _floors_together(of_fold)
        found += [floor | {"name": f"{floor['name']}{suffix}"} for floor in rows]
    return found


def _floors_together(fingerprints: Mapping[Path, str]) -> list[dict[str, Any]]:
    """The floors in a file, or of the folds in several; none if one is missing or of other data."""
    found = []
    for path, fingerprint in fingerprints.items():
        there = files.read_json(path) if path.is_file() else {}
        if there.get("fingerprint") != fingerprint:
            return []
        found.append(there)
    if len(found) == 1:
        return list(found[0]["floors"])
    from lib.speech_floors import score

    how: dict[str, Any] = {"dtype": str, "keep_default_na": False}
    guesses = [pd.read_csv(path.with_suffix(".csv"), **how) for path in fingerprints]
    together = pd.concat(guesses, ignore_index=True, join="inner")
    return score(together, class_names=found[0]["classes"])
