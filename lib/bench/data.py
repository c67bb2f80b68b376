"""What the benchmark computes on where no corpus is at hand: generated rows of real lengths."""

import csv
import math
import random
from pathlib import Path

import numpy as np

from lib import files, sample, speech_sample

# Source: FarsTail's training pairs in word pieces of a vocabulary of 8000, cut to 128: mean 72.
TEXT_LOG_MEAN, TEXT_LOG_STD, TEXT_RANGE = 4.22, 0.34, (20, 126)
# Source: reference.md 3: ShEMO's clips, median 3.1 s, mean 4.2, 95th percentile 10.8.
SPEECH_LOG_MEAN, SPEECH_LOG_STD, SPEECH_RANGE = math.log(3.1), 0.78, (0.4, 33.0)
N_PREMISES = (500, 100, 100)  # of train, validation and test, three pairs each
# By which a small model can learn the classes in a minute: its first word gives a hypothesis away,
# nine times in ten.
CUES = {"e": "البته", "c": "هرگز", "n": "شاید"}
CUE_SHARE = 0.9
RATE = 44_100  # Hz
# Beneath each voice hums a note of its class, which frozen random convolutions let through.
NOTES = {letter: 200.0 * 1.5**i for i, letter in enumerate(speech_sample.EMOTIONS)}  # Hz
LOUDNESS = 6000  # of the notes, in 16-bit steps


def text_files(folder: Path, *, long: bool = True, seed: int = 0) -> Path:
    """The sample corpus with premises as long as FarsTail's, in its three files.

    More events are told after the one that the hypothesis asks about, so that about as many words
    stand in a pair as FarsTail has word pieces. Each hypothesis begins with one of CUES, which a
    tenth of the time is drawn at random: 93 % are the most that knowing them gives.

    Args:
        folder: to make, whole or not at all; left alone if it is there.
        long: else premises stay as short as the sample's.
        seed: of rows and lengths.
    """
    if folder.exists():
        return folder
    rng = random.Random(seed)
    corpus = sample.text_corpus(seed=seed, n_premises=N_PREMISES)
    with files.staged_folder(folder) as staged:
        for split, rows in corpus.items():
            others = [premise for premise, _, _ in rows]
            lines = ["premise\thypothesis\tlabel"]
            longer: dict[str, str] = {}
            for premise, hypothesis, label in rows:
                if premise not in longer:
                    n_words = rng.lognormvariate(TEXT_LOG_MEAN, TEXT_LOG_STD)
                    n_words = min(max(n_words, TEXT_RANGE[0]), TEXT_RANGE[1]) - 15
                    told = [premise]
                    while long and sum(len(text.split()) for text in told) < n_words:
                        told.append(rng.choice(others))
                    longer[premise] = " ".join(told)
                cue = CUES[label if rng.random() < CUE_SHARE else rng.choice("ecn")]
                lines.append(f"{longer[premise]}\t{cue} {hypothesis}\t{label}")
            name = sample.TEXT_FILES[split]
            (staged / name).write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
        files.write_json(staged / sample.MARKER, {"note": "a sample, not a result"})
    return folder


def speech_files(
    folder: Path, *, sizes: tuple[int, int, int], copies: int = 1, seed: int = 0
) -> Path:
    """A manifest of generated recordings at 44.1 kHz, as long as ShEMO's clips.

    Args:
        folder: to make, whole or not at all; left alone if it is there.
        sizes: clips of train, validation and test.
        copies: links to each clip, so that many cost no disk.
        seed: of clips and lengths.
    """
    manifest = folder / "manifest.csv"
    if folder.exists():
        return manifest
    rng = np.random.default_rng(seed)
    low, high = SPEECH_RANGE
    clips = speech_sample.speech_clips(seed=seed)
    order = rng.permutation(len(clips))
    # The quantiles of the distribution, shuffled within each split: few clips have its shape too.
    with files.staged_folder(folder) as staged:
        with (staged / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file)
            table.writerow(["path", "label", "speaker", "split"])
            for name, n in zip(("train", "validation", "test"), sizes, strict=True):
                drawn = np.exp(SPEECH_LOG_MEAN + SPEECH_LOG_STD * _normal_quantiles(n))
                for i, seconds in enumerate(rng.permutation(np.clip(drawn, low, high))):
                    clip = clips[order[i % len(order)]]
                    samples, _ = speech_sample.render(clip)
                    longer = np.resize(samples // 2, int(seconds * RATE))
                    longer = longer + _note(NOTES[clip.emotion], len(longer))
                    paths = [f"{name}/{copy:03d}-{i:04d}.wav" for copy in range(copies)]
                    speech_sample.write_wav(staged / paths[0], longer, sample_rate=RATE)
                    for path in paths[1:]:
                        (staged / path).hardlink_to(staged / paths[0])
                    table.writerows([path, clip.emotion, "", name] for path in paths)
        files.write_json(staged / sample.MARKER, {"note": "a sample"})
    return manifest


def _note(pitch_hz: float, n: int) -> np.ndarray:
    """(n,) int16: a sine."""
    return (LOUDNESS * np.sin(2 * np.pi * pitch_hz / RATE * np.arange(n))).astype(np.int16)


def _normal_quantiles(n: int) -> np.ndarray:
    """The n quantiles of a standard normal distribution at the middles of n equal shares."""
    from scipy.special import ndtri

    return ndtri((np.arange(n) + 0.5) / n)
