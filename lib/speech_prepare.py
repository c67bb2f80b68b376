"""Labelled speech checked and prepared for training: packed 16 kHz audio and a manifest."""

import collections
import contextlib
import csv
import importlib.metadata
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import pandas as pd

from lib.audio import Clip
from lib.errors import UserError
from lib.files import (
    ListDigest,
    digest,
    locked,
    remove,
    sha256,
    staged_folder,
    write_json,
    write_text,
)
from lib.packed import COLUMNS, FORMAT, SAMPLE_RATE, TEXT_COLUMNS, PackedWriter, read_meta
from lib.speech_listing import Corpus, Listing, Source
from lib.speech_read import Reading, hash_sources, read_clips
from lib.speech_source import some

CLIPPED = 0.01  # of a clip; a few samples overshoot when a loud recording is resampled

Progress = Callable[[int, int], None]


def prepare(
    corpus: Corpus,
    out: Path,
    *,
    skip_bad: bool = False,
    max_seconds: float = 60.0,
    workers: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> bool:
    """Whether the prepared folder `out` was made now; False when it was there, from equal input.

    It holds meta.json, manifest.csv and the shards that lib/packed.py describes.

    Args:
        corpus: its clips, from lib/speech_source.py or lib/speech_manifest.py.
        out: the folder to make, whole or not at all. The list of bad clips, if there are any, is
            NAME.bad.csv beside it.
        skip_bad: leave bad clips out; else one is an error.
        max_seconds: a longer clip is bad.
        workers: processes; the result does not depend on them. None: as many as pay.
        force: make it again, in the place of one made from other files or options.
        progress: called with (clips read, clips in all).

    Raises:
        UserError: if clips are bad and `skip_bad` is false; if `out` was made from something else
            and `force` is false.
    """
    with locked(out.parent / f".{out.name}.lock", wait=True):
        if _is_made(out, corpus, max_seconds, force=force):
            _judge(out, read_meta(out)["skipped"], len(corpus.sources), skip_bad=skip_bad)
            return False
        with staged_folder(out) as folder:
            readings = read_clips(corpus.sources, max_seconds=max_seconds, workers=workers)
            packed = _pack(folder, corpus.sources, readings, progress)
            _judge(out, packed.skipped, len(corpus.sources), skip_bad=skip_bad)
            _write_meta(folder, corpus, packed, _made_of(corpus, packed.audio, max_seconds))
    return True


class _ManifestWriter:
    """Writes manifest.csv row by row and counts what meta.json tells of all rows."""

    def __init__(self, folder: Path) -> None:
        self.n = self.n_samples = self.n_clipped = self.n_stereo = 0
        self.n_unlabelled = self.n_disputed = self.n_nameless = 0
        self.rates: collections.Counter[int] = collections.Counter()
        self.labels: set[str] = set()
        self._file = (folder / "manifest.csv").open("w", encoding="utf-8", newline="")
        self._csv = csv.writer(self._file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
        self._csv.writerow(COLUMNS)

    def add(self, source: Source, clip: Clip, place: tuple[int, int]) -> None:
        """Write the row of a clip that lies at (shard, offset)."""
        found = {name: getattr(source, name) for name in TEXT_COLUMNS} | {
            "id": self.n,
            "n_samples": len(clip.samples),
            "seconds": round(clip.seconds, 6),
            "shard": place[0],
            "offset": place[1],
            "peak": round(clip.peak, 6),
            "rms": round(clip.rms, 6),
            "source_rate": clip.source_rate,
            "n_channels": clip.n_channels,
        }
        self._csv.writerow([found[name] for name in COLUMNS])
        self.n += 1
        self.n_samples += len(clip.samples)
        self.n_clipped += clip.n_clipped > CLIPPED * len(clip.samples)
        self.n_stereo += clip.n_channels > 1
        self.n_unlabelled += source.label_transcript == ""
        self.n_disputed += source.label_transcript not in ("", source.label_filename)
        self.n_nameless += source.speaker == ""
        self.rates[clip.source_rate] += 1
        self.labels.add(source.label_filename)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def warnings(self, labels: Iterable[str]) -> list[str]:
        """What is suspect but no error, of a corpus with these classes."""
        counts = {
            "clips of several channels, which were averaged": self.n_stereo,
            "clips of which over 1 % lay beyond full scale and was clipped": self.n_clipped,
            "clips without a label of the transcripts (modified_shemo.json)": self.n_unlabelled,
            "clips whose file name and transcript disagree on the class": self.n_disputed,
            "clips without a speaker": self.n_nameless,
        }
        warnings = [f"{text}: {n}" for text, n in counts.items() if n]
        if len(self.rates) > 1:
            listed = ", ".join(f"{rate} Hz ({n})" for rate, n in self.rates.most_common())
            warnings.append(f"sample rates differ: {listed}; each was resampled from its own")
        absent = [label for label in labels if label not in self.labels]
        return warnings + [f"no clip of the class {label!r}" for label in absent]


@dataclass(frozen=True, kw_only=True)
class _Packed:
    """What packing leaves.

    Attributes:
        manifest: closed; its counts.
        skipped: path, label and reason of each bad clip.
        audio: digest of the paths and the bytes of all files, bad ones too.
        shards: file name → SHA-256.
    """

    manifest: _ManifestWriter
    skipped: list[dict[str, str]]
    audio: str
    shards: dict[str, str]


def _pack(
    folder: Path,
    sources: Listing,
    readings: Generator[Reading],
    progress: Progress | None,
) -> _Packed:
    """Write the clips and their rows as they come; none is kept."""
    audio, skipped = ListDigest(), []
    with (
        contextlib.closing(readings),
        PackedWriter(folder) as shards,
        _ManifestWriter(folder) as manifest,
    ):
        for number, (source, reading) in enumerate(zip(sources, readings, strict=True), 1):
            audio.add([source.path, reading.sha256])
            if reading.clip is None:
                reason = {"path": source.path, "label": source.label_filename}
                skipped.append(reason | {"reason": str(reading.bad)})
            else:
                manifest.add(source, reading.clip, shards.add(reading.clip.samples))
            if progress:
                progress(number, len(sources))
    return _Packed(
        manifest=manifest, skipped=skipped, audio=audio.hexdigest(), shards=shards.sha256
    )


def _judge(
    out: Path, skipped: Sequence[Mapping[str, str]], n_clips: int, *, skip_bad: bool
) -> None:
    """List the bad clips beside `out`; an error if there are any and they are not to be skipped."""
    path = out.with_name(f"{out.name}.bad.csv")
    if not skipped:
        remove(path)
        return
    frame = pd.DataFrame(skipped, columns=["path", "label", "reason"])
    write_text(path, frame.to_csv(index=False, lineterminator="\n"))
    kinds = collections.Counter(clip["reason"].partition(":")[0] for clip in skipped)
    counts = ", ".join(f"{n} {kind}" for kind, n in kinds.most_common())
    first = some(clip["path"] for clip in skipped)
    what = f"{len(skipped)} of {n_clips} clips cannot be used ({counts}): {first}; all in {path}"
    if len(skipped) == n_clips:
        raise UserError(f"{what}; nothing is left")
    if not skip_bad:
        raise UserError(f"{what}; mend them, or go on without them with --skip-bad")


def _made_of(corpus: Corpus, audio: str, max_seconds: float) -> dict[str, Any]:
    """All that decides what is in a prepared folder; --skip-bad leaves nothing to decide."""
    known = [name for name in TEXT_COLUMNS if name != "path"]
    rows = ListDigest()
    for source in corpus.sources:
        rows.add([getattr(source, name) for name in known])
    return {
        "format": FORMAT,
        "audio": audio,
        "rows": rows.hexdigest(),
        "labels": list(corpus.labels),
        "sample": corpus.sample,
        "max_seconds": max_seconds,
        "soundfile": importlib.metadata.version("soundfile"),
        "soxr": importlib.metadata.version("soxr"),
    }


def _is_made(out: Path, corpus: Corpus, max_seconds: float, *, force: bool) -> bool:
    """Whether `out` holds, undamaged, what it would be made of; an error if it is in the way."""
    if not out.exists():
        return False
    path = out / "meta.json"
    if not path.is_file() or b'"kind": "speech"' not in path.read_bytes():
        raise UserError(f"{out} exists and is no prepared speech; choose another --name")
    if force:
        return False
    meta = read_meta(out)
    before = meta.get("made_of", {})
    audio = ListDigest()
    for source, of_bytes in zip(corpus.sources, hash_sources(corpus.sources), strict=True):
        audio.add([source.path, of_bytes])
    made_of = _made_of(corpus, audio.hexdigest(), max_seconds)
    other = [key.replace("_", " ") for key in made_of if made_of[key] != before.get(key)]
    if other:
        remedy = "replace it with --force or choose another --name"
        raise UserError(f"{out} was prepared differently ({', '.join(other)}); {remedy}")
    files = {out / name: expected for name, expected in meta["files"].items()}
    return all(file.is_file() and sha256(file) == expected for file, expected in files.items())


def _write_meta(folder: Path, corpus: Corpus, packed: _Packed, made_of: dict[str, Any]) -> None:
    manifest = packed.manifest
    files = {"manifest.csv": sha256(folder / "manifest.csv"), **packed.shards}
    meta = {
        "format": FORMAT,
        "kind": "speech",
        "name": folder.name,
        "sample": corpus.sample,
        "corpus": corpus.name,
        "labels": list(corpus.labels),
        "sample_rate": SAMPLE_RATE,
        "n": manifest.n,
        "seconds": round(manifest.n_samples / SAMPLE_RATE, 3),
        "key": digest(made_of),
        "made_of": made_of,
        "fingerprint": digest(files),
        "files": files,
        "n_stereo": manifest.n_stereo,
        "n_clipped": manifest.n_clipped,
        "skipped": packed.skipped,
        "warnings": manifest.warnings(corpus.labels),
    }
    write_json(folder / "meta.json", meta)
