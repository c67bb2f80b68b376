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
RATE = 44_100  # Hz


def text_files(folder: Path, *, seed: int = 0) -> Path:
    """The sample corpus with premises as long as FarsTail's, in its three files.

    More events are told after the one that the hypothesis asks about, so that about as many words
    stand in a pair as FarsTail has word pieces.

    Args:
        folder: to make, whole or not at all; left alone if it is there.
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
                    n_words = min(max(n_words, TEXT_RANGE[0]), TEXT_RANGE[1]) - 14
                    told = [premise]
                    while sum(len(text.split()) for text in told) < n_words:
                        told.append(rng.choice(others))
                    longer[premise] = " ".join(told)
                lines.append(f"{longer[premise]}\t{hypothesis}\t{label}")
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
                    longer = np.resize(samples, int(seconds * RATE))
                    paths = [f"{name}/{i:04d}-{copy:02d}.wav" for copy in range(copies)]
                    speech_sample.write_wav(staged / paths[0], longer, sample_rate=RATE)
                    for path in paths[1:]:
                        (staged / path).hardlink_to(staged / paths[0])
                    table.writerows([path, clip.emotion, "", name] for path in paths)
        files.write_json(staged / sample.MARKER, {"note": "a sample"})
    return manifest


def _normal_quantiles(n: int) -> np.ndarray:
    """The n quantiles of a standard normal distribution at the middles of n equal shares."""
    from scipy.special import ndtri

    return ndtri((np.arange(n) + 0.5) / n)
