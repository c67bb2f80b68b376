"""Draw a study's pictures and write its table: figures/, results.csv and results.md."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from lib import files, results, runs, study_figures
from lib.errors import UserError
from scripts import _cli


@dataclass(frozen=True, kw_only=True)
class Config:
    """Draw a study's pictures and write its table."""

    study: str
    """The study's folder, such as runs/bert/farstail."""
    format: Literal["png", "svg", "pdf"] = "png"
    """Of the pictures."""


def main(cfg: Config) -> pd.DataFrame:
    """The results table, a row for each evaluated run."""
    study = Path(cfg.study)
    if not study.is_dir():
        raise UserError(f"{study} does not exist; it is the folder that holds the runs of a study")
    folders = results.evaluated_runs(study)
    table = pd.DataFrame([results.row(folder) for folder in folders])
    floors = results.floors(folders[0])
    _draw(study, folders, table, floors, cfg.format)
    with files.staged_file(study / "results.csv") as temporary:
        table.to_csv(temporary, index=False)
    page = results.page(study, table, floors, folders, suffix=cfg.format)
    files.write_text(study / "results.md", page)
    _print(study, folders, table, floors)
    return table


def _draw(
    study: Path,
    folders: list[Path],
    table: pd.DataFrame,
    floors: list[dict[str, Any]],
    suffix: str,
) -> None:
    figures = study / "figures"
    sample = False
    for folder in folders:
        report = files.read_json(folder / "report.json")
        sample |= report["sample"]
        records = runs.read_lines(folder / "metrics.jsonl")
        study_figures.curves(
            figures / f"{folder.name}-training.{suffix}",
            [record for record in records if record["event"] == "validation"],
            title=f"{study.name}: {folder.name}",
            sample=report["sample"],
        )
        study_figures.confusion(
            figures / f"{folder.name}-confusion.{suffix}",
            {name: np.array(found["confusion"]) for name, found in report["splits"].items()},
            report["labels"],
            title=f"{study.name}: {folder.name}",
            sample=report["sample"],
        )
    title = f"{study.name}: test accuracy"
    path = figures / f"variants.{suffix}"
    rows: list[Any] = table.to_dict("records")
    study_figures.variants(path, rows, floors, title=title, sample=sample)


def _print(
    study: Path, folders: list[Path], table: pd.DataFrame, floors: list[dict[str, Any]]
) -> None:
    for note in results.notes(study, folders):
        print(note)
    shown = ["variant", "seed", "accuracy", "ci_low", "ci_high", "macro_f1", "loss", "params"]
    shown += ["trainable_params", "train_s", "latency_ms_b1", "latency_ms_b32"]
    print(table[shown].to_string(index=False, float_format=lambda x: f"{x:.4g}"))
    for floor in floors:
        print(f"floor: {floor['name']} {floor['accuracy']:.4f}")
    print(f"{study / 'results.md'}: {len(table)} rows; pictures in {study / 'figures'}")


if __name__ == "__main__":
    _cli.run(main, Config)
