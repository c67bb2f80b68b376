"""The table of a study: a row for each evaluated run, beside the floors of the same data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lib import files, runs
from lib.errors import UserError
from lib.figures import SAMPLE
from lib.reference import PUBLISHED, REPORT


def evaluated_runs(study: Path) -> list[Path]:
    """The evaluated runs of a study, in the report's order of variants, then by name and seed.

    Raises:
        UserError: if there is none.
    """
    found = [path.parent for path in study.glob("*/report.json")]
    if not found:
        raise UserError(f"{study} has no evaluated run; `python -m scripts.evaluate` makes reports")
    known = list(REPORT)

    def place(folder: Path) -> tuple[int, str, int]:
        options = runs.read_config(folder)["options"]
        variant = options["variant"]
        order = known.index(variant) if variant in known else len(known)
        return order, variant, options["seed"]

    return sorted(found, key=place)


def row(folder: Path) -> dict[str, Any]:
    """One run's test figures, flat, with the report's and the published accuracy if comparable.

    They are comparable where corpus and encoder are the same and no row was left out.

    Raises:
        UserError: if the run was not evaluated on the test split.
    """
    report = files.read_json(folder / "report.json")
    options = runs.read_config(folder)["options"]
    test = report["splits"].get("test")
    if test is None:
        raise UserError(f"{folder} was not evaluated on the test split; evaluate it again")
    whole = report["corpus"] == "farstail" and report["limit"] is None
    encoder = model_id(Path(options["model"]))
    variant = options["variant"]
    same = whole and encoder == "HooshvareLab/bert-fa-base-uncased" and variant in REPORT
    return {
        "variant": variant,
        "seed": options["seed"],
        **{name: test[name] for name in ("accuracy", "ci_low", "ci_high")},
        **{name: test[name] for name in ("uar", "macro_f1", "micro_f1", "weighted_f1")},
        **{f"f1_{name}": of["f1"] for name, of in test["per_class"].items()},
        **{name: test[name] for name in ("loss", "n")},
        **{name: report["cost"][name] for name in ("params", "trainable_params", "train_s")},
        **{name: report["cost"][name] for name in ("latency_ms_b1", "latency_ms_b32")},
        "report_accuracy": REPORT[variant].accuracy if same else None,
        "published_accuracy": PUBLISHED.get(encoder or "") if whole and variant == "full" else None,
        "note": "; ".join(_notes(report)),
    }


def model_id(folder: Path) -> str | None:
    """The hub's id of a model folder, None for one that no hub has."""
    path = folder / "source.json"
    found = files.read_json(path).get("id") if path.is_file() else None
    return found if isinstance(found, str) else None


def notes(study: Path, folders: Sequence[Path]) -> list[str]:
    """What must stand above the table so that nobody takes it for more than it is."""
    reports = [files.read_json(folder / "report.json") for folder in folders]
    found = list(dict.fromkeys(note for report in reports for note in _notes(report)))
    if len({tuple(report["inputs"].get(k) for k in ("data", "model")) for report in reports}) > 1:
        found.append(f"runs in {study.name} differ in data or encoder: compare with care")
    return found


def _notes(report: Mapping[str, Any]) -> list[str]:
    """Why one run's figures are no result, if they are none."""
    found = [f"{SAMPLE} (generated data)"] if report["sample"] else []
    if report["limit"] is not None:
        found.append(f"no result: at most {report['limit']} rows of each split (--limit)")
    return found


def floors(folder: Path) -> list[dict[str, Any]]:
    """The floors of the run's data, as scripts.floors wrote them; none if it did not."""
    data = Path(runs.read_config(folder)["options"]["data"])
    path = data / "floors.json"
    return list(files.read_json(path)["floors"]) if path.is_file() else []


def subsets(folders: Sequence[Path]) -> pd.DataFrame:
    """Accuracy, UAR and macro F1 of the test rows with and without a flag, by run."""
    found = []
    for folder in folders:
        test = files.read_json(folder / "report.json")["splits"]["test"]
        for flag, parts in test["subsets"].items():
            for name, part in parts.items():
                figures = {key: part[key] for key in ("n", "accuracy", "uar", "macro_f1")}
                found.append({"run": folder.name, "flag": flag, "rows": name} | figures)
    return pd.DataFrame(found)


def markdown(table: pd.DataFrame) -> str:
    """A table in Markdown, figures to four digits, what could break it escaped."""

    def cell(value: Any) -> str:
        if value is None or (isinstance(value, float) and value != value):
            return ""
        if isinstance(value, float):
            return f"{value:.1f}" if abs(value) >= 100 else f"{value:.4f}"
        text = f"{value:,}" if isinstance(value, int) else str(value)
        for character, escaped in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("\n", " ")):
            text = text.replace(character, escaped)
        return text

    lines = [[cell(str(name)) for name in table.columns], ["---"] * len(table.columns)]
    lines += [[cell(value) for value in record] for record in table.astype(object).values.tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def page(
    study: Path,
    table: pd.DataFrame,
    floor_rows: Sequence[Mapping[str, Any]],
    folders: list[Path],
    *,
    suffix: str,
) -> str:
    """results.md: notes, results, floors, hard and easy rows, and the pictures of a suffix."""
    parts = [f"# {study.parent.name}: {study.name}\n"]
    parts += [f"**{note}**\n" for note in notes(study, folders)]
    parts += ["Test split; intervals are 95 %, resampling groups (premises or speakers).\n"]
    parts.append(markdown(table))
    if floor_rows:
        parts += ["## Floors of the same data\n", markdown(pd.DataFrame(floor_rows))]
    parted = subsets(folders)
    if len(parted):
        parts += ["## Parts of the test split\n", markdown(parted)]
    pictures = sorted((study / "figures").glob(f"*.{suffix}"))
    if pictures:
        parts += ["## Pictures\n"]
        parts += [f"![{path.stem}](figures/{path.name})\n" for path in pictures]
    return "\n".join(parts)
