"""Prepared speech as the loop wants it: waveforms of a split, in batches, variants by epoch."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lib import augmented, packed, plan, splits
from lib.errors import UserError
from lib.packed import SAMPLE_RATE, Packed
from lib.text_source import SPLITS

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True)
class SpeechSplit:
    """One split: where its N rows' waveforms are, and what belongs to each row.

    Attributes:
        name: train, validation or test.
        sources: packed audio: that of the corpus and, with augmentation, that of its variants.
        choices: (N, V, 2) int64: the V variants of each row, as (source, clip in it).
        chosen: (N,) the variant of each row that is read.
        labels: (N,) int64, 0-based in the order of the classes.
        ids, groups: (N,) int64, clip in the manifest, number of the speaker.
        flags: (N,) bool columns that evaluation reports apart: female, disputed.
        columns: (N,) more columns for predictions.csv.
        mask: whether batches tell padding from sound; without it, as the reference report had
            it, padding zeros count as sound.
        max_samples: longer clips are cut to their middle; 0 keeps them whole.
        unit: of `lengths`: samples of a second.
    """

    name: str
    sources: Sequence[Packed]
    choices: np.ndarray
    chosen: np.ndarray
    labels: np.ndarray
    ids: np.ndarray
    groups: np.ndarray
    flags: dict[str, np.ndarray] = field(default_factory=dict)
    columns: dict[str, np.ndarray] = field(default_factory=dict)
    mask: bool = True
    max_samples: int = 0
    unit: int = SAMPLE_RATE

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.labels)

    @property
    def lengths(self) -> np.ndarray:
        """(N,) int64: samples of each row's waveform as it is read now, at 16 kHz."""
        picked = self.places
        found = np.zeros(len(picked), np.int64)
        for number, source in enumerate(self.sources):
            here = picked[:, 0] == number
            found[here] = source.lengths[picked[here, 1]]
        return np.minimum(found, self.max_samples) if self.max_samples else found

    @property
    def places(self) -> np.ndarray:
        """(N, 2): source of each row's waveform as it is read now, and clip in it."""
        return self.choices[np.arange(len(self)), self.chosen]

    @property
    def fixed_rows(self) -> bool:
        """Whether padding never changes what a row becomes: it is masked, or there is none."""
        if self.mask:
            return True
        lengths = np.unique(np.concatenate([source.lengths for source in self.sources]))
        return len(np.unique(np.minimum(lengths, self.max_samples or lengths.max()))) == 1

    def origins(self) -> "list[tuple[dict[str, Any], SpeechSplit, np.ndarray]]":
        """Where the waveforms come from, a tuple for each source.

        Returns:
            What decides on the rows, fit for JSON; all the clips of the source's folder; and for
            each clip of the source its row among them, -1 if no epoch reads it.
        """
        found = []
        for number, source in enumerate(self.sources):
            content, every = whole(source.folder, max_samples=self.max_samples)
            (audio,) = every.sources
            places = zip(audio.shards.tolist(), audio.offsets.tolist(), strict=True)
            row_at = {place: row for row, place in enumerate(places)}
            rows = np.full(len(source), -1)
            read = self.choices[self.choices[..., 0] == number][:, 1]
            for clip in np.unique(read).tolist():
                rows[clip] = row_at[int(source.shards[clip]), int(source.offsets[clip])]
            found.append((content, every, rows))
        return found

    def epoch(self, *, seed: int, epoch: int) -> "SpeechSplit":
        """The split with a variant drawn for each row: the same for equal seed, epoch and clip."""
        n_variants = self.choices.shape[1]
        if n_variants == 1:
            return self
        n_clips = int(self.ids.max(initial=0)) + 1
        drawn = np.random.default_rng([seed, epoch, 2]).integers(n_variants, size=n_clips)
        return replace(self, chosen=drawn[self.ids])

    def waveform(self, row: int) -> np.ndarray:
        """(n,) float32: a row's waveform, zero mean and unit variance.

        Source: the feature extractor of wav2vec 2.0 and HuBERT (do_normalize).
        """
        source, clip = self.choices[row, self.chosen[row]]
        samples = self.sources[source].read(int(clip))
        if self.max_samples and len(samples) > self.max_samples:
            start = (len(samples) - self.max_samples) // 2
            samples = samples[start : start + self.max_samples]
        wave = samples.astype(np.float32)
        wave -= wave.mean()
        return wave / np.sqrt(np.mean(np.square(wave)) + 1e-7 * 32768.0**2)

    def collate(self, rows: np.ndarray) -> dict[str, "torch.Tensor"]:
        """A batch of the given rows, in their order, padded with zeros to the longest of them.

        Returns:
            input_values (B, samples) float32 at 16 kHz; labels (B,) and ids (B,) int64;
            attention_mask (B, samples) int64, 0 on padding, only where there is padding.
        """
        import torch

        waves = [self.waveform(int(row)) for row in rows]
        lengths = np.array([len(wave) for wave in waves])
        values = np.zeros((len(rows), lengths.max(initial=0)), np.float32)
        for line, wave in zip(values, waves, strict=True):
            line[: len(wave)] = wave
        batch = {"input_values": values, "labels": self.labels[rows], "ids": self.ids[rows]}
        if self.mask and (lengths < values.shape[1]).any():
            batch["attention_mask"] = (np.arange(values.shape[1]) < lengths[:, None]).astype(int)
        return {name: torch.from_numpy(value) for name, value in batch.items()}

    def take(self, rows: np.ndarray) -> "SpeechSplit":
        """The same split with only the given rows, in their order, which may repeat."""
        fields = ("choices", "chosen", "labels", "ids", "groups")
        return replace(
            self,
            **{name: getattr(self, name)[rows] for name in fields},
            flags={name: flag[rows] for name, flag in self.flags.items()},
            columns={name: column[rows] for name, column in self.columns.items()},
        )


