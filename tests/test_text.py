"""Reading, checking, cleaning and preparing labelled text."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.errors import UserError
from lib.files import remove
from lib.persian import clean
from lib.text import prepare, read_meta, read_split
from lib.text_source import FARSTAIL_LABELS, SPLITS, Layout, read_source
from scripts import prepare_text

HEADER = "premise\thypothesis\tlabel\n"
ROWS = (
    ("کتاب روی میز است", "کتاب جایی است", "e"),
    ("کتاب روی میز است", "میز خالی است", "c"),
    ("او به خانه رفت", "هوا سرد بود", "n"),
)
GOOD = HEADER + "".join("\t".join(row) + "\n" for row in ROWS)


def write_sources(folder: Path, **texts: str | bytes) -> dict[str, Path]:
    """Three files, each with the given text or else a good one of its own premises."""
    folder.mkdir(exist_ok=True)
    sources = {split: folder / f"{split}.tsv" for split in SPLITS}
    for split, path in sources.items():
        text = texts.get(
            split, GOOD.replace("میز", f"میز {split}").replace("خانه", f"خانه {split}")
        )
        path.write_bytes(text.encode() if isinstance(text, str) else text)
    return sources


def message_of(sources: dict[str, Path], out: Path, *, layout: Layout | None = None) -> str:
    """The error that preparing gives: of one line, and leaving nothing behind."""
    with pytest.raises(UserError) as caught:
        prepare(sources, out, layout=layout or Layout())
    assert [path.name for path in out.parent.glob("*") if path.suffix != ".lock"] == []
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 400
    return text


@pytest.mark.parametrize(
    ("text", "row", "words"),
    [
        ("", 1, ["empty"]),
        (" \n\n", 1, ["empty"]),
        (HEADER, 1, ["no row"]),
        ("premise\tlabel\na\te\n", 1, ["no column 'hypothesis'", "'premise', 'label'", "None"]),
        ("premise\tpremise\thypothesis\tlabel\n", 1, ["two columns", "'premise'"]),
        (GOOD + "a\t\te\n", 5, ["hypothesis is empty"]),
        (GOOD + "\u200c \u00a0\tb\te\n", 5, ["premise is empty"]),
        (GOOD + "a\tb\t\n", 5, ["label is empty"]),
        (GOOD + "a\tb\n", 5, ["2 fields, the header has 3"]),
        (GOOD + "a,b,e\n", 5, ["1 field,", "comma"]),
        (GOOD + '"a\tb\te\n' + GOOD, 5, ["quotation mark"]),
        (GOOD + '"a\tb\te\n', 5, ["quotation mark"]),
        (GOOD + '"a" b\tb\te\n', 5, ["quotation mark"]),
        (GOOD + '"a' + "\n" * 150 + '"\tb\te\n', 5, ["quotation mark", "100 lines"]),
        (GOOD + "\n\r\n\ra\tb\t\n", 8, ["label is empty"]),
        (GOOD + f"{'a' * 200_000}\tb\te\n", 5, ["131072 characters"]),
        (GOOD.encode() + b"a\xff\tb\te\n", 5, ["not UTF-8", str(len(GOOD.encode()) + 1)]),
        (b"\xef\xbb\xbf" + GOOD.encode() + b"\xff", 5, [str(len(GOOD.encode()) + 3)]),
        (GOOD.encode("utf-16"), 1, ["byte 0 is not UTF-8"]),
        (GOOD + "a\0\tb\te\n", 5, ["NUL"]),
        ("premise\thypothesis\tlabel\thard(overlap)\na\tb\te\tyes\n", 2, ["'yes'", "0 or 1"]),
    ],
)
def test_wrong_file_is_one_line_with_file_and_row(
    tmp_path: Path, text: str | bytes, row: int, words: Sequence[str]
) -> None:
    sources = write_sources(tmp_path / "raw", validation=text)
    message = message_of(sources, tmp_path / "out" / "x")
    assert message.startswith(f"{sources['validation']}, row {row}: ")
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("labels", "split", "place", "words"),
    [
        ((), "validation", ", row 5: ", ["unknown label 'x'", "'e', 'c', 'n'"]),
        (("n", "c", "e"), "train", ", row 5: ", ["unknown label 'x'", "'n', 'c', 'e'"]),
        (("e", "c", "n", "x", "y"), "train", ": ", ["no row has the label 'y'"]),
        (("e", "e"), "train", ": ", ["two different labels"]),
    ],
)
def test_wrong_label_is_named_with_the_allowed_ones(
    tmp_path: Path, labels: tuple[str, ...], split: str, place: str, words: Sequence[str]
) -> None:
    sources = write_sources(tmp_path / "raw", **{split: GOOD + "a\tb\tx\n"})
    message = message_of(sources, tmp_path / "out" / "x", layout=Layout(labels=labels))
    assert message.startswith(f"{sources[split]}{place}")
    for word in words:
        assert word in message


def test_wrong_separator_says_which_it_seems_to_be(tmp_path: Path) -> None:
    sources = write_sources(tmp_path / "raw")
    message = message_of(sources, tmp_path / "out" / "x", layout=Layout(separator="comma"))
    assert f"{sources['train']}, row 1: not separated by comma" in message
    assert "tab" in message


def test_missing_file_is_named(tmp_path: Path) -> None:
    sources = write_sources(tmp_path / "raw")
    remove(sources["test"])
    assert message_of(sources, tmp_path / "out" / "x") == f"{sources['test']} does not exist"


def test_farstail_quoting_keeps_separators_quotes_and_order(tmp_path: Path) -> None:
    premise, other = 'او\tگفت: "بله"', "چند\nسطر"
    text = (
        'hard(overlap)\tlabel\tpremise\textra\thypothesis\thard(hypothesis)\r\n'
        '1\tn\t"او\tگفت: ""بله"""\t\tالف\t0\r\n'
        '\r\n'
        '0\te\t"چند\nسطر"\t\tب\t1\r\n'
        '0\tc\tپ\t\tت "ث\t1'
    )  # fmt: skip
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    frame = read_source(path, layout=Layout())
    assert frame["premise"].tolist() == [premise, other, "پ"]
    assert frame["hypothesis"].tolist() == ["الف", "ب", 'ت "ث']
    assert frame["line"].tolist() == [2, 4, 6]
    assert frame["id"].tolist() == [0, 1, 2]
    assert frame["hard_hypothesis"].tolist() == [0, 1, 1]
    assert frame["hard_overlap"].tolist() == [1, 0, 0]


