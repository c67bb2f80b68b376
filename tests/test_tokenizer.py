"""Tokenizers read text as the model's training did: letters, accents and joiners in Persian."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from lib.errors import UserError
from lib.tokenizer import load_tokenizer

TEXTS = (
    "آب و مسئولِ مؤسسه، أ و ۀ و ة!",
    "او می‌رود؛ کتاب‌ها را «نمی‌خوانَد» و معلّم ۱۲ یا 12 بار گفت: حتماً؟",
    "ParsBERT در École\u200f و\u00a0یک\u2003شهر\tدیگر",
)
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def google(text: str) -> list[str]:
    """The words of BERT's own uncased tokenizer, written after its description.

    Source: Devlin et al. 2019, tokenization.py: without control characters, in lower case,
    decomposed, without marks; every punctuation mark is a word.
    """
    shown = "".join(
        " " if char in "\t\n\r" or unicodedata.category(char) == "Zs" else char
        for char in text
        if char in "\t\n\r" or unicodedata.category(char) not in ("Cc", "Cf")
    )
    words: list[str] = []
    for word in shown.split():
        bare = [
            char
            for char in unicodedata.normalize("NFD", word.lower())
            if unicodedata.category(char) != "Mn"
        ]
        spaced = (f" {c} " if unicodedata.category(c)[0] == "P" else c for c in bare)
        words += "".join(spaced).split()
    return words


def folder(path: Path, config: dict[str, Any] | None) -> Path:
    """A model folder with a vocabulary of all letters of TEXTS and their bare forms."""
    both = "".join(TEXTS) + "".join("".join(google(text)) for text in TEXTS)
    letters = sorted({char for char in both if not char.isspace()})
    path.mkdir()
    pieces = [*SPECIAL, *letters, *(f"##{letter}" for letter in letters)]
    (path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    (path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    if config is not None:
        (path / "tokenizer_config.json").write_text(json.dumps(config))
    return path


def words(tokenizer: Any, text: str) -> list[str]:
    """The text's words, put together from its pieces."""
    found = " ".join(tokenizer.tokenize(text)).replace(" ##", "")
    assert "[UNK]" not in found
    return found.split()


@pytest.mark.parametrize("config", [None, {"do_lower_case": True, "strip_accents": None}])
def test_an_uncased_model_reads_what_it_read_in_its_training(
    tmp_path: Path, config: dict[str, Any] | None
) -> None:
    tokenizer = load_tokenizer(folder(tmp_path / "model", config))
    assert [words(tokenizer, text) for text in TEXTS] == [google(text) for text in TEXTS]
    assert words(tokenizer, "آگاهی می‌رود") == ["اگاهی", "میرود"]  # as ParsBERT's authors print it


def test_a_model_that_kept_case_and_accents_keeps_them(tmp_path: Path) -> None:
    cased = load_tokenizer(folder(tmp_path / "cased", {"do_lower_case": False}))
    assert words(cased, "آب مؤسسه ParsBERT") == ["آب", "مؤسسه", "ParsBERT"]
    accents = {"do_lower_case": True, "strip_accents": False}
    marked = load_tokenizer(folder(tmp_path / "marked", accents))
    assert words(marked, "آب مؤسسه ParsBERT") == ["آب", "مؤسسه", "parsbert"]


def test_a_tokenizer_that_fails_when_it_works_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    odd = folder(tmp_path / "odd", {"model_max_length": "BertTokenizer"})
    whole = folder(tmp_path / "whole", None)
    load_tokenizer(whole).save_pretrained(whole)
    (whole / "vocab.txt").unlink()
    rules = json.loads((whole / "tokenizer.json").read_text())
    rules["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [{"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "[NONE]", "type_id": 0}},
            {"Sequence": {"id": "B", "type_id": 1}},
        ],
        "special_tokens": {},
    }
    told = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "[UNK]"}
    (whole / "tokenizer_config.json").write_text(json.dumps(told))
    (whole / "tokenizer.json").write_text(json.dumps(rules))
    for place in (odd, whole):
        with pytest.raises(UserError, match="cannot be read"):
            load_tokenizer(place)
    assert "panicked" not in capfd.readouterr().err
