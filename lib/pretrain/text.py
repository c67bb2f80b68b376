"""Text to learn from without labels: rows of tokens, and a mask of each in each epoch."""

import hashlib
import importlib.metadata
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from lib import files, text, tokens
from lib.errors import UserError
from lib.persian import Progress
from lib.pretrain import masks
from lib.pretrain.masks import Words
from lib.pretrain.rows import FIXED, MaskedRows, hold_out
from lib.tokenizer import encode, load_tokenizer, n_token_types, n_tokens, tokenizer_files
from lib.tokens import TokenSplit

if TYPE_CHECKING:
    import torch

FORMAT = 2
CHUNK = 2048  # lines handed to the tokenizer at a time
MAX_LINE_BYTES = 2**24
ARRAYS = {"tokens": "<u4", "lengths": "<i4", "second": "<i4", "groups": "<i8"}


@dataclass(kw_only=True)
class WordSplit(MaskedRows):
    """Texts whose words are to be told.

    Attributes:
        source: their tokens.
        how: words are hidden.
    """

    source: TokenSplit
    how: Words

    def collate(self, rows: np.ndarray) -> "dict[str, torch.Tensor]":
        """A batch of the given rows, in their order.

        Returns:
            input_ids, token_type_ids and attention_mask as of TokenSplit, words hidden; positions
            (M,), flat places of T tokens a row; labels (M,), the tokens there; ids (B,).
        """
        import torch

        batch = self.source.collate(rows)
        inputs = batch["input_ids"].numpy()
        targets = inputs.ravel().copy()
        found = []
        for line, row in enumerate(rows.tolist()):
            n = int(self.lengths[row])
            rng = masks.generator(*self.drawn, int(self.ids[row]))
            positions, put = masks.words(inputs[line, :n], how=self.how, rng=rng)
            inputs[line, positions] = put
            found.append(line * inputs.shape[1] + positions)
        places = np.concatenate(found)
        more = {"positions": places, "labels": targets[places]}
        return batch | {name: torch.from_numpy(value) for name, value in more.items()}


def parted(
    texts: TokenSplit, how: Words, *, limit: int | None = None
) -> tuple[WordSplit, WordSplit]:
    """What is learnt from, and what is held out of it.

    Raises:
        UserError: if there are too few rows.
    """
    learnt, held = hold_out(texts.groups, limit=limit)
    return (
        WordSplit(source=texts.take(learnt), how=how),
        WordSplit(source=texts.take(held), how=how, drawn=FIXED),
    )


def of_prepared(folder: Path, model: Path, *, max_length: int) -> tuple[TokenSplit, str]:
    """The training split of prepared text, pairs as pairs; and its fingerprint.

    Args:
        folder: made by scripts.prepare_text; validation and test are not looked at.
        model: whose tokenizer reads it.
        max_length: tokens of a row at the most.

    Raises:
        UserError: if it is not prepared, or damaged.
    """
    split = tokens.load(folder, model, max_length=max_length)["train"]
    return split, text.read_meta(folder)["fingerprint"]


def of_file(
    path: Path, model: Path, *, max_length: int, cache: Path, progress: Progress | None = None
) -> tuple[TokenSplit, str]:
    """The lines of a text file as tokens, stored now if they are not yet; and the file's SHA-256.

    Empty lines do not count. A tab parts two texts that belong together, which become a pair. A
    line of many words becomes several rows. Lines that are equal are held out together.

    Args:
        path: UTF-8, one text a line.
        model: whose tokenizer reads it.
        max_length: tokens of a row at the most, special ones included.
        cache: folder of all stored tokens.
        progress: called with (lines done, None).

    Raises:
        UserError: if there is no such file, it is no UTF-8 text, or holds nothing.
    """
    if not path.is_file():
        raise UserError(f"{path} {'is not a file' if path.exists() else 'does not exist'}")
    sha256 = files.sha256(path)
    made_of = {
        "format": FORMAT,
        "text": sha256,
        "max_length": max_length,
        "tokenizer": tokenizer_files(model),
        "n_token_types": n_token_types(model),
        "n_tokens": n_tokens(model),
        "libraries": {n: importlib.metadata.version(n) for n in ("tokenizers", "transformers")},
    }
    folder = cache / f"text-{files.digest(made_of)[:16]}"
    if not folder.exists():
        with files.locked(folder.with_name(f".{folder.name}.lock"), wait=True):
            if not folder.exists():
                with files.staged_folder(folder) as staged:
                    _store(staged, path, model, made_of, progress)
    return _stored(folder), sha256


