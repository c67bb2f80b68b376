"""What a sweep leaves behind: curve.csv, curve.md and the picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lib import files
from lib.figures import SAMPLE
from lib.markdown import escape
from lib.study import reports, sweep_figures
from lib.study.page import markdown
from lib.study.sweep import METRICS, Point

FEW_SEEDS = 3


def cost(point: Point) -> dict[str, Any]:
    """params and trainable_params of a point; empty where heads are only masked.

    Raises:
        UserError: if a run has no report, or a damaged one.
    """
    if point.masked:
        return {}
    found = reports.read(point.runs[0])["cost"]
    return {name: found[name] for name in ("params", "trainable_params")}


def write(
    study: Path,
    rows: Sequence[Mapping[str, Any]],
    metric: str,
    *,
    points: Sequence[Point],
    tolerance: float,
    label: str,
    report: Mapping[str, Any],
    reference: float | None,
    suffix: str,
) -> None:
    """Write the table, the page and the picture of a sweep, and say where.

    Args:
        study: folder to write to.
        rows: of each point, as scripts.curve makes them.
        metric: that chose.
        points: of the rows, in their order.
        tolerance: how far below the best the chosen may be.
        label: what was varied.
        report: of one of the runs.
        reference: the base run's validation figure.
        suffix: of the picture.
    """
    frame = pd.DataFrame([_flat(row) for row in rows])
    with files.staged_file(study / "curve.csv") as temporary:
        frame.to_csv(temporary, index=False)
    picture = study / "figures" / f"curve.{suffix}"
    how: dict[str, Any] = {"label": label, "title": study.name, "sample": report["sample"]}
    sweep_figures.curves(picture, rows, metric, reference=reference, **how)
    notes = _notes(rows, points, metric, tolerance, report)
    text = _page(study, rows, metric, notes, label=label, picture=picture.name)
    files.write_text(study / "curve.md", text)
    for row in rows:
        if row["chosen"]:
            test = f"test {metric} {row[f'test_{metric}']:.4f}{_ends(row, f'test_{metric}')}"
            print(f"{row['line']}: {row['x']} is chosen, {test}")
    print(f"{study / 'curve.md'}: {len(rows)} points; {picture}")


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as the CSV has it: what each seed gives in one cell."""
    return {
        name: " ".join(f"{v:.6f}" for v in value) if isinstance(value, list) else value
        for name, value in row.items()
        if name != "place"
    }


def _page(
    study: Path,
    rows: Sequence[Mapping[str, Any]],
    metric: str,
    notes: Sequence[str],
    *,
    label: str,
    picture: str,
) -> str:
    """curve.md: notes, what was chosen, all points, the picture."""
    others = [name for name in METRICS if name != metric]
    of_all = []
    for row in rows:
        shown = {"line": row["line"], label: row["x"], "seeds": row["n_seeds"]}
        shown |= {metric: row[metric], "sd": row[f"{metric}_sd"]}
        shown |= {"low": row[f"{metric}_low"], "high": row[f"{metric}_high"]}
        shown |= {name: row[name] for name in others}
        shown |= {name: row.get(name) for name in ("params", "trainable_params")}
        of_all.append(shown | {"chosen": "chosen" if row["chosen"] else ""})
    tested = []
    for row in rows:
        if not row["chosen"]:
            continue
        shown = {"line": row["line"], label: row["x"], "seeds": row["n_seeds"]}
        for name in (metric, *others):
            shown |= {name: row[f"test_{name}"]}
            shown |= {f"{name} low": row[f"test_{name}_low"]}
            shown |= {f"{name} high": row[f"test_{name}_high"]}
        tested.append(shown | {"n": row["test_n"]})
    parts = [f"# {study.parent.name}: {escape(study.name)}\n", *(f"{note}\n" for note in notes)]
    parts += ["## The chosen, on the test split\n", markdown(pd.DataFrame(tested, dtype=object))]
    parts += ["## All, on the validation split\n", markdown(pd.DataFrame(of_all, dtype=object))]
    parts += [f"![curve](figures/{picture})\n"]
    return "\n".join(parts)


def _notes(
    rows: Sequence[Mapping[str, Any]],
    points: Sequence[Point],
    metric: str,
    tolerance: float,
    report: Mapping[str, Any],
) -> list[str]:
    """What a reader must know before believing the curve."""
    notes = [f"**{SAMPLE} (generated data)**"] if report["sample"] else []
    if report["limit"] is not None:
        notes += [f"**no result: at most {report['limit']} rows of each split (--limit)**"]
    rule = f"the highest mean validation {metric}"
    if tolerance:
        rule = f"the first within {tolerance:g} of {rule}"
    notes += [
        f"Chosen of each line: {rule}; of equals the cheapest. Intervals are 95 %, resampling "
        "premises or speakers, then seeds. Of several points the best one's validation figure is "
        "too high by the choice itself: believe the test figure."
    ]
    if any(row["n_groups"] == 1 for row in rows):
        notes += ["Validation holds a single premise or speaker: nothing to resample, no interval."]
    few = min(row["n_seeds"] for row in rows)
    if few < FEW_SEEDS:
        notes += [f"Of {few} seed{'s' if few > 1 else ''} only: differences may be of chance."]
    chosen = {run for p, row in zip(points, rows, strict=True) if row["chosen"] for run in p.runs}
    others = [
        run.name
        for point in points
        if not point.masked
        for run in point.runs
        if run not in chosen and "test" in reports.read(run)["evaluated"]
    ]
    if others:
        names = escape(", ".join(dict.fromkeys(others)))
        notes += [f"Not chosen here, but evaluated on test before: {names}."]
    return notes


def _ends(row: Mapping[str, Any], name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if low is None else f" (95 % {low:.4f} to {high:.4f})"