@pytest.mark.parametrize("separator", [None, "pipe", "|"])
def test_named_columns_and_other_separators(tmp_path: Path, separator: str | None) -> None:
    text = "a|b|c\n" + "".join(f"{p}, {p}|{h}|{label}\n" for p, h, label in ROWS)
    sources = {split: tmp_path / f"{split}.txt" for split in SPLITS}
    for path in sources.values():
        path.write_text(text, encoding="utf-8")
    layout = Layout(premise="a", hypothesis="b", label="c", separator=separator)
    prepare(sources, tmp_path / "out", layout=layout)
    expected = [f"{premise}, {premise}" for premise, _, _ in ROWS]
    assert read_split(tmp_path / "out", "test")["premise"].tolist() == expected


def test_without_quoting_a_quotation_mark_is_a_letter(tmp_path: Path) -> None:
    sources = write_sources(tmp_path / "raw", train=GOOD + '"a\tb"c\te\n')
    prepare(sources, tmp_path / "out", layout=Layout(quotes=False))
    assert read_split(tmp_path / "out", "train")["premise"].tolist()[-1] == '"a'


def test_single_sentences_of_many_classes(tmp_path: Path) -> None:
    text = "text,mood\n" + "".join(f"جمله {n},{n % 12}\n" for n in range(24))
    sources = write_sources(tmp_path / "raw", train=text, validation=text, test=text)
    layout = Layout(premise="text", hypothesis=None, label="mood")
    prepare(sources, tmp_path / "out", layout=layout)
    meta = read_meta(tmp_path / "out")
    assert meta["labels"] == sorted(str(n) for n in range(12))
    assert not meta["pairs"]
    frame = read_split(tmp_path / "out", "test")
    assert "hypothesis" not in frame
    assert frame["label"].tolist() == [str(n % 12) for n in range(24)]
    assert frame["group"].tolist() == list(range(24))


def test_farstail_labels_are_e_c_n_and_others_sorted_or_given(tmp_path: Path) -> None:
    sources = write_sources(tmp_path / "raw")
    prepare(sources, tmp_path / "a")
    prepare(sources, tmp_path / "b", layout=Layout(labels=("n", "e", "c")))
    swapped = GOOD.replace("\tn\n", "\td\n")
    prepare(write_sources(tmp_path / "raw2", **dict.fromkeys(SPLITS, swapped)), tmp_path / "c")
    found = [read_meta(tmp_path / name)["labels"] for name in "abc"]
    assert found == [list(FARSTAIL_LABELS), ["n", "e", "c"], ["c", "d", "e"]]