def _store(
    folder: Path, path: Path, model: Path, made_of: dict[str, Any], progress: Progress | None
) -> None:
    """Write the arrays of a text file, a chunk of its lines at a time."""
    tokenizer = load_tokenizer(model)
    types = made_of["n_token_types"] > 1 and "token_type_ids" in tokenizer.model_input_names
    how = {"max_length": made_of["max_length"], "types": types, "n_known": made_of["n_tokens"]}
    n_lines = n_rows = 0
    opened = {name: (folder / f"{name}.bin").open("wb") for name in ARRAYS}
    try:
        for chunk in itertools.batched(_rows(path, made_of["max_length"] // 2), CHUNK):
            for of_kind in (1, 2):
                some = [row for row in chunk if len(row) == of_kind]
                columns = [list(column) for column in zip(*some, strict=True)]
                if columns:
                    arrays = encode(columns, tokenizer, **how)
                    arrays.setdefault("second", arrays["lengths"])
                    arrays["groups"] = np.array([_number(row) for row in some])
                    _append(opened, arrays)
                    n_rows += len(some)
            n_lines += len(chunk)
            if progress:
                progress(n_lines, n_lines)
    finally:
        for file in opened.values():
            file.close()
    if not n_rows:
        raise UserError(f"{path} holds no text")
    told = {"n": n_rows, "types": types, "pad_id": tokenizer.pad_token_id or 0}
    told |= {"made_of": made_of, "sha256": _sums(folder)}
    files.write_sealed(folder / "tokens.json", told)


def _sums(folder: Path) -> dict[str, str]:
    """The SHA-256 of each array that is there."""
    paths = [folder / f"{name}.bin" for name in ARRAYS]
    return {path.name: files.sha256_once(path) for path in paths if path.is_file()}


def _append(opened: Mapping[str, IO[bytes]], arrays: dict[str, np.ndarray]) -> None:
    for name, dtype in ARRAYS.items():
        opened[name].write(np.ascontiguousarray(arrays[name], dtype).tobytes())


def _stored(folder: Path) -> TokenSplit:
    about = files.read_sealed(folder / "tokens.json")
    if about is None or _sums(folder) != about["sha256"]:
        raise UserError(f"{folder} is damaged; delete it and it is made again")
    found = {name: np.memmap(folder / f"{name}.bin", kind, "r") for name, kind in ARRAYS.items()}
    lengths = np.array(found["lengths"], np.int64)
    ends = np.cumsum(lengths)
    return TokenSplit(
        name="train",
        tokens=found["tokens"],
        starts=ends - lengths,
        lengths=lengths,
        second=np.array(found["second"], np.int64) if about["types"] else None,
        labels=np.zeros(len(lengths), np.int64),
        ids=np.arange(len(lengths)),
        groups=np.array(found["groups"]),
        pad_id=about["pad_id"],
    )


def _rows(path: Path, most_words: int) -> Iterator[tuple[str, ...]]:
    """Texts of a file, one or two a row, each of so many words at the most."""
    with path.open("rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES), b""), 1):
            try:
                told = line.removeprefix(b"\xef\xbb\xbf").decode()
            except UnicodeDecodeError:
                raise UserError(f"{path}, line {number}: not UTF-8 text; convert it") from None
            words = [part.split() for part in told.split("\t", 1)]
            if all(words) and len(words) == 2 and sum(map(len, words)) <= most_words:
                yield " ".join(words[0]), " ".join(words[1])
            else:
                for part in words:
                    for some in itertools.batched(part, max(1, most_words)):
                        yield (" ".join(some),)


def _number(row: Sequence[str]) -> int:
    """A number for the row's first text: equal for equal ones."""
    digest = hashlib.blake2b(row[0].encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
