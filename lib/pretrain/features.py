"""What frames of speech are clustered by: MFCC with their slopes, or a layer of a model."""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lib import plan
from lib.packed import SAMPLE_RATE
from lib.speech import SpeechSplit

if TYPE_CHECKING:
    import torch

    from lib.models import Classifier

N_CEPSTRA, N_MELS, LIFTER = 13, 23, 22
WINDOW, HOP, FFT = 400, 160, 512  # samples: 25 ms, 10 ms
DELTA_FRAMES = 2  # to each side


@dataclass(frozen=True)
class Frames:
    """How a clip is cut into frames: frame t is of the samples from t * hop on.

    Attributes:
        hop: samples from a frame to the next.
        width: samples of a frame.
    """

    hop: int
    width: int

    def count(self, n_samples: int) -> int:
        """The frames that fit into a clip."""
        return max(0, (n_samples - self.width) // self.hop + 1)

    def nearest(
        self, n_samples: int, wanted: "Frames", *, start: int = 0, stop: int | None = None
    ) -> np.ndarray:
        """For each frame that `wanted` cuts from a clip, the frame of ours whose centre is nearest.

        Args:
            n_samples: of the whole clip, which is cut into our frames.
            wanted: how the samples from `start` to `stop` are cut otherwise.
            start, stop: of that part; by default all of the clip.

        Returns:
            (T,) int64, ascending; of two that are as near, the earlier one.
        """
        n_frames = wanted.count((n_samples if stop is None else stop) - start)
        shift = start + (wanted.width - self.width) / 2
        found = np.ceil((np.arange(n_frames) * wanted.hop + shift) / self.hop - 0.5)
        return np.clip(found.astype(np.int64), 0, self.count(n_samples) - 1)


MFCC_FRAMES = Frames(2 * HOP, WINDOW)  # every second one: 50 a second, as HuBERT-base has


def frames_of(encoder: Mapping[str, Any]) -> Frames:
    """The frames of a model's convolutions, which pad nothing.

    Args:
        encoder: its config.json, with conv_kernel and conv_stride.
    """
    hop, width = 1, 1
    for kernel, stride in zip(encoder["conv_kernel"], encoder["conv_stride"], strict=True):
        width += (kernel - 1) * hop
        hop *= stride
    return Frames(hop, width)


def mfcc(waveform: np.ndarray) -> np.ndarray:
    """MFCC of a waveform (n,) at 16 kHz, 100 a second, with first and second slopes: (T, 39).

    Source: Hsu et al. 2021, 4.A (39-dimensional MFCC), whose code takes Kaldi's: 25 ms, Povey's
    window, pre-emphasis 0.97, 23 mel bands from 20 Hz on, lifter 22; slopes over five frames.
    """
    from scipy.fft import dct

    windows = np.lib.stride_tricks.sliding_window_view(waveform.astype(np.float64), WINDOW)[::HOP]
    windows = windows - windows.mean(1, keepdims=True)
    before = np.concatenate([windows[:, :1], windows[:, :-1]], axis=1)
    povey = np.hanning(WINDOW) ** 0.85
    power = np.abs(np.fft.rfft((windows - 0.97 * before) * povey, FFT)) ** 2
    bands = np.log(np.maximum(power @ _mel_filters(), np.finfo(np.float32).eps))
    lifter = 1 + LIFTER / 2 * np.sin(np.pi * np.arange(N_CEPSTRA) / LIFTER)
    cepstra = dct(bands, norm="ortho")[:, :N_CEPSTRA] * lifter
    slopes = _slopes(cepstra)
    return np.concatenate([cepstra, slopes, _slopes(slopes)], axis=1).astype(np.float32)


def mfcc_rows(clips: SpeechSplit, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """For each of these rows (row, (T, 39)), the frames of MFCC_FRAMES, in the rows' order."""
    for row in rows.tolist():
        yield row, mfcc(clips.waveform(row))[:: MFCC_FRAMES.hop // HOP]


def layer_rows(
    clips: SpeechSplit,
    rows: np.ndarray,
    *,
    model: "Classifier",
    dtype: "torch.dtype | None" = None,
    seconds: float = 64,
) -> Iterator[tuple[int, np.ndarray]]:
    """For each of these rows (row, (T, D)), what a model gives after its last layer that is read.

    The rows come longest first.

    Args:
        clips: to read.
        rows: of the clips.
        model: on its device; `read_layers` is the layer.
        dtype: of autocast, None for full precision.
        seconds: padded length of a batch.
    """
    import torch

    from lib.loader import batches

    device = next(model.parameters()).device
    lengths = clips.lengths[rows]
    orders = [rows[some] for some in plan.by_length(lengths, budget=round(seconds * SAMPLE_RATE))]
    model.eval()
    with torch.inference_mode():
        for some, batch in zip(orders, batches(clips, orders, device=device), strict=True):
            inputs = {k: v for k, v in batch.items() if k not in ("labels", "ids")}
            with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                states, mask = model.states(**inputs)
            hidden = states[-1].float().cpu().numpy()
            whole = [hidden.shape[1]] * len(some)
            n_frames = whole if mask is None else mask.sum(1).tolist()
            for row, values, n in zip(some.tolist(), hidden, n_frames, strict=True):
                yield row, values[:n]


def _slopes(values: np.ndarray) -> np.ndarray:
    """(T, D): the least-squares slope over five frames, the ends repeated."""
    around = range(1, DELTA_FRAMES + 1)
    padded = np.pad(values, ((DELTA_FRAMES, DELTA_FRAMES), (0, 0)), mode="edge")
    n = len(values)
    total = sum(
        k * (padded[DELTA_FRAMES + k :][:n] - padded[DELTA_FRAMES - k :][:n]) for k in around
    )
    return total / (2 * sum(k * k for k in around))


@functools.cache
def _mel_filters() -> np.ndarray:
    """(257, 23): Kaldi's triangular mel bands, 20 Hz to 8 kHz."""
    from transformers.audio_utils import mel_filter_bank

    return mel_filter_bank(
        num_frequency_bins=FFT // 2 + 1,
        num_mel_filters=N_MELS,
        min_frequency=20.0,
        max_frequency=SAMPLE_RATE / 2,
        sampling_rate=SAMPLE_RATE,
        norm=None,
        mel_scale="kaldi",
        triangularize_in_mel_space=True,
    )


Features = Callable[[SpeechSplit, np.ndarray], Iterator[tuple[int, np.ndarray]]]
