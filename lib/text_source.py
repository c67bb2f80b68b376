"""Files of labelled sentences or pairs, read and checked: TSV or CSV, FarsTail's among them."""

import contextlib
import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lib.errors import UserError
from lib.persian import is_blank

SPLITS = ("train", "validation", "test")
FARSTAIL_FILES = dict(zip(SPLITS, ("Train-word.csv", "Val-word.csv", "Test-word.csv"), strict=True))
FARSTAIL_LABELS = ("e", "c", "n")
FARSTAIL_MD5 = {
    "train": "b25152d69420fa9543d2e3155c91a046",
    "validation": "6686f1ff8dd0a64b519466589a686ec9",
    "test": "52a1d46748dbb928062327e93ebae730",
}
FLAGS = {"hard(hypothesis)": "hard_hypothesis", "hard(overlap)": "hard_overlap"}
SEPARATORS = {"tab": "\t", "comma": ",", "semicolon": ";", "pipe": "|"}
LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
MAX_LINES = 100  # a row that spans more lines is an open quotation mark, not a text


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How the source files are laid out.

    Without a hypothesis column they hold single sentences. A separator is a name in SEPARATORS or
    a character, None finds it. Without labels the order is e, c, n where the training file has
    just these, else sorted.
    """

    premise: str = "premise"
    hypothesis: str | None = "hypothesis"
    label: str = "label"
    separator: str | None = None
    quotes: bool = True
    labels: tuple[str, ...] = ()


def farstail(folder: Path) -> dict[str, Path]:
    """The files of the three splits in a folder that has FarsTail's file names.

    Raises:
        UserError: if one is missing.
    """
    files = {split: folder / name for split, name in FARSTAIL_FILES.items()}
    for path in files.values():
        if not path.is_file():
            remedy = "place it there, or name a folder with --data, or files with --train and so on"
            raise UserError(f"{path} does not exist; {remedy}")
    return files


def read_sources(
    sources: Mapping[str, Path], *, layout: Layout
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """The rows of the three splits, as `read_source` gives them, and the labels in their order.

    Raises:
        UserError: naming file and row, at the first thing that is wrong.
    """
    frames = {split: read_source(sources[split], layout=layout) for split in SPLITS}
    found = set(frames["train"]["label"])
    labels = list(layout.labels) or sorted(found)
    if not layout.labels and found == set(FARSTAIL_LABELS):
        labels = list(FARSTAIL_LABELS)
    if len(set(labels)) < max(2, len(labels)):
        raise UserError(f"{sources['train']}: two different labels are needed, not {_list(labels)}")
    for split, frame in frames.items():
        unknown = frame[~frame["label"].isin(labels)]
        if len(unknown):
            line, label = unknown.iloc[0][["line", "label"]]
            whose = "allowed" if layout.labels else "the training file has"
            problem = f"unknown label {_short(label)}; {whose}: {_list(labels)} (see --labels)"
            raise UserError(f"{sources[split]}, row {line}: {problem}")
    for label in labels:
        if label not in found:
            raise UserError(f"{sources['train']}: no row has the label {_short(label)}")
    return frames, labels


def read_source(path: Path, *, layout: Layout) -> pd.DataFrame:
    """The rows of one file as they stand: line, id, label, premise, hypothesis, hard flags.

    `line` is the 1-based line at which an editor shows the row, `id` its 0-based number.

    Raises:
        UserError: naming file and row, at the first thing that is wrong.
    """
    text = _decode(path)
    separator, header = _header(path, text, layout)
    wanted = {"label": layout.label, "premise": layout.premise}
    wanted |= {"hypothesis": layout.hypothesis} if layout.hypothesis else {}
    wanted |= {flag: column for column, flag in FLAGS.items() if column in header}
    places = {field: header.index(column) for field, column in wanted.items()}
    lines: list[int] = []
    values: dict[str, list[str]] = {field: [] for field in places}
    for line, row in itertools.islice(_rows(path, text, separator, layout.quotes), 1, None):
        if len(row) != len(header):
            raise UserError(f"{path}, row {line}: {_wrong_length(row, len(header))}")
        for field, place in places.items():
            value = row[place]
            if is_blank(value):
                raise UserError(f"{path}, row {line}: the {wanted[field]} is empty")
            if field in FLAGS.values() and value not in {"0", "1"}:
                problem = f"{wanted[field]} is {_short(value)}, not 0 or 1"
                raise UserError(f"{path}, row {line}: {problem}")
            values[field].append(value.strip() if field == "label" else value)
        lines.append(line)
    if not lines:
        raise UserError(f"{path}, row 1: there is a header but no row below it")
    frame = pd.DataFrame({"line": lines, "id": range(len(lines)), **values})
    return frame.astype({flag: int for flag in FLAGS.values() if flag in values})


def _decode(path: Path) -> str:
    """The text of a UTF-8 file, with or without a byte order mark."""
    data = path.read_bytes()
    wrong: tuple[int, str] | None = None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        start = error.start + (3 if data.startswith(b"\xef\xbb\xbf") else 0)
        wrong = start, f"byte {start} is not UTF-8; save the file as UTF-8"
    if wrong is None and b"\0" in data:
        wrong = data.index(b"\0"), "a NUL byte; this is not a text file, or not UTF-8"
    if wrong is not None:
        line = 1 + len(re.findall(rb"\r\n|\r|\n", data[: wrong[0]]))
        raise UserError(f"{path}, row {line}: {wrong[1]}")
    if not text.strip():
        raise UserError(f"{path}, row 1: the file is empty")
    return text


def _header(path: Path, text: str, layout: Layout) -> tuple[str, list[str]]:
    """The separator character and the names of the columns."""
    given = SEPARATORS.get(layout.separator or "", layout.separator)
    if given is not None and (len(given) != 1 or given in '\r\n"'):
        raise UserError(f"a separator is a character or one of {_list(SEPARATORS)}, not {given!r}")
    wanted = [name for name in (layout.label, layout.premise, layout.hypothesis) if name]
    found: dict[str, tuple[int, list[str]]] = {}
    for char in filter(None, (given, *SEPARATORS.values())):
        with contextlib.suppress(UserError):  # raised below for the separator that is taken
            found[char] = _first_row(path, text, char, layout.quotes)
    fitting = [char for char, (_, names) in found.items() if set(wanted) <= set(names)]
    longest = max(found, key=lambda char: len(found[char][1]), default="\t")
    separator = given or next(iter(fitting), longest)
    line, names = _first_row(path, text, separator, layout.quotes)
    missing = [name for name in wanted if name not in names]
    if missing and fitting:
        seems = next(name for name, char in SEPARATORS.items() if char == fitting[0])
        problem = f"not separated by {layout.separator}; it seems to be separated by {seems}"
        raise UserError(f"{path}, row {line}: {problem}")
    if missing:
        hint = "; for single sentences: --hypothesis-column None"
        hint = hint if missing == [layout.hypothesis] else ""
        problem = f"no column {_list(missing)}; the columns are {_list(names)}{hint}"
        raise UserError(f"{path}, row {line}: {problem}")
    for name in wanted:
        if names.count(name) > 1:
            raise UserError(f"{path}, row {line}: two columns are named {_short(name)}")
    return separator, names


def _first_row(path: Path, text: str, separator: str, quotes: bool) -> tuple[int, list[str]]:
    line, row = next(_rows(path, text, separator, quotes), (1, []))
    return line, [name.strip() for name in row]


def _rows(path: Path, text: str, separator: str, quotes: bool) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the line it begins at."""
    reader = csv.reader(
        (line[0] for line in LINE.finditer(text)),  # StringIO takes four bytes a character
        delimiter=separator,
        quoting=csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE,
        strict=True,
    )
    line = 1
    while True:
        wrong = "a quotation mark is left open or not doubled; if they mean nothing: --no-quotes"
        try:
            row = next(reader, None)
        except csv.Error as error:
            if "limit" in str(error):
                wrong = f"a field has more than {csv.field_size_limit()} characters"
            raise UserError(f"{path}, row {line}: {wrong}") from None
        if row is None:
            return
        if reader.line_num - line >= MAX_LINES:
            raise UserError(f"{path}, row {line}: {wrong} (the row has over {MAX_LINES} lines)")
        if len(row) > 1 or (row and row[0].strip()):
            yield line, row
        line = reader.line_num + 1


def _wrong_length(row: list[str], expected: int) -> str:
    counts = f"{len(row)} field{'s' * (len(row) != 1)}, the header has {expected}"
    for name, char in SEPARATORS.items():
        if len(row) == 1 and row[0].count(char) == expected - 1:
            return f"{counts}; it seems to be separated by {name}"
    return f"{counts}; a text with the separator in it must stand in quotation marks"


def _short(value: object) -> str:
    """A value from outside as one short line."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _list(values: Iterable[str]) -> str:
    listed = [_short(value) for value in values]
    return ", ".join(listed[:8]) + (" ..." if len(listed) > 8 else "") or "none"
