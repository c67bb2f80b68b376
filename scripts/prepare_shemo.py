"""Prepare ShEMO, or any corpus of speech that a table lists, for training."""

import collections
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.errors import UserError
from lib.speech_listing import Corpus
from lib.speech_source import shemo
from scripts import _cli


@dataclass(frozen=True, kw_only=True)
class Config:
    """Prepare ShEMO, or any corpus of speech that a table lists, for training."""

    data: str = "data/raw/shemo"
    """ShEMO: a folder with female/ and male/, or their zip files, or all the recordings."""
    manifest: str | None = None
    """Another corpus: a CSV or TSV file with path, label; speaker, split, gender, transcript."""
    root: str | None = None
    """Folder at which the paths of --manifest begin; by default the one it lies in."""
    transcripts: str | None = None
    """ShEMO's modified_shemo.json; by default the one in --data, if it is there."""
    name: str | None = None
    """Name of the prepared folder; by default that of the corpus's folder."""
    out: str = "data/prepared"
    """Where the prepared folder goes."""
    labels: tuple[str, ...] = ()
    """The classes of --manifest in their order; by default sorted."""
    skip_bad: bool = False
    """Leave out recordings that cannot be used; otherwise one is an error."""
    max_seconds: float = 60.0
    """A longer recording cannot be used."""
    workers: int | None = None
    """Processes that read the recordings; by default as many cores as pay."""
    force: bool = False
    """Replace a folder of that name that was made from something else."""


def main(cfg: Config) -> Path:
    """The prepared folder; made now, or there already from the same files and options."""
    # Here, as each worker process imports this file and has no use for pandas.
    from lib.packed import read_meta
    from lib.speech_prepare import prepare

    if cfg.max_seconds <= 0:
        raise UserError(f"--max-seconds {cfg.max_seconds:g} leaves nothing; give a length above 0")
    folder = Path(cfg.out) / _name(cfg)
    corpus = _corpus(cfg)
    with _cli.progress_bar("clips") as progress:
        made = prepare(
            corpus,
            folder,
            skip_bad=cfg.skip_bad,
            max_seconds=cfg.max_seconds,
            workers=cfg.workers,
            force=cfg.force,
            progress=progress,
        )
    meta = read_meta(folder)
    _draw(folder, meta)
    state = "prepared" if made else "was there from the same files and options, reused"
    size = f"{meta['n']} clips, {meta['seconds'] / 3600:.2f} h, labels {' '.join(meta['labels'])}"
    print(f"{folder}: {state}; {size}")
    for warning in meta["warnings"]:
        print(f"warning: {warning}")
    if meta["skipped"]:
        print(f"left out {_by_class(meta['skipped'], meta['labels'])}; {folder}.bad.csv says why")
    return folder


def _corpus(cfg: Config) -> Corpus:
    if cfg.manifest is None:
        if cfg.labels or cfg.root:
            raise UserError("--labels and --root are for --manifest; ShEMO has its own")
        transcripts = Path(cfg.transcripts) if cfg.transcripts else None
        return shemo(Path(cfg.data), transcripts=transcripts)
    if cfg.transcripts:
        raise UserError("--transcripts is ShEMO's; a manifest has a column transcript")
    from lib.speech_manifest import read_manifest

    root = Path(cfg.root) if cfg.root else None
    return read_manifest(Path(cfg.manifest), root=root, labels=cfg.labels)


def _name(cfg: Config) -> str:
    source = Path(cfg.data) if cfg.manifest is None else Path(cfg.manifest).parent
    name = cfg.name or source.resolve().name or "speech"
    if name.startswith(".") or re.search(r"[/\\\x00-\x1f]", name):
        raise UserError(f"{name!r} is no name for a folder; give another --name")
    return name


def _by_class(skipped: Sequence[dict[str, str]], labels: Sequence[str]) -> str:
    """How many clips of which class were skipped, and of how many in words."""
    counts = collections.Counter(clip["label"] for clip in skipped)
    listed = ", ".join(f"{label} {counts[label]}" for label in labels if counts[label])
    return f"{len(skipped)} bad clips ({listed})"


def _draw(folder: Path, meta: dict[str, Any]) -> None:
    """Lengths, speakers and classes, if the pictures are not there yet."""
    from lib import speech_figures as figures
    from lib.packed import read_manifest

    paths = {n: folder / "figures" / f"{n}.png" for n in ("durations", "speakers", "classes")}
    if all(path.is_file() for path in paths.values()):
        return
    frame = read_manifest(folder)
    title, sample = meta["name"], meta["sample"]
    names = figures.names_of(meta["labels"], meta["corpus"])
    how: dict[str, Any] = {"names": names, "sample": sample}
    figures.durations(paths["durations"], frame, title=f"{title}: lengths by class", **how)
    figures.classes(paths["classes"], frame, title=f"{title}: clips by class", **how)
    if (frame["speaker"] != "").any():
        known = frame[frame["speaker"] != ""]
        figures.speakers(paths["speakers"], known, title=f"{title}: clips", sample=sample)


if __name__ == "__main__":
    _cli.run(main, Config)