def whole(folder: Path, *, max_samples: int = 0) -> tuple[dict[str, Any], SpeechSplit]:
    """All the clips of a folder of packed audio, and what makes them what they are.

    Args:
        folder: a prepared one, or one of variants that lib.augmented made.
        max_samples: longer clips are cut to their middle; 0 keeps them whole.

    Returns:
        A dict fit for JSON, the same whatever the clips' labels and speakers; and the clips as a
        split with no labels.
    """
    if packed.is_speech(folder):
        meta, audio = packed.read_meta(folder), packed.open_packed(folder)
    else:
        meta, rows = augmented.read_meta(folder), augmented.load_rows(folder)
        audio = packed.open_packed(folder, rows[rows["variant"] > 0])
    places = np.stack([audio.shards, audio.offsets, audio.lengths])
    content = {
        "audio": {name: sha for name, sha in meta["files"].items() if name.startswith("audio-")},
        "places": hashlib.sha256(places.astype("<i8").tobytes()).hexdigest(),
        "max_samples": max_samples,
    }
    clips, nothing = np.arange(len(audio)), np.zeros(len(audio), np.int64)
    every = SpeechSplit(
        name="all",
        sources=[audio],
        choices=np.stack([nothing, clips], axis=1)[:, None],
        chosen=nothing,
        labels=nothing,
        ids=clips,
        groups=nothing,
        max_samples=max_samples,
    )
    return content, every


def parts(folder: Path, options: Mapping[str, Any]) -> tuple[pd.DataFrame, pd.Series, pd.Series]:
    """The manifest of a prepared folder, and of each clip the split and the label.

    Args:
        folder: made by scripts.prepare_shemo.
        options: labels, split, fold and emobox, as in config.json of a run.

    Raises:
        UserError: if the folder is damaged, or cannot be parted so.
    """
    manifest, version = packed.read_manifest(folder), options["labels"]
    emobox = Path(options["emobox"]) if options["emobox"] else None
    split = splits.assign(
        manifest,
        protocol=options["split"],
        version=version,
        fold=options["fold"],
        emobox=emobox,
    )
    labels, known = splits.labels(manifest, version), packed.read_meta(folder)["labels"]
    if unknown := sorted(set(labels.dropna()) - set(known)):
        raise UserError(f"{folder}: {unknown[0]!r} is none of its labels, {known}")
    return manifest, split, labels


