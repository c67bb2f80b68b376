"""The floors of a study's test rows, as scripts.floors wrote them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lib import files, runs


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
        table = path.with_suffix(".csv") if len(fingerprints) > 1 else None
        there = files.read_sealed(path, beside=table)
        if there is None or there["fingerprint"] != fingerprint:
            return []
        found.append(there)
    if len(found) == 1:
        return list(found[0]["floors"])
    from lib.speech_floors import score

    how: dict[str, Any] = {"dtype": str, "keep_default_na": False}
    guesses = [pd.read_csv(path.with_suffix(".csv"), **how) for path in fingerprints]
    together = pd.concat(guesses, ignore_index=True, join="inner")
    return score(together, class_names=found[0]["classes"])
