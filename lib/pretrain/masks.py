"""What is hidden from a model that learns without labels: spans of frames, whole words of a text.

Pure functions of a numpy generator, so that a seed, an epoch and a row decide on a mask, whoever
draws it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.errors import UserError

STREAM = 6  # of the generators: apart from those that order rows and draw variants


def generator(seed: int, epoch: int, row: int) -> np.random.Generator:
    """What draws the mask of one row in one epoch."""
    return np.random.default_rng([STREAM, seed, epoch, row])


@dataclass(frozen=True, kw_only=True)
class Spans:
    """How frames are hidden.

    Source: Hsu et al. 2021, HuBERT (arXiv 2106.07447), 4.B: l = 10 frames, p = 8 %, as in
    wav2vec 2.0 (Baevski et al. 2020, 3.1).

    Attributes:
        share: of the frames that begin a span; spans may overlap.
        length: of a span, in frames.
    """

    share: float = 0.08
    length: int = 10

    def __post_init__(self) -> None:
        """Refuse what hides nothing or everything."""
        if not 0 < self.share < 1 or self.length < 1:
            raise UserError(
                f"--mask-starts {self.share:g}, --mask-span {self.length}: give a share between 0 "
                "and 1, and a span of one frame at least"
            )


def frames(n: int, *, spans: Spans, rng: np.random.Generator) -> np.ndarray:
    """(n,) bool: which frames are hidden; one at the least, and of two or more never all.

    Spans start at different frames and lie within the clip. A clip that a span would fill has one
    of half its length.
    """
    length = min(spans.length, max(1, n // 2))
    n_places = n - length + 1
    wanted = int(spans.share * n + rng.random())  # rounded up or down, right in the mean
    starts = rng.choice(n_places, size=min(max(wanted, 1), n_places), replace=False)
    hidden = np.zeros(n, bool)
    hidden[(starts[:, None] + np.arange(length)).ravel()] = True
    if n > 1 and hidden.all():  # nothing would be left to tell from
        hidden[: n // 2] = False
    return hidden


def some_of(places: np.ndarray, n: int, *, rng: np.random.Generator) -> np.ndarray:
    """At most `n` of the places, ascending, each as likely as any other."""
    return places if n >= len(places) else np.sort(rng.choice(places, size=n, replace=False))


@dataclass(frozen=True, kw_only=True)
class Words:
    """How words are hidden, and what the vocabulary says of its pieces.

    Source: Devlin et al. 2019 (BERT), 3.1: 15 % of the tokens; of these 80 % become [MASK], 10 %
    a random token, 10 % stay. Whole words: the authors' release notes of May 2019.

    Attributes:
        share: of a text's tokens that are to be told.
        mask_id: of [MASK].
        special: (V,) bool: tokens that are never hidden.
        continues: (V,) bool: pieces that go on a word.
    """

    share: float = 0.15
    mask_id: int
    special: np.ndarray
    continues: np.ndarray

    def __post_init__(self) -> None:
        """Refuse a share that hides nothing or everything."""
        if not 0 < self.share < 1:
            raise UserError(f"--mask-share {self.share:g}: give more than 0 and less than 1")


def vocabulary(tokenizer: Any, *, share: float, n_tokens: int) -> Words:
    """How to hide words of a tokenizer's.

    A piece goes on a word if it says so (`##`, WordPiece), or if the others say that they begin
    one (▁, SentencePiece; Ġ, byte-level BPE).

    Args:
        tokenizer: of transformers.
        share: of the tokens that are to be told.
        n_tokens: V, of the model, which may have more than the tokenizer.

    Raises:
        UserError: if it has no [MASK] that the model knows.
    """
    if tokenizer.mask_token_id is None or tokenizer.mask_token_id >= n_tokens:
        raise UserError(
            "this model's tokenizer has no mask token that it knows; take one that was made for it"
        )
    pieces: dict[str, int] = tokenizer.get_vocab()
    special = np.ones(max(n_tokens, max(pieces.values()) + 1), bool)
    special[list(pieces.values())] = False
    special[list(tokenizer.all_special_ids)] = True
    special[n_tokens:] = True  # the model knows none of these
    begins = [mark for mark in ("▁", "Ġ") if sum(p.startswith(mark) for p in pieces) > 1]
    continues = np.zeros(len(special), bool)
    for piece, number in pieces.items():
        goes_on = not piece.startswith(tuple(begins)) if begins else piece.startswith("##")
        continues[number] = goes_on and not special[number]
    return Words(share=share, mask_id=tokenizer.mask_token_id, special=special, continues=continues)


def words(
    tokens: np.ndarray, *, how: Words, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Which tokens (n,) of a text are to be told, and what the model reads instead of them.

    Words are drawn until the share is reached, a word that exceeds it left out, but one at least.

    Returns:
        (M,) positions, ascending, and (M,) tokens to put there.
    """
    ordinary = ~how.special[tokens]
    starts = np.flatnonzero(ordinary & ~how.continues[tokens])
    if ordinary.any() and (not len(starts) or starts[0] != ordinary.argmax()):
        starts = np.concatenate([[ordinary.argmax()], starts])  # a text that was cut into a word
    if not len(starts):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    word_of = np.searchsorted(starts, np.arange(len(tokens)), side="right") - 1
    sizes = np.bincount(word_of[ordinary], minlength=len(starts))
    left = max(1, round(how.share * int(ordinary.sum())))
    chosen: list[int] = []
    for word in rng.permutation(len(starts)).tolist():
        if sizes[word] <= left or not chosen:
            chosen.append(word)
            left -= int(sizes[word])
        if left <= 0:
            break
    positions = np.flatnonzero(ordinary & np.isin(word_of, chosen))
    drawn = rng.random(len(positions))
    others = np.flatnonzero(~how.special)
    put = np.where(drawn < 0.8, how.mask_id, tokens[positions]).astype(np.int64)
    swapped = drawn >= 0.9
    put[swapped] = others[rng.integers(len(others), size=int(swapped.sum()))]
    return positions, put
