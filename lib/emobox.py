"""EmoBox's list of ShEMO: which of its 2838 clips are in the training and test halves of fold 1."""

import json
from pathlib import Path

import pandas as pd

from lib.errors import UserError


def read_list(path: Path) -> dict[str, str]:
    """ "train" or "test" by clip name, such as F01A01.

    Args:
        path: EmoBox's folder of fold 1 (shemo_train_fold_1.jsonl and shemo_test_fold_1.jsonl), or
            a CSV with the columns utterance and emobox_fold1.

    Raises:
        UserError: if there is no such list.

    Source: arXiv 2406.07162; github.com/emo-box/EmoBox, data/shemo/fold_1.
    """
    if not path.exists():
        raise UserError(f"EmoBox's list {path} does not exist; --split emobox needs it")
    return _read_folder(path) if path.is_dir() else _read_csv(path)


def _read_csv(path: Path) -> dict[str, str]:
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
        return dict(zip(frame["utterance"], frame["emobox_fold1"], strict=True))
    except (KeyError, ValueError):
        needed = "the columns utterance and emobox_fold1"
        raise UserError(f"{path} is no list of EmoBox's: a CSV with {needed}") from None


def _read_folder(folder: Path) -> dict[str, str]:
    listed: dict[str, str] = {}
    for split in ("train", "test"):
        path = folder / f"shemo_{split}_fold_1.jsonl"
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            listed |= {Path(json.loads(line)["wav"]).stem: split for line in lines if line}
        except FileNotFoundError:
            raise UserError(f"{path} does not exist; take EmoBox's folder of fold 1") from None
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} is no list of EmoBox's ({error})") from None
    return listed
