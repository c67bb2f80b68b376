"""One audio file: read alike whatever its kind, or refused with the reason of its own."""

import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from lib.audio import MIN_SAMPLES, REASONS, BadAudio, load, read_bytes
from lib.audio_header import container

RATE = 16_000


def tone(seconds: float = 0.5, *, rate: int = RATE, hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype("f4")


def encode(
    waveform: np.ndarray | None = None, *, rate: int = RATE, kind: str = "WAV", sub: str = ""
) -> bytes:
    out = io.BytesIO()
    samples = tone() if waveform is None else waveform
    soundfile.write(out, samples, rate, format=kind, subtype=sub or None)
    return out.getvalue()


def reason_of(data: bytes, *, name: str = "a.wav", max_seconds: float = 60.0) -> str:
    with pytest.raises(BadAudio) as caught:
        load(data, name=name, max_seconds=max_seconds)
    assert caught.value.reason in REASONS
    assert "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    return caught.value.reason


def with_nan() -> bytes:
    waveform = tone()
    waveform[100] = np.nan
    return encode(waveform, sub="FLOAT")


def with_infinity() -> bytes:
    waveform = tone()
    waveform[-1] = -np.inf
    return encode(waveform, sub="FLOAT")


BAD: list[tuple[str, str, Callable[[], bytes]]] = [
    ("empty file", "a.wav", lambda: b""),
    ("not audio", "a.wav", lambda: b"this is no audio " * 100),
    ("not audio", "a.wav", lambda: bytes(5000)),
    ("not audio", "a.m4a", lambda: b"\0\0\0 ftypM4A " + bytes(500)),
    ("wrong extension", "a.wav", lambda: encode(kind="FLAC")),
    ("wrong extension", "a.flac", encode),
    ("wrong extension", "a.wav", lambda: encode(kind="MP3")),
    ("wrong extension", "a.wav", lambda: b"\0\0\0 ftypM4A " + bytes(500)),
    ("truncated", "a.wav", lambda: encode()[:-2]),
    ("truncated", "a.wav", lambda: encode()[:3000]),
    ("truncated", "a.wav", lambda: encode()[:30]),
    ("truncated", "a.wav", lambda: encode(kind="RF64")[:3000]),
    ("truncated", "a.aiff", lambda: encode(kind="AIFF")[:3000]),
    ("truncated", "a.au", lambda: encode(kind="AU")[:3000]),
    ("truncated", "a.flac", lambda: encode(kind="FLAC")[:3000]),
    ("truncated", "a.ogg", lambda: encode(kind="OGG")[:3500]),
    ("truncated", "a.mp3", lambda: encode(kind="MP3")[:1200]),
    ("no samples", "a.wav", lambda: encode(np.zeros(0, "f4"))),
    ("silence", "a.wav", lambda: encode(np.zeros(8000, "f4"))),
    ("silence", "a.wav", lambda: encode(np.tile([0, 1 / 32768], 4000).astype("f4"))),
    ("silence", "a.wav", lambda: encode(np.full(8000, 0.25, "f4"))),
    ("silence", "a.wav", lambda: encode(np.zeros(8000, "f4"), sub="PCM_U8")),
    ("NaN or infinite samples", "a.wav", with_nan),
    ("NaN or infinite samples", "a.wav", with_infinity),
    ("too short", "a.wav", lambda: encode(tone()[: MIN_SAMPLES - 1])),
    ("too short", "a.wav", lambda: encode(tone(0.024, rate=44_100), rate=44_100)),
    ("too long", "a.wav", lambda: encode(tone(60.1, rate=2000, hz=100), rate=2000)),
    ("damaged", "a.wav", lambda: encode()[:24] + struct.pack("<I", 7) + encode()[28:]),
]


@pytest.mark.parametrize(("reason", "name", "make"), BAD)
def test_each_kind_of_bad_audio_has_its_own_reason(
    reason: str, name: str, make: Callable[[], bytes]
) -> None:
    assert reason_of(make(), name=name) == reason


def test_a_place_before_the_start_is_asked_for_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[object] = []  # what would go to stderr, as an exception that nobody can catch
    monkeypatch.setattr("sys.unraisablehook", told.append)
    data = encode(kind="AIFF")
    assert reason_of(data[:13] + data[13:21] * 2 + data[21:], name="a.aiff") == "damaged"
    assert told == []


@pytest.mark.parametrize(("name", "reason"), [("nothing.wav", "missing"), ("", "unreadable")])
def test_a_missing_file_and_a_folder_are_no_audio(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(BadAudio) as caught:
        read_bytes(str(tmp_path / name))
    assert caught.value.reason == reason


def test_length_is_judged_by_the_limit_that_is_given() -> None:
    assert reason_of(encode(tone(0.6)), max_seconds=0.5) == "too long"
    assert load(encode(tone(0.5)), max_seconds=0.5).seconds == 0.5


def wav(data_size: int, riff_size: int, *, after: bytes = b"") -> bytes:
    """A WAV file of 4000 samples whose header says what is given."""
    whole = bytearray(encode(tone(0.25)) + after)
    whole[4:8] = struct.pack("<I", riff_size)
    whole[40:44] = struct.pack("<I", data_size)
    return bytes(whole)


@pytest.mark.parametrize(
    "data",
    [
        wav(0, 0),
        wav(0, 36),
        wav(0xFFFFFFFF, 0xFFFFFFFF),
        wav(0x7FFFF000, 0x7FFFF024),
        wav(8000, 8036 + 500),
        wav(8000, 8036 + 12, after=b"LIST\x04\0\0\0abcd"),
        wav(8000, 8036 + 400, after=b"LIST\x90\x01\0\0abcd"),
        encode(tone(0.25), kind="RF64"),
        encode(tone(0.25), kind="WAVEX"),
    ],
)
def test_headers_that_streaming_writers_leave_and_other_chunks_lose_nothing(data: bytes) -> None:
    np.testing.assert_array_equal(
        load(data, name="a.wav").samples, load(encode(tone(0.25))).samples
    )


def test_a_file_with_an_odd_number_of_bytes_may_lack_its_padding() -> None:
    data = encode(tone()[:4001], sub="PCM_U8")
    unpadded = data[: 44 + 4001]
    assert len(load(unpadded, name="a.wav").samples) == 4001
    assert reason_of(unpadded[:-1]) == "truncated"


@pytest.mark.parametrize("cut", range(1, 60))
def test_no_cut_of_a_wav_file_goes_unseen(cut: int) -> None:
    data = encode()
    assert reason_of(data[: len(data) * cut // 60]) == "truncated"


@pytest.mark.parametrize(
    ("kind", "sub", "steps"),
    [
        ("WAV", "PCM_U8", 256),
        ("WAV", "PCM_16", 1),
        ("WAV", "PCM_24", 1),
        ("WAV", "PCM_32", 1),
        ("WAV", "FLOAT", 1),
        ("WAV", "DOUBLE", 1),
        ("FLAC", "PCM_16", 1),
        ("FLAC", "PCM_24", 1),
        ("AIFF", "PCM_16", 1),
    ],
)
def test_every_depth_is_read_alike(kind: str, sub: str, steps: int) -> None:
    clip = load(encode(kind=kind, sub=sub))
    expected = np.rint(tone() * 32768)
    assert clip.samples.dtype == np.int16
    assert np.abs(clip.samples - expected).max() <= steps


@pytest.mark.parametrize(("kind", "suffix"), [("OGG", "ogg"), ("MP3", "mp3")])
def test_compressed_audio_is_read(kind: str, suffix: str) -> None:
    clip = load(encode(kind=kind), name=f"a.{suffix}")
    assert clip.seconds == pytest.approx(0.5, abs=0.1)
    assert clip.rms == pytest.approx(0.5 / 2**0.5, rel=0.1)


def test_channels_are_averaged_and_counted() -> None:
    left, right = tone(), tone(hz=1000)
    clip = load(encode(np.stack([left, right], axis=1)))
    assert clip.n_channels == 2
    assert np.abs(clip.samples - np.rint((left + right) / 2 * 32768)).max() <= 1


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000])
def test_resampling_keeps_length_pitch_and_level(rate: int) -> None:
    clip = load(encode(tone(0.777, rate=rate, hz=1000), rate=rate))
    assert abs(len(clip.samples) - round(0.777 * rate) / rate * RATE) <= 1
    assert clip.source_rate == rate
    spectrum = np.abs(np.fft.rfft(clip.samples * np.hanning(len(clip.samples)), 2**17))
    assert np.argmax(spectrum) * RATE / 2**17 == pytest.approx(1000, abs=1)
    assert clip.rms == pytest.approx(0.5 / 2**0.5, rel=0.01)


def test_what_16_khz_cannot_hold_is_removed_not_folded() -> None:
    mixed = tone(1, rate=44_100, hz=1000) + tone(1, rate=44_100, hz=10_000)
    spectrum = np.abs(np.fft.rfft(load(encode(mixed * 0.9, rate=44_100)).samples[:16_000]))
    assert spectrum[5990:6011].max() < 1e-3 * spectrum[1000]  # where 10 kHz would fold to


def test_16_bit_at_16_khz_stays_bit_for_bit() -> None:
    samples = np.random.default_rng(0).integers(-32768, 32768, 5000).astype(np.int16)
    clip = load(encode(samples))
    np.testing.assert_array_equal(clip.samples, samples)
    assert clip.peak == np.abs(samples.astype(int)).max() / 32768
    assert clip.rms == pytest.approx(np.sqrt(np.mean((samples / 32768) ** 2)), rel=1e-6)


def test_loud_floats_are_clipped_and_counted_never_scaled() -> None:
    waveform = tone() * 3  # 1.5 at the crest
    clip = load(encode(waveform, sub="FLOAT"))
    inside = np.abs(waveform) < 0.99
    assert np.abs(clip.samples - np.rint(waveform * 32768))[inside].max() <= 1
    assert clip.n_clipped == np.count_nonzero(np.rint(waveform * 32768) > 32767) + np.count_nonzero(
        np.rint(waveform * 32768) < -32768
    )
    assert clip.n_clipped > 1000
    assert clip.peak == 1


def test_a_quiet_recording_is_no_silence_and_stays_quiet() -> None:
    clip = load(encode(tone() * 0.001, sub="PCM_24"))
    assert clip.peak == pytest.approx(0.0005, abs=1 / 32768)


@pytest.mark.parametrize(
    ("kind", "name"),
    [("WAV", "WAV"), ("RF64", "WAV"), ("FLAC", "FLAC"), ("OGG", "Ogg"), ("MP3", "MP3")],
)
def test_the_container_is_seen_from_the_bytes(kind: str, name: str) -> None:
    assert container(encode(kind=kind)) == name
    assert container(b"") is None
