"""Units: the cluster that each frame of a corpus's speech belongs to, beside its packed audio.

A folder of units, PREPARED/units/NAME, holds units.bin (of all clips, one after another, uint16),
centroids.npy (K, D) and meta.json. Clips are read one after another: memory does not grow with
the corpus, only `starts` does, eight bytes a clip.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib import files, packed, speech
from lib.errors import UserError
from lib.persian import Progress
from lib.pretrain.features import Features, Frames
from lib.speech import SpeechSplit

FORMAT = 1
STREAM = 7  # of the generators
BATCH = 10_000  # frames of a step of k-means: Source: Hsu et al. 2021, 4.B
MAX_UNITS = 2**16
PARTS = ("labels", "split", "fold", "emobox")
EVERY_CLIP = "all"


@dataclass(kw_only=True)
class Track:
    """The units of a corpus's clips.

    Attributes:
        units: uint16 of all clips, flat, memory-mapped.
        starts: (N,) where each clip's begin.
        n_samples: (N,) of each clip, at 16 kHz.
        frames: what each unit is of.
        n_units: K.
        name: of the folder.
    """

    units: np.ndarray
    starts: np.ndarray
    n_samples: np.ndarray
    frames: Frames
    n_units: int
    name: str

    def of_clip(self, clip: int, wanted: Frames, *, max_samples: int = 0) -> np.ndarray:
        """(T,) int64: for each frame that a model cuts from a clip, the unit at its centre.

        Args:
            clip: its number in the manifest.
            wanted: the model's frames.
            max_samples: a longer clip is cut to its middle, as lib.speech cuts it; 0: never.
        """
        n = int(self.n_samples[clip])
        length = min(n, max_samples) if max_samples else n
        start = (n - length) // 2  # as in SpeechSplit.waveform
        places = self.frames.nearest(n, wanted, start=start, stop=start + length)
        return self.units[self.starts[clip] + places].astype(np.int64)


def training_clips(folder: Path, options: Mapping[str, Any]) -> np.ndarray:
    """(M,) clips that may be learnt from, ascending: those of the training split alone.

    Args:
        folder: made by scripts.prepare_shemo, or by scripts.prepare_audio.
        options: labels, split, fold and emobox as of a run; split `all` takes every clip of a
            corpus that nobody will be tested on.

    Raises:
        UserError: if the folder is damaged, or cannot be parted so.
    """
    if options["split"] == EVERY_CLIP:
        return np.arange(len(packed.read_manifest(folder)))
    if not packed.read_meta(folder)["labels"]:
        raise UserError(f"{folder} has no labels to part it by; give --split all")
    _, split, _ = speech.parts(folder, options)
    return np.flatnonzero((split == "train").to_numpy())


def fit(
    clips: SpeechSplit,
    rows: np.ndarray,
    features: Features,
    *,
    n_units: int,
    n_frames: int,
    seed: int,
) -> tuple[Any, dict[str, int]]:
    """scikit-learn's mini-batch k-means, fitted; and how many clips and frames it has seen.

    Args:
        clips: all of them.
        rows: the clips that may be learnt from, of which as many are drawn as give `n_frames`.
        features: of clips.
        n_units: K.
        n_frames: frames to learn from, about; they are held in memory.
        seed: of the draw and the first centroids.

    Raises:
        UserError: if there are fewer frames than units.
    """
    from sklearn.cluster import MiniBatchKMeans

    order = np.random.default_rng([STREAM, seed]).permutation(rows)
    found: list[np.ndarray] = []
    n_seen = n_clips = 0
    for some in np.array_split(order, max(1, len(order) // 64)):  # few at a time: enough is enough
        for _, values in features(clips, np.asarray(some)):
            found.append(values)
            n_clips, n_seen = n_clips + 1, n_seen + len(values)
        if n_seen >= n_frames:
            break
    if n_seen < n_units:
        raise UserError(f"{n_seen} training frames do not make {n_units} units; lower --units")
    means = MiniBatchKMeans(
        n_clusters=n_units,
        batch_size=BATCH,
        max_iter=150,
        max_no_improvement=100,
        n_init=5,
        init_size=max(3 * n_units, BATCH),
        random_state=seed,
    )
    means.fit(np.concatenate(found))
    return means, {"clips_fitted": n_clips, "frames_fitted": n_seen}


def write(
    folder: Path,
    clips: SpeechSplit,
    features: Features,
    *,
    means: Any,
    frames: Frames,
    meta: Mapping[str, Any],
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write the folder of units of all clips, whole or not at all; what its meta.json says.

    Args:
        folder: to make, or to replace.
        clips: all of the prepared folder.
        features: of clips.
        means: from `fit`.
        frames: that the features are of.
        meta: what more is to be known of them.
        progress: called with (clips done, clips in all).
    """
    counts = np.array([frames.count(n) for n in clips.lengths.tolist()], np.int64)
    starts = np.cumsum(counts) - counts
    sizes = np.zeros(means.n_clusters, np.int64)
    with files.staged_folder(folder) as staged:
        files.reserve(staged / "units.bin", 2 * int(counts.sum()))
        units = np.memmap(staged / "units.bin", "<u2", "r+", shape=(int(counts.sum()),))
        rows = np.arange(len(clips))
        for done, (row, values) in enumerate(features(clips, rows), 1):
            if len(values) != counts[row]:
                raise ValueError(f"clip {row} has {len(values)} frames, not {counts[row]}")
            of_clip = means.predict(values)
            units[starts[row] : starts[row] + counts[row]] = of_clip
            sizes += np.bincount(of_clip, minlength=len(sizes))
            if progress:
                progress(done, len(rows))
        units.flush()
        del units
        files.write_array(staged / "centroids.npy", means.cluster_centers_.astype(np.float32))
        told = {
            "format": FORMAT,
            "kind": "units",
            "n_units": len(sizes),
            "n_frames": int(counts.sum()),
            "frames": asdict(frames),
            "sizes": sizes.tolist(),
            "sha256": {n: files.sha256(staged / n) for n in ("units.bin", "centroids.npy")},
            **meta,
        }
        files.write_sealed(staged / "meta.json", told)
    return told


