"""What the bytes of an audio file say about themselves: its container, and whether it is whole.

libsndfile reads a WAV, AIFF, Ogg or MP3 file that was cut off without a word, only shorter.
"""

import struct
from dataclasses import dataclass

SUFFIXES = {  # container → suffixes that say so
    "WAV": (".wav", ".wave"),
    "FLAC": (".flac",),
    "Ogg": (".ogg", ".oga", ".opus"),
    "MP3": (".mp3",),
    "AIFF": (".aif", ".aiff", ".aifc"),
    "AU": (".au", ".snd"),
    "CAF": (".caf",),
    "W64": (".w64",),
    "MP4": (".mp4", ".m4a", ".aac"),
    "Matroska": (".mka", ".mkv", ".webm"),
    "ASF": (".wma", ".asf"),
    "AMR": (".amr",),
}
READABLE = ("WAV", "FLAC", "Ogg", "MP3", "AIFF", "AU", "CAF", "W64")
MAGIC = {
    b"fLaC": "FLAC",
    b"OggS": "Ogg",
    b"ID3": "MP3",
    b".snd": "AU",
    b"caff": "CAF",
    b"riff\x2e\x91\xcf\x11": "W64",
    b"\x1aE\xdf\xa3": "Matroska",
    b"0&\xb2u\x8ef\xcf\x11": "ASF",
    b"#!AMR": "AMR",
}
STREAMED = 0x7FFFF000  # what writes to a pipe puts this or more for a size that it cannot know
OPEN_SIZES = (0, 36)  # the size of a RIFF file whose writer never came back to it


def container(data: bytes) -> str | None:
    """The container that the first bytes show, a key of SUFFIXES; None if it is none of them."""
    if data[:4] in (b"RIFF", b"RIFX", b"RF64") and data[8:12] == b"WAVE":
        return "WAV"
    if data[:4] == b"FORM" and data[8:12] in (b"AIFF", b"AIFC"):
        return "AIFF"
    if data[4:8] == b"ftyp":
        return "MP4"
    for magic, name in MAGIC.items():
        if data.startswith(magic):
            return name
    return "MP3" if _is_mpeg_frame(data[:4]) else None


def expected(suffix: str) -> str | None:
    """The container that a suffix such as `.wav` promises; None if it promises nothing known."""
    return next((name for name, all_ in SUFFIXES.items() if suffix.lower() in all_), None)


def missing_bytes(data: bytes) -> int:
    """How many bytes the container of a whole file promises that are not there; 0 if none.

    Sizes that a writer to a pipe leaves open, a missing padding byte and a cut or absent chunk
    after the samples are no loss.
    """
    kind = container(data)
    if kind in ("WAV", "AIFF"):
        place = samples_chunk(data)
        return 1 if place is None else max(0, place.start + place.size - len(data))
    if kind == "Ogg":
        return _missing_ogg(data)
    if kind == "MP3":
        return _missing_mp3(data)
    if kind == "AU" and len(data) >= 12:
        start, size = struct.unpack(">II", data[4:12])
        return max(0, start + size - len(data)) if size < STREAMED else 0
    return 0


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Where the samples of a WAV or AIFF file begin, and how many bytes they are said to be.

    `field` is the place of the size in the file; `is_open` says that the writer left it open: then
    `size` is what follows.
    """

    start: int
    size: int
    field: int
    is_open: bool = False


def samples_chunk(data: bytes) -> Chunk | None:
    """The chunk of the samples of a WAV or AIFF file; None if the file ends before it."""
    order = "<" if data[:4] in (b"RIFF", b"RF64") else ">"
    wanted = b"SSND" if data[:4] == b"FORM" else b"data"
    whole = struct.unpack_from(f"{order}I", data, 4)[0]
    long_size: int | None = None  # RF64 has its true sizes in a chunk of their own
    at = 12
    while at + 8 <= len(data):
        name, size = data[at : at + 4], struct.unpack_from(f"{order}I", data, at + 4)[0]
        start = at + 8
        if name == b"ds64" and start + 16 <= len(data):
            long_size = struct.unpack_from("<Q", data, start + 8)[0]
        if name == wanted:
            if size == 0xFFFFFFFF and long_size:
                size = long_size
            unclosed = whole in OPEN_SIZES or whole >= STREAMED
            if STREAMED <= size <= 0xFFFFFFFF or (size == 0 and unclosed):
                return Chunk(start=start, size=len(data) - start, field=at + 4, is_open=True)
            return Chunk(start=start, size=size, field=at + 4)
        at = start + size + size % 2
    return None


def _missing_ogg(data: bytes) -> int:
    """Of the last page; a stream without a page that is marked as its end lacks at least one."""
    last = data.rfind(b"OggS")
    if last + 27 > len(data):
        return last + 27 - len(data)
    n_segments = data[last + 26]
    table = data[last + 27 : last + 27 + n_segments]
    end = last + 27 + n_segments + sum(table)
    if end > len(data) or len(table) < n_segments:
        return max(1, end - len(data))
    return 0 if data[last + 5] & 4 else 1


def _missing_mp3(data: bytes) -> int:
    """Where the encoder wrote how long the stream is (a Xing header), else 0."""
    start = 0
    if data[:3] == b"ID3" and len(data) >= 10:
        start = 10  # and the tag's size in four times seven bits
        for byte, shift in zip(data[6:10], (21, 14, 7, 0), strict=True):
            start += (byte & 127) << shift
    head = data[start : start + 200]
    at = max(head.find(b"Xing"), head.find(b"Info"))
    if at < 0 or len(head) < at + 16:
        return 0
    flags = struct.unpack_from(">I", head, at + 4)[0]
    if not flags & 2:
        return 0
    size = struct.unpack_from(">I", head, at + (12 if flags & 1 else 8))[0]
    return max(0, start + size - len(data))


def _is_mpeg_frame(head: bytes) -> bool:
    """Whether four bytes can begin an MPEG audio frame of layer 3."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return False
    version, rate, bitrate = head[1] >> 3 & 3, head[2] >> 2 & 3, head[2] >> 4
    return version != 1 and rate != 3 and bitrate not in (0, 15)
