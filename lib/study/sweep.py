"""One thing varied over several runs: figures of each point with intervals, and which is chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib import files, metrics, runs, stats
from lib.errors import UserError
from lib.shapes import Whole

METRICS = ("accuracy", "uar", "macro_f1")


@dataclass(frozen=True, kw_only=True)
class Point:
    """One point of a curve: the same run with each seed.

    Attributes:
        line: name of the curve, such as keep.
        x: the value that is varied, as text.
        runs: (S,) folders; of heads that are only masked, their base runs.
        seeds: (S,) of the runs.
        masked: the CSV files of scripts.mask_heads that hold the predictions, if the heads are
            only masked.
    """

    line: str
    x: str
    runs: tuple[Path, ...]
    seeds: tuple[int, ...]
    masked: tuple[Path, ...] = ()

    @property
    def place(self) -> float | None:
        """x as a number, None if it is none."""
        try:
            return float(self.x)
        except ValueError:
            return None


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """What the S runs of a point say of the same N rows.

    Attributes:
        ids, groups, labels: (N,) of each row; labels are int64 in the order of the classes.
        predicted: (S, N) int64.
    """

    ids: np.ndarray
    groups: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray


def parse(texts: Sequence[str]) -> list[Point]:
    """Points from texts LINE:X:RUN, in their order; equal LINE:X are seeds of one point.

    Raises:
        UserError: naming a text that is none of these, or a seed that a point has twice.
    """
    found: dict[tuple[str, str], Point] = {}
    for text in texts:
        line, x, run = [*text.split(":", 2), "", ""][:3]
        if not (line and x and run):
            raise UserError(f"--points {text}: give LINE:X:RUN, such as keep:3:runs/bert/x/keep-3")
        folder = Path(run)
        seed = runs.read_config(folder, options={"seed": Whole})["options"]["seed"]
        point = found.get((line, x), Point(line=line, x=x, runs=(), seeds=()))
        if seed in point.seeds:
            raise UserError(f"--points {line}:{x} has seed {seed} twice")
        found[line, x] = replace(point, runs=(*point.runs, folder), seeds=(*point.seeds, seed))
    return list(found.values())


def masked_by(path: Path) -> dict[str, Any]:
    """What scripts.mask_heads was told when it made a file.

    Raises:
        UserError: if what tells of the file is missing or damaged.
    """
    told = files.read_sealed(path.with_suffix(".json"), beside=path)
    if told is None:
        raise UserError(f"{path} is not whole; scripts.mask_heads --force makes it again")
    return told


def parse_masked(paths: Sequence[Path], *, line: str) -> list[Point]:
    """The points that files of scripts.mask_heads hold, those with most heads masked first.

    Args:
        paths: one file for each seed.
        line: name of the curves; the score stands for its {score}.

    Raises:
        UserError: if a file or what tells of it is missing, or they differ in what was masked.
    """
    found: dict[tuple[str, float], Point] = {}
    for path in paths:
        told = masked_by(path)
        frame = _read(path)
        seed = int(frame["seed"].iloc[0])
        pairs = frame[["score", "fraction"]].drop_duplicates().astype(object).values.tolist()
        for score, fraction in pairs:
            new = Point(line=line.format(score=score), x=f"{fraction:g}", runs=(), seeds=())
            point = found.get((score, fraction), new)
            found[score, fraction] = replace(
                point,
                runs=(*point.runs, Path(told["run"])),
                seeds=(*point.seeds, seed),
                masked=(*point.masked, path),
            )
    if any(len(point.masked) != len(paths) for point in found.values()):
        raise UserError("--masked: the files differ in what was masked; make them again alike")
    return [found[key] for key in sorted(found, key=lambda key: (key[0], -key[1]))]


def predictions(point: Point, split: str, *, class_names: Sequence[str]) -> Predictions:
    """What the runs of a point say of a split.

    Args:
        point: evaluated on that split.
        split: validation or test; masked heads have predictions of validation only.
        class_names: C names.

    Raises:
        UserError: if a run has no predictions of the split, or of other rows than the others.
    """
    number_of = {name: number for number, name in enumerate(class_names)}
    frames = []
    for number, run in enumerate(point.runs):
        if point.masked:
            path = point.masked[number]
            frame = _read(path)
            score = point.line.partition(",")[0]
            rows = (frame["score"] == score) & (frame["fraction"] == point.place)
        else:
            path = run / "predictions.csv"
            frame = _read(path)
            rows = frame["split"] == split
        if not rows.any():
            raise UserError(f"{path} holds no predictions of {split}; evaluate the run again")
        frames.append(frame[rows].sort_values("id", kind="stable"))
    first = frames[0]
    for run, frame in zip(point.runs, frames, strict=True):
        for column in ("id", "label"):
            if not np.array_equal(frame[column], first[column]):
                raise UserError(f"{run} was not evaluated on the rows of {point.runs[0]}")
    coded = [frame["prediction"].map(number_of).to_numpy(np.int64) for frame in frames]
    return Predictions(
        ids=first["id"].to_numpy(),
        groups=first["group"].to_numpy(),
        labels=first["label"].map(number_of).to_numpy(np.int64),
        predicted=np.stack(coded),
    )


def figures(found: Predictions, *, class_names: Sequence[str]) -> dict[str, Any]:
    """accuracy, uar and macro_f1 of a point: mean over seeds, deviation, interval, and each seed's.

    Returns:
        For each metric NAME its mean, NAME_sd (of the seeds, n - 1; None with one), NAME_low and
        NAME_high (95 %, resampling groups, then seeds; None with a single group), and
        NAME_of_seeds, a list; and n, the rows, and n_groups.
    """
    each = [metrics.summarize(found.labels, of, class_names=class_names) for of in found.predicted]
    one = len(each) == 1
    drawn = stats.intervals(
        found.labels,
        found.predicted[0] if one else found.predicted,
        found.groups,
        n_classes=len(class_names),
    )
    row: dict[str, Any] = {"n": len(found.labels), "n_groups": len(np.unique(found.groups))}
    for name in METRICS:
        values = [float(of[name]) for of in each]
        low, high = (None if np.isnan(end) else end for end in drawn[name])
        row |= {name: float(np.mean(values)), f"{name}_low": low, f"{name}_high": high}
        row |= {f"{name}_sd": None if one else float(np.std(values, ddof=1))}
        row |= {f"{name}_of_seeds": values}
    return row


def chosen(rows: Sequence[Mapping[str, Any]], metric: str, *, tolerance: float = 0.0) -> list[int]:
    """The indices of the chosen points, one for each line.

    It is the first of those whose validation figure is at most `tolerance` below the line's best:
    points are given in the order in which one would rather have them, the cheapest first.

    Args:
        rows: line, and the metric's mean over seeds, of each point.
        metric: to choose by; more is better.
        tolerance: 0 or more.
    """
    best: dict[str, float] = {}
    for row in rows:
        best[row["line"]] = max(row[metric], best.get(row["line"], -np.inf))
    found: dict[str, int] = {}
    for index, row in enumerate(rows):
        if row[metric] >= best[row["line"]] - tolerance - 1e-12:
            found.setdefault(row["line"], index)
    return sorted(found.values())


def refuse_other_rows(found: Mapping[str, Predictions]) -> None:
    """Refuse to set points side by side that were evaluated on different rows.

    Raises:
        UserError: naming two of them.
    """
    names = list(found)
    for name in names[1:]:
        for column in ("ids", "labels"):
            if not np.array_equal(getattr(found[name], column), getattr(found[names[0]], column)):
                raise UserError(f"{name} and {names[0]} were evaluated on different rows")


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(f"{path} does not exist; evaluate the run first")
    text = {"label": str, "prediction": str}
    return pd.read_csv(path, keep_default_na=False, dtype=text)
