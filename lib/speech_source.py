"""Which clips ShEMO has, in any form in which people have it, and what is known of each."""

import os
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from lib import zips
from lib.audio import BadAudio, read_bytes
from lib.audio_header import SUFFIXES
from lib.errors import UserError
from lib.files import read_json
from lib.speech_listing import Corpus, Listing, Source, clip_name

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
    places = _shemo_files(folder)
    paths = _by_name(places, folder)
    known: Mapping[str, tuple[str, str]] = {}
    if transcripts is not None or (folder / TRANSCRIPTS).is_file():
        known = _read_transcripts(transcripts or folder / TRANSCRIPTS)
    halves = any("/" in path for path in places)
    for name in known.keys() - paths.keys():
        paths[name] = f"{SHEMO_PARTS[name[0] == 'M']}/{name}.wav" if halves else f"{name}.wav"
        places[paths[name]] = folder, None
    sources = Listing()
    for name, path in paths.items():
        match = SHEMO_NAME.fullmatch(name)
        assert match is not None
        within, member = places[path]
        emotion, transcript = known.get(name, ("", ""))
        sources.add(
            Source(
                path=path,
                within=within,
                member=member,
                label_filename=match[2],
                label_transcript=emotion,
                transcript=transcript,
                speaker=match[1],
                gender=name[0],
            )
        )
    return Corpus(
        sources=sources,
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
        return zips.read(source.within, source.member)
    except zips.DamagedMember as error:
        raise BadAudio("damaged", str(error)) from None


def audio_files(folder: Path, below: str = "", *, deep: bool = True) -> Iterator[str]:
    """The audio files of a folder and, if `deep`, the folders in it: paths from it, with slashes.

    Links to folders are not followed, below `below`.
    """
    with os.scandir(os.path.join(folder, below)) as entries:
        for entry in entries:
            path = posixpath.join(below, entry.name)
            if _is_audio(path):
                yield path
            if deep and entry.is_dir(follow_symlinks=False):
                yield from audio_files(folder, path)


def _shemo_files(folder: Path) -> dict[str, tuple[Path, str | None]]:
    """The audio files of both halves: path in the corpus → `within` and `member` of a Source."""
    found: dict[str, tuple[Path, str | None]] = {}
    for part in SHEMO_PARTS:
        packed = folder / f"{part}.zip"
        if (folder / part).is_dir():
            found |= dict.fromkeys(audio_files(folder, part), (folder, None))
        elif packed.is_file():
            for member in filter(_is_audio, zips.members(packed)):
                path = f"{part}/{posixpath.basename(member)}"
                if path in found:
                    raise UserError(f"{packed} holds {path} twice, in different folders")
                found[path] = packed, member
    if not found:
        found = dict.fromkeys(audio_files(folder, deep=False), (folder, None))
    if not found:
        wanted = "female/ and male/, female.zip and male.zip, or F01A01.wav and so on"
        raise UserError(f"{folder} holds none of ShEMO's recordings; put {wanted} there")
    return found


def _is_audio(name: str) -> bool:
    """Whether a path is of an audio file, not one that macOS leaves (._NAME, __MACOSX)."""
    parts = posixpath.normpath(name).split("/")
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in parts)
    return posixpath.splitext(parts[-1])[1].lower() in AUDIO_SUFFIXES and not hidden


def _by_name(found: Iterable[str], folder: Path) -> dict[str, str]:
    """The paths by clip name, such as F01A01."""
    paths: dict[str, str] = {}
    unknown = [path for path in found if not SHEMO_NAME.fullmatch(clip_name(path))]
    if unknown:
        kind = "as F01A01 (sex, speaker, one of A N S F W H, number); give others by --manifest"
        raise UserError(f"{folder}: {some(unknown)} not named as in ShEMO, {kind}")
    for path in found:
        name = clip_name(path)
        if name in paths:
            raise UserError(f"{folder} holds {name} twice: {paths[name]} and {path}")
        paths[name] = path
    return paths


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
