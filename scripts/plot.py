"""Draw a study's pictures and write its table: figures/, results.csv and results.md."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from lib import figures, files, runs
from lib.errors import UserError
from lib.study import figures as study_figures
from lib.study import page, results
from lib.study.results import POOLED, Result
from scripts import _cli


@dataclass(frozen=True, kw_only=True)
class Config:
    """Draw a study's pictures and write its table."""

    study: str
    """The study's folder, such as runs/bert/farstail."""
    format: Literal["png", "svg", "pdf"] = "png"
    """Of the pictures."""


def main(cfg: Config) -> pd.DataFrame:
    """The results table, a row for each evaluated run, and one for its folds together."""
    study = Path(cfg.study)
    if not study.is_dir():
        raise UserError(f"{study} does not exist; it is the folder that holds the runs of a study")
    found = results.of_study(study)
    folds = any(result.fold for result in found)
    table = pd.DataFrame([results.row(result, folds=folds) for result in found])
    floors = results.floors([folder for result in found for folder in result.folders])
    for result in found:
        _draw(study, result, cfg.format)
    _draw_variants(study, found, table, floors, cfg.format)
    with files.staged_file(study / "results.csv") as temporary:
        table.to_csv(temporary, index=False)
    text = page.page(study, table, floors, found, suffix=cfg.format)
    files.write_text(study / "results.md", text)
    _print(study, found, table, floors)
    return table


def _draw(study: Path, result: Result, suffix: str) -> None:
    """The pictures of one row: curves, confusions, class counts before and after balancing."""
    report = result.report
    name = f"{result.name}-{POOLED}" if result.fold == POOLED else result.name
    paths = {kind: study / "figures" / f"{name}-{kind}.{suffix}" for kind in PICTURES}
    how: dict[str, Any] = {"title": f"{study.name}: {name}", "sample": report["sample"]}
    matrices = {split: np.array(of["confusion"]) for split, of in report["splits"].items()}
    study_figures.confusion(paths["confusion"], matrices, report["labels"], **how)
    if result.fold == POOLED:
        return
    records = runs.read_lines(result.folders[0] / "metrics.jsonl")
    validations = [record for record in records if record["event"] == "validation"]
    study_figures.curves(paths["training"], validations, **how)
    counts = report.get("counts", {})
    if report["limit"] is None and counts and counts["before"] != counts["after"]:
        named = {f"{when} balancing": of_class for when, of_class in counts.items()}
        figures.class_counts(paths["balance"], named, **how)


PICTURES = ("confusion", "training", "balance")


def _draw_variants(
    study: Path,
    found: Sequence[Result],
    table: pd.DataFrame,
    floors: Sequence[dict[str, Any]],
    suffix: str,
) -> None:
    """All rows side by side, but of folds those together, with a point for each fold."""
    rows: list[dict[str, Any]] = []
    records: list[Any] = table.to_dict("records")
    for result, record in zip(found, records, strict=True):
        if rows and result.folders[0] in rows[-1]["folders"]:
            rows[-1]["points"].append(record)
        else:
            rows.append({**record, "folders": result.folders, "points": []})
    study_figures.variants(
        study / "figures" / f"variants.{suffix}",
        rows,
        floors,
        metrics=("accuracy", "uar") if any(result.is_speech for result in found) else ("accuracy",),
        title=f"{study.name}: test split",
        sample=any(result.report["sample"] for result in found),
    )


def _print(
    study: Path, found: Sequence[Result], table: pd.DataFrame, floors: Sequence[dict[str, Any]]
) -> None:
    for note in results.notes(study, found):
        print(note)
    speech = any(result.is_speech for result in found)
    shown = ["variant", "seed", *(["fold"] if "fold" in table else [])]
    shown += ["accuracy", "ci_low", "ci_high", *(["uar"] if speech else [])]
    shown += ["macro_f1", "loss", "params"]
    shown += ["trainable_params", "train_s", "latency_ms_b1", "latency_ms_b32"]
    print(table[shown].to_string(index=False, float_format=lambda x: f"{x:.4g}"))
    for floor in floors:
        uar = f", UAR {floor['uar']:.4f}" if speech else ""
        print(f"floor: {floor['name']} {floor['accuracy']:.4f}{uar}")
    print(f"{study / 'results.md'}: {len(table)} rows; pictures in {study / 'figures'}")


if __name__ == "__main__":
    _cli.run(main, Config)
