"""What gives a clip away without being heard as speech: its words, and a copy of its sound."""

import functools
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from lib.floors import WORD
from lib.packed import SAMPLE_RATE, Packed, open_packed, read_manifest
from lib.persian import Progress
from lib.pool import n_cores, ordered

WINDOW, HOP = 512, 160  # samples: 32 ms every 10 ms
BANDS_HZ = np.geomspace(150, 3800, 17)  # 16 bands that a telephone would leave
N_TIMES = 48
FLOOR_DB = 35  # quieter parts are noise
LENGTH_RATIO = 0.93  # of the sounding parts of two copies at the least
CLIPS_PER_WORKER = 1500


def transcript_guess(
    manifest: pd.DataFrame, split: pd.Series, labels: pd.Series
) -> pd.Series | None:
    """The class that the words alone predict for each test clip; None without transcripts.

    TF-IDF of words and a logistic regression, fitted on the training clips; a clip without a
    transcript gets what is most probable without words.

    Args:
        manifest: of a prepared speech folder.
        split, labels: of each row, as lib/splits.py gives them.
    """
    trains, tests = split == "train", split == "test"
    texts = manifest["transcript"].fillna("").astype(str)
    if not texts[trains].str.contains(WORD).any():
        return None
    words = make_pipeline(TfidfVectorizer(token_pattern=WORD), LogisticRegression(max_iter=1000))
    words.fit(texts[trains], labels[trains])
    return pd.Series(words.predict(texts[tests]), index=manifest.index[tests])


def fingerprints(
    folder: Path, *, workers: int | None = None, progress: Progress | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """What a copy of a clip shares with it: (N, 768) float32 of norm 1, and sounding seconds (N,).

    See `fingerprint`.

    Args:
        folder: a prepared speech folder.
        workers: processes; the result does not depend on it. None: as many cores as pay.
        progress: called with (clips done, clips in all).

    Raises:
        UserError: if the folder is damaged.
    """
    manifest = read_manifest(folder)
    work = functools.partial(_of_clip, open_packed(folder, manifest))
    n_workers = workers or max(1, min(n_cores(), -(-len(manifest) // CLIPS_PER_WORKER)))
    prints, seconds = [], []
    for vector, length in ordered(work, range(len(manifest)), workers=n_workers, chunk=32):
        prints.append(vector)
        seconds.append(length)
        if progress:
            progress(len(prints), len(manifest))
    return np.stack(prints), np.array(seconds)


def _of_clip(packed: Packed, clip: int) -> tuple[np.ndarray, float]:
    return fingerprint(packed.read(clip).astype(np.float32))


def fingerprint(waveform: np.ndarray) -> tuple[np.ndarray, float]:
    """(768,) float32 of norm 1, or 0 for silence, and how many seconds sound.

    Energies of 16 bands in dB, from where the clip begins to sound to where it ends, at 48 times;
    each band's mean is taken off. So gain, silence around it, a filter, another coding, a little
    noise or speed change it little.

    Args:
        waveform: (n,) at 16 kHz.
    """
    silence = np.zeros(N_TIMES * (len(BANDS_HZ) - 1), np.float32), 0.0
    if len(waveform) < WINDOW or not np.any(waveform):
        return silence
    frames = np.lib.stride_tricks.sliding_window_view(waveform, WINDOW)[::HOP]
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(WINDOW), axis=1)))
    edges = np.round(BANDS_HZ * WINDOW / SAMPLE_RATE).astype(int)
    edges = np.maximum.accumulate(edges + np.arange(len(edges)) * 1e-3).astype(int)
    bands = np.stack(
        [power[:, low : max(low + 1, high)].sum(1) for low, high in pairwise(edges)],
        axis=1,
    )
    loud = 10 * np.log10(bands.sum(1) + 1e-9)
    sounding = np.flatnonzero(loud > loud.max() - FLOOR_DB / 2)
    bands = bands[sounding[0] : sounding[-1] + 1]
    decibels = 10 * np.log10(bands + 1e-9)
    decibels = np.maximum(decibels, decibels.max() - FLOOR_DB)
    times = np.linspace(0, len(decibels) - 1, N_TIMES + 1)
    sums = np.concatenate([np.zeros((1, decibels.shape[1])), np.cumsum(decibels, axis=0)])
    starts, ends = np.floor(times[:-1]).astype(int), np.ceil(times[1:]).astype(int) + 1
    grid = (sums[ends] - sums[starts]) / (ends - starts)[:, None]
    grid -= grid.mean(axis=0)
    norm = np.linalg.norm(grid)
    if norm < 1e-6:
        return silence
    return (grid / norm).ravel().astype(np.float32), len(bands) * HOP / SAMPLE_RATE


def nearest_sound(
    prints: np.ndarray, seconds: np.ndarray
) -> Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """What finds, for clips, the nearest of other clips that last about as long.

    Args:
        prints, seconds: of all clips, as `fingerprints` gives them.

    Returns:
        A function as lib.study.leak.nearest_of gives it.
    """

    def nearest(known: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        places, similarities = np.zeros(len(asked), np.int64), np.zeros(len(asked))
        for start in range(0, len(asked), 256):
            rows = asked[start : start + 256]
            product = prints[rows] @ prints[known].T
            shorter = np.minimum(seconds[rows][:, None], seconds[known][None])
            longer = np.maximum(seconds[rows][:, None], seconds[known][None])
            product[shorter < LENGTH_RATIO * longer] = 0
            best = product.argmax(axis=1)
            places[start : start + 256] = best
            similarities[start : start + 256] = product[np.arange(len(rows)), best]
        return known[places], similarities

    return nearest


def same_transcript(texts: Sequence[str]) -> Callable[[int, int], bool]:
    """Whether two clips have the same words, as `leak.normal` writes them; none has none."""
    from lib.study.leak import normal

    normalised = [normal(text) for text in texts]
    return lambda one, other: bool(normalised[one]) and normalised[one] == normalised[other]
