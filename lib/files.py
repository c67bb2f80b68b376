"""Files that are whole or absent: written aside, synced, renamed."""

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lib.errors import UserError
from lib.shapes import misfit

# What the system says of a disk that takes no more: full, over quota or a limit, broken, read-only.
WRITE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS)


def sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_once(path: Path) -> str:
    """`sha256`, computed in this process once for a file that keeps its size and its time."""
    state = path.stat()
    return _sha256_of(path, (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns))


@functools.lru_cache
def _sha256_of(path: Path, state: tuple[int, ...]) -> str:
    return sha256(path)


def digest(value: Any) -> str:
    """The SHA-256, in hex, of a value that JSON can hold; the order of keys does not matter."""
    return hashlib.sha256(_json(value)).hexdigest()


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, ensure_ascii=False).encode()


class ListDigest:
    """The `digest` of a list whose items come one after another and are not kept."""

    def __init__(self) -> None:
        """Begin with an empty list."""
        self._hash = hashlib.sha256(b"[")
        self._between = b""

    def add(self, item: Any) -> None:
        """Append what JSON can hold."""
        self._hash.update(self._between + _json(item))
        self._between = b", "

    def hexdigest(self) -> str:
        """That of the list so far."""
        whole = self._hash.copy()
        whole.update(b"]")
        return whole.hexdigest()


def read_json(
    path: Path, shape: Any = object, *, remedy: str = "delete it and make it again"
) -> Any:
    """The value in a JSON file.

    Args:
        path: of the file.
        shape: that the value must have, see lib.shapes.
        remedy: what to do about a damaged one.

    Raises:
        UserError: if the file is missing, is not JSON or holds a value of another shape.
    """
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text)
        if re.search(r"\\u[dD][89abAB]", text):  # half a character could never be written again
            json.dumps(value, ensure_ascii=False).encode()
        problem = misfit(value, shape)
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, or digits without end
        problem = str(error)
    if problem:
        raise UserError(f"{path} is damaged ({problem}); {remedy}")
    return value


def read_sealed(path: Path, *, beside: Path | None = None) -> dict[str, Any] | None:
    """What `write_sealed` wrote; None if a file is missing or was changed since: make it again.

    Args:
        path: of the JSON file.
        beside: the file that was sealed with it.
    """
    try:
        record = read_json(path, dict)
    except UserError:
        return None
    if record.pop("digest", None) != digest(record):
        return None
    if beside is None:
        return record
    return record if beside.is_file() and record.pop("beside", None) == sha256(beside) else None


def write_text(path: Path, text: str) -> None:
    """Write a text file so that a reader finds the old one or the new one, never a part of it."""
    with staged_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def write_sealed(path: Path, record: Mapping[str, Any], *, beside: Path | None = None) -> None:
    """Write a JSON object and its digest, by which `read_sealed` sees whether it is as written.

    Args:
        path: of the JSON file.
        record: fit for JSON.
        beside: another file, there already, that is sealed with it.
    """
    sums = {} if beside is None else {"beside": sha256(beside)}
    plain = json.loads(json.dumps({**record, **sums}))
    write_json(path, plain | {"digest": digest(plain)})


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, whole or not at all."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n")


@contextlib.contextmanager
def staged_file(path: Path) -> Iterator[Path]:
    """A path to write to, in the same folder; it becomes `path` when the block ends well."""
    with naming(path), _beside(path) as temporary:
        yield temporary
        _grant_umask(temporary)
        _sync(temporary)
        temporary.replace(path)
    _sync(path.parent)


@contextlib.contextmanager
def staged_folder(path: Path) -> Iterator[Path]:
    """A folder to fill beside `path`; it takes the place of `path` when the block ends well."""
    with naming(path), _beside(path) as temporary:
        temporary.mkdir()
        yield temporary
        for entry in [*temporary.rglob("*"), temporary]:
            _grant_umask(entry)
            _sync(entry)
        if path.exists():  # a folder cannot be renamed onto one that is not empty
            path.rename(temporary.parent / "old")
        temporary.rename(path)
    _sync(path.parent)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A path of the same name in a hidden folder beside it, which goes away with what it holds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        yield Path(folder) / path.name


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Tell a failure to write as an OSError that names `path`, not a file that is gone by then.

    Python names no file when a disk is full; safetensors tells of it in an exception of its own,
    which need not be imported here.
    """
    try:
        yield
    except OSError as error:
        hidden = f"{path.parent}{os.sep}.{path.name}."
        unnamed = error.filename is None and error.errno in WRITE_ERRORS
        if unnamed or str(error.filename).startswith(hidden):
            raise OSError(error.errno, error.strerror, str(path)) from None
        raise
    except Exception as error:
        told = re.search(r"\(os error (\d+)\)", str(error))
        if type(error).__name__ != "SafetensorError" or told is None:
            raise
        number = int(told.group(1))
        raise OSError(number, os.strerror(number), str(path)) from None


def write_array(path: Path, array: Any) -> None:
    """Write a NumPy array as `np.save` does, whose error on a full disk says nothing of it.

    Args:
        path: within `staged_file` or `staged_folder`.
        array: of numbers.
    """
    import numpy as np
    from numpy.lib import format as npy

    array = np.ascontiguousarray(array)
    with path.open("wb") as file:
        npy.write_array_header_1_0(file, npy.header_data_from_array_1_0(array))
        file.write(array.data.cast("B") if array.size else b"")


def reserve(path: Path, n_bytes: int) -> None:
    """Make a file of zeros to be mapped: on a full disk a page that has no place kills."""
    with path.open("wb") as file:
        if n_bytes:
            os.posix_fallocate(file.fileno(), 0, n_bytes)


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold the lock file `path`; the system frees it when the process ends, however it ends.

    Raises:
        UserError: if another process holds it and `wait` is false.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise UserError(
                f"another process holds {path}; wait for it to end, or choose another --name"
            ) from None
        yield


def size_bytes(path: Path) -> int:
    """The bytes that a file, or all the files below a folder, hold."""
    if path.is_file():
        return path.stat().st_size
    return sum(entry.stat().st_size for entry in path.rglob("*") if entry.is_file())


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what writers that were killed left in a folder; no other may be at work in it."""
    for entry in folder.glob(".*"):
        if re.fullmatch(r"\..+\.[a-z0-9_]{8}", entry.name) and entry.is_dir():
            remove(entry)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _grant_umask(path: Path) -> None:
    """Give the permissions that a plainly opened file would have; some writers leave 0600."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)
