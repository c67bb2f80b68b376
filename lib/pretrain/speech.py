"""Speech to learn from without labels: clips, their units, and a mask of each in each epoch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lib import speech
from lib.errors import UserError
from lib.packed import SAMPLE_RATE
from lib.pretrain import masks, units
from lib.pretrain.features import Frames
from lib.pretrain.masks import Spans
from lib.pretrain.rows import FIXED, MaskedRows, hold_out
from lib.pretrain.units import Track
from lib.speech import SpeechSplit

if TYPE_CHECKING:
    import torch


@dataclass(kw_only=True)
class UnitSplit(MaskedRows):
    """Clips whose units are to be told.

    Attributes:
        source: the clips.
        tracks: sets of units.
        frames: of the model.
        spans: how frames are hidden.
        seen_share: of the frames to be told, those that are not hidden; 1 takes every frame.
    """

    source: SpeechSplit
    tracks: Sequence[Track]
    frames: Frames
    spans: Spans
    seen_share: float = 0.0

    def collate(self, rows: np.ndarray) -> "dict[str, torch.Tensor]":
        """A batch of the given rows, in their order.

        Returns:
            input_values and attention_mask as of SpeechSplit; hide (B, T) bool; positions (M,),
            flat places of T frames a row: all that are hidden, then those that are not but are to
            be told all the same; labels (S x M,), their units, of one set after another; ids (B,).
        """
        import torch

        batch = self.source.collate(rows)
        width = self.frames.count(batch["input_values"].shape[1])
        hide = np.zeros((len(rows), width), bool)
        lengths = self.source.take(rows).lengths.tolist()
        seen, targets = [], np.zeros((len(self.tracks), len(rows), width), np.int64)
        for line, (clip, length) in enumerate(zip(self.ids[rows].tolist(), lengths, strict=True)):
            rng = masks.generator(*self.drawn, clip)
            n = self.frames.count(length)
            hidden = masks.frames(n, spans=self.spans, rng=rng)
            hide[line, :n] = hidden
            seen.append(line * width + self._told(hidden, rng))
            for of_set, track in zip(targets, self.tracks, strict=True):
                of_set[line, :n] = track.of_clip(
                    clip, self.frames, max_samples=self.source.max_samples
                )
        positions = np.concatenate([np.flatnonzero(hide), *seen])
        labels = targets.reshape(len(self.tracks), -1)[:, positions].ravel()
        more = {"hide": hide, "positions": positions, "labels": labels}
        return batch | {name: torch.from_numpy(value) for name, value in more.items()}

    def _told(self, hidden: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Places of a clip that are not hidden but are to be told."""
        share = self.seen_share
        n = len(hidden) if share == 1 else round(share / (1 - share) * hidden.sum())
        return masks.some_of(np.flatnonzero(~hidden), n, rng=rng)

    def take(self, rows: np.ndarray) -> "UnitSplit":
        """The same with only the given rows, in their order."""
        return replace(self, source=self.source.take(rows))


def load(
    folder: Path,
    names: Sequence[str],
    clips: np.ndarray,
    *,
    frames: Frames,
    spans: Spans,
    seen_share: float = 0.0,
    max_seconds: float = 0.0,
    limit: int | None = None,
) -> tuple[UnitSplit, UnitSplit]:
    """What is learnt from, and what is held out of it.

    Args:
        folder: a prepared speech folder.
        names: of its sets of units.
        clips: (M,) that may be learnt from, see lib.pretrain.units.training_clips.
        frames: of the model.
        spans: how frames are hidden.
        seen_share: of the frames to be told, those that are not hidden, 0 to less than 1.
        max_seconds: longer clips are cut to their middle; 0 keeps them whole.
        limit: clips at the most, for a quick look.

    Raises:
        UserError: if units are missing, or there are too few clips.
    """
    if not 0 <= seen_share < 1:
        raise UserError(f"--seen-share {seen_share:g}: give 0 or more, and less than 1")
    _, every = speech.whole(folder, max_samples=round(max_seconds * SAMPLE_RATE))
    learnt, held = (clips[rows] for rows in hold_out(clips, limit=limit))
    split = UnitSplit(
        source=every,
        tracks=[units.load(folder, name) for name in names],
        frames=frames,
        spans=spans,
    )
    validation = replace(split.take(held), seen_share=1.0, drawn=FIXED)
    return replace(split.take(learnt), seen_share=seen_share), validation
