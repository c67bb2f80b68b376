"""What is hidden: how much, in what pieces, and that equal seeds hide the same."""

import numpy as np
import pytest

from lib.errors import UserError
from lib.pretrain import masks
from lib.pretrain.masks import Spans, Words

PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b", "c", "d", "##x", "##y"]
WORDS = Words(
    mask_id=4,
    special=np.arange(len(PIECES)) < 5,
    continues=np.array([piece.startswith("##") for piece in PIECES]),
)
# [CLS] a ##x ##y b c ##x d [SEP] b b ##y a [SEP]
TEXT = np.array([2, 5, 9, 10, 6, 7, 9, 8, 3, 6, 6, 10, 5, 3])
WORD_OF = np.array([-1, 0, 0, 0, 1, 2, 2, 3, -1, 4, 5, 5, 6, -1])


def test_spans_start_at_the_share_of_frames_and_hide_about_half() -> None:
    hidden = [
        masks.frames(200, spans=Spans(), rng=masks.generator(0, 0, row)) for row in range(400)
    ]
    # 16 different starts of 191: a frame stays seen with about (1 - 10 / 191) ** 16 = 0.42.
    assert 0.56 < np.mean(hidden) < 0.59
    for row in hidden[:20]:
        runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], row, [0]]))))[::2]
        assert runs.min() >= 10, "no span is shorter than its length"
        assert -(-row.sum() // 10) <= 16


@pytest.mark.parametrize("n", [1, 2, 3, 9, 10, 11, 12, 25])
def test_the_shortest_clips_hide_a_frame_and_never_all(n: int) -> None:
    for row in range(50):
        hidden = masks.frames(n, spans=Spans(share=0.5), rng=masks.generator(0, 0, row))
        assert len(hidden) == n
        assert 1 <= hidden.sum() < max(n, 2)


def test_seed_epoch_and_row_decide_on_a_mask() -> None:
    def drawn(*key: int) -> bytes:
        return masks.frames(300, spans=Spans(), rng=masks.generator(*key)).tobytes()

    assert drawn(1, 2, 3) == drawn(1, 2, 3)
    assert len({drawn(1, 2, 3), drawn(0, 2, 3), drawn(1, 3, 3), drawn(1, 2, 4)}) == 4


def test_words_are_hidden_whole_and_special_tokens_never() -> None:
    how = Words(share=0.4, **{n: getattr(WORDS, n) for n in ("mask_id", "special", "continues")})
    for row in range(300):
        positions, put = masks.words(TEXT, how=how, rng=masks.generator(0, 0, row))
        assert len(positions) == len(put) <= round(0.4 * 11)
        for word in set(WORD_OF[positions].tolist()):
            assert word >= 0, "a special token"
            assert np.isin(np.flatnonzero(word == WORD_OF), positions).all()
        assert not how.special[put[put != how.mask_id]].any()


def test_eighty_ten_ten_of_fifteen_percent() -> None:
    rng = np.random.default_rng(0)
    vocabulary = 1000
    how = Words(mask_id=4, special=np.arange(vocabulary) < 5, continues=np.zeros(vocabulary, bool))
    text = rng.integers(5, vocabulary, 20_000)
    positions, put = masks.words(text, how=how, rng=rng)
    assert len(positions) == 3000
    masked, kept = np.mean(put == 4), np.mean(put == text[positions])
    assert masked == pytest.approx(0.8, abs=0.03)
    assert kept == pytest.approx(0.1, abs=0.03)
    assert 1 - masked - kept == pytest.approx(0.1, abs=0.03)


def test_a_text_that_begins_within_a_word_and_one_without_words() -> None:
    positions, _ = masks.words(np.array([2, 9, 10, 3]), how=WORDS, rng=masks.generator(0, 0, 0))
    assert positions.tolist() == [1, 2]
    positions, put = masks.words(np.array([2, 3]), how=WORDS, rng=masks.generator(0, 0, 0))
    assert len(positions) == len(put) == 0


class Tokenizer:
    mask_token_id = 1
    all_special_ids = (0, 1)

    def __init__(self, *pieces: str) -> None:
        self.pieces = ("[PAD]", "[MASK]", *pieces)

    def get_vocab(self) -> dict[str, int]:
        return {piece: number for number, piece in enumerate(self.pieces)}


@pytest.mark.parametrize(
    "pieces", [("ab", "##c", "d", "##e"), ("▁ab", "c", "▁d", "e"), ("Ġab", "c", "Ġd", "e")]
)
def test_pieces_that_go_on_a_word_are_known_in_each_kind_of_vocabulary(
    pieces: tuple[str, ...],
) -> None:
    how = masks.vocabulary(Tokenizer(*pieces), share=0.2, n_tokens=8)
    assert how.continues.tolist() == [False, False, False, True, False, True, False, False]
    assert how.special.tolist() == [True, True, False, False, False, False, True, True]


def test_shares_that_hide_nothing_or_all_are_refused() -> None:
    for share in (0.0, 1.0):
        with pytest.raises(UserError, match="--mask-starts"):
            Spans(share=share)
        with pytest.raises(UserError, match="--mask-share"):
            masks.vocabulary(Tokenizer("a"), share=share, n_tokens=3)
