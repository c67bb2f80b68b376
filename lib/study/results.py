"""A study's results: its evaluated runs, and what they are together over folds and seeds."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib import files, runs
from lib.errors import UserError
from lib.splits import N_FOLDS
from lib.study import reports, summary
from lib.study.reference import REPORT

POOLED = "pooled"
# Shape of a run's options, as far as they are taken for granted here
OPTIONS = {"variant": str, "seed": int, "data": str, "model": str, "split?": str, "fold?": int}


@dataclass(frozen=True)
class Result:
    """What one row of the table tells of.

    Attributes:
        name: of the run's folder; of folds or seeds together, without them.
        options, report: of config.json and report.json; those of folds or seeds together have a
            report of the test split alone, and options of the first.
        folders: of the run, or of all its parts.
        fold: number of the fold, POOLED of folds together, None where there are none.
        parts: the folds or seeds that were put together; none of a single run.
        made: of config.json, what made the run beside its options.
    """

    name: str
    options: Mapping[str, Any]
    report: Mapping[str, Any]
    folders: tuple[Path, ...]
    fold: str | None = None
    parts: tuple["Result", ...] = ()
    made: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_speech(self) -> bool:
        """Whether the run is of speech; only speech has protocols of splitting."""
        return "split" in self.options

    @property
    def label(self) -> str:
        """What tells the result from others of its study, in a page and in names of pictures."""
        return f"{self.name}-{POOLED}" if self.fold == POOLED else self.name

    @property
    def seeds(self) -> tuple["Result", ...]:
        """The results of single seeds that were put together in this one; else none."""
        return self.parts if are_seeds(self.parts) else ()

    def told(self, *but: str) -> str:
        """A digest of all that made the run, but some of its options."""
        options = {name: value for name, value in self.options.items() if name not in but}
        change = {**self.made.get("change", {}), "base": None}
        if "seed" in but:
            change["score_seed"] = None
        return files.digest([options, change, self.made.get("inputs")])


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
        options = runs.read_config(folder, options=OPTIONS)["options"]
        variant = options["variant"]
        order = known.index(variant) if variant in known else len(known)
        return order, variant, options["seed"], options.get("fold", 0)

    return sorted(found, key=place)


def of_study(study: Path) -> list[Result]:
    """What the rows of a study's table tell of: seeds together, their folds together, each run.

    Folds go together if nothing else was told to them differently and their data is the same, and
    so do seeds, which must also have been tested on the same rows.

    Raises:
        UserError: if there is no evaluated run, or one was not evaluated on the test split.
    """
    alike: dict[str, list[Result]] = {}
    for folder in evaluated_runs(study):
        result = _read(folder)
        key = result.told("fold", "emobox") if result.fold else folder.name
        alike.setdefault(key, []).append(result)
    units = [folds_together(folds) if len(folds) > 1 else folds[0] for folds in alike.values()]
    of_seeds: dict[str, list[Result]] = {}
    for unit in units:
        which = [part.fold for part in unit.parts] or unit.fold
        key = files.digest([unit.told("seed", "fold", "emobox"), which])
        of_seeds.setdefault(key, []).append(unit)
    found = []
    for seeds in of_seeds.values():
        if are_seeds(seeds) and same_rows([predictions(of) for of in seeds]):
            found.append(seeds_together(seeds))
        found += [part for unit in seeds for part in (unit, *unit.parts)]
    return found


def units(found: Sequence[Result]) -> list[Result]:
    """Of the rows those that are no part of another one before them."""
    parts = {id(part) for result in found for part in result.parts}
    return [result for result in found if id(result) not in parts]


def _read(folder: Path) -> Result:
    config, report = runs.read_config(folder, options=OPTIONS), reports.read(folder)
    test = report["splits"].get("test")
    if test is None or "n_groups" not in test:
        lack = "on the test split" if test is None else "by this version"
        raise UserError(f"{folder} was not evaluated {lack}; evaluate it again")
    options = config["options"]
    fold = str(options["fold"]) if options.get("split") == "speaker" else None
    told = {"change": config["change"], "inputs": {"data": config["inputs"]["data"]}}
    return Result(folder.name, options, report, (folder,), fold, made=told)


def folds_together(folds: Sequence[Result]) -> Result:
    """The folds as one result, each clip as predicted by the run that did not know its speaker."""
    first = folds[0]
    tests = [fold.report["splits"]["test"] for fold in folds]
    flags = list(dict.fromkeys(flag for test in tests for flag in test["subsets"]))
    frames = [_of_run(fold.folders[0]) for fold in folds]
    found = summary.again(
        pd.concat(frames, ignore_index=True), class_names=first.report["labels"], flags=flags
    )
    sizes = [test["n"] for test in tests]
    found["loss"] = float(np.average([test["loss"] for test in tests], weights=sizes))
    cost = _mean([fold.report["cost"] for fold in folds])
    cost["train_s"] = sum(fold.report["cost"]["train_s"] for fold in folds)
    report = {**first.report, "cost": cost, "splits": {"test": found}, "split_notes": []}
    if len(folds) < N_FOLDS:
        numbers = ", ".join(str(fold.fold) for fold in folds)
        report["split_notes"] = [f"pooled rows are of the folds {numbers} of {N_FOLDS} only"]
    return replace(first, name=without_fold(first), report=report, fold=POOLED, **_of_parts(folds))


def without_fold(result: Result) -> str:
    """The name of a run's folder less the end that says the fold."""
    return result.name.removesuffix(f"-f{result.fold}")


