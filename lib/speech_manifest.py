"""Any corpus of speech by a table of its clips: path, label and what else is known of them."""

import itertools
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from lib import text_source as table
from lib.errors import UserError
from lib.speech_listing import Corpus, Listing, Source
from lib.speech_source import MARKER, some
from lib.text_source import SPLITS, Layout

OPTIONAL = ("speaker", "split", "gender", "transcript")
GENDERS = {"": "", "f": "F", "female": "F", "m": "M", "male": "M"}


def read_manifest(path: Path, *, root: Path | None = None, labels: Sequence[str] = ()) -> Corpus:
    """The corpus that a CSV or TSV file lists, UTF-8, with a header.

    Its columns are path and label and, where they are known, speaker, split (train, validation,
    test), gender (F, M) and transcript; others are not read.

    Args:
        path: of the table.
        root: the folder that its paths begin at; by default the table's own.
        labels: the classes in their order; by default those of the table, sorted.

    Raises:
        UserError: naming file and row, at the first thing that is wrong.
    """
    if not path.is_file():
        raise UserError(f"{path} {'is not a file' if path.exists() else 'does not exist'}")
    root = path.parent if root is None else root
    inside = root.resolve()
    sources = Listing()
    found: set[str] = set()
    splits: dict[str, int] = {}  # each with the first row that has it
    for line, row in _rows(path):
        where = f"{path}, row {line}"
        source = _source(row, root, where)
        _check_inside(source, inside, where)
        if labels and source.label_filename not in labels:
            problem = f"unknown label {source.label_filename!r}; allowed: {', '.join(labels)}"
            raise UserError(f"{where}: {problem} (see --labels)")
        if (before := sources.add(source, line=line)) is not None:
            raise UserError(f"{where}: {source.path} stands in row {before} too")
        found.add(source.label_filename)
        splits.setdefault(source.split, line)
    if not sources:
        raise UserError(f"{path}, row 1: there is a header but no row below it")
    _check_splits(path, splits)
    order = tuple(labels) or tuple(sorted(found))
    if len(set(order)) < max(2, len(order)):
        raise UserError(f"{path}: two different labels are needed, not {some(order) or 'none'}")
    if absent := [label for label in order if label not in found]:
        raise UserError(f"{path}: no row has the label {some(absent)}")
    return Corpus(
        sources=sources,
        labels=order,
        sample=(root / MARKER).exists() or (path.parent / MARKER).exists(),
    )


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows as they stand, each with the line it begins at."""
    text = table._decode(path)
    layout = Layout(premise="path", hypothesis=None, label="label")
    separator, header = table._header(path, text, layout)
    columns = [name.casefold() for name in header]
    for name in OPTIONAL:
        if columns.count(name) > 1:
            raise UserError(f"{path}, row 1: two columns are named {name!r}")
    places = {name: columns.index(name) for name in ("path", "label", *OPTIONAL) if name in columns}
    for line, row in itertools.islice(table._rows(path, text, separator, True), 1, None):
        if len(row) != len(header):
            raise UserError(f"{path}, row {line}: {table._wrong_length(row, len(header))}")
        yield line, {name: row[place].strip() for name, place in places.items()}


def _source(row: dict[str, str], root: Path, where: str) -> Source:
    """One row, checked by itself."""
    for column in ("path", "label"):
        if not row[column]:
            raise UserError(f"{where}: the {column} is empty")
    path = row["path"]
    if path.startswith("/") or ".." in path.split("/") or "\\" in path or "\0" in path:
        problem = f"the path {path[:80]!r} is not one below {root}"
        raise UserError(f"{where}: {problem}; give it from there, with / (see --root)")
    split, gender = row.get("split", ""), row.get("gender", "").casefold()
    if split and split not in SPLITS:
        raise UserError(f"{where}: unknown split {split[:40]!r}; one of {', '.join(SPLITS)}")
    if gender not in GENDERS:
        raise UserError(f"{where}: unknown gender {gender[:40]!r}; F, M or nothing")
    return Source(
        path=posixpath.normpath(path),
        within=root,
        label_filename=row["label"],
        label_transcript=row["label"],
        speaker=row.get("speaker", ""),
        gender=GENDERS[gender],
        transcript=" ".join(row.get("transcript", "").split()),
        split=split,
    )


def _check_inside(source: Source, root: Path, where: str) -> None:
    """Refuse a link that leads out of the folder; `root` is resolved."""
    place = os.path.realpath(source.file)  # of a link to itself, where it lies
    if os.path.commonpath([place, root]) != str(root):
        raise UserError(
            f"{where}: {source.path} is a link that leads out of {root}; put the recording itself "
            "there, or name the folder that holds them all with --root"
        )


def _check_splits(path: Path, splits: Mapping[str, int]) -> None:
    """Splits are given for all rows and all three, or for none."""
    if set(splits) == {""}:
        return
    if "" in splits:
        raise UserError(f"{path}, row {splits['']}: the split is empty; others have one")
    if absent := [split for split in SPLITS if split not in splits]:
        raise UserError(f"{path}: no row has the split {', '.join(absent)}")
