"""Packed audio: the clips of a corpus one after another in a few files, read without copying.

A prepared speech folder, made by lib/speech_prepare.py, holds meta.json, manifest.csv (one row a
clip) and audio-000.pcm, audio-001.pcm ...: little-endian int16, 16 kHz, mono.
"""

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

import numpy as np
import pandas as pd

from lib.errors import UserError
from lib.files import read_json, sha256, sha256_once
from lib.shapes import Whole, are_names, misfit

FORMAT = 1
SAMPLE_RATE = 16_000  # Hz
SHARD_BYTES = 256_000_000
SAMPLE = np.dtype("<i2")
LABELS = ("label_filename", "label_transcript")
TEXT_COLUMNS = ("path", "speaker", "gender", *LABELS, "transcript", "split")
PLACE_COLUMNS = ("n_samples", "seconds", "shard", "offset")
COLUMNS = ("id", *TEXT_COLUMNS, *PLACE_COLUMNS, "peak", "rms", "source_rate", "n_channels")
MAKE_AGAIN = "scripts.prepare_shemo --force makes it again"
META = {  # what meta.json must tell
    **{"name": str, "sample": bool, "labels": are_names, "n": Whole, "seconds": float},
    **{"corpus": (str, None), "fingerprint": str, "files": {str: str}, "made_of": dict},
    **{"skipped": list, "warnings": [str]},
}


def shard_name(shard: int) -> str:
    """The file name of a shard (0-based)."""
    return f"audio-{shard:03d}.pcm"


class PackedWriter:
    """Writes clips one after another into the shards of a folder; holds none of them in memory.

    Attributes:
        sha256: file name → SHA-256, in hex, of the shards that are closed; all of them after the
            `with` block.
    """

    def __init__(self, folder: Path, *, shard_bytes: int = SHARD_BYTES) -> None:
        """Write into `folder`, which exists; only a single clip may exceed `shard_bytes`."""
        self.sha256: dict[str, str] = {}
        self._folder = folder
        self._limit = shard_bytes // SAMPLE.itemsize
        self._file: IO[bytes] | None = None
        self._hash = hashlib.sha256()
        self._n = 0  # samples in the open shard

    def add(self, samples: np.ndarray) -> tuple[int, int]:
        """The shard (0-based) and the offset in it (samples) at which a clip is now written.

        Args:
            samples: (n,) int16.
        """
        if samples.dtype != np.int16 or samples.ndim != 1:
            raise ValueError(f"packed audio is (n,) int16, not {samples.shape} {samples.dtype}")
        if self._file is not None and self._n + len(samples) > self._limit:
            self._close()
        if self._file is None:
            self._file = (self._folder / shard_name(len(self.sha256))).open("wb")
        data = np.ascontiguousarray(samples, SAMPLE).data
        self._file.write(data)
        self._hash.update(data)
        shard, offset = len(self.sha256), self._n
        self._n += len(samples)
        return shard, offset

    def __enter__(self) -> Self:
        """The writer itself."""
        return self

    def __exit__(self, *error: object) -> None:
        """Close the last shard."""
        self._close()

    def _close(self) -> None:
        if self._file is None:
            return
        self._file.close()
        self.sha256[shard_name(len(self.sha256))] = self._hash.hexdigest()
        self._file, self._hash, self._n = None, hashlib.sha256(), 0


@dataclass(kw_only=True)
class Packed:
    """The waveforms of N clips, memory-mapped; a shard is opened when first read.

    Attributes:
        folder: that holds the shards.
        shards, offsets, lengths: (N,) int64: which shard, where in it and how long, in samples.
    """

    folder: Path
    shards: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray
    _maps: dict[int, np.ndarray] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        """The number of clips."""
        return len(self.lengths)

    def read(self, row: int) -> np.ndarray:
        """(n_samples,) int16, 16 kHz: a read-only view of the file of the row-th clip, 0-based.

        Raises:
            UserError: if the shard is missing or too short.
        """
        shard, start = int(self.shards[row]), int(self.offsets[row])
        samples = self._map(shard)[start : start + int(self.lengths[row])]
        if len(samples) != self.lengths[row]:
            path = self.folder / shard_name(shard)
            raise UserError(f"{path} is shorter than its manifest says; {MAKE_AGAIN}")
        return samples

    def __getstate__(self) -> dict[str, Any]:
        """All but the open files, so that another process opens its own."""
        return self.__dict__ | {"_maps": {}}

    def _map(self, shard: int) -> np.ndarray:
        if shard not in self._maps:
            path = self.folder / shard_name(shard)
            try:
                self._maps[shard] = np.memmap(path, SAMPLE, mode="r").view(np.ndarray)
            except (FileNotFoundError, ValueError):  # an empty file cannot be mapped
                raise UserError(f"{path} is missing or empty; {MAKE_AGAIN}") from None
        return self._maps[shard]


