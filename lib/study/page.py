"""results.md: the page of a study, with everything that its figures are to be held against."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lib.markdown import escape
from lib.study.compare import ALPHA, NOT_SHOWN
from lib.study.reference import HUBERT_CLASSES, HUBERT_TEST, PUBLISHED_ON
from lib.study.results import POOLED, Result, units
from lib.study.table import is_as_reported, known_as, notes


def page(
    study: Path,
    table: pd.DataFrame,
    floor_rows: Sequence[Mapping[str, Any]],
    found: Sequence[Result],
    *,
    compared: Sequence[Mapping[str, Any]] = (),
    suffix: str,
) -> str:
    """results.md: notes, results, comparisons, floors, what others reached, parts, pictures.

    Args:
        study: the study's folder; figures/ in it has the pictures.
        table: a row for each of `found`, as lib.study.table.frame gives them.
        floor_rows: of the same data.
        found: what the rows tell of.
        compared: variants against the baseline, as lib.study.compare gives them.
        suffix: of the pictures' names.
    """
    parts = [f"# {study.parent.name}: {escape(study.name)}\n"]
    parts += [f"**{note}**\n" for note in notes(study, found)]
    parts += ["Test split; intervals are 95 %, resampling groups (premises or speakers).\n"]
    if any(result.fold == POOLED for result in found):
        parts += [f"A row `{POOLED}` takes the test predictions of all its folds together.\n"]
    if any(result.seeds for result in found):
        parts += [
            "A row `mean of S` is the mean over S seeds, `_sd` their standard deviation; its "
            "interval resamples groups, then seeds.\n"
        ]
    parts.append(markdown(table))
    parts += _compared(compared)
    parts += ["## Floors of the same data\n", _floors(floor_rows, found[0])]
    parts += _published(found)
    parts += _as_reported(found)
    parted = subsets(found)
    if len(parted):
        parts += ["## Parts of the test split\n", markdown(parted)]
    parts += _pictures(study, found, suffix)
    return "\n".join(parts)


def _pictures(study: Path, found: Sequence[Result], suffix: str) -> list[str]:
    """The overviews and the pictures of what is no part of another row."""
    inner = {part.label for result in found for part in result.parts}
    shown = [
        path.name
        for path in sorted((study / "figures").glob(f"*.{suffix}"))
        if not any(path.name.startswith(f"{name}-") for name in inner)
    ]
    if not shown:
        return []
    first = (f"variants.{suffix}", f"differences.{suffix}")
    shown.sort(key=lambda name: (name not in first, name in first and first.index(name)))
    rest = ["Those of single folds and seeds are in figures/ too.\n"] if inner else []
    return ["## Pictures\n", *rest, *(f"![{Path(n).stem}](figures/{n})\n" for n in shown)]


def comparisons(compared: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A row for each metric of each variant; McNemar's p values of the seeds as one text."""
    rows = []
    for of in compared:
        mcnemar = " ".join(f"{p:.2g}" for p in of.get("mcnemar", ()))
        rows.append({**of, "mcnemar": mcnemar})
    columns = ["variant", "baseline", "metric", "n_seeds", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=[*columns, "p", "p_holm", "mcnemar", "shown"])


def _compared(compared: Sequence[Mapping[str, Any]]) -> list[str]:
    """The table of comparisons and how it is to be read, in parts of a page."""
    if not compared:
        return []
    table = comparisons(compared)
    n = table["variant"].nunique()
    return [
        f"## Against {' and '.join(dict.fromkeys(table['baseline']))}, on the same examples\n",
        "Variant minus baseline, 95 % interval and p of the paired bootstrap over groups and "
        f"seeds; p_holm is corrected for {n} variants, {NOT_SHOWN} where it is {ALPHA} or more. "
        "McNemar's p, one for each seed, takes rows as independent: where a speaker or a premise "
        "has several it is too small.\n",
        markdown(table.drop(columns="p")),
    ]


def subsets(found: Sequence[Result]) -> pd.DataFrame:
    """Accuracy, UAR and macro F1 of the test rows with and without a flag, by run.

    Of what is no part of another row; the parts' own are in their report.json.
    """
    rows = []
    for result in units(found):
        for flag, parts in result.report["splits"]["test"]["subsets"].items():
            for part, of in parts.items():
                figures = {key: of[key] for key in ("n", "accuracy", "ci_low", "ci_high")}
                figures |= {key: of[key] for key in ("uar", "macro_f1")}
                rows.append({"run": result.label, "flag": flag, "rows": part} | figures)
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame) -> str:
    """A table in Markdown, figures to four digits, what could break it escaped."""

    def cell(value: Any) -> str:
        if value is None or (isinstance(value, float) and value != value):
            return ""
        if isinstance(value, float):
            return f"{value:.1f}" if abs(value) >= 100 else f"{value:.4f}"
        return escape(f"{value:,}" if isinstance(value, int) else str(value))

    lines = [[cell(str(name)) for name in table.columns], ["---"] * len(table.columns)]
    lines += [[cell(value) for value in record] for record in table.astype(object).values.tolist()]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _floors(rows: Sequence[Mapping[str, Any]], first: Result) -> str:
    """The table of floors, or the command that would make them."""
    if rows:
        return markdown(pd.DataFrame(rows))
    command = f"python -m scripts.floors --data {first.options['data']}"
    if first.is_speech:
        told = {name: first.options[name] for name in ("labels", "split", "fold", "emobox")}
        command += "".join(f" --{name} {value}" for name, value in told.items() if value)
    each = ", with each `--fold`" if first.fold == POOLED else ""
    return f"None yet: `{command}`{each} computes them.\n"


def _published(found: Sequence[Result]) -> list[str]:
    """What others report of the corpora that the runs are of, in parts of a page."""
    parts = []
    for corpus in dict.fromkeys(known_as(result.report) or "" for result in found):
        if corpus not in PUBLISHED_ON:
            continue
        rows = []
        for of in PUBLISHED_ON[corpus]:
            figures = {"accuracy": of.accuracy, "uar": of.uar, "macro_f1": of.macro_f1}
            known = {name: value for name, value in figures.items() if value is not None}
            rows.append({"system": of.system, "split": of.split} | known | {"source": of.source})
        names = [name for name in ("accuracy", "uar", "macro_f1") if any(name in r for r in rows)]
        table = pd.DataFrame(rows, columns=["system", "split", *names, "source"])
        parts += [f"## Published on {corpus}, not measured here\n", markdown(table)]
        if corpus == "shemo":
            told = "compare only with runs on the same split (`split` in config.json)"
            parts += [f"Most of these splits let test speakers into training: {told}.\n"]
    return parts


def _as_reported(found: Sequence[Result]) -> list[str]:
    """The reference report's own figures beside those of the runs that repeat it."""
    parts = []
    for result in units(found):
        if not is_as_reported(result):
            continue
        test = result.report["splits"]["test"]
        figures = pd.DataFrame(
            [
                {"test": name, "report": reported, "here": test.get(name)}
                for name, reported in HUBERT_TEST.items()
            ]
        )
        rows = []
        for split, reported in HUBERT_CLASSES.items():
            here = result.report["splits"].get(split, {"per_class": {}})["per_class"]
            for name, values in reported.per_class.items():
                row: dict[str, Any] = {"split": split, "class": name}
                for key, value in zip(("precision", "recall", "f1"), values, strict=True):
                    row |= {f"{key}, report": value, f"{key}, here": here.get(name, {}).get(key)}
                rows.append(row)
        title = f"## {result.name} beside the reference report\n"
        parts += [title, markdown(figures), markdown(pd.DataFrame(rows))]
    return parts
