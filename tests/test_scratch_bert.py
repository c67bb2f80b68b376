from pathlib import Path

import pytest
import torch

from lib import encoders, scratch_bert
from lib.errors import UserError
from lib.scratch_bert import Options

TEXTS = ["کتاب می‌خوانم.", "کتاب می‌خوانم، خانه", "خانه‌ها می‌روند"] * 2
SMALL = Options(layers=2, width=32, vocab=100, positions=40)


def made(folder: Path, **change: object) -> Path:
    options = Options(**{**SMALL.__dict__, **change})
    scratch_bert.make(folder, TEXTS, trained_on="abc", options=options)
    return folder


def test_equal_options_and_texts_give_equal_bytes_and_another_seed_other_weights(
    tmp_path: Path,
) -> None:
    one, two, other = (made(tmp_path / n, seed=s) for n, s in (("1", 0), ("2", 0), ("3", 1)))
    for path in one.iterdir():
        assert path.read_bytes() == (two / path.name).read_bytes(), path.name
    weights = "model.safetensors"
    assert (one / weights).read_bytes() != (other / weights).read_bytes()


def test_it_loads_strictly_and_its_tokenizer_keeps_the_non_joiner(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    encoder = encoders.load_encoder(made(tmp_path / "m"))
    assert len(encoder.encoder.layer) == 2
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "m", trust_remote_code=False)
    pair = tokenizer("می‌خوانم.", "کتاب ژ")
    pieces = tokenizer.convert_ids_to_tokens(pair["input_ids"])
    assert pieces == ["[CLS]", "می‌خوانم", ".", "[SEP]", "کتاب", "[UNK]", "[SEP]"]
    assert pair["token_type_ids"] == [0, 0, 0, 0, 1, 1, 1]


def test_rare_words_are_put_together_from_letters(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(made(tmp_path / "m"), trust_remote_code=False)
    ids = tokenizer("نامه", add_special_tokens=False)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids) == "نامه"


def test_an_equal_token_draws_the_most_attention(tmp_path: Path) -> None:
    encoder = encoders.load_encoder(made(tmp_path / "m"))
    hidden = encoder.embeddings.word_embeddings(torch.arange(5, 30))
    attention = encoder.encoder.layer[0].attention.self
    scores = attention.query(hidden) @ attention.key(hidden).T
    assert (scores.argmax(1) == torch.arange(25)).float().mean() > 0.8


def test_what_is_there_is_reused_or_refused(tmp_path: Path) -> None:
    made(tmp_path / "m")
    _, kept = scratch_bert.make(tmp_path / "m", TEXTS, trained_on="abc", options=SMALL)
    assert kept
    with pytest.raises(UserError, match="was made with layers 2, not 3"):
        made(tmp_path / "m", layers=3)
    (tmp_path / "else").mkdir()
    with pytest.raises(UserError, match="holds something else"):
        made(tmp_path / "else")


@pytest.mark.parametrize(
    "change", [{"width": 30, "heads": 4}, {"layers": 0}, {"vocab": 5}, {"positions": 1}]
)
def test_sizes_that_no_encoder_has_are_refused(tmp_path: Path, change: dict[str, int]) -> None:
    with pytest.raises(UserError):
        made(tmp_path / "m", **change)
    assert not (tmp_path / "m").exists()
