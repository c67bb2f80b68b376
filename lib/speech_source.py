"""Which clips a corpus has and what is known of each: ShEMO as people have it, or a manifest."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from lib import zips
from lib.audio import BadAudio, read_bytes
from lib.audio_header import SUFFIXES
from lib.errors import UserError
from lib.files import read_json

# The report's order: anger, neutral, sadness, fear, surprise, happiness.
SHEMO_LABELS = ("A", "N", "S", "F", "W", "H")
EMOTIONS = dict(
    zip(("anger", "neutral", "sadness", "fear", "surprise", "happiness"), SHEMO_LABELS, strict=True)
)
SHEMO_NAME = re.compile(r"([FM]\d\d)([ANSFWH])\d+")
SHEMO_PARTS = ("female", "male")
TRANSCRIPTS = "modified_shemo.json"
MARKER = "SAMPLE"  # a folder that holds this file is a sample, not a result
AUDIO_SUFFIXES = tuple(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One clip of a corpus before it is read.

    Attributes:
        path: as in the corpus, with slashes, such as female/F01A01.wav.
        file: the file, or the zip file that holds it.
        member: its name in the zip file, or None.
        label_filename, label_transcript: class by either version; "" where it is not known.
        speaker, gender, transcript, split: "" where they are not known; gender is F or M.
    """

    path: str
    file: Path
    member: str | None = None
    label_filename: str
    label_transcript: str = ""
    speaker: str = ""
    gender: str = ""
    transcript: str = ""
    split: str = ""


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The clips of a corpus, sorted by path, and its classes in their order.

    Attributes:
        name: "shemo" or None.
        sample: whether it is generated data.
    """

    sources: tuple[Source, ...]
    labels: tuple[str, ...]
    name: str | None = None
    sample: bool = False


def shemo(folder: Path, *, transcripts: Path | None = None) -> Corpus:
    """ShEMO in a folder that holds female/ and male/, or their zip files, or all the files.

    Clips that the transcripts name and the folder lacks are listed too, for the reader to miss.

    Args:
        folder: of the corpus.
        transcripts: modified_shemo.json; by default the one in the folder, if it is there.

    Raises:
        UserError: if there is no such corpus, or something in it is not what it should be.

    Source: names: github.com/pariajm/sharif-emotional-speech-dataset; modified_shemo.json:
        arXiv 2211.09956.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; fetch ShEMO, or name a folder with --data")
    found = _shemo_files(folder)
    names = _by_name(found, folder)
    known: Mapping[str, Any] = {}
    if transcripts is not None or (folder / TRANSCRIPTS).is_file():
        known = _read_transcripts(transcripts or folder / TRANSCRIPTS)
    halves = any("/" in path for path in found)
    for name in sorted(known.keys() - names.keys()):
        path = f"{SHEMO_PARTS[name[0] == 'M']}/{name}.wav" if halves else f"{name}.wav"
        names[name] = _source(path, folder / path)
    sources = []
    for name, source in names.items():
        match = SHEMO_NAME.fullmatch(name)
        assert match is not None
        emotion, transcript = known.get(name, ("", ""))
        sources.append(
            replace(
                source,
                label_filename=match[2],
                label_transcript=emotion,
                transcript=transcript,
                speaker=match[1],
                gender=name[0],
            )
        )
    return Corpus(
        sources=tuple(sorted(sources, key=lambda source: source.path)),
        labels=SHEMO_LABELS,
        name="shemo",
        sample=(folder / MARKER).exists(),
    )


def read(source: Source) -> bytes:
    """The bytes of a clip's file.

    Raises:
        BadAudio: if it is missing, cannot be read or is damaged in its zip file.
    """
    if source.member is None:
        return read_bytes(source.file)
    try:
        return zips.read(source.file, source.member)
    except zips.DamagedMember as error:
        raise BadAudio("damaged", str(error)) from None


def _shemo_files(folder: Path) -> dict[str, Source]:
    """The audio files of both halves by their path in the corpus."""
    found: dict[str, Source] = {}
    for part in SHEMO_PARTS:
        below, packed = folder / part, folder / f"{part}.zip"
        if below.is_dir():
            paths = {path.relative_to(folder).as_posix(): path for path in below.rglob("*")}
            found |= {name: _source(name, path) for name, path in _audio(paths).items()}
        elif packed.is_file():
            for member in filter(_is_audio, zips.members(packed)):
                name = f"{part}/{PurePosixPath(member).name}"
                if name in found:
                    raise UserError(f"{packed} holds {name} twice, in different folders")
                found[name] = _source(name, packed, member)
    if not found:
        paths = {path.name: path for path in folder.iterdir()}
        found = {name: _source(name, path) for name, path in _audio(paths).items()}
    if not found:
        wanted = "female/ and male/, female.zip and male.zip, or F01A01.wav and so on"
        raise UserError(f"{folder} holds none of ShEMO's recordings; put {wanted} there")
    return found


def _source(name: str, file: Path, member: str | None = None) -> Source:
    return Source(path=name, file=file, member=member, label_filename="")


def _audio(paths: Mapping[str, Path]) -> dict[str, Path]:
    return {name: path for name, path in paths.items() if _is_audio(name)}


def _is_audio(name: str) -> bool:
    """Whether a path is of an audio file, not one that macOS leaves (._NAME, __MACOSX)."""
    path = PurePosixPath(name)
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return path.suffix.lower() in AUDIO_SUFFIXES and not hidden


def _by_name(found: Mapping[str, Source], folder: Path) -> dict[str, Source]:
    """The sources by clip name, such as F01A01."""
    names: dict[str, Source] = {}
    unknown = [path for path in found if not SHEMO_NAME.fullmatch(PurePosixPath(path).stem)]
    if unknown:
        kind = "as F01A01 (sex, speaker, one of A N S F W H, number); give others by --manifest"
        raise UserError(f"{folder}: {some(unknown)} not named as in ShEMO, {kind}")
    for path, source in found.items():
        name = PurePosixPath(path).stem
        if name in names:
            raise UserError(f"{folder} holds {name} twice: {names[name].path} and {path}")
        names[name] = source
    return names


def some(values: Iterable[str], n: int = 3) -> str:
    """The first few of some values in words, and how many more there are."""
    listed = [value if value.isprintable() else repr(value) for value in values]
    more = f" and {len(listed) - n} more" if len(listed) > n else ""
    return ", ".join(listed[:n]) + more


def _read_transcripts(path: Path) -> dict[str, tuple[str, str]]:
    """(Class, transcript) by clip name."""
    entries = read_json(path)
    rows = list(entries.values()) if isinstance(entries, dict) else []
    if rows and all(isinstance(row, dict) and "speaker_id" in row for row in rows):
        problem = "is keyed by transcript: 162 of its keys have no such file, 121 are of another"
        raise UserError(f"{path} {problem}; take {TRANSCRIPTS} of arXiv 2211.09956")
    known = {}
    for row in rows:
        try:
            name, emotion, transcript = row["speech_name"], row["emotion"], row["transcript"]
            known[name] = EMOTIONS[emotion], " ".join(transcript.replace("\ufeff", "").split())
        except (KeyError, TypeError, AttributeError):
            problem = "an entry has no speech_name, emotion and transcript"
            raise UserError(f"{path}: {problem}") from None
        if not isinstance(name, str) or not SHEMO_NAME.fullmatch(name):
            raise UserError(f"{path}: {name!r:.80} is no file name of ShEMO")
    if not known:
        raise UserError(f"{path} names no clips")
    return known
