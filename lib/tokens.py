"""Prepared text as token arrays: made once per tokenizer, stored, and put together into batches."""

import hashlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lib.errors import UserError
from lib.files import (
    digest,
    locked,
    read_sealed,
    sha256,
    staged_folder,
    write_array,
    write_sealed,
)
from lib.persian import Progress
from lib.plan import limited
from lib.text import read_meta, read_split
from lib.text_source import FLAGS, SPLITS
from lib.tokenizer import count, encode, load_tokenizer, n_token_types, n_tokens, tokenizer_files

if TYPE_CHECKING:
    import torch

FORMAT = 2
DELETE = "delete its folder and it is made again"
CHUNK = 2048  # pairs handed to the tokenizer at a time


@dataclass(kw_only=True)
class TokenSplit:
    """One split: its rows' tokens, one after another, and what belongs to each of its N rows.

    Attributes:
        name: train, validation or test.
        tokens: the token ids of all rows, flat.
        starts, lengths: (N,) where each row's tokens begin, and how many they are.
        second: (N,) the position in the row at which its second segment begins; None for a model
            without token types.
        labels: (N,) int64, 0-based in the order of meta.json.
        ids, groups: (N,) int64, row of the source file, number of the premise.
        flags: hard_hypothesis and hard_overlap, (N,) bool, where the source has them.
        columns: of predictions.csv beside these; text has none.
        pad_id: the token that fills a batch up.
        unit: of `lengths`: one token.
        fixed_rows: padding never changes what a row becomes.
    """

    name: str
    tokens: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    second: np.ndarray | None
    labels: np.ndarray
    ids: np.ndarray
    groups: np.ndarray
    flags: dict[str, np.ndarray] = field(default_factory=dict)
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    pad_id: int = 0
    unit: int = 1
    fixed_rows: bool = True

    @property
    def places(self) -> np.ndarray:
        """(N, 2): where each row comes from, see `origins`: all from the split itself."""
        return np.stack([np.zeros(len(self), np.int64), np.arange(len(self))], axis=1)

    def origins(self) -> "list[tuple[dict[str, Any], TokenSplit, np.ndarray]]":
        """The one place that rows come from: what it holds, it, and its row for each row."""
        found = hashlib.sha256()
        for row, (start, length) in enumerate(zip(self.starts, self.lengths, strict=True)):
            second = None if self.second is None else self.second[row]
            found.update(f"{length} {second}".encode())
            found.update(self.tokens[start : start + length].astype("<i8").tobytes())
        return [({"tokens": found.hexdigest()}, self, np.arange(len(self)))]

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.labels)

    def collate(self, rows: np.ndarray) -> dict[str, "torch.Tensor"]:
        """A batch of the given rows, in their order, padded to the longest of them.

        Returns:
            input_ids (B, T), labels (B,) and ids (B,); token_type_ids (B, T) where the model has
            them; attention_mask (B, T), 0 on padding, only where there is padding. All int64.
        """
        import torch

        lengths = self.lengths[rows][:, None]
        position = np.arange(lengths.max(initial=0))
        real = position < lengths
        places = np.where(real, self.starts[rows][:, None] + position, 0)
        batch = {"input_ids": np.where(real, self.tokens[places], self.pad_id)}
        if self.second is not None:
            batch["token_type_ids"] = (position >= self.second[rows][:, None]) & real
        if not real.all():
            batch["attention_mask"] = real
        batch |= {"labels": self.labels[rows], "ids": self.ids[rows]}
        return {name: torch.from_numpy(v.astype(np.int64)) for name, v in batch.items()}

    def epoch(self, *, seed: int, epoch: int) -> "TokenSplit":
        """The split itself: text is the same in every epoch."""
        return self

    def take(self, rows: np.ndarray) -> "TokenSplit":
        """The same split with only the given rows, in their order; the tokens are shared."""
        fields = ("starts", "lengths", "labels", "ids", "groups")
        return replace(
            self,
            **{name: getattr(self, name)[rows] for name in fields},
            second=None if self.second is None else self.second[rows],
            flags={name: flag[rows] for name, flag in self.flags.items()},
        )


def load(
    folder: Path, tokenizer_folder: Path, *, max_length: int, limit: int | None = None
) -> dict[str, TokenSplit]:
    """Train, validation and test of a prepared folder as tokens, made now if not there yet.

    Args:
        folder: made by scripts.prepare_text.
        tokenizer_folder: a local model folder.
        max_length: tokens of a row, special ones included; longer rows are cut.
        limit: keep at most so many rows of each split, the classes in proportion, the same ones
            whatever the training seed, in their order.

    Raises:
        UserError: as `tokenize` does; if the stored arrays are damaged.
    """
    if limit is not None and limit < 1:
        raise UserError(f"a limit of {limit} rows leaves nothing; give 1 or more")
    path = tokenize(folder, tokenizer_folder, max_length=max_length)
    about = summary(path)
    splits = {name: _load_split(path / name, about["pad_id"], about["sha256"]) for name in SPLITS}
    if limit is None:
        return splits
    return {name: split.take(limited(split.labels, limit)) for name, split in splits.items()}


