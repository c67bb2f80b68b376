"""Check and pack recordings without labels, for cluster_units and pretrain_hubert to learn from."""

from dataclasses import dataclass
from pathlib import Path

from lib.errors import UserError
from scripts import _cli


@dataclass(frozen=True, kw_only=True)
class Config:
    """Check and pack recordings without labels: DATA → PREPARED/NAME.

    Nobody is tested on them: cluster_units takes --split all. For labelled speech there is
    prepare_shemo, whose training clips can be learnt from without their labels too.
    """

    data: str
    """Folder with audio files, in it or below."""
    name: str | None = None
    """Folder below --out; by default the name of the folder."""
    out: str = "data/prepared"
    """Folder of all prepared corpora."""
    skip_bad: bool = False
    """Leave files out that are damaged, silent, too short or too long; else one is an error."""
    max_seconds: float = 60
    """A longer recording is bad: cut it at pauses first."""
    workers: int | None = None
    """Processes; by default as many as pay."""
    force: bool = False
    """Replace a folder made from other files or options."""


def main(cfg: Config) -> Path:
    """The prepared folder."""
    from lib import packed, speech_prepare
    from lib.pretrain import source as pretrain_source

    source = Path(cfg.data)
    name = cfg.name or source.resolve().name
    if Path(name).name != name or name.startswith("."):
        raise UserError(f"--name {name!r} is no name of a folder below {cfg.out}")
    folder = Path(cfg.out) / name
    with _cli.progress_bar("clips") as progress:
        made = speech_prepare.prepare(
            pretrain_source.recordings(source),
            folder,
            skip_bad=cfg.skip_bad,
            max_seconds=cfg.max_seconds,
            workers=cfg.workers,
            force=cfg.force,
            progress=progress,
        )
    meta = packed.read_meta(folder)
    state = "prepared" if made else "was there from the same files and options, reused"
    left = f"; {len(meta['skipped'])} left out, see {folder}.bad.csv" if meta["skipped"] else ""
    print(f"{folder}: {state}; {meta['n']} recordings, {meta['seconds'] / 3600:.2f} h{left}")
    return folder


if __name__ == "__main__":
    _cli.run(main, Config)