def read_meta(folder: Path) -> dict[str, Any]:
    """What meta.json of a folder of units says.

    Raises:
        UserError: if it holds none, or is damaged.
    """
    path = folder / "meta.json"
    if not path.is_file():
        raise UserError(f"{folder} holds no units; make them with scripts.cluster_units")
    meta = files.read_sealed(path)
    if meta is None or (meta.get("kind"), meta.get("format")) != ("units", FORMAT):
        raise UserError(f"{path} is damaged or no units'; scripts.cluster_units --force makes it")
    return meta


def load(folder: Path, name: str) -> Track:
    """The units NAME of a prepared folder.

    Raises:
        UserError: if they are missing, damaged, or of other audio than the folder now holds.
    """
    where = folder / "units" / name
    meta = read_meta(where)
    if meta["audio"] != packed.read_meta(folder)["fingerprint"]:
        raise UserError(f"{where} is of other audio; scripts.cluster_units --force makes it again")
    path = where / "units.bin"
    if not path.is_file() or files.sha256(path) != meta["sha256"]["units.bin"]:
        raise UserError(f"{path} is missing or damaged; scripts.cluster_units --force makes it")
    frames = Frames(**meta["frames"])
    n_samples = packed.open_packed(folder).lengths
    counts = np.array([frames.count(n) for n in n_samples.tolist()], np.int64)
    if counts.sum() != meta["n_frames"]:
        raise UserError(f"{where} does not fit the clips; scripts.cluster_units --force makes it")
    return Track(
        units=np.memmap(path, "<u2", mode="r"),
        starts=np.cumsum(counts) - counts,
        n_samples=n_samples,
        frames=frames,
        n_units=meta["n_units"],
        name=name,
    )


def purity(track: Track, clips: np.ndarray, labels: pd.Series) -> dict[str, float]:
    """How much the units of some clips say of the clips' labels, frame by frame.

    Args:
        track: the units.
        clips: numbers of clips; those without label do not count.
        labels: of all clips, by number.

    Returns:
        purity: share of frames whose clip has the most frequent label of the frame's unit;
        majority: share of the most frequent label of all, which any clustering reaches; nmi: the
        share of the labels' entropy that units explain, 0 to 1 (PNMI).

    Source: Hsu et al. 2021, 4.C (purities, PNMI), for phones.
    """
    codes, names = pd.factorize(labels.iloc[clips].where(labels.iloc[clips] != ""))
    table = np.zeros((track.n_units, max(1, len(names))), np.int64)
    for clip, code in zip(clips.tolist(), codes.tolist(), strict=True):
        if code >= 0:
            n = track.frames.count(int(track.n_samples[clip]))
            units = track.units[track.starts[clip] : track.starts[clip] + n]
            table[:, code] += np.bincount(units, minlength=track.n_units)
    total = max(1, int(table.sum()))
    joint, of_unit, of_label = table / total, table.sum(1) / total, table.sum(0) / total
    seen = joint > 0
    outer = of_unit[:, None] * of_label
    shared = float((joint[seen] * np.log(joint[seen] / outer[seen])).sum())
    entropy = float(-(of_label[of_label > 0] * np.log(of_label[of_label > 0])).sum())
    return {
        "purity": float(table.max(1).sum() / total),
        "majority": float(of_label.max()),
        "nmi": shared / entropy if entropy > 0 else 0.0,
    }
