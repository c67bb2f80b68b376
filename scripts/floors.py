"""Compute the floors of a corpus: what is reached without any neural network."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib import files
from scripts import _cli


@dataclass(frozen=True, kw_only=True)
class Config:
    """Compute the floors of prepared text; kept in its folder and reused."""

    data: str = "data/prepared/farstail-none"
    """Folder that scripts.prepare_text made."""
    force: bool = False
    """Compute them again."""


def main(cfg: Config) -> list[dict[str, Any]]:
    """The floors, as in floors.json."""
    from lib import floors, text
    from lib.figures import SAMPLE

    folder = Path(cfg.data)
    meta = text.read_meta(folder)
    basis = {"version": floors.VERSION, "fingerprint": meta["fingerprint"]}
    path = folder / "floors.json"
    there = files.read_json(path) if path.is_file() and not cfg.force else {}
    if any(there.get(key) != value for key, value in basis.items()):
        there = basis | {"sample": meta["sample"], "floors": floors.floors(folder)}
        files.write_json(path, there)
    note = f" ({SAMPLE})" if meta["sample"] else ""
    print(f"{path}{note}")
    for floor in there["floors"]:
        interval = ""
        if floor["ci_low"] is not None:
            interval = f" (95 % {floor['ci_low']:.4f} to {floor['ci_high']:.4f})"
        print(f"  {floor['name']}: accuracy {floor['accuracy']:.4f}{interval}")
    return there["floors"]


if __name__ == "__main__":
    _cli.run(main, Config)
