"""One audio file of any kind as 16 kHz mono int16, or the reason why it cannot be used."""

import contextlib
import io
import math
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import soundfile
import soxr  # type: ignore[import-untyped, unused-ignore]

from lib.audio_header import READABLE, container, expected, missing_bytes, samples_chunk

SAMPLE_RATE = 16_000  # Hz
MIN_SAMPLES = 400  # 25 ms: HuBERT's and wav2vec 2.0's receptive field of one frame
MAX_SECONDS = 60.0
SILENCE = 1e-4  # from lowest to highest sample, of full scale: three steps of 16 bits
MAX_BYTES = 2**29  # a larger file is not even read
RATES_HZ = (2_000, 768_000)
REASONS = (
    "missing",
    "unreadable",
    "empty file",
    "not audio",
    "wrong extension",
    "truncated",
    "damaged",
    "no samples",
    "too long",
    "NaN or infinite samples",
    "silence",
    "too short",
)


class BadAudio(Exception):
    """A file that is no usable clip.

    Attributes:
        reason: one of REASONS.
        detail: more about it, or "".
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        """Take the reason and what more there is to say."""
        super().__init__(reason, detail)  # both, so that it can be sent between processes
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        """The reason and, after a colon, the detail."""
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


@dataclass(frozen=True, kw_only=True)
class Clip:
    """A usable clip.

    Attributes:
        samples: (n,) int16, 16 kHz, mono.
        peak: largest magnitude of the samples, 0 to 1 (full scale).
        rms: root of their mean square, 0 to 1.
        source_rate: of the file, in Hz.
        n_channels: of the file.
        n_clipped: samples that lay beyond full scale after mixing and resampling.
    """

    samples: np.ndarray
    peak: float
    rms: float
    source_rate: int
    n_channels: int
    n_clipped: int

    @property
    def seconds(self) -> float:
        """The length."""
        return len(self.samples) / SAMPLE_RATE


def load(source: bytes, *, name: str = "", max_seconds: float = MAX_SECONDS) -> Clip:
    """The clip in a file: channels averaged, resampled from its own rate, never normalised.

    Rounded to int16; what lies beyond full scale is clipped and counted.

    Args:
        source: all bytes of a file.
        name: of the file, for its suffix.
        max_seconds: a longer file is refused before it is decoded.

    Raises:
        BadAudio: if there is anything wrong with it.
    """
    source = _checked(source, os.path.splitext(name)[1])
    waveform, rate, n_channels = _decode(source, max_seconds)
    if n_channels > 1:
        waveform = waveform.mean(axis=1, dtype=np.float32)
    low, high = float(waveform.min()), float(waveform.max())
    if not (math.isfinite(low) and math.isfinite(high)):  # both are NaN if any sample is
        raise BadAudio("NaN or infinite samples")
    if high - low < SILENCE:
        raise BadAudio("silence")
    if rate != SAMPLE_RATE:
        waveform = soxr.resample(waveform, rate, SAMPLE_RATE, quality="HQ")
    if len(waveform) < MIN_SAMPLES:
        problem = f"{len(waveform)} samples at 16 kHz, {MIN_SAMPLES} are needed"
        raise BadAudio("too short", problem)
    return _to_int16(waveform, rate, n_channels)


def read_bytes(path: str) -> bytes:
    """The bytes of a file.

    Raises:
        BadAudio: if it is missing, cannot be read or is huge.
    """
    try:
        about = os.stat(path)
        if not stat.S_ISREG(about.st_mode):  # a device or a pipe may never end
            raise BadAudio("unreadable", "not a plain file")
        if about.st_size > MAX_BYTES:
            raise BadAudio("too long", f"more than {MAX_BYTES >> 20} MiB")
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise BadAudio("missing") from None
    except OSError as error:
        raise BadAudio("unreadable", error.strerror or str(error)) from None


def _checked(data: bytes, suffix: str) -> bytes:
    """The bytes of a whole audio file of a kind that can be read; an open WAV size is filled in."""
    if not data:
        raise BadAudio("empty file")
    kind, promised = container(data), expected(suffix)
    if kind is None and not data.strip(b"\0"):
        raise BadAudio("not audio", "nothing but zero bytes")
    if kind is None:
        raise BadAudio("not audio")
    if promised and kind != promised:
        raise BadAudio("wrong extension", f"{suffix}, but it is {kind}")
    if kind not in READABLE:
        raise BadAudio("not audio", f"{kind} cannot be read; convert it to WAV or FLAC")
    if lost := missing_bytes(data):
        raise BadAudio("truncated", f"at least {lost} bytes are missing")
    chunk = samples_chunk(data) if kind == "WAV" else None
    if chunk and chunk.is_open and data[:4] == b"RIFF":  # libsndfile takes 0 at its word
        size = chunk.size.to_bytes(4, "little")
        data = data[: chunk.field] + size + data[chunk.field + 4 :]
    return data


def _decode(data: bytes, max_seconds: float) -> tuple[np.ndarray, int, int]:
    """(n,) or (n, channels) float32 waveform, its rate in Hz, the number of channels."""
    try:
        with _silent(container(data) == "MP3"), soundfile.SoundFile(_File(data)) as file:
            rate, n_channels, n_frames = file.samplerate, file.channels, file.frames
            if not RATES_HZ[0] <= rate <= RATES_HZ[1]:
                raise BadAudio("damaged", f"a sample rate of {rate} Hz")
            most = math.floor(max_seconds * rate)
            known = n_frames < 2**62  # a FLAC written to a pipe does not know its length
            if known and n_frames > most:
                raise BadAudio("too long", f"{n_frames / rate:.1f} s, more than {max_seconds:g} s")
            if file.subtype == "PCM_16":  # the same values, in a third of the time
                waveform = file.read(most + 1, dtype="int16") * np.float32(1 / 32768)
            else:
                waveform = file.read(most + 1, dtype="float32")
    except soundfile.LibsndfileError as error:
        problem = " ".join(error.error_string.split()).rstrip(".")
        lost = container(data) == "FLAC" and "lost sync" in problem
        raise BadAudio("truncated" if lost else "damaged", problem) from None
    if len(waveform) > most:
        raise BadAudio("too long", f"more than {max_seconds:g} s")
    if known and len(waveform) < n_frames:
        problem = f"{len(waveform)} of {n_frames} samples can be read"
        raise BadAudio("truncated", problem)
    if not len(waveform):
        raise BadAudio("no samples")
    return waveform, rate, n_channels


class _File(io.BytesIO):
    """Bytes that stay where they are if a damaged size asks for a place that cannot be.

    An exception would not reach us through libsndfile: it goes to stderr, as a traceback.
    """

    def seek(self, offset: int, whence: int = 0, /) -> int:
        try:
            return super().seek(offset, whence)
        except (ValueError, OverflowError):
            return self.tell()


@contextlib.contextmanager
def _silent(is_mp3: bool) -> Iterator[None]:
    """Let libmpg123 write nothing to the process's stderr: what is wrong is told elsewhere."""
    if not is_mp3:
        yield
        return
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _to_int16(waveform: np.ndarray, rate: int, n_channels: int) -> Clip:
    scaled = waveform * np.float32(32768)
    np.rint(scaled, out=scaled)
    n_clipped = 0
    if scaled.max() > 32767 or scaled.min() < -32768:
        n_clipped = int(np.count_nonzero((scaled > 32767) | (scaled < -32768)))
        np.clip(scaled, -32768, 32767, out=scaled)
    return Clip(
        samples=scaled.astype(np.int16),
        peak=max(float(scaled.max()), -float(scaled.min())) / 32768,
        rms=math.sqrt(float(np.mean(np.square(scaled), dtype=np.float64))) / 32768,
        source_rate=rate,
        n_channels=n_channels,
        n_clipped=n_clipped,
    )
