"""A local model folder's tokenizer: its files, and what it makes of texts."""

import contextlib
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from lib.errors import UserError
from lib.files import read_json, sha256

RARE = "a \U00013000"  # a hieroglyph, which hardly any vocabulary has
TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.txt", "vocab.json", "merges.txt", "spiece.model", "sentencepiece.bpe.model"),
    *("tokenizer.model", "spm.model", "bpe.codes"),
)


def tokenizer_files(folder: Path) -> dict[str, str]:
    """The SHA-256 of each of the tokenizer's files in a model folder."""
    found = {name: sha256(folder / name) for name in TOKENIZER_FILES if (folder / name).is_file()}
    if not set(found) - {"tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"}:
        raise UserError(f"{folder} holds no tokenizer (tokenizer.json or vocab.txt, for instance)")
    return found


def n_token_types(folder: Path) -> int:
    """How many token types the model beside the tokenizer tells apart; 2 if it does not say."""
    return _size(folder, "type_vocab_size", 2)


def n_tokens(folder: Path) -> int:
    """How many tokens the model beside the tokenizer knows; without end if it does not say."""
    return _size(folder, "vocab_size", 2**63)


def _size(folder: Path, name: str, unsaid: int) -> int:
    path = folder / "config.json"
    config = read_json(path) if path.is_file() else {}
    found = config.get(name, unsaid) if isinstance(config, dict) else unsaid
    return found if isinstance(found, int) else unsaid


def load_tokenizer(folder: Path) -> Any:
    """The transformers tokenizer of a local model folder; no remote code is run.

    It reads text as the model's training did: do_lower_case and strip_accents of
    tokenizer_config.json are followed, and where they are absent a BERT is uncased. An uncased BERT
    decomposes letters and drops their marks, and drops the zero-width non-joiner: to ParsBERT
    آگاهی is اگاهی, ئ the Arabic ي, می‌رود میرود. Its vocabulary was made so.

    Raises:
        UserError: if its files cannot be read.

    Source: Devlin et al. 2019 (tokenization.py); the README of HooshvareLab/bert-fa-base-uncased,
        whose example prints اگاهی.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        _ = tokenizer.unk_token_id  # of one that is not in the vocabulary it would never return
        with _without_stderr():  # what is wrong with its settings shows when it works
            tokenizer([RARE], [RARE], verbose=False)
        return tokenizer
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a damaged file can raise anything, Rust's panic too
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UserError(f"the tokenizer in {folder} cannot be read: {reason}") from None


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Nothing reaches the terminal: Rust prints where it panics, beside raising it."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def encode(
    texts: list[list[str]], tokenizer: Any, *, max_length: int, types: bool, n_known: int
) -> dict[str, np.ndarray]:
    """Arrays of N rows: `tokens` (flat), `lengths` (N,), `full` (N,), for `types` `second` (N,).

    `full` is the length before cutting, `second` the position of the first token of type 1.

    Args:
        texts: the premises or sentences and, for pairs, the hypotheses.
        tokenizer: from `load_tokenizer`.
        max_length: tokens of a row, special ones included; the longer text is cut first.
        types: whether the model tells token types apart.
        n_known: how many tokens the model knows.

    Raises:
        UserError: if `max_length` leaves no room for text, the model does not know a token, or the
            types are not 0 ... 0 1 ... 1.
    """
    needed = tokenizer.num_special_tokens_to_add(len(texts) == 2) + len(texts)
    if max_length < needed:
        raise UserError(f"a maximal length of {max_length} tokens holds no text; {needed} is least")
    options: dict[str, Any] = {"return_attention_mask": False, "return_token_type_ids": types}
    encoded = tokenizer(*texts, verbose=False, **options)
    full = np.fromiter(map(len, encoded["input_ids"]), np.int64)
    long = np.flatnonzero(full > max_length)
    if len(long):
        options |= {"truncation": "longest_first", "max_length": max_length}
        cut = tokenizer(*([column[row] for row in long] for column in texts), **options)
        for name, values in cut.items():
            for row, value in zip(long, values, strict=True):
                encoded[name][row] = value
    lengths = np.fromiter(map(len, encoded["input_ids"]), np.int64)
    tokens = _flat(encoded["input_ids"])
    highest = max(int(tokens.max()), tokenizer.pad_token_id or 0)
    if highest >= n_known:
        raise UserError(
            f"the tokenizer gives token {highest} ({tokenizer.convert_ids_to_tokens(highest)!r}), "
            f"but the model beside it knows {n_known}; take the tokenizer that it was made with"
        )
    smallest = np.min_scalar_type(max(len(tokenizer) - 1, highest))
    arrays = {"tokens": tokens.astype(smallest), "lengths": lengths, "full": full}
    if types:
        arrays["second"] = lengths - np.fromiter(map(sum, encoded["token_type_ids"]), np.int64)
        position = np.arange(len(tokens)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        rebuilt = position >= np.repeat(arrays["second"], lengths)
        if not np.array_equal(rebuilt, _flat(encoded["token_type_ids"])):
            raise UserError(
                "a tokenizer whose token types are not 0 ... 0 1 ... 1 is not supported"
            )
    return arrays


def count(arrays: dict[str, np.ndarray], tokenizer: Any, *, max_length: int) -> dict[str, int]:
    """What `encode` met: n, n_tokens, n_unknown, n_truncated, longest (before cutting)."""
    unknown = tokenizer.unk_token_id
    return {
        "n": len(arrays["lengths"]),
        "n_tokens": len(arrays["tokens"]),
        "n_unknown": 0 if unknown is None else int((arrays["tokens"] == unknown).sum()),
        "n_truncated": int((arrays["full"] > max_length).sum()),
        "longest": int(arrays["full"].max()),
    }


def _flat(rows: list[list[int]]) -> np.ndarray:
    return np.fromiter(itertools.chain.from_iterable(rows), np.int64)
