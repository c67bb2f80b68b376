"""The embedded speech corpus: a sample to try the toolkit on, and not a result.

A dozen speakers say made-up sentences of Persian words; six emotions lie in how they say them.
Averages (pitch, timbre, tempo, length) hint at the emotion; what tells it is the course of pitch,
loudness and voice quality within a phrase, to which statistics over a whole clip are nearly blind.
"""

import functools
import json
import wave
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lib import files, pool
from lib.errors import UserError
from lib.sample import MARKER
from lib.voice import SAMPLE_RATE_HZ, SOUNDS, WORDS, Speaker, Style, make_speaker, say

VERSION = 2  # of the synthesis: another one makes other files of the same settings
EMOTIONS = {  # letter of the file name: word of modified_shemo.json
    "A": "anger",
    "N": "neutral",
    "S": "sadness",
    "F": "fear",
    "W": "surprise",
    "H": "happiness",
}
CLIPS = {"A": 15, "N": 14, "S": 11, "W": 8, "H": 8, "F": 6}  # of each speaker
N_SPEAKERS = 6  # of each sex
DISPUTED_SHARE = 0.05
LOW_RATE_SHARE = 0.06  # of the clips are stored at 22.05 kHz, whatever their emotion
STYLES = {
    "A": Style(
        pitch_st=1, tempo=1.05, tilt=1.3, length_s=1.22, attack=1,
        pitch=(5, 2, -2, -5), loudness=(6, 2, -5, -12), quality=(1, 1, 0.8, 0.6),
    ),
    "N": Style(
        pitch_st=0, tempo=1.0, tilt=1.0, length_s=1.28,
        pitch=(1, 0.5, 0, -1), loudness=(0, 0, 0, 0), quality=(0.6, 0.6, 0.6, 0.6),
    ),
    "S": Style(
        pitch_st=-1, tempo=0.9, tilt=0.8, length_s=1.38, attack=-0.4, speeding=-0.6,
        pitch=(2, 1, -1, -4), loudness=(4, 0, -5, -10), quality=(0.4, 0.3, 0.15, 0),
    ),
    "F": Style(
        pitch_st=1, tempo=1.02, tilt=0.95, length_s=1.22, tremor_st=1.0, speeding=0.6,
        pitch=(4, -4, -4, 4), loudness=(5, -9, -9, 5), quality=(0.6, 0.2, 0.2, 0.6),
    ),
    "W": Style(
        pitch_st=1, tempo=1.0, tilt=1.05, length_s=1.18, attack=-1,
        pitch=(-5, -2, 2, 5), loudness=(-12, -5, 2, 6), quality=(0.4, 0.5, 0.8, 1),
    ),
    "H": Style(
        pitch_st=1.5, tempo=1.05, tilt=1.1, length_s=1.22, attack=0.4,
        pitch=(-5, 5, 5, -5), loudness=(-9, 5, 5, -9), quality=(0.4, 0.9, 0.9, 0.4),
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Clip:
    """One file of the corpus: what its name says, what is heard, and how it is stored."""

    speaker: Speaker
    name: str  # F01A01
    emotion: str  # the letter that is spoken; another one than in the name if disputed
    sample_rate: int
    seed: tuple[int, ...]

    @property
    def path(self) -> str:
        """Relative to the corpus's folder."""
        return f"{'female' if self.name[0] == 'F' else 'male'}/{self.name}.wav"


def speech_clips(*, seed: int = 0) -> list[Clip]:
    """The corpus's clips in order of speaker and emotion; nothing is synthesised yet.

    Every speaker speaks every emotion equally often, so that who speaks says nothing of how.
    """
    rng = np.random.default_rng([seed, 1])
    clips: list[Clip] = []
    for number in range(2 * N_SPEAKERS):
        sex, rank = "FM"[number // N_SPEAKERS], number % N_SPEAKERS
        speaker = make_speaker(rng, f"{sex}{rank + 1:02d}", place=(rank + 0.5) / N_SPEAKERS)
        for letter, count in CLIPS.items():
            for i in range(1, count + 1):
                rate = 22050 if rng.random() < LOW_RATE_SHARE else 44100
                clips.append(
                    Clip(
                        speaker=speaker,
                        name=f"{speaker.name}{letter}{i:02d}",
                        emotion=letter,
                        sample_rate=rate,
                        seed=(seed, 2, len(clips)),
                    )
                )
    for i in rng.choice(len(clips), round(DISPUTED_SHARE * len(clips)), replace=False):
        others = [letter for letter in EMOTIONS if letter != clips[i].emotion]
        clips[i] = replace(clips[i], emotion=str(rng.choice(others)))
    return clips


def render(clip: Clip) -> tuple[np.ndarray, str]:
    """A clip's samples, int16 (n,) at its own rate, and the words that are spoken."""
    waveform, words = say(np.random.default_rng(clip.seed), clip.speaker, STYLES[clip.emotion])
    n = len(waveform) * clip.sample_rate // SAMPLE_RATE_HZ
    spectrum = np.fft.rfft(waveform) * (n / len(waveform))
    samples = np.clip(np.round(32000 * np.fft.irfft(spectrum, n)), -32767, 32767)
    return samples.astype("<i2"), " ".join(words)


def utterances(n: int, *, seed: int) -> Iterator[np.ndarray]:
    """`n` unlabelled clips of the same kind, float32 at 16 kHz within ±1, for pretraining.

    The voices are drawn anew for each clip: none is a speaker of the corpus.
    """
    return (utterance(i, seed=seed) for i in range(n))


def utterance(number: int, *, seed: int) -> np.ndarray:
    """The number-th clip of `utterances`: (n,) float32 at 16 kHz within ±1."""
    rng = np.random.default_rng([seed, 3, number])
    speaker = make_speaker(rng, str(rng.choice(["F00", "M00"])), place=rng.random())
    letter = str(rng.choice(list(CLIPS), p=np.array(list(CLIPS.values())) / sum(CLIPS.values())))
    return say(rng, speaker, STYLES[letter])[0].astype(np.float32)


def write_utterances(folder: Path, *, n: int, seed: int, workers: int | None = None) -> int:
    """The number of files written into an empty folder: `n` unlabelled clips and the marker."""
    of_seed = functools.partial(utterance, seed=seed)
    for number, waveform in enumerate(pool.ordered(of_seed, range(n), workers=workers, chunk=32)):
        samples = np.clip(np.round(32000 * waveform), -32767, 32767)
        write_wav(folder / f"u{number:05d}.wav", samples, sample_rate=SAMPLE_RATE_HZ)
    about = {
        "made_by": "lib.speech_sample.write_utterances",
        "note": "a sample, not a result",
        "settings": _settings(seed, n),
        "files": _fingerprint(folder),
    }
    files.write_json(folder / MARKER, about)
    return n + 1


def write_corpus(folder: Path, *, seed: int = 0) -> int:
    """The number of files written into an empty folder: clips, modified_shemo.json, marker.

    The names carry ShEMO's first labels, modified_shemo.json the later ones: what is spoken.
    """
    entries = {}
    for clip in (clips := speech_clips(seed=seed)):
        samples, text = render(clip)
        write_wav(folder / clip.path, samples, sample_rate=clip.sample_rate)
        entries[f"{clip.name}.wav"] = {
            "path": f"shemo/{clip.name}.wav",
            "gender": clip.path.partition("/")[0],
            "speech_name": clip.name,
            "text_name": clip.name,
            "emotion": EMOTIONS[clip.emotion],
            "transcript": f"{text}.",
            "ipa": " ".join(WORDS[word] for word in text.split()),
        }
    labels = json.dumps(entries, indent=4) + "\n"
    (folder / "modified_shemo.json").write_text(labels, encoding="utf-8", newline="")
    about = {
        "made_by": "lib.speech_sample.write_corpus",
        "note": "a sample, not a result",
        "settings": _settings(seed),
        "files": _fingerprint(folder),
    }
    files.write_json(folder / MARKER, about)
    return len(clips) + 2


def is_current(folder: Path, *, seed: int = 0, unlabelled: int = 0) -> bool:
    """Whether the folder holds exactly what write_corpus, or write_utterances, would write."""
    try:
        about = files.read_json(folder / MARKER)
        settings = _settings(seed, unlabelled)
        return bool(about["settings"] == settings and about["files"] == _fingerprint(folder))
    except (UserError, KeyError, TypeError):
        return False


def write_wav(path: Path, samples: np.ndarray, *, sample_rate: int) -> None:
    """Write int16 samples (n,) as a mono WAV file; its folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(samples.astype("<i2").tobytes())


def _settings(seed: int, unlabelled: int = 0) -> str:
    counts = (CLIPS, N_SPEAKERS, DISPUTED_SHARE, LOW_RATE_SHARE)
    more = [unlabelled] if unlabelled else []
    return files.digest([VERSION, seed, repr((counts, STYLES, SOUNDS, WORDS)), *more])


def _fingerprint(folder: Path) -> str:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MARKER)
    return files.digest({path.relative_to(folder).as_posix(): files.sha256(path) for path in paths})
