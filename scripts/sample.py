"""Write the embedded text corpus, in FarsTail's format: a sample to try the toolkit on."""

from dataclasses import dataclass
from pathlib import Path

from lib.errors import UserError
from lib.files import staged_folder
from lib.sample import MARKER, text_files, unlabelled_files
from scripts._cli import run


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options."""

    out: Path = Path("data/raw/sample-text")
    """Folder to write; one that holds anything but an earlier sample is left alone."""
    seed: int = 0
    """Of the corpus; the documented accuracies are those of seed 0."""
    unlabelled: int = 0
    """Instead of the corpus a file of so many lines without labels, for pretraining."""


def main(cfg: Config) -> Path:
    """The folder that holds the corpus, written unless it is there already.

    Raises:
        UserError: if the folder holds something else.
    """
    if cfg.unlabelled < 0:
        raise UserError(f"--unlabelled {cfg.unlabelled}: give a number of lines")
    if cfg.unlabelled:
        contents = unlabelled_files(cfg.unlabelled, seed=cfg.seed)
    else:
        contents = text_files(seed=cfg.seed)
    if cfg.out.exists():
        if not (cfg.out / MARKER).is_file():
            raise UserError(f"{cfg.out} is not a sample; choose another folder with --out")
        if all(_holds(cfg.out / name, text) for name, text in contents.items()):
            print(f"{cfg.out} is there and unchanged")
            return cfg.out
    with staged_folder(cfg.out) as folder:
        for name, text in contents.items():
            (folder / name).write_text(text, encoding="utf-8", newline="")
    print(f"{cfg.out}: {len(contents)} files written (a sample, not a result)")
    return cfg.out


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()


if __name__ == "__main__":
    run(main, Config)
