"""Write the embedded speech corpus, as ShEMO is published: a sample to try the toolkit on."""

from dataclasses import dataclass
from pathlib import Path

from lib.errors import UserError
from lib.files import staged_folder
from lib.sample import MARKER
from lib.speech_sample import is_current, write_corpus, write_utterances
from scripts._cli import run


@dataclass(frozen=True, kw_only=True)
class Config:
    """Options."""

    out: Path = Path("data/raw/sample-speech")
    """Folder to write; one that holds anything but an earlier sample is left alone."""
    seed: int = 0
    """Of the corpus; the documented accuracies are those of seed 0."""
    unlabelled: int = 0
    """Instead of the corpus so many clips without labels, of other speakers, for pretraining."""
    force: bool = False
    """Write it again even if it is there and unchanged."""


def main(cfg: Config) -> Path:
    """The folder that holds the corpus, written unless it is there already.

    Raises:
        UserError: if the folder holds something else.
    """
    if cfg.unlabelled < 0:
        raise UserError(f"--unlabelled {cfg.unlabelled}: give a number of clips")
    if cfg.out.exists():
        if not (cfg.out / MARKER).is_file():
            raise UserError(f"{cfg.out} is not a sample; choose another folder with --out")
        if not cfg.force and is_current(cfg.out, seed=cfg.seed, unlabelled=cfg.unlabelled):
            print(f"{cfg.out} is there and unchanged")
            return cfg.out
    with staged_folder(cfg.out) as folder:
        if cfg.unlabelled:
            n_files = write_utterances(folder, n=cfg.unlabelled, seed=cfg.seed)
        else:
            n_files = write_corpus(folder, seed=cfg.seed)
    print(f"{cfg.out}: {n_files} files written (a sample, not a result)")
    return cfg.out


if __name__ == "__main__":
    run(main, Config)
