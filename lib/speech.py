"""Prepared speech as the loop wants it: waveforms of a split, in batches, variants by epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lib import augmented, packed, plan, splits
from lib.errors import UserError
from lib.files import read_json
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
        picked = self._picked()
        found = np.zeros(len(picked), np.int64)
        for number, source in enumerate(self.sources):
            here = picked[:, 0] == number
            found[here] = source.lengths[picked[here, 1]]
        return np.minimum(found, self.max_samples) if self.max_samples else found

    def epoch(self, *, seed: int, epoch: int) -> "SpeechSplit":
        """The split with a variant drawn for each row: the same for equal seed, epoch and clip."""
        n_variants = self.choices.shape[1]
        if n_variants == 1:
            return self
        drawn = np.random.default_rng([seed, epoch, 2]).integers(n_variants, size=len(self))
        return replace(self, chosen=drawn)

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
        if self.mask and lengths.min(initial=0) < values.shape[1]:
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

    def _picked(self) -> np.ndarray:
        """(N, 2): source and clip of each row."""
        return self.choices[np.arange(len(self)), self.chosen]


def load(folder: Path, options: Mapping[str, Any]) -> dict[str, SpeechSplit]:
    """Train, validation and test of a prepared folder, as a run's options part it.

    Args:
        folder: made by scripts.prepare_shemo.
        options: labels, split, fold, emobox, augment, mask, max_seconds, limit.

    Raises:
        UserError: if the folder is damaged, or cannot be parted so.
    """
    meta, manifest = packed.read_meta(folder), packed.read_manifest(folder)
    version = options["labels"]
    emobox = Path(options["emobox"]) if options["emobox"] else None
    of_clip = splits.labels(manifest, version)
    parts = splits.assign(
        manifest, protocol=options["split"], version=version, fold=options["fold"], emobox=emobox
    )
    unknown = sorted(set(of_clip.dropna()) - set(meta["labels"]))
    if unknown:
        raise UserError(f"{folder}: {unknown[0]!r} is none of its labels, {meta['labels']}")
    numbers = of_clip.map({label: number for number, label in enumerate(meta["labels"])})
    audio = packed.open_packed(folder, manifest)
    found = {}
    for name in SPLITS:
        clips = np.flatnonzero((parts == name).to_numpy())
        if options["limit"]:
            clips = clips[plan.limited(numbers.to_numpy()[clips], options["limit"])]
        labels = numbers.to_numpy()[clips].astype(np.int64)
        found[name] = _split(name, manifest, clips, labels, audio, options)
    if options["augment"] != "none":
        found["train"] = _augmented(found["train"], folder, options["augment"], parts, of_clip)
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
    if read_json(made / "meta.json")["recipe"] == "report":  # each drawn row is one to train on
        drawn = split.take(rows["id"].map(place).to_numpy())
        return replace(drawn, sources=sources, choices=variants[:, None])
    of = rows.reset_index().groupby("id").indices
    return replace(split, sources=sources, choices=np.stack([variants[of[i]] for i in split.ids]))
