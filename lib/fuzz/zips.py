"""Damaged and hostile zip files, and hostile pickles, drawn at random."""

import io
import pickle
import stat
import struct
import warnings
import zipfile
from random import Random
from typing import Any

from lib.fuzz.damage import NUMBERS, damaged_bytes

DEFLATED = zipfile.ZIP_DEFLATED
LEADING_OUT = (
    "../x.wav",
    "a/../../x.wav",
    "/tmp/x.wav",
    "..\\x.wav",
    "C:\\x.wav",
    "female/../../x",
)
ODD_NAMES = (
    *("F01A09.wav", "female/F01A01.wav", "F01A01.wav", "deep/deep/F01A07.wav", "x.wav", ".wav"),
    *("F01A01.WAV", "F01A08.flac", "__MACOSX/._F01A01.wav", "F01A09\n.wav", "\u202eF01A09.wav"),
    *(
        "a" * 300 + ".wav",
        "F01A09.wav/",
        "F99N99.wav",
        "M01A01.wav",
        "F01A01.wav\0.txt",
        "سلام.wav",
    ),
)


def damaged_zip(draw: Random, data: bytes) -> tuple[bytes, str, bool]:
    """A zip file of recordings with damage; what it is; whether nobody may take it."""
    way = draw.choice(("bytes", "bytes", "tail", "out", "link", "bomb", "lie", "field", "name"))
    if way == "bytes":
        return *damaged_bytes(draw, data, head=len(data)), False
    if way == "tail":  # where the list of files is
        at = data.index(b"PK\x01\x02")
        changed, what = damaged_bytes(draw, data[at:], head=200)
        return data[:at] + changed, f"tail {what}", False
    if way == "field":
        return *_field(draw, data), False
    if way == "lie":
        return _lie(draw), "sizes that lie", True
    added = io.BytesIO(data)
    with warnings.catch_warnings(), zipfile.ZipFile(added, "a", DEFLATED) as archive:
        warnings.simplefilter("ignore")  # that a name is there already is the damage
        if way == "bomb":
            info = zipfile.ZipInfo("female/F01A05.wav")  # by its name alone it would hold the time
            archive.writestr(info, b"\0" * draw.choice((5 * 10**6, 3 * 10**7)), DEFLATED)
        elif way == "link":
            info = zipfile.ZipInfo("female/F01A05.wav")
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, draw.choice(("/etc/passwd", "../../outside.wav", "/dev/zero")))
        else:
            name = draw.choice(LEADING_OUT if way == "out" else ODD_NAMES)
            info = zipfile.ZipInfo("x")
            info.filename = name
            archive.writestr(info, zipfile.ZipFile(io.BytesIO(data)).read("female/F01A01.wav"))
            way = f"{way} {name[:40]!r}"
    return added.getvalue(), way, not way.startswith("name")


def _field(draw: Random, data: bytes) -> tuple[bytes, str]:
    """One field of one entry, in the list of files or before the file, with another value."""
    here = draw.choice((b"PK\x01\x02", b"PK\x03\x04"))
    places = [at for at in range(len(data)) if data.startswith(here, at)]
    start = draw.choice(places)
    fields = {"version": 6, "flags": 8, "method": 10, "crc": 16, "packed": 20, "size": 24}
    fields |= {"name": 28, "extra": 30, "offset": 42, "attributes": 38}
    if here == b"PK\x03\x04":
        fields = {"flags": 6, "method": 8, "crc": 14, "packed": 18, "size": 22, "name": 26}
    name = draw.choice(list(fields))
    form = "<H" if name in ("version", "flags", "method", "name", "extra") else "<I"
    value = draw.choice((*NUMBERS, 8, 9, 12, 14, 99)) % 2 ** (8 * struct.calcsize(form))
    at = start + fields[name]
    return data[:at] + struct.pack(form, value) + data[at + struct.calcsize(form) :], name


def _lie(draw: Random) -> bytes:
    """A file of zeros that says it is small when unpacked."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("female/F01A01.wav"), b"\0" * 2 * 10**7, DEFLATED)
        archive.writestr(zipfile.ZipInfo("female/F01N01.wav"), draw.randbytes(60_000), DEFLATED)
    data = bytearray(made.getvalue())
    for name, at in ((b"PK\x01\x02", 24), (b"PK\x03\x04", 22)):
        struct.pack_into("<I", data, data.index(name) + at, draw.choice((0, 10, 1000)))
    return bytes(data)


class _Call:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def hostile_pickle(draw: Random, canary: str) -> tuple[bytes, str]:
    """A pickle that would make the file `canary` if it were run."""
    import os

    calls = {"open": _Call(open, canary, "w"), "mkdir": _Call(os.mkdir, canary)}
    calls |= {"system": _Call(os.system, f"touch {canary}"), "eval": _Call(eval, "1")}
    calls["exec"] = _Call(exec, f"open({canary!r}, 'w')")
    way = draw.choice(list(calls))
    value = draw.choice((calls[way], {"x": calls[way]}, [calls[way]]))
    return pickle.dumps(value, protocol=draw.choice((0, 2, 4))), f"calls {way}"