def are_seeds(found: Sequence[Result]) -> bool:
    """Whether results that are alike but for the seed are one of each of several."""
    seeds = [of.options["seed"] for of in found]
    return len(set(seeds)) == len(seeds) > 1


def same_rows(frames: Sequence[pd.DataFrame]) -> bool:
    """Whether predictions are of the same test rows, in the same order."""
    first = frames[0][["id", "label", "group"]]
    return all(first.equals(frame[["id", "label", "group"]]) for frame in frames[1:])


def seeds_together(seeds: Sequence[Result]) -> Result:
    """The seeds as one result: mean figures and cost, standard deviations, intervals over both."""
    first = seeds[0]
    frames = [predictions(of) for of in seeds]
    tests = [of.report["splits"]["test"] for of in seeds]
    found = summary.again(
        *frames, class_names=first.report["labels"], flags=list(tests[0]["subsets"])
    )
    found["loss"] = float(np.mean([test["loss"] for test in tests]))
    cost = _mean([of.report["cost"] for of in seeds])
    report = {**first.report, "cost": cost, "splits": {"test": found}, "split_notes": []}
    name = re.sub(rf"-s{first.options['seed']}$", "", without_fold(first))
    return replace(first, name=f"{name}-mean", report=report, **_of_parts(seeds))


def predictions(result: Result) -> pd.DataFrame:
    """The test rows of predictions.csv of a run, or of all folds of one, in the order of id."""
    frame = pd.concat([_of_run(folder) for folder in result.folders], ignore_index=True)
    return frame.sort_values("id", kind="stable", ignore_index=True)


def _of_run(folder: Path) -> pd.DataFrame:
    text = {"id": str, "label": str, "prediction": str}
    frame = pd.read_csv(folder / "predictions.csv", keep_default_na=False, dtype=text)
    return frame[frame["split"] == "test"]


def _of_parts(parts: Sequence[Result]) -> dict[str, Any]:
    folders = tuple(folder for part in parts for folder in part.folders)
    return {"folders": folders, "parts": tuple(parts)}


def _mean(costs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean of each figure; counts of parameters stay whole numbers."""
    found = {name: float(np.mean([cost[name] for cost in costs])) for name in costs[0]}
    return {name: round(v) if name.endswith("params") else v for name, v in found.items()}
