"""Token arrays: what is stored, what is reused, and the batches made of them."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from lib import tokens
from lib.errors import UserError
from lib.text import prepare, read_split
from lib.text_source import SPLITS, Layout
from lib.tokens import TokenSplit, load, tokenize

WORDS = ("گل", "باغ", "آب", "خانه", "سبز", "سرد", "است", "نیست", "بزرگ", "کوچک")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
VOCABULARY = {token: number for number, token in enumerate((*SPECIAL, *WORDS))}
PAD, UNK, CLS, SEP = (VOCABULARY[token] for token in SPECIAL[:4])


def bert(folder: Path, **config: Any) -> Path:
    """A BERT-style tokenizer of whole words: [CLS] premise [SEP] hypothesis [SEP]."""
    tokenizer = Tokenizer(models.WordPiece(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )
    names = dict(zip(("pad", "unk", "cls", "sep", "mask"), SPECIAL, strict=True))
    return save(folder, tokenizer, "BertTokenizer", names, {"model_type": "bert", **config})


def roberta(folder: Path) -> Path:
    """A RoBERTa-style byte-level tokenizer: <s> premise </s></s> hypothesis </s>."""
    special = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate((*special, *letters))}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    names = {"cls": "<s>", "pad": "<pad>", "sep": "</s>", "unk": "<unk>", "mask": "<mask>"}
    return save(folder, tokenizer, "RobertaTokenizer", names, {"model_type": "roberta"})


def save(
    folder: Path, tokenizer: Tokenizer, kind: str, special: dict[str, str], config: dict[str, Any]
) -> Path:
    folder.mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    options = {f"{name}_token": token for name, token in special.items()}
    text = json.dumps({"tokenizer_class": kind, "do_lower_case": False, **options})
    (folder / "tokenizer_config.json").write_text(text)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def prepared(folder: Path, rows: Sequence[tuple[str, ...]], *, pairs: bool = True) -> Path:
    """A prepared folder whose three splits hold the same rows; the last column is the label."""
    header = ("premise", "hypothesis", "label") if pairs else ("premise", "label")
    text = "".join("\t".join(row) + "\n" for row in [header, *rows])
    sources = {split: folder / "raw" / f"{split}.tsv" for split in SPLITS}
    for path in sources.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    prepare(sources, folder / "out", layout=Layout(hypothesis="hypothesis" if pairs else None))
    return folder / "out"


def many(n: int) -> list[tuple[str, ...]]:
    """Rows of 1 to 8 known words each, three to a premise, the classes in unequal parts."""
    generator = np.random.default_rng(1)
    rows: list[tuple[str, ...]] = []
    for row in range(n):
        premise, hypothesis = (
            " ".join(generator.choice(WORDS, generator.integers(1, 9))) for _ in range(2)
        )
        rows.append((rows[-1][0] if row % 3 else premise, hypothesis, "eeeccn"[row % 6]))
    return rows


def numbers(text: str) -> list[int]:
    return [VOCABULARY.get(word, UNK) for word in text.split()]


SHORT = [
    ("گل سبز است", "گل است", "e"),
    ("آب سرد", "باغ بزرگ است", "c"),
    ("خانه", "گل", "n"),
]


def test_bert_rows_have_two_segments(tmp_path: Path) -> None:
    split = load(prepared(tmp_path, SHORT), bert(tmp_path / "model"), max_length=16)["train"]
    batch = split.collate(np.array([1, 0]))
    expected = [
        [CLS, *numbers("آب سرد"), SEP, *numbers("باغ بزرگ است"), SEP],
        [CLS, *numbers("گل سبز است"), SEP, *numbers("گل است"), SEP],
    ]
    assert batch["input_ids"].tolist() == expected
    assert batch["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1, 1], [0] * 5 + [1] * 3]
    assert batch["labels"].tolist() == [1, 0]
    assert batch["ids"].tolist() == [1, 0]
    assert {value.dtype for value in batch.values()} == {torch.int64}


def test_batch_has_a_mask_just_where_it_has_padding(tmp_path: Path) -> None:
    split = load(prepared(tmp_path, SHORT), bert(tmp_path / "model"), max_length=16)["train"]
    assert split.lengths.tolist() == [8, 8, 5]
    assert "attention_mask" not in split.collate(np.array([0, 1]))
    assert "attention_mask" not in split.collate(np.array([2]))
    batch = split.collate(np.array([2, 0]))
    assert batch["attention_mask"].tolist() == [[1] * 5 + [0] * 3, [1] * 8]
    assert batch["input_ids"][0, 5:].tolist() == [PAD] * 3
    assert batch["token_type_ids"][0].tolist() == [0, 0, 0, 1, 1, 0, 0, 0]
    assert split.collate(np.array([], dtype=np.int64))["input_ids"].shape == (0, 0)


def test_roberta_rows_have_no_token_types_and_its_own_padding(tmp_path: Path) -> None:
    rows = [("ab", "c", "x"), ("a", "b", "y")]
    split = load(prepared(tmp_path, rows), roberta(tmp_path / "model"), max_length=16)["train"]
    batch = split.collate(np.array([0, 1]))
    assert set(batch) == {"input_ids", "attention_mask", "labels", "ids"}
    first, second = batch["input_ids"].tolist()
    a, b, c = first[1], first[2], first[5]
    assert first == [0, a, b, 2, 2, c, 2]
    assert second == [0, a, 2, 2, b, 2, 1]


@pytest.mark.parametrize("pairs", [True, False])
def test_model_with_one_token_type_gets_none(tmp_path: Path, pairs: bool) -> None:
    rows = [("گل", "آب", "x"), ("آب", "گل", "y")]
    single = [(row[0], row[2]) for row in rows]
    folder = prepared(tmp_path, rows if pairs else single, pairs=pairs)
    one = load(folder, bert(tmp_path / "one", type_vocab_size=1), max_length=16)["test"]
    two = load(folder, bert(tmp_path / "two", type_vocab_size=2), max_length=16)["test"]
    assert one.second is None
    types = two.collate(np.array([0]))["token_type_ids"].tolist()
    assert types == ([[0, 0, 0, 1, 1]] if pairs else [[0, 0, 0]])


def test_cut_and_unknown_tokens_are_counted(tmp_path: Path) -> None:
    rows = [
        ("گل گل گل گل گل گل", "آب آب", "x"),  # 11 tokens: cut to 8, the premise to 3
        ("گل ناشناس", "آب", "y"),  # 6 tokens, 1 unknown
        ("گل گل گل", "ناشناس غریب", "x"),  # 8 tokens: just fits, 2 unknown
        ("گل گل گل گل", "آب آب آب ناشناس", "y"),  # 11 tokens: cut to 8, the unknown one goes
    ]
    path = tokenize(prepared(tmp_path, rows), bert(tmp_path / "model"), max_length=8)
    counts = json.loads((path / "tokens.json").read_text())["splits"]["validation"]
    assert counts == {"n": 4, "n_tokens": 30, "n_unknown": 3, "n_truncated": 2, "longest": 11}
    split = load(tmp_path / "out", tmp_path / "model", max_length=8)["validation"]
    gul, water = VOCABULARY["گل"], VOCABULARY["آب"]
    cut = split.collate(np.array([0]))["input_ids"].tolist()
    assert cut == [[CLS, gul, gul, gul, SEP, water, water, SEP]]


@pytest.mark.parametrize("limit", [None, 20])
def test_rows_stay_aligned_from_the_source_to_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None
) -> None:
    monkeypatch.setattr(tokens, "CHUNK", 7)
    folder = prepared(tmp_path, many(60))
    splits = load(folder, bert(tmp_path / "model"), max_length=32, limit=limit)
    for name in SPLITS:
        split, frame = splits[name], read_split(folder, name).set_index("id")
        assert (split.name, len(split)) == (name, limit or 60)
        order = np.random.default_rng(0).permutation(len(split))
        batch = split.collate(order)
        mask = batch.get("attention_mask", torch.ones_like(batch["input_ids"])).bool()
        for place, row in enumerate(order):
            source = frame.loc[int(batch["ids"][place])]
            premise, hypothesis = (numbers(str(source[c])) for c in ("premise", "hypothesis"))
            found = batch["input_ids"][place][mask[place]].tolist()
            assert found == [CLS, *premise, SEP, *hypothesis, SEP]
            assert split.lengths[row] == len(found)
            assert int(batch["token_type_ids"][place].sum()) == len(hypothesis) + 1
            assert "ecn"[int(batch["labels"][place])] == source["label"]
            assert split.groups[row] == source["group"]
            assert split.ids[row] == batch["ids"][place]


def test_hard_flags_follow_their_rows(tmp_path: Path) -> None:
    flags = [0, 1, 1, 0, 1, 0]
    rows = [(f"{WORDS[n]} است", "گل", "xy"[n % 2], str(flag)) for n, flag in enumerate(flags)]
    header = ("premise", "hypothesis", "label", "hard(overlap)")
    sources = {split: tmp_path / f"{split}.tsv" for split in SPLITS}
    for split, path in sources.items():
        n_columns = 4 if split == "test" else 3
        lines = ["\t".join(row[:n_columns]) for row in [header, *rows]]
        path.write_text("\n".join(lines), encoding="utf-8")
    prepare(sources, tmp_path / "out")
    splits = load(tmp_path / "out", bert(tmp_path / "model"), max_length=16, limit=4)
    assert splits["train"].flags == {}
    assert set(splits["test"].flags) == {"hard_overlap"}
    expected = [bool(flags[row]) for row in splits["test"].ids]
    assert splits["test"].flags["hard_overlap"].tolist() == expected


def test_limit_keeps_the_classes_in_proportion_and_the_same_rows(tmp_path: Path) -> None:
    folder, model = prepared(tmp_path, many(60)), bert(tmp_path / "model")
    chosen = [load(folder, model, max_length=32, limit=20)["train"] for _ in range(2)]
    assert np.array_equal(chosen[0].ids, chosen[1].ids)
    assert (np.diff(chosen[0].ids) > 0).all()
    assert np.bincount(chosen[0].labels).tolist() == [10, 7, 3]
    assert len(load(folder, model, max_length=32, limit=100)["train"]) == 60
    with pytest.raises(UserError, match="leaves nothing"):
        load(folder, model, max_length=32, limit=0)


def test_arrays_are_reused_until_text_tokenizer_or_length_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, model = prepared(tmp_path, SHORT), bert(tmp_path / "model")
    first = tokenize(folder, model, max_length=16)
    assert tokenize(folder, model, max_length=12) != first
    other = bert(tmp_path / "other", type_vocab_size=1)
    assert tokenize(folder, other, max_length=16) != first
    config = json.loads((model / "tokenizer_config.json").read_text())
    (model / "tokenizer_config.json").write_text(json.dumps(config | {"unk_token": "[MASK]"}))
    assert tokenize(folder, model, max_length=16) != first
    (model / "tokenizer_config.json").write_text(json.dumps(config))
    (model / "model.safetensors").write_bytes(b"other weights")

    def unwanted(_: Path) -> None:
        raise AssertionError("tokenized again")

    monkeypatch.setattr(tokens, "load_tokenizer", unwanted)
    assert tokenize(folder, model, max_length=16) == first


def test_two_at_once_tokenize_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, model = prepared(tmp_path, SHORT), bert(tmp_path / "model")
    calls: list[Path] = []
    real = tokens.load_tokenizer

    def counted(path: Path) -> Any:
        calls.append(path)
        return real(path)

    monkeypatch.setattr(tokens, "load_tokenizer", counted)
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: tokenize(folder, model, max_length=16), range(4)))
    assert len(paths) == len(calls) == 1


def test_an_interrupted_tokenization_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, model = prepared(tmp_path, SHORT), bert(tmp_path / "model")

    def interrupt(done: int, total: int) -> None:
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tokenize(folder, model, max_length=16, progress=interrupt)
    assert [path.suffix for path in (folder / "tokens").iterdir()] == [".lock"]


@pytest.mark.parametrize("damage", ["cut", "missing", "short"])
def test_damaged_arrays_are_one_line(tmp_path: Path, damage: str) -> None:
    folder, model = prepared(tmp_path, SHORT), bert(tmp_path / "model")
    path = tokenize(folder, model, max_length=16) / "train" / "tokens.npy"
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:60])
    elif damage == "missing":
        path.unlink()
    else:
        np.save(path, np.load(path)[:-1])
    with pytest.raises(UserError, match=r"^[^\n]*is damaged[^\n]*; delete it[^\n]*$"):
        load(folder, model, max_length=16)


def test_stored_tokens_of_other_classes_are_not_used(tmp_path: Path) -> None:
    folder, model = prepared(tmp_path, SHORT), bert(tmp_path / "model")
    known = load(folder, model, max_length=16)["train"].labels.tolist()
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    before = meta["labels"]
    (folder / "meta.json").write_text(json.dumps(meta | {"labels": before[::-1]}))
    assert load(folder, model, max_length=16)["train"].labels.tolist() == [2 - n for n in known]
    (folder / "meta.json").write_text(json.dumps(meta | {"labels": before[1:]}))
    with pytest.raises(UserError, match=r"is damaged \(other columns or labels"):
        load(folder, model, max_length=16)


def test_a_token_that_the_model_does_not_know_is_refused(tmp_path: Path) -> None:
    folder = prepared(tmp_path, SHORT)
    known = max(VOCABULARY[word] for row in SHORT for text in row[:2] for word in text.split())
    with pytest.raises(UserError, match=rf"gives token {known} .* knows {known}; take"):
        load(folder, bert(tmp_path / "small", vocab_size=known), max_length=16)
    settings = bert(tmp_path / "padded", vocab_size=len(VOCABULARY)) / "tokenizer_config.json"
    settings.write_text(settings.read_text().replace('"[PAD]"', '" [PAD]"'))
    with pytest.raises(UserError, match=r"gives token 15 .* knows 15"):
        load(folder, settings.parent, max_length=16)


def test_wrong_tokenizer_or_length_is_one_line(tmp_path: Path) -> None:
    folder, model = prepared(tmp_path, SHORT), bert(tmp_path / "model")
    cases = [
        (tmp_path / "nowhere", 16, "holds no tokenizer"),
        (tmp_path, 16, "holds no tokenizer"),
        (model, 4, "holds no text; 5 is least"),
    ]
    for damage in (b"", b"{", b'{"version": "1.0"}'):
        cases.append((tmp_path / f"bad{len(damage)}", 16, "cannot be read"))
        bert(cases[-1][0])
        (cases[-1][0] / "tokenizer.json").write_bytes(damage)
    for path, length, words in cases:
        with pytest.raises(UserError, match=words) as caught:
            tokenize(folder, path, max_length=length)
        assert "\n" not in str(caught.value)


def test_ids_take_the_smallest_type_that_holds_the_vocabulary(tmp_path: Path) -> None:
    splits: dict[str, TokenSplit] = {}
    for make in (bert, roberta):
        model = make(tmp_path / make.__name__)
        splits |= {make.__name__: load(prepared(tmp_path, SHORT), model, max_length=64)["train"]}
    assert splits["bert"].tokens.dtype == np.uint8
    assert splits["roberta"].tokens.dtype == np.uint16  # 5 + 256 tokens
