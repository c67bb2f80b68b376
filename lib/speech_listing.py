"""The clips of a corpus before they are read, listed on disk: a large corpus takes no memory."""

import os
import posixpath
import sqlite3
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lib.errors import UserError

CACHE_KB = 256  # that SQLite may hold in memory


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One clip of a corpus before it is read.

    Attributes:
        path: as in the corpus, with slashes, such as female/F01A01.wav.
        within: the folder that the path lies in, or the zip file.
        member: its name in the zip file, or None.
        label_filename, label_transcript: class by either version; "" where it is not known.
        speaker, gender, transcript, split: "" where they are not known; gender is F or M.
    """

    path: str
    within: Path
    member: str | None = None
    label_filename: str = ""
    label_transcript: str = ""
    speaker: str = ""
    gender: str = ""
    transcript: str = ""
    split: str = ""

    @property
    def file(self) -> str:
        """The file, or the zip file that holds it.

        No Path: Python 3.12 keeps each name that one has seen, 100 bytes a clip, for good.
        """
        return os.path.join(self.within, self.path) if self.member is None else str(self.within)


def clip_name(path: str) -> str:
    """The name of a clip's file without folders and suffix, such as F01A01."""
    return posixpath.splitext(posixpath.basename(path))[0]


class Listing:
    """Sources in the order of their paths, each path once.

    They lie in a database that SQLite keeps in a temporary file, which goes with the process.
    """

    _FIELDS = tuple(field.name for field in fields(Source))

    def __init__(self) -> None:
        """Begin with no sources."""
        self._n = 0
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        weakref.finalize(self, self._database.close)
        for setting in ("journal_mode = OFF", f"cache_size = -{CACHE_KB}"):
            self._database.execute(f"PRAGMA {setting}")
        self._database.execute(
            f"CREATE TABLE sources (line, {', '.join(self._FIELDS)}, PRIMARY KEY (path)) "
            "WITHOUT ROWID"
        )

    def add(self, source: Source, *, line: int = 0) -> int | None:
        """List a source that stands in a line of a table.

        Returns:
            None, or the line of one that has its path already; that one stays.

        Raises:
            UserError: if its path is not Unicode, or the disk is full.
        """
        values: dict[str, Any] = {name: getattr(source, name) for name in self._FIELDS}
        values["within"] = os.fsencode(source.within)  # which may not be Unicode
        places = ", ".join("?" * (1 + len(values)))
        try:
            done = self._database.execute(
                f"INSERT OR IGNORE INTO sources VALUES ({places})", (line, *values.values())
            )
        except UnicodeEncodeError:
            problem = "has a name that is not Unicode; rename it"
            raise UserError(f"{source.within}: {source.path!r} {problem}") from None
        except sqlite3.OperationalError as error:
            remedy = "make room where temporary files go, or name another folder with TMPDIR"
            raise UserError(f"the list of clips cannot be written ({error}); {remedy}") from None
        self._n += done.rowcount
        if done.rowcount:
            return None
        query = "SELECT line FROM sources WHERE path = ?"
        return int(self._database.execute(query, (source.path,)).fetchone()[0])

    def __len__(self) -> int:
        """The number of sources."""
        return self._n

    def __iter__(self) -> Iterator[Source]:
        """The sources by path."""
        query = f"SELECT {', '.join(self._FIELDS)} FROM sources ORDER BY path"
        for row in self._database.execute(query):
            values = dict(zip(self._FIELDS, row, strict=True))
            yield Source(**values | {"within": Path(os.fsdecode(values["within"]))})


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The clips of a corpus and its classes in their order.

    Attributes:
        name: "shemo" or None.
        sample: whether it is generated data.
    """

    sources: Listing
    labels: tuple[str, ...]
    name: str | None = None
    sample: bool = False
