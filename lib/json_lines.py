"""Files of one JSON object a line, which grow while a run goes on."""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib import files
from lib.errors import UserError


def append(path: Path, record: Mapping[str, Any]) -> None:
    """Append one JSON object as one line, and make sure it is on the disk."""
    with files.naming(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(dict(record), ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> list[dict[str, Any]]:
    """The JSON objects of a file with one a line; a torn last line is left out."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
        with contextlib.suppress(json.JSONDecodeError):
            records.append(json.loads(line))
    return [record for record in records if isinstance(record, dict)]


def cut_back(path: Path, n_bytes: int) -> None:
    """Cut a file back to the length it had at a checkpoint.

    Raises:
        UserError: if it is shorter than that.
    """
    size = path.stat().st_size if path.exists() else 0
    if size < n_bytes:
        raise UserError(
            f"{path} has {size} bytes, {n_bytes} when the checkpoint was written; start the run "
            "again with --force"
        )
    if size > n_bytes:
        os.truncate(path, n_bytes)
