"""What needs no neural network: the floors that a result on a speech corpus is held against."""

import functools
import importlib.metadata
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from lib.errors import UserError
from lib.files import digest, staged_file
from lib.metrics import summarize
from lib.packed import SAMPLE_RATE, Packed, open_packed, read_manifest, read_meta
from lib.persian import Progress
from lib.pool import n_cores, ordered
from lib.splits import speaker_guess
from lib.stats import accuracy_interval

FORMAT = 1
FULL_SCALE = 32768
N_MFCC = 20
WINDOW_S, HOP_S = 0.025, 0.010
CLIPS_PER_WORKER = 1500  # a worker's start takes as long


def floors(
    folder: Path,
    manifest: pd.DataFrame,
    split: pd.Series,
    labels: pd.Series,
    *,
    class_names: Sequence[str],
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """The floors of a split: name, accuracy, ci_low, ci_high, uar, macro_f1 and n (test clips).

    - majority: the most frequent training class.
    - duration: a small decision tree that knows the seconds only.
    - speaker: the most frequent training class of the speaker, who is known by name; only where
      test speakers train.
    - mfcc-svm: mean and standard deviation over time of MFCCs and their slopes, and an SVM.

    The 95 % intervals resample speakers, or clips where no speaker is known.

    Args:
        folder: a prepared speech folder; the features of all its clips are kept in it.
        manifest: its rows.
        split, labels: of each row, as lib/splits.py gives them.
        class_names: the classes in their order.
        workers: processes for the features; None: as many cores as pay.
        progress: called with (clips done, clips in all) while features are made.

    Raises:
        UserError: if the folder is damaged, or a split is empty.
    """
    trains, tests = (split == "train").to_numpy(), (split == "test").to_numpy()
    if not trains.any() or not tests.any():
        raise UserError("floors need clips to train on and clips to test on")
    number_of = {name: i for i, name in enumerate(class_names)}
    numbers = labels.map(number_of)
    known, truth = (numbers[rows].to_numpy(np.int64) for rows in (trains, tests))
    seconds = np.log(manifest["seconds"].to_numpy(float))[:, None]
    features = mfcc_statistics(folder, workers=workers, progress=progress)
    features = features[manifest["id"].to_numpy()]
    tree = DecisionTreeClassifier(max_depth=3, random_state=0)
    svm = make_pipeline(StandardScaler(), SVC(C=10, class_weight="balanced"))
    guesses: dict[str, np.ndarray] = {}
    guesses["majority"] = np.full(len(truth), np.bincount(known).argmax())
    guesses["duration"] = tree.fit(seconds[trains], known).predict(seconds[tests])
    speaker = manifest["speaker"].fillna("").to_numpy(str)
    if set(speaker[tests]) & set(speaker[trains]) - {""}:
        guessed = speaker_guess(manifest, split, labels)
        guesses["speaker"] = guessed.map(number_of).to_numpy(np.int64)
    guesses["mfcc-svm"] = svm.fit(features[trains], known).predict(features[tests])
    groups = np.where(speaker == "", manifest["path"].to_numpy(str), speaker)[tests]
    return [
        {"name": name, **_score(truth, guess, groups, class_names)}
        for name, guess in guesses.items()
    ]


def mfcc_statistics(
    folder: Path, *, workers: int | None = None, progress: Progress | None = None
) -> np.ndarray:
    """(N, 80) float32: of each clip, the mean and deviation of 20 MFCCs, then of their slopes.

    They are made once and kept in the prepared folder as mfcc-KEY.npy, whole or absent.

    Args:
        folder: a prepared speech folder.
        workers: processes; the features do not depend on it. None: as many cores as pay.
        progress: called with (clips done, clips in all).

    Raises:
        UserError: if the folder is not prepared speech, or damaged.

    Source: windows of 25 ms every 10 ms, Davis and Mermelstein 1980; librosa's MFCC and delta.
    """
    manifest = read_manifest(folder)
    made_of = {
        "format": FORMAT,
        "corpus": read_meta(folder)["fingerprint"],
        "librosa": importlib.metadata.version("librosa"),
    }
    path = folder / f"mfcc-{digest(made_of)[:12]}.npy"
    if path.is_file():
        return np.load(path)
    work = functools.partial(_mfcc, open_packed(folder, manifest))
    n_paying = math.ceil(len(manifest) / CLIPS_PER_WORKER)
    n_workers = max(1, min(n_cores(), n_paying)) if workers is None else workers
    rows = []
    for row in ordered(work, range(len(manifest)), workers=n_workers, chunk=32):
        rows.append(row)
        if progress:
            progress(len(rows), len(manifest))
    features = np.stack(rows)
    with staged_file(path) as temporary:
        np.save(temporary, features)
    return features


def _mfcc(packed: Packed, clip: int) -> np.ndarray:
    """(80,) float32 of one clip; runs in a worker."""
    from librosa.feature import delta, mfcc

    waveform = packed.read(clip).astype(np.float32) / FULL_SCALE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a clip shorter than a window, which is padded
        cepstra = mfcc(
            y=waveform,
            sr=SAMPLE_RATE,
            n_mfcc=N_MFCC,
            n_mels=64,
            n_fft=round(WINDOW_S * SAMPLE_RATE),
            hop_length=round(HOP_S * SAMPLE_RATE),
        )
    parts = (cepstra, delta(cepstra, mode="nearest"))
    return np.concatenate([np.r_[part.mean(axis=1), part.std(axis=1)] for part in parts])


def _score(
    truth: np.ndarray, guess: np.ndarray, groups: np.ndarray, class_names: Sequence[str]
) -> dict[str, Any]:
    low, high = accuracy_interval(truth == guess, groups)
    found = summarize(truth, guess, class_names=class_names)
    return {
        "accuracy": found["accuracy"],
        "ci_low": low,
        "ci_high": high,
        "uar": found["uar"],
        "macro_f1": found["macro_f1"],
        "n": found["n"],
    }
