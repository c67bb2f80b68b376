"""Recordings of which nothing is known but what is to be heard: a corpus without labels."""

from pathlib import Path

from lib import speech_source
from lib.errors import UserError
from lib.speech_listing import Corpus, Listing, Source
from lib.speech_source import MARKER


def recordings(folder: Path) -> Corpus:
    """All audio files below a folder, sorted by path, without labels, speakers or splits.

    Raises:
        UserError: if there is no such folder, or no audio file in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder of recordings")
    sources = Listing()
    for path in speech_source.audio_files(folder):
        sources.add(Source(path=path, within=folder))
    if not sources:
        suffixes = " ".join(speech_source.AUDIO_SUFFIXES)
        raise UserError(f"{folder} holds no audio file ({suffixes})")
    return Corpus(sources=sources, labels=(), sample=(folder / MARKER).exists())
