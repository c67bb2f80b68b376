"""Labelled speech checked and prepared for training: packed 16 kHz audio and a manifest."""

import collections
import contextlib
import csv
import importlib.metadata
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from lib.audio import Clip
from lib.errors import UserError
from lib.files import (
    digest,
    locked,
    remove,
    sha256,
    staged_folder,
    write_json,
    write_text,
)
from lib.packed import COLUMNS, FORMAT, LABELS, SAMPLE_RATE, PackedWriter, read_meta
from lib.speech_read import Reading, hash_sources, read_clips
from lib.speech_source import Corpus, Source, some

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
            _write(folder, corpus, packed, _made_of(corpus, packed.hashes, max_seconds))
    return True


@dataclass
class _Packed:
    """What packing leaves: rows of the manifest, what was skipped, SHA-256 sums."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    hashes: list[str | None] = field(default_factory=list)
    shards: dict[str, str] = field(default_factory=dict)
    n_clipped: int = 0


def _pack(
    folder: Path,
    sources: Sequence[Source],
    readings: Generator[Reading],
    progress: Progress | None,
) -> _Packed:
    """Write the clips into shards as they come."""
    packed = _Packed()
    with contextlib.closing(readings), PackedWriter(folder) as writer:
        for source, reading in zip(sources, readings, strict=True):
            packed.hashes.append(reading.sha256)
            if reading.clip is None:
                reason = {"path": source.path, "label": source.label_filename}
                packed.skipped.append(reason | {"reason": str(reading.bad)})
            else:
                place = writer.add(reading.clip.samples)
                packed.rows.append(_row(len(packed.rows), source, reading.clip, place))
                packed.n_clipped += reading.clip.n_clipped > CLIPPED * len(reading.clip.samples)
            if progress:
                progress(len(packed.hashes), len(sources))
    packed.shards = writer.sha256
    return packed


def _row(number: int, source: Source, clip: Clip, place: tuple[int, int]) -> tuple[Any, ...]:
    """One row of the manifest, in the order of COLUMNS."""
    found = {
        "id": number,
        "path": source.path,
        "speaker": source.speaker,
        "gender": source.gender,
        "label_filename": source.label_filename,
        "label_transcript": source.label_transcript,
        "transcript": source.transcript,
        "split": source.split,
        "n_samples": len(clip.samples),
        "seconds": round(clip.seconds, 6),
        "shard": place[0],
        "offset": place[1],
        "peak": round(clip.peak, 6),
        "rms": round(clip.rms, 6),
        "source_rate": clip.source_rate,
        "n_channels": clip.n_channels,
    }
    return tuple(found[name] for name in COLUMNS)  # a third of the memory of the names with it


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


def _made_of(corpus: Corpus, hashes: Iterable[str | None], max_seconds: float) -> dict[str, Any]:
    """All that decides what is in a prepared folder; --skip-bad leaves nothing to decide."""
    clips = zip(corpus.sources, hashes, strict=True)
    known = ("speaker", "gender", *LABELS, "transcript", "split")
    return {
        "format": FORMAT,
        "audio": digest([[source.path, of_bytes] for source, of_bytes in clips]),
        "rows": digest([[getattr(source, k) for k in known] for source in corpus.sources]),
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
    made_of = _made_of(corpus, hash_sources(corpus.sources), max_seconds)
    other = [key.replace("_", " ") for key in made_of if made_of[key] != before.get(key)]
    if other:
        remedy = "replace it with --force or choose another --name"
        raise UserError(f"{out} was prepared differently ({', '.join(other)}); {remedy}")
    files = {out / name: expected for name, expected in meta["files"].items()}
    return all(file.is_file() and sha256(file) == expected for file, expected in files.items())


def _write(folder: Path, corpus: Corpus, packed: _Packed, made_of: dict[str, Any]) -> None:
    """manifest.csv and meta.json."""
    frame = pd.DataFrame(packed.rows, columns=list(COLUMNS))
    manifest = folder / "manifest.csv"
    frame.to_csv(manifest, index=False, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    files = {"manifest.csv": sha256(manifest), **packed.shards}
    meta = {
        "format": FORMAT,
        "kind": "speech",
        "name": folder.name,
        "sample": corpus.sample,
        "corpus": corpus.name,
        "labels": list(corpus.labels),
        "sample_rate": SAMPLE_RATE,
        "n": len(frame),
        "seconds": round(int(frame["n_samples"].sum()) / SAMPLE_RATE, 3),
        "key": digest(made_of),
        "made_of": made_of,
        "fingerprint": digest(files),
        "files": files,
        "n_stereo": int((frame["n_channels"] > 1).sum()),
        "n_clipped": packed.n_clipped,
        "skipped": packed.skipped,
        "warnings": _warnings(frame, corpus, packed.n_clipped),
    }
    write_json(folder / "meta.json", meta)


def _warnings(frame: pd.DataFrame, corpus: Corpus, n_clipped: int) -> list[str]:
    """What is suspect but no error."""
    n_stereo = int((frame["n_channels"] > 1).sum())
    rates = frame["source_rate"].value_counts()
    unlabelled = frame["label_transcript"] == ""
    disputed = (frame["label_filename"] != frame["label_transcript"]) & ~unlabelled
    counts = {
        "clips of several channels, which were averaged": n_stereo,
        "clips of which over 1 % lay beyond full scale and was clipped": n_clipped,
        "clips without a label of the transcripts (modified_shemo.json)": int(unlabelled.sum()),
        "clips whose file name and transcript disagree on the class": int(disputed.sum()),
        "clips without a speaker": int((frame["speaker"] == "").sum()),
    }
    warnings = [f"{text}: {n}" for text, n in counts.items() if n]
    if len(rates) > 1:
        listed = ", ".join(f"{rate} Hz ({n})" for rate, n in rates.items())
        warnings.append(f"sample rates differ: {listed}; each was resampled from its own")
    absent = [label for label in corpus.labels if label not in set(frame["label_filename"])]
    return warnings + [f"no clip of the class {label!r}" for label in absent]
