"""Variants of clips, each a function of the clip, the recipe's seed and the variant's number."""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lib.packed import SAMPLE_RATE, Packed

REPORT_SEED = 44
REPORT_NOISE = 0.005
MAX_SHIFT_S = 0.2
SNR_DB = (15.0, 40.0)
MAX_SEMITONES = 1.0
SPEED = (0.9, 1.1)
FULL_SCALE = 32768
PARAMETERS = ("noise", "shift_s", "n_semitones", "speed")
UNTOUCHED = dict(zip(PARAMETERS, (0.0, 0.0, 0.0, 1.0), strict=True))
Task = tuple[int, str, int, Mapping[str, float]]  # id and path of a clip, variant, parameters


def add_noise(
    waveform: np.ndarray, *, intensity: float, generator: np.random.Generator
) -> np.ndarray:
    """The waveform plus white Gaussian noise.

    Args:
        waveform: (T,) float32, full scale 1.
        intensity: standard deviation of the noise, of full scale; the report's is 0.005. With 0
            the waveform itself comes back.
        generator: of the noise.

    Source: the reference report, 1.1.
    """
    if intensity == 0:
        return waveform
    return waveform + np.float32(intensity) * generator.standard_normal(len(waveform), np.float32)


def circular_shift(waveform: np.ndarray, *, seconds: float) -> np.ndarray:
    """The waveform (T,) at 16 kHz moved later; what leaves the end comes back at the start.

    Source: the reference report, 1.1 (up to 0.2 s).
    """
    return np.roll(waveform, round(seconds * SAMPLE_RATE))


def pitch_shift(waveform: np.ndarray, *, n_semitones: float) -> np.ndarray:
    """The waveform (T,) float32 at 16 kHz, higher by so many semitones, as long as before.

    With 0 the waveform itself comes back and nothing is computed.

    Source: librosa's phase vocoder and resampling; the reference report, 1.1 (-1, 0 or +1).
    """
    if n_semitones == 0:
        return waveform
    from librosa.effects import pitch_shift as shift

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of librosa 1.0 about its own arguments
        return shift(waveform, sr=SAMPLE_RATE, n_steps=n_semitones)


def change_speed(waveform: np.ndarray, *, factor: float) -> np.ndarray:
    """The waveform (T,) played `factor` times as fast: (round(T / factor),), the pitch with it.

    Source: speed perturbation by resampling, Ko et al. 2015 (factors 0.9, 1, 1.1).
    """
    if factor == 1:
        return waveform
    import soxr  # type: ignore[import-untyped, unused-ignore]

    return soxr.resample(waveform, SAMPLE_RATE * factor, SAMPLE_RATE)


def random_stream(seed: int, clip: str, variant: int, stream: str) -> np.random.Generator:
    """The generator of one variant of one clip, whatever else is drawn and in which order."""
    name = hashlib.sha256(f"{clip}\n{stream}".encode()).digest()
    return np.random.default_rng([seed, variant, int.from_bytes(name[:8])])


def default_rows(manifest: pd.DataFrame, *, n_variants: int, seed: int) -> pd.DataFrame:
    """The rows of the default recipe: each clip itself and its variants, whatever its class.

    A variant has white noise at 15 to 40 dB below the clip's RMS, a circular shift of up to 0.2 s,
    a pitch within a semitone, and a speed of 0.9 to 1.1, each uniform in these units.

    Args:
        manifest: of a prepared speech folder: all clips, so that folds share the variants.
        n_variants: of each clip.
        seed: of the draws.

    Returns:
        id, variant (0 is the clip itself, then 1 to n_variants), noise (standard deviation, of
        full scale), shift_s, n_semitones and speed; the rows of a clip stand together.
    """
    n_clips, of_clip = len(manifest), 1 + n_variants
    parameters = np.tile(np.array(list(UNTOUCHED.values())), (n_clips, of_clip, 1))
    clips = zip(manifest["path"], manifest["rms"], parameters, strict=True)
    for path, rms, of_variant in clips:
        for variant in range(1, of_clip):
            draw = random_stream(seed, path, variant, "parameters").uniform
            of_variant[variant] = (
                rms * 10 ** (-draw(*SNR_DB) / 20),
                draw(-MAX_SHIFT_S, MAX_SHIFT_S),
                draw(-MAX_SEMITONES, MAX_SEMITONES),
                draw(*SPEED),
            )
    columns = dict(zip(PARAMETERS, parameters.reshape(-1, len(PARAMETERS)).T, strict=True))
    ids, variants = np.repeat(manifest["id"].to_numpy(), of_clip), np.arange(of_clip)
    return pd.DataFrame({"id": ids, "variant": np.tile(variants, n_clips), **columns})


