"""Download ShEMO: labels and transcripts, EmoBox's list, and the recordings while links live."""

from dataclasses import dataclass
from pathlib import Path

from lib import zips
from lib.download import fetch
from lib.emobox import read_list
from lib.errors import UserError
from lib.files import digest, remove
from lib.speech_source import SHEMO_PARTS, TRANSCRIPTS, shemo
from scripts import _cli

ASK = "github.com/pariajm/sharif-emotional-speech-dataset"
# Source: github.com/aliyzd95/modified_shemo (Yazdani and Shekofteh, arXiv 2211.09956).
TRANSCRIPTS_SHA256 = "b988d2ce7bdea1f63962cc8f6f15210894ba436f2baf167499e335bf65969bff"
# Source: github.com/emo-box/EmoBox, folder data/shemo/fold_1 (arXiv 2406.07162); the digest is of
# the half (train, test) of each clip, whatever else stands in the files.
EMOBOX = ("shemo_train_fold_1.jsonl", "shemo_test_fold_1.jsonl")
EMOBOX_DIGEST = "546e28e45ff41f1da5a983b11a5d386cbdb0cb6752a84e715e3fb6017d95609b"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Download ShEMO, 3000 Persian clips of six emotions (1.1 GB; free for academic use)."""

    out: str = "data/raw/shemo"
    """Folder to put the files into; files that are there and right are kept."""
    female: str = "https://www.dropbox.com/s/42okby6c40w3j2x/female.zip?dl=1"
    """Where female.zip is, unless it is there already. Such links have died before."""
    male: str = "https://www.dropbox.com/s/5ebs8hq1zm0qkp6/male.zip?dl=1"
    """Where male.zip is, unless it is there already. Such links have died before."""
    transcripts: str = (
        "https://raw.githubusercontent.com/aliyzd95/modified_shemo/HEAD/modified_shemo.json"
    )
    """Where modified_shemo.json is: labels and transcripts re-aligned to the recordings."""
    emobox: str = "https://raw.githubusercontent.com/emo-box/EmoBox/HEAD/data/shemo/fold_1"
    """Where EmoBox's two lists of its fold 1 are, without their names; "" leaves them out."""
    force: bool = False
    """Replace files that are there with other contents."""


def main(cfg: Config) -> Path:
    """The folder that holds the corpus; the lists come first, since the links to the rest rot."""
    folder = Path(cfg.out)
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; choose another folder with --out")
    with _cli.progress_bar("B", label=TRANSCRIPTS) as progress:
        fetch(
            cfg.transcripts,
            folder / TRANSCRIPTS,
            sha256=TRANSCRIPTS_SHA256,
            progress=progress,
            by_hand=f"or put {TRANSCRIPTS} of github.com/aliyzd95/modified_shemo into {folder}",
            force=cfg.force,
        )
    print(f"{folder / TRANSCRIPTS}: there, SHA-256 right")
    if cfg.emobox:
        _fetch_emobox(cfg, folder / "emobox")
    for part, url in zip(SHEMO_PARTS, (cfg.female, cfg.male), strict=True):
        _fetch_recordings(url, folder, part, force=cfg.force)
    sources = shemo(folder).sources
    n_there = sum(source.member is not None or Path(source.file).is_file() for source in sources)
    print(f"{folder}: {n_there} of {len(sources)} recordings; scripts.prepare_shemo checks them")
    return folder


def _fetch_emobox(cfg: Config, folder: Path) -> None:
    by_hand = f"or put {' and '.join(EMOBOX)} of github.com/emo-box/EmoBox into {folder}"
    for name in EMOBOX:
        with _cli.progress_bar("B", label=name) as progress:
            url = f"{cfg.emobox.rstrip('/')}/{name}"
            fetch(url, folder / name, progress=progress, by_hand=by_hand, force=cfg.force)
    listed = read_list(folder)
    if digest(listed) != EMOBOX_DIGEST:
        raise UserError(f"{folder} holds another list of EmoBox's than its paper's; {by_hand}")
    print(f"{folder}: EmoBox's fold 1 of {len(listed)} clips, verified")


def _fetch_recordings(url: str, folder: Path, part: str, *, force: bool) -> None:
    """One half of the recordings, unless it is there, unpacked or not."""
    path = folder / f"{part}.zip"
    if (folder / part).is_dir() or next(folder.glob(f"{part[0].upper()}[0-9][0-9]*.wav"), None):
        print(f"{folder}: the recordings of {part} speakers were there")
        return
    where = f"{path.name} into {folder}, or its recordings into {folder / part}"
    by_hand = f"links to ShEMO die: ask for it as {ASK} says and put {where}"
    if not url and not path.is_file():
        raise UserError(f"no link to {path.name} is given; {by_hand}")
    if url:
        with _cli.progress_bar("B", label=path.name) as progress:
            new = fetch(url, path, progress=progress, by_hand=by_hand, force=force)
        try:
            zips.members(path)
        except UserError as error:
            if not new:
                raise
            remove(path)  # a dead link often answers with a page
            problem = f"{url} brought no zip file of recordings, so it was thrown away"
            raise UserError(f"{problem}; {by_hand}") from error
    print(f"{path}: there; its authors publish no checksum")


if __name__ == "__main__":
    _cli.run(main, Config)
