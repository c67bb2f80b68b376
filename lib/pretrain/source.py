"""Recordings of which nothing is known but what is to be heard: a corpus without labels."""

from pathlib import Path

from lib import speech_source
from lib.errors import UserError
from lib.speech_source import MARKER, Corpus, Source


def recordings(folder: Path) -> Corpus:
    """All audio files below a folder, sorted by path, without labels, speakers or splits.

    Raises:
        UserError: if there is no such folder, or no audio file in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder of recordings")
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    found = speech_source._audio(paths)
    if not found:
        suffixes = " ".join(speech_source.AUDIO_SUFFIXES)
        raise UserError(f"{folder} holds no audio file ({suffixes})")
    sources = tuple(
        Source(path=name, file=found[name], label_filename="") for name in sorted(found)
    )
    return Corpus(sources=sources, labels=(), sample=(folder / MARKER).exists())
