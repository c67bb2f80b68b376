"""What needs no neural network: the floors that a result on a speech corpus is held against."""

import functools
import importlib.metadata
import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier

from lib import splits
from lib.errors import UserError
from lib.files import digest, read_sealed, staged_file, write_array, write_sealed
from lib.metrics import summarize
from lib.packed import SAMPLE_RATE, Packed, open_packed, read_manifest, read_meta
from lib.persian import Progress
from lib.pool import n_cores, ordered
from lib.stats import accuracy_interval

FORMAT = 1  # of the features that are kept
VERSION = 1  # of the floors: raised, old ones are computed again
FULL_SCALE = 32768
N_MFCC = 20
WINDOW_S, HOP_S = 0.025, 0.010
CLIPS_PER_WORKER = 1500  # a worker's start takes as long


def file_name(options: Mapping[str, Any]) -> str:
    """The name, without suffix, of the files that hold the floors of a run's test clips."""
    return "floors-{labels}-{split}-f{fold}".format(**options)


def guesses(
    folder: Path,
    manifest: pd.DataFrame,
    split: pd.Series,
    labels: pd.Series,
    *,
    class_names: Sequence[str],
    workers: int | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """What each floor says of each test clip.

    - majority: the most frequent training class.
    - duration: a small decision tree that knows the seconds only.
    - speaker: the most frequent training class of the speaker, who is known by name; only where
      test speakers train.
    - mfcc-svm: mean and standard deviation over time of MFCCs and their slopes, and an SVM.

    Args:
        folder: a prepared speech folder; the features of all its clips are kept in it.
        manifest: its rows.
        split, labels: of each row, as lib/splits.py gives them.
        class_names: the classes in their order.
        workers: processes for the features; None: as many cores as pay.
        progress: called with (clips done, clips in all) while features are made.

    Returns:
        A row for each test clip: id, group (its speaker; where none is known, the clip), label,
        and a column for each floor.

    Raises:
        UserError: if the folder is damaged, or a split is empty.
    """
    trains, tests = (split == "train").to_numpy(), (split == "test").to_numpy()
    if not trains.any() or not tests.any():
        raise UserError("floors need clips to train on and clips to test on")
    names = np.asarray(class_names)
    number_of = {name: i for i, name in enumerate(class_names)}
    known = labels[trains].map(number_of).to_numpy(np.int64)
    seconds = np.log(manifest["seconds"].to_numpy(float))[:, None]
    features = mfcc_statistics(folder, workers=workers, progress=progress)
    features = features[manifest["id"].to_numpy()]
    speaker = manifest["speaker"].fillna("").to_numpy(str)
    groups = np.where(speaker == "", manifest["path"].to_numpy(str), speaker)
    tree = DecisionTreeClassifier(max_depth=3, random_state=0)
    svm = make_pipeline(StandardScaler(), SVC(C=10, class_weight="balanced"))
    found = pd.DataFrame({"id": manifest["id"], "group": groups, "label": labels})[tests]
    found["majority"] = names[np.bincount(known).argmax()]
    found["duration"] = names[tree.fit(seconds[trains], known).predict(seconds[tests])]
    if set(speaker[tests]) & set(speaker[trains]) - {""}:
        found["speaker"] = splits.speaker_guess(manifest, split, labels)
    found["mfcc-svm"] = names[svm.fit(features[trains], known).predict(features[tests])]
    return found


def score(found: pd.DataFrame, *, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """The floors of test clips: name, accuracy, ci_low, ci_high, uar, macro_f1 and n, each.

    The 95 % intervals resample speakers, or clips where no speaker is known; None where there is
    but one.

    Args:
        found: what `guesses` gives, of one fold or of several, one after another.
        class_names: the classes in their order.
    """
    number_of = {name: i for i, name in enumerate(class_names)}
    truth = found["label"].map(number_of).to_numpy(np.int64)
    rows = []
    for name in found.columns.drop(["id", "group", "label"]):
        guess = found[name].map(number_of).to_numpy(np.int64)
        low, high = accuracy_interval(truth == guess, found["group"].to_numpy(str))
        figures = summarize(truth, guess, class_names=class_names)
        rows.append(
            {
                "name": name,
                "accuracy": figures["accuracy"],
                "ci_low": None if math.isnan(low) else low,
                "ci_high": None if math.isnan(high) else high,
                **{key: figures[key] for key in ("uar", "macro_f1", "n")},
            }
        )
    return rows


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
    """The floors of a split: the `score` of its `guesses`."""
    how: dict[str, Any] = {"workers": workers, "progress": progress}
    found = guesses(folder, manifest, split, labels, class_names=class_names, **how)
    return score(found, class_names=class_names)


def mfcc_statistics(
    folder: Path, *, workers: int | None = None, progress: Progress | None = None
) -> np.ndarray:
    """(N, 80) float32: of each clip, the mean and deviation of 20 MFCCs, then of their slopes.

    They are made once and kept in the prepared folder as mfcc-KEY.npy, made again if damaged.

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
    sums = path.with_suffix(".json")
    if read_sealed(sums, beside=path):
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
        write_array(temporary, features)
    write_sealed(sums, made_of, beside=path)
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