def report_rows(
    manifest: pd.DataFrame,
    split: pd.Series,
    labels: pd.Series,
    *,
    class_names: Sequence[str],
    seed: int = REPORT_SEED,
) -> pd.DataFrame:
    """The rows of the report's recipe: every training class resampled to the largest.

    The clips of the largest class (the first of equals) come once each, untouched. Of every other
    class, as many rows are drawn with replacement, and each drawn row is augmented: white noise
    of 0.005, a circular shift of up to 0.2 s, a pitch of -1, 0 or +1 semitone. So all rows of one
    class, and of that class only, are original: the flaw that the report itself found.

    Args:
        manifest: of a prepared speech folder.
        split, labels: of each of its rows; only training clips are taken.
        class_names: the classes in their order.
        seed: of the draws.

    Returns:
        As `default_rows`, and label; variant counts the draws of a clip.

    Source: the reference report, 1.1. It prints the counts and the transformations; that the rows
    of the smaller classes are all augmented is the reading of "every class but the largest".
    """
    trains = manifest[split == "train"].sort_values("path")
    of_clip = labels[trains.index]
    n = {label: int((of_clip == label).sum()) for label in class_names}
    largest = max(class_names, key=n.__getitem__)
    rows: list[dict[str, Any]] = [
        {"id": clip, "variant": 0, "label": largest} | UNTOUCHED
        for clip in trains["id"][of_clip == largest].tolist()
    ]
    for label in class_names:
        if label == largest or n[label] == 0:
            continue
        clips, paths = (trains[name][of_clip == label].tolist() for name in ("id", "path"))
        places = random_stream(seed, "", 0, label).integers(len(clips), size=n[largest])
        for place, n_drawn in zip(*np.unique(places, return_counts=True), strict=True):
            for variant in range(1, n_drawn + 1):
                draw = random_stream(seed, paths[place], variant, "parameters")
                parameters = {
                    "noise": REPORT_NOISE,
                    "shift_s": draw.uniform(-MAX_SHIFT_S, MAX_SHIFT_S),
                    "n_semitones": float(draw.integers(-1, 2)),
                    "speed": 1.0,
                }
                row = {"id": clips[place], "variant": variant, "label": label}
                rows.append(row | parameters)
    return pd.DataFrame(rows)


@dataclass(frozen=True, kw_only=True)
class Render:
    """Renders a row of a recipe as audio; it can be sent to another process.

    Attributes:
        packed: the audio of the clips; row i has id i.
        seed: of the noise.
    """

    packed: Packed
    seed: int

    def __call__(self, row: Task) -> np.ndarray:
        """(n,) int16 at 16 kHz of the row (id, path, variant, parameters).

        Noise, shift, pitch and speed are changed in the report's order; what passes full scale is
        clipped.
        """
        clip, path, variant, parameters = row
        waveform = self.packed.read(clip).astype(np.float32) / FULL_SCALE
        generator = random_stream(self.seed, path, variant, "noise")
        waveform = add_noise(waveform, intensity=parameters["noise"], generator=generator)
        waveform = circular_shift(waveform, seconds=parameters["shift_s"])
        waveform = pitch_shift(waveform, n_semitones=parameters["n_semitones"])
        waveform = change_speed(waveform, factor=parameters["speed"])
        scaled = np.rint(waveform * FULL_SCALE)
        return np.clip(scaled, -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