def test_groups_are_the_distinct_raw_premises_over_all_splits(tmp_path: Path) -> None:
    shared = HEADER + "مشترک\tالف\te\nتنها\tب\tc\nمشترک\tپ\tn\n"
    sources = write_sources(tmp_path / "raw", train=shared, test=shared.replace("تنها", "دیگر"))
    prepare(sources, tmp_path / "out")
    groups = {split: read_split(tmp_path / "out", split)["group"].tolist() for split in SPLITS}
    assert groups == {"train": [0, 1, 0], "validation": [2, 2, 3], "test": [0, 4, 0]}


def test_what_is_suspect_is_counted(tmp_path: Path) -> None:
    train = HEADER + "پ\tالف\te\nپ\tالف\tc\nت\tب\tc\nت\tب\tc\nث\tج\tn\n"
    test = HEADER + 'پ\tالف\te\nت\tد\tn\n"چ\nخ"\tح\tc\n'
    prepare(write_sources(tmp_path / "raw", train=train, test=test), tmp_path / "out")
    assert read_meta(tmp_path / "out")["warnings"] == [
        "texts with a line break in them: 1",
        "premises in more than one split: 2",
        "pairs in more than one split: 1",
        "pairs that occur more than once: 2",
        "pairs that occur with different labels: 1",
    ]


def test_equal_input_is_reused_and_other_input_is_refused_until_forced(tmp_path: Path) -> None:
    sources, out = write_sources(tmp_path / "raw"), tmp_path / "out"
    assert prepare(sources, out)
    before = (out / "meta.json").stat().st_ino
    assert not prepare(sources, out)
    assert (out / "meta.json").stat().st_ino == before
    layout = Layout(labels=("n", "c", "e"))
    with pytest.raises(
        UserError, match=r"differently \(labels\); replace it with --force or .* --name"
    ):
        prepare(sources, out, layout=layout)
    sources["test"].write_text(GOOD + "تازه\tب\tn\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"differently \(test file, labels\);"):
        prepare(sources, out, layout=layout)
    assert read_meta(out)["labels"] == list(FARSTAIL_LABELS)
    (out / "tokens").mkdir()
    assert prepare(sources, out, layout=layout, force=True)
    assert read_meta(out)["labels"] == ["n", "c", "e"]
    assert len(read_split(out, "test")) == 4
    assert not (out / "tokens").exists()


def test_damaged_folder_is_not_read_but_made_again(tmp_path: Path) -> None:
    sources, out = write_sources(tmp_path / "raw"), tmp_path / "out"
    prepare(sources, out)
    good = (out / "train.csv").read_bytes()
    (out / "train.csv").write_bytes(good[:-2])
    with pytest.raises(UserError, match=r"train\.csv is missing or damaged"):
        read_split(out, "train")
    assert prepare(sources, out)
    assert (out / "train.csv").read_bytes() == good


def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path) -> None:
    sources, out = write_sources(tmp_path / "raw"), tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    for force in (False, True):
        with pytest.raises(UserError, match="choose another --name"):
            prepare(sources, out, force=force)
    assert (out / "thesis.txt").exists()
    with pytest.raises(UserError, match=r"holds no prepared text.*scripts\.prepare_text"):
        read_meta(out)
    (out / "meta.json").write_text('{"format": 1, "kind": "speech"}')
    with pytest.raises(UserError, match=r"not of a text.*scripts\.prepare_text"):
        read_meta(out)


def test_an_interrupted_replacement_leaves_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources, out = write_sources(tmp_path / "raw"), tmp_path / "out"
    prepare(sources, out)
    before = (out / "meta.json").read_bytes()

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full_disk)
    with pytest.raises(OSError, match="No space"):
        prepare(sources, out, layout=Layout(labels=("n", "c", "e")), force=True)
    assert (out / "meta.json").read_bytes() == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [".out.lock", "out", "raw"]


def test_cleaning_keeps_rows_aligned(tmp_path: Path) -> None:
    rows = [(f"{n} كتاب هاي خوب را نمی خوانم", f"{n} كتاب", "ecn"[n % 3]) for n in range(30)]
    text = HEADER + "".join("\t".join(row) + "\n" for row in rows)
    calls: list[tuple[int, int]] = []
    prepare(
        write_sources(tmp_path / "raw", train=text),
        tmp_path / "out",
        preprocess="full",
        progress=lambda done, total: calls.append((done, total)),
    )
    assert calls[-1][0] == calls[-1][1]
    for n, row in enumerate(read_split(tmp_path / "out", "train").itertuples()):
        number = str(n).translate(str.maketrans("0123456789", "۰۱۲۳۴۵۶۷۸۹"))
        assert row.premise == f"{number} کتاب خواند#خوان"
        assert (row.hypothesis, row.label, row.group) == (f"{number} کتاب", "ecn"[n % 3], n)