def open_packed(folder: Path, manifest: pd.DataFrame | Path | None = None) -> Packed:
    """The packed audio of a prepared folder; row i of `manifest` is what `read(i)` gives.

    Args:
        folder: made by scripts.prepare_shemo.
        manifest: the rows wanted, in their order, with shard, offset and n_samples; or the CSV
            file that holds them. None: the folder's manifest.csv, where row i has id i.

    Raises:
        UserError: if the folder, the manifest or the audio is not what it should be.
    """
    if manifest is None:
        frame = read_manifest(folder)
    else:
        frame = manifest if isinstance(manifest, pd.DataFrame) else _read_csv(manifest)
    shards, offsets, lengths = (
        frame[column].to_numpy(np.int64) for column in ("shard", "offset", "n_samples")
    )
    _refuse_changed(folder, {shard_name(shard) for shard in shards.tolist() if shard >= 0})
    return Packed(folder=folder, shards=shards, offsets=offsets, lengths=lengths)


def is_speech(folder: Path) -> bool:
    """Whether a prepared folder holds speech."""
    path = folder / "meta.json"
    meta = read_json(path) if path.is_file() else None
    return isinstance(meta, dict) and meta.get("kind") == "speech"


def read_meta(folder: Path) -> dict[str, Any]:
    """What meta.json of a prepared speech folder says.

    Raises:
        UserError: if the folder is missing, of another kind or format, or damaged.
    """
    path = folder / "meta.json"
    if not path.is_file():
        raise UserError(f"{folder} holds no prepared speech; make it with scripts.prepare_shemo")
    meta = read_json(path)
    if not isinstance(meta, dict) or meta.get("kind") != "speech":
        raise UserError(f"{path} is not of speech made with scripts.prepare_shemo")
    if meta.get("format") != FORMAT:
        raise UserError(f"{path} is of another version; {MAKE_AGAIN}")
    if wrong := misfit(meta, META):
        raise UserError(f"{path} is damaged ({wrong}); {MAKE_AGAIN}")
    return meta


def read_manifest(folder: Path) -> pd.DataFrame:
    """The rows of manifest.csv: one a clip, the columns of COLUMNS, row i has id i.

    Raises:
        UserError: if the folder is not a prepared speech folder or the file has been changed.
    """
    expected = read_meta(folder)["files"].get("manifest.csv")
    path = folder / "manifest.csv"
    if not path.is_file() or sha256(path) != expected:
        raise UserError(f"{path} is missing or damaged; {MAKE_AGAIN}")
    try:
        frame = _read_csv(path)
        if not set(COLUMNS) <= set(frame.columns):
            raise ValueError(f"no column {min(set(COLUMNS) - set(frame.columns))}")
        if not (frame[["shard", "offset", "n_samples"]].astype(np.int64) >= 0).all(axis=None):
            raise ValueError("a place in the audio is below 0")
        seconds = frame["seconds"].to_numpy(float)
        if not (np.isfinite(seconds) & (seconds > 0)).all():
            raise ValueError("a clip has no length in seconds")
        if not np.array_equal(frame["id"].to_numpy(), np.arange(len(frame))):
            raise ValueError("its ids are not 0, 1, 2 ...")
    except (ValueError, TypeError) as error:  # pandas's own are of these kinds
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is damaged ({reason}); {MAKE_AGAIN}") from None
    return frame


def refuse_short(folder: Path, encoder: Mapping[str, Any]) -> None:
    """Refuse a corpus with clips from which a model's convolutions would make no frame.

    Args:
        folder: made by scripts.prepare_shemo.
        encoder: the model's config.json, with conv_kernel and conv_stride.

    Raises:
        UserError: naming such a clip, and how long one must be.
    """
    needed = 1
    for kernel, stride in zip(
        reversed(encoder["conv_kernel"]), reversed(encoder["conv_stride"]), strict=True
    ):
        needed = (needed - 1) * stride + kernel
    manifest = read_manifest(folder)
    short = manifest[manifest["n_samples"] < needed]
    if len(short):
        raise UserError(
            f"{folder}: {len(short)} clips are too short for this model, which needs "
            f"{needed / SAMPLE_RATE:.3f} s, such as {short['path'].iloc[0]}; prepare the corpus "
            "without them, or take another model"
        )


def _refuse_changed(folder: Path, names: set[str]) -> None:
    """Refuse shards whose bytes are not those that were written; a missing one is told when read.

    All are read at once, and in a process but once: a second or so for an hour's audio each.
    """
    path = folder / "meta.json"
    meta = read_json(path) if path.is_file() else None
    sums = meta.get("files") if isinstance(meta, dict) else None
    known = sums if isinstance(sums, dict) else {}
    again = MAKE_AGAIN if is_speech(folder) else "scripts.augment --force makes it again"
    paths = [folder / name for name in sorted(names & known.keys()) if (folder / name).is_file()]
    with ThreadPoolExecutor() as pool:
        found = pool.map(sha256_once, paths)
    for path, of in zip(paths, found, strict=True):
        if of != known[path.name]:
            raise UserError(f"{path} is damaged (its SHA-256 is not the one in meta.json); {again}")


def _read_csv(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False, dtype=dict.fromkeys(TEXT_COLUMNS, str))