def load(folder: Path, options: Mapping[str, Any]) -> dict[str, SpeechSplit]:
    """Train, validation and test of a prepared folder, as a run's options part it.

    Args:
        folder: made by scripts.prepare_shemo.
        options: labels, split, fold, emobox, augment, mask, max_seconds, limit.

    Raises:
        UserError: if the folder is damaged, or cannot be parted so.
    """
    meta = packed.read_meta(folder)
    manifest, split_of, of_clip = parts(folder, options)
    numbers = of_clip.map({label: number for number, label in enumerate(meta["labels"])})
    audio = packed.open_packed(folder, manifest)
    found = {}
    for name in SPLITS:
        clips = np.flatnonzero((split_of == name).to_numpy())
        if options["limit"]:
            clips = clips[plan.limited(numbers.to_numpy()[clips], options["limit"])]
        labels = numbers.to_numpy()[clips].astype(np.int64)
        found[name] = _split(name, manifest, clips, labels, audio, options)
    if options["augment"] != "none":
        found["train"] = _augmented(found["train"], folder, options["augment"], split_of, of_clip)
    return found


def _split(
    name: str,
    manifest: pd.DataFrame,
    clips: np.ndarray,
    labels: np.ndarray,
    audio: Packed,
    options: Mapping[str, Any],
) -> SpeechSplit:
    rows = manifest.iloc[clips]
    speakers, _ = pd.factorize(manifest["speaker"])
    if not (manifest["speaker"] != "").any():
        speakers = np.arange(len(manifest))  # unknown: each clip stands for itself
    names = ("label_filename", "label_transcript")
    both = [rows[column].to_numpy() for column in names]
    flags = {"disputed": (both[0] != both[1]) & (both[1] != "")}
    if (manifest["gender"] != "").all():
        flags["female"] = (rows["gender"] == "F").to_numpy()
    columns = {"path": rows["path"].to_numpy(), **dict(zip(names, both, strict=True))}
    columns["gender"] = rows["gender"].to_numpy()
    return SpeechSplit(
        name=name,
        sources=[audio],
        choices=np.stack([np.zeros_like(clips), clips], axis=1)[:, None],
        chosen=np.zeros(len(clips), np.int64),
        labels=labels,
        ids=clips.astype(np.int64),
        groups=speakers[clips].astype(np.int64),
        flags={flag: values for flag, values in flags.items() if values.any()},
        columns=columns,
        mask=options["mask"],
        max_samples=round(options["max_seconds"] * SAMPLE_RATE),
    )


def _augmented(
    split: SpeechSplit, folder: Path, recipe: str, parts: pd.Series, of_clip: pd.Series
) -> SpeechSplit:
    """The training split with variants: of each clip, or the drawn rows of the report's recipe."""
    made = Path(recipe)
    if not made.is_dir():
        made, _ = augmented.make(folder, recipe=recipe, split=parts, labels=of_clip)
    rows = augmented.training_rows(made, parts, of_clip)
    sources = [*split.sources, packed.open_packed(made, rows)]
    place = pd.Series(np.arange(len(split)), index=split.ids)
    rows = rows[rows["id"].isin(place.index)]  # a limit may have left clips out
    made_now = (rows["variant"] > 0).to_numpy()
    clips = np.where(made_now, rows.index, rows["id"])  # in the variants', in the corpus's audio
    variants = np.stack([made_now.astype(np.int64), clips], axis=1)
    if augmented.read_meta(made)["recipe"] == "report":  # each drawn row is one to train on
        drawn = split.take(rows["id"].map(place).to_numpy())
        return replace(drawn, sources=sources, choices=variants[:, None])
    of = rows.reset_index().groupby("id").indices
    return replace(split, sources=sources, choices=np.stack([variants[of[i]] for i in split.ids]))
