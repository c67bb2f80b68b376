"""Compare variants of a study two by two, on the same test rows and seeds: did it help?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib import files
from lib.errors import UserError
from scripts import _cli

if TYPE_CHECKING:
    from lib.study.results import Result


@dataclass(frozen=True, kw_only=True)
class Config:
    """Compare variants of a study two by two: STUDY/compare.json and compare.md.

    All evaluated seeds and folds that two variants share count. Differences are of the second from
    the first; intervals resample premises or speakers, the same for both, and seeds.
    """

    study: str
    """The study's folder, such as runs/bert/pretrained."""
    pairs: tuple[str, ...]
    """ONE:OTHER for each pair, names of variants, such as before:after."""


def main(cfg: Config) -> list[dict[str, Any]]:
    """A row for each pair and metric."""
    from lib.study import compare, results

    study = Path(cfg.study)
    units = results.units(results.of_study(study))
    rows = []
    for pair in cfg.pairs:
        one, other = _pair(study, units, pair)
        try:
            found = compare.differences(one, other)
        except ValueError as error:
            raise UserError(
                f"--pairs {pair}: {error}; train and evaluate the same of both"
            ) from None
        for metric, of in found.items():
            means = [side.report["splits"]["test"][metric] for side in (one, other)]
            told = {"pair": pair, "metric": metric, "first": means[0], "second": means[1], **of}
            rows.append(told | {"shown": compare.verdict(of["difference"], of["p"])})
    sample = any(unit.report["sample"] for unit in units)
    files.write_json(study / "compare.json", {"sample": sample, "rows": rows})
    files.write_text(study / "compare.md", _page(study, rows, sample=sample))
    return rows


def _pair(study: Path, units: Sequence["Result"], pair: str) -> "list[Result]":
    """The two results that ONE:OTHER names."""
    names = pair.split(":")
    if len(names) != 2:
        raise UserError(f"--pairs {pair}: give ONE:OTHER, two variants of {study}")
    found = []
    for name in names:
        of_name = [unit for unit in units if unit.options["variant"] == name]
        if len(of_name) != 1:
            what = "has several results" if of_name else "has no evaluated run"
            known = ", ".join(dict.fromkeys(unit.options["variant"] for unit in units))
            raise UserError(f"--pairs {pair}: {study} {what} of {name} (of: {known})")
        found += of_name
    return found


def _page(study: Path, rows: Sequence[Mapping[str, Any]], *, sample: bool) -> str:
    """The rows as a page, which is also printed."""
    import pandas as pd

    from lib.figures import SAMPLE
    from lib.study.page import markdown

    table = markdown(pd.DataFrame(rows).drop(columns="mcnemar"))
    title = f"# {study.name}, two by two{f' ({SAMPLE})' if sample else ''}\n"
    how = (
        "Means over seeds of the test split; the second minus the first, its 95 % interval and p "
        "(of this pair alone), by a bootstrap of groups and seeds that is the same for both.\n"
    )
    print(table, end="")
    return f"{title}\n{how}\n{table}"


if __name__ == "__main__":
    _cli.run(main, Config)