def test_cleaning_is_equal_for_any_number_of_workers() -> None:
    texts = [f"{n} كتاب هاي خوب را نمی خوانم" for n in range(1000)]
    assert clean(texts, "normalize", workers=1) == clean(texts, "normalize", workers=2)


def test_what_cleaning_empties_is_kept_and_counted() -> None:
    texts, n_emptied = clean(["از  به", "كتاب", "\u064e"], "full", workers=1)
    assert texts == ["از به", "کتاب", "\u064e"]
    assert n_emptied == 2
    assert clean(["از  به"], "none") == (["از  به"], 0)
    with pytest.raises(UserError, match="give 1 or more"):
        clean(["از  به"], "none", workers=0)


def test_script_prepares_draws_and_reuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = tmp_path / "sample"
    sources = write_sources(raw)
    for split, name in zip(SPLITS, ("Train", "Val", "Test"), strict=True):
        sources[split].rename(raw / f"{name}-word.csv")
    (raw / "SAMPLE").touch()
    cfg = prepare_text.Config(data=str(raw), out=str(tmp_path / "out"))
    folder = prepare_text.main(cfg)
    assert folder == tmp_path / "out" / "sample-none"
    assert read_meta(folder)["sample"]
    assert {path.name for path in (folder / "figures").iterdir()} == {"classes.png", "lengths.png"}
    assert "prepared; 3 / 3 / 3 rows, labels e c n" in capsys.readouterr().out
    prepare_text.main(cfg)
    assert "reused" in capsys.readouterr().out
    for wrong, words in (
        (replace(cfg, name="../x"), "no name for a folder"),
        (replace(cfg, train="a.tsv"), "needed together"),
        (replace(cfg, data=str(tmp_path)), "Train-word.csv does not exist"),
        (replace(cfg, model=str(tmp_path)), "holds no tokenizer"),
    ):
        with pytest.raises(UserError, match=words):
            prepare_text.main(wrong)


FIELDS = st.sampled_from(
    (
        *("premise", "hypothesis", "label", "hard(overlap)", "e", "c", "1", "متن", "'", "\\"),
        *('"', '""', "\n", "\r", "\t", ",", "\t\t", "\0", " ", "\u200c", "\x1c", "\u2028"),
    )
)
BYTES = st.one_of(
    st.binary(max_size=200),
    st.lists(FIELDS, max_size=40).map(lambda parts: "".join(parts).encode()),
    st.lists(FIELDS, max_size=40).map(lambda parts: (GOOD + "".join(parts)).encode()),
    st.tuples(st.integers(0, len(GOOD.encode())), st.binary(max_size=3)).map(
        lambda cut: GOOD.encode()[: cut[0]] + cut[1] + GOOD.encode()[cut[0] + 1 :]
    ),
)


def table(rows: Iterable[Sequence[str]], separator: str) -> str:
    file = io.StringIO()
    csv.writer(file, delimiter=separator).writerows(rows)
    return file.getvalue()


@settings(max_examples=150, derandomize=True, deadline=None, database=None)
@given(data=BYTES)
def test_any_bytes_are_prepared_whole_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    folder = tmp_path_factory.mktemp("fuzz")
    sources, out = write_sources(folder / "raw", train=data), folder / "out"
    message = None
    try:
        prepare(sources, out)
    except UserError as error:
        message = str(error)
    assert out.exists() == (message is None)
    if message is not None:
        assert message.isprintable()
        return
    meta = json.loads((out / "meta.json").read_text(encoding="utf-8"))
    frame = read_split(out, "train")
    assert (
        len(frame)
        == meta["splits"]["train"]["n"]
        == sum(meta["splits"]["train"]["counts"].values())
    )
    assert set(frame["label"]) == set(meta["labels"])


TEXTS = st.text(min_size=1, max_size=12).filter(
    lambda text: "\0" not in text and any(c.isprintable() and c != " " for c in text)
)


@settings(max_examples=25, derandomize=True, deadline=None, database=None)
@given(
    pairs=st.lists(st.tuples(TEXTS, TEXTS), min_size=2, max_size=6),
    separator=st.sampled_from("\t,;|"),
)
def test_any_texts_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]], separator: str
) -> None:
    rows = [(*pair, "xy"[n % 2]) for n, pair in enumerate(pairs)]
    text = table([("premise", "hypothesis", "label"), *rows], separator)
    folder = tmp_path_factory.mktemp("round")
    sources = write_sources(folder / "raw", **dict.fromkeys(SPLITS, text))
    prepare(sources, folder / "out")
    frame = read_split(folder / "out", "train")
    assert list(zip(frame["premise"], frame["hypothesis"], frame["label"], strict=True)) == rows