def tokenize(
    folder: Path, tokenizer_folder: Path, *, max_length: int, progress: Progress | None = None
) -> Path:
    """The folder of the token arrays of a prepared folder, made now if not there yet.

    Beside the arrays it holds tokens.json: for each split n, n_tokens, n_unknown, n_truncated
    (rows cut to `max_length`, the longer text first) and longest (tokens of the longest row before
    cutting). It is whole or absent; two processes may ask for it at once.

    Args:
        folder: made by scripts.prepare_text.
        tokenizer_folder: a local model folder, read without remote code.
        max_length: tokens of a row, special ones included.
        progress: called with (rows done, rows in all).

    Raises:
        UserError: if a folder is not what it should be, or `max_length` leaves no room for text.
    """
    meta = read_meta(folder)
    made_of = {
        "format": FORMAT,
        "text": meta["fingerprint"],
        "labels": meta["labels"],
        "max_length": max_length,
        "tokenizer": tokenizer_files(tokenizer_folder),
        "n_token_types": n_token_types(tokenizer_folder),
        "n_tokens": n_tokens(tokenizer_folder),
        "libraries": {n: importlib.metadata.version(n) for n in ("tokenizers", "transformers")},
    }
    path = folder / "tokens" / digest(made_of)[:16]
    if path.exists():
        return path
    with locked(path.parent / f".{path.name}.lock", wait=True):
        if path.exists():
            return path
        tokenizer = load_tokenizer(tokenizer_folder)
        types = made_of["n_token_types"] > 1 and "token_type_ids" in tokenizer.model_input_names
        how = {"max_length": max_length, "types": types, "n_known": made_of["n_tokens"]}
        n_done, n_rows = 0, sum(split["n"] for split in meta["splits"].values())
        counts = {}
        with staged_folder(path) as temporary:
            for split in SPLITS:
                frame = read_split(folder, split)
                texts = [frame[c].tolist() for c in ("premise", "hypothesis") if c in frame]
                chunks = []
                for start in range(0, len(frame), CHUNK):
                    chunk = [column[start : start + CHUNK] for column in texts]
                    chunks.append(encode(chunk, tokenizer, **how))
                    n_done += len(chunk[0])
                    if progress:
                        progress(n_done, n_rows)
                arrays = {name: np.concatenate([c[name] for c in chunks]) for name in chunks[0]}
                counts[split] = count(arrays, tokenizer, max_length=max_length)
                _save_split(temporary / split, arrays, frame, meta["labels"])
            told = {"pad_id": tokenizer.pad_token_id or 0, "vocab_size": len(tokenizer)}
            told["sha256"] = {
                file.relative_to(temporary).as_posix(): sha256(file)
                for file in sorted(temporary.rglob("*.npy"))
            }
            write_sealed(temporary / "tokens.json", told | {"splits": counts, "made_of": made_of})
    return path


def summary(path: Path) -> dict[str, Any]:
    """What tokens.json tells of the arrays in a folder that `tokenize` has made.

    Raises:
        UserError: if it is missing or damaged.
    """
    found = read_sealed(path / "tokens.json")
    if found is None:
        raise UserError(f"{path / 'tokens.json'} is missing or damaged; {DELETE}")
    return found


def _save_split(
    folder: Path, arrays: dict[str, np.ndarray], frame: pd.DataFrame, labels: list[str]
) -> None:
    numbers = {label: number for number, label in enumerate(labels)}
    columns = {"labels": frame["label"].map(numbers), "ids": frame["id"], "groups": frame["group"]}
    arrays = {name: array for name, array in arrays.items() if name != "full"}
    arrays |= {name: column.to_numpy(np.int64) for name, column in columns.items()}
    arrays |= {flag: frame[flag].to_numpy(bool) for flag in FLAGS.values() if flag in frame}
    folder.mkdir()
    for name, array in arrays.items():
        write_array(folder / f"{name}.npy", array)


def _load_split(folder: Path, pad_id: int, sums: Mapping[str, str]) -> TokenSplit:
    paths = sorted(folder.glob("*.npy"))
    found = {f"{folder.name}/{path.name}": sha256(path) for path in paths}
    if found != {name: of for name, of in sums.items() if name.startswith(f"{folder.name}/")}:
        raise UserError(
            f"{folder} is damaged (its SHA-256 sums are not those of tokens.json); {DELETE}"
        )
    try:
        arrays = {path.stem: np.load(path, mmap_mode="r") for path in paths}
        tokens = arrays.pop("tokens")
        arrays = {name: np.array(array) for name, array in arrays.items()}
        ends = np.cumsum(arrays["lengths"])
        if len(tokens) != ends[-1]:
            raise ValueError(f"{len(tokens)} tokens, not {ends[-1]}")
        return TokenSplit(
            name=folder.name,
            tokens=tokens,
            starts=ends - arrays["lengths"],
            second=arrays.get("second"),
            flags={flag: arrays[flag] for flag in FLAGS.values() if flag in arrays},
            pad_id=pad_id,
            **{name: arrays[name] for name in ("lengths", "labels", "ids", "groups")},
        )
    except (ValueError, KeyError, IndexError, EOFError, SyntaxError) as error:
        raise UserError(f"{folder} is damaged ({error}); {DELETE}") from None
