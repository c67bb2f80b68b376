"""Make the augmented variants of a prepared speech corpus once, for all runs that train on it."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from scripts import _cli


@dataclass(frozen=True, kw_only=True)
class Config:
    """Make the augmented variants of a prepared speech corpus once, for all runs on it.

    The default recipe treats every class alike and serves all splits, folds and labels; report
    resamples every training class of one split to the largest and augments all but that one.
    """

    data: str
    """A folder made with scripts.prepare_shemo."""
    recipe: Literal["default", "report"] = "default"
    """Which variants to make; report is the reference report's, with the flaw it found."""
    variants: int = 3
    """Variants of each clip in the default recipe."""
    split: Literal["speaker", "report", "emobox", "manifest"] = "report"
    """For the recipe report: whose training clips are resampled."""
    labels: Literal["filename", "transcript", "agree"] = "filename"
    """For the recipe report: which labels are balanced."""
    fold: int = 1
    """For the recipe report: which fold of the split by speaker."""
    emobox: str | None = None
    """EmoBox's list of clips, for its split."""
    seed: int = 44
    """Of the variants; it is no training seed."""
    workers: int | None = None
    """Processes; by default as many cores as pay. The samples do not depend on it."""
    force: bool = False
    """Make them again."""


def main(cfg: Config) -> Path:
    """The folder of the variants; made now, or there already."""
    from lib import augmented, speech  # here: each worker process imports this file

    folder = Path(cfg.data)
    split = of_clip = None
    if cfg.recipe == "report":
        _, split, of_clip = speech.parts(folder, asdict(cfg))
    with _cli.progress_bar("variants") as progress:
        path, made = augmented.make(
            folder,
            recipe=cfg.recipe,
            split=split,
            labels=of_clip,
            n_variants=cfg.variants,
            seed=cfg.seed,
            workers=cfg.workers,
            force=cfg.force,
            progress=progress,
        )
    meta = augmented.read_meta(path)
    state = "made" if made else "was there, reused"
    print(f"{path}: {state}; {meta['n_rows']} rows, {meta['n_variants']} of them variants")
    for when, counts in meta["counts"].items():
        print(f"{when}: " + ", ".join(f"{label} {n}" for label, n in counts.items()))
    return path


if __name__ == "__main__":
    _cli.run(main, Config)
