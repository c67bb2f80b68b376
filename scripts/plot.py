"""Draw a study's pictures and write its table: figures/, results.csv and results.md."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from lib import figures, files, json_lines
from lib.errors import UserError
from lib.study import compare, page, results
from lib.study import figures as study_figures
from lib.study import table as tables
from lib.study.floors import floors
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
    table = tables.frame(found)
    compared = compare.with_baseline(found)
    below = floors([folder for result in found for folder in result.folders])
    for result in found:
        _draw(study, result, cfg.format)
    _draw_variants(study, found, below, cfg.format)
    _write(study, "results", table)
    if compared:
        _draw_differences(study, found, compared, cfg.format)
        _write(study, "comparisons", page.comparisons(compared))
    text = page.page(study, table, below, found, compared=compared, suffix=cfg.format)
    files.write_text(study / "results.md", text)
    _print(study, found, table, below, compared)
    return table


def _write(study: Path, name: str, table: pd.DataFrame) -> None:
    with files.staged_file(study / f"{name}.csv") as temporary:
        table.to_csv(temporary, index=False)


def _draw(study: Path, result: Result, suffix: str) -> None:
    """The pictures of one row: curves, confusions, class counts before and after balancing."""
    report = result.report
    paths = {kind: study / "figures" / f"{result.label}-{kind}.{suffix}" for kind in PICTURES}
    how: dict[str, Any] = {"title": f"{study.name}: {result.label}", "sample": report["sample"]}
    matrices = {split: np.array(of["confusion"]) for split, of in report["splits"].items()}
    study_figures.confusion(paths["confusion"], matrices, report["labels"], **how)
    study_figures.curves(paths["training"], [_validations(of) for of in result.folders], **how)
    if result.fold == POOLED:
        return
    counts = report.get("counts", {})
    if report["limit"] is None and counts and counts["before"] != counts["after"]:
        named = {f"{when} balancing": of_class for when, of_class in counts.items()}
        figures.class_counts(paths["balance"], named, **how)


PICTURES = ("confusion", "training", "balance")


def _validations(run: Path) -> list[dict[str, Any]]:
    records = json_lines.read(run / "metrics.jsonl")
    return [record for record in records if record["event"] == "validation"]


def _draw_variants(
    study: Path, found: Sequence[Result], below: Sequence[dict[str, Any]], suffix: str
) -> None:
    """What is no part of another row side by side, with a point for each of its folds or seeds."""
    rows = [
        {**tables.row(of, folds=True), "points": [tables.row(part) for part in of.parts]}
        for of in results.units(found)
    ]
    study_figures.variants(
        study / "figures" / f"variants.{suffix}",
        rows,
        below,
        metrics=("accuracy", "uar") if any(result.is_speech for result in found) else ("accuracy",),
        title=f"{study.name}: test split",
        sample=any(result.report["sample"] for result in found),
    )


def _draw_differences(
    study: Path, found: Sequence[Result], compared: Sequence[dict[str, Any]], suffix: str
) -> None:
    for number, base in enumerate(dict.fromkeys(row["baseline"] for row in compared)):
        name = f"differences-{base}" if number else "differences"
        study_figures.differences(
            study / "figures" / f"{name}.{suffix}",
            [row for row in compared if row["baseline"] == base],
            title=f"{study.name}: test, difference from {base}; filled: shown after Holm",
            sample=any(result.report["sample"] for result in found),
        )


def _print(
    study: Path,
    found: Sequence[Result],
    table: pd.DataFrame,
    below: Sequence[dict[str, Any]],
    compared: Sequence[dict[str, Any]],
) -> None:
    for note in tables.notes(study, found):
        print(note)
    speech = any(result.is_speech for result in found)
    shown = ["variant", "seed", *(["fold"] if "fold" in table else [])]
    shown += ["accuracy", "ci_low", "ci_high", *(["uar"] if speech else [])]
    shown += ["macro_f1", "loss", "params"]
    shown += ["trainable_params", "train_s", "latency_ms_b1", "latency_ms_b32"]
    print(table[shown].to_string(index=False, float_format=lambda x: f"{x:.4g}"))
    for of in compared:
        if of["metric"] == ("uar" if speech else "accuracy"):
            print(
                f"{of['variant']} against {of['baseline']}, {of['metric']}: "
                f"{of['difference']:+.4f} ({of['low']:+.4f} to {of['high']:+.4f}), "
                f"p {of['p_holm']:.4f}: {of['shown']}"
            )
    for floor in below:
        uar = f", UAR {floor['uar']:.4f}" if speech else ""
        print(f"floor: {floor['name']} {floor['accuracy']:.4f}{uar}")
    print(f"{study / 'results.md'}: {len(table)} rows; pictures in {study / 'figures'}")


if __name__ == "__main__":
    _cli.run(main, Config)
