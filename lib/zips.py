"""Zip files from outside, read in place: checked before anything in them is opened."""

import re
import stat
import threading
import zipfile
from pathlib import Path

from lib.errors import UserError

# Caps: of the files, of the bytes of one and of all when unpacked, of unpacked to packed.
MAX_FILES, MAX_FILE_BYTES, MAX_BYTES, MAX_RATIO = 50_000, 2**28, 2**35, 100
KINDS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)

_kept = threading.local()  # the zip file that this thread read from last, open


class DamagedMember(Exception):
    """One file in a zip file cannot be unpacked, or has another checksum than it should."""


def members(path: Path) -> list[str]:
    """The names of the files in a zip file; nothing is unpacked.

    Raises:
        UserError: if it is damaged, encrypted, too large when unpacked, or holds a name that leads
            out of it, a link, or two files of one name.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    # Of a version that is not known; with a name that is not UTF-8, or an offset below 0.
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); download it again") from None
    total = sum(info.file_size for info in infos)
    if len(infos) > MAX_FILES or total > MAX_BYTES:
        problem = f"{len(infos)} files of {total >> 20} MiB in all"
        raise UserError(f"{path} would unpack to {problem}, too much; it is not used")
    if total > MAX_RATIO * path.stat().st_size:
        problem = f"over {MAX_RATIO} times its size, as no audio does"
        raise UserError(f"{path} would unpack to {problem}; it is not used")
    seen: set[str] = set()
    for info in infos:
        problem = "a second file of that name" if info.filename in seen else _problem(info)
        if problem:
            raise UserError(f"{path} holds {info.filename[:80]!r}: {problem}; it is not used")
        seen.add(info.filename)
    return [info.filename for info in infos if not info.is_dir()]


def read(path: Path, member: str) -> bytes:
    """The bytes of one file in a zip file that `members` has passed.

    Raises:
        DamagedMember: if it cannot be unpacked.
    """
    if getattr(_kept, "path", None) != path:
        _kept.archive, _kept.path = zipfile.ZipFile(path), path
    try:
        with _kept.archive.open(member) as file:
            data: bytes = file.read(MAX_FILE_BYTES)  # whatever its entry says
    except Exception as error:  # zlib, lzma and zipfile have each their own
        raise DamagedMember(f"in {path.name}: {error}") from None
    return data


def _problem(info: zipfile.ZipInfo) -> str:
    """Why an entry of a zip file is not to be opened, or ""."""
    name = info.filename.replace("\\", "/")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if name.startswith("/") or ".." in name.split("/") or re.match("[A-Za-z]:", name):
        return "a path that leads out of it"
    if any(ord(char) < 32 for char in name):
        return "a name with control characters"
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "a link or a special file"
    if info.flag_bits & 1:
        return "encrypted; unpack it yourself"
    if info.compress_type not in KINDS:
        return "packed in a way that cannot be read; unpack it yourself"
    if info.file_size > MAX_FILE_BYTES:
        return f"{info.file_size >> 20} MiB unpacked"
    return ""
