"""Download a pretrained model into a folder that needs no internet and holds safetensors only."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib import files
from lib.hub import DEFAULT, REVISIONS, local_name, model
from scripts import _cli


@dataclass(frozen=True, kw_only=True)
class Config:
    """Download a model of a Hugging Face hub; HF_HOME, HF_ENDPOINT and HF_TOKEN are honoured."""

    model: str = DEFAULT
    """Id of the model, owner/name."""
    revision: str | None = None
    """Commit, tag or branch; without it the commit this project pins, else main."""
    out: str | None = None
    """Folder to make; without it data/models/OWNER--NAME."""
    force: bool = False
    """Replace the folder if it is there."""


def main(cfg: Config) -> dict[str, Any]:
    """What the folder's source.json says: id, commit, SHA-256 sums."""
    folder = Path(cfg.out or f"data/models/{local_name(cfg.model)}")
    revision = cfg.revision or REVISIONS.get(cfg.model, "main")
    with _cli.progress_bar("B", label=cfg.model) as progress:
        source = model(cfg.model, folder, revision=revision, force=cfg.force, progress=progress)
    sums = [sum_ for name, sum_ in source["files"].items() if name.endswith(".safetensors")]
    weights = sums[0] if len(sums) == 1 else files.digest(sums)
    commit = source["commit"] or "placed by hand"
    print(f"{folder}: {cfg.model}, commit {commit}, SHA-256 of the weights {weights}")
    return source


if __name__ == "__main__":
    _cli.run(main, Config)
