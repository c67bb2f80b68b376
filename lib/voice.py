"""A speech-like voice: glottal pulses and breath, filtered by the resonances of each sound.

An emotion is a Style: averages (pitch, tempo, timbre, length), and courses of pitch, loudness and
voice quality over each phrase.
"""

from dataclasses import dataclass

import numpy as np

SAMPLE_RATE_HZ = 16000
LENGTH_S = (0.5, 3.0)
WORDS = {
    "من": "man",
    "تو": "to",
    "سلام": "salɑm",
    "خانه": "xɑne",
    "کتاب": "ketɑb",
    "مادر": "mɑdar",
    "شیرین": "ʃirin",
    "امروز": "emruz",
    "دیروز": "diruz",
    "باران": "bɑrɑn",
    "نمی‌دانم": "nemidɑnam",
    "رفتم": "raftam",
    "آمد": "ɑmad",
    "گفت": "goft",
    "دوست": "dust",
    "بزرگ": "bozorg",
    "صدا": "sedɑ",
    "نگاه": "negɑh",
}
# Sounds: resonances in Hz (of a man), loudness, share of noise, duration in seconds.
# Source of the vowels: rounded from the means of Persian vowels in general phonetics textbooks.
SOUNDS: dict[str, tuple[tuple[int, int, int], float, float, float]] = {
    "a": ((720, 1550, 2450), 1.0, 0.0, 0.10),
    "ɑ": ((620, 1050, 2400), 1.0, 0.0, 0.12),
    "e": ((460, 1850, 2500), 0.9, 0.0, 0.09),
    "i": ((300, 2200, 2950), 0.8, 0.0, 0.10),
    "o": ((460, 880, 2350), 0.9, 0.0, 0.09),
    "u": ((320, 820, 2250), 0.8, 0.0, 0.10),
    "n": ((280, 1300, 2500), 0.5, 0.0, 0.06),  # also m
    "r": ((400, 1300, 1900), 0.7, 0.1, 0.05),  # also l
    "z": ((300, 1700, 2600), 0.4, 0.5, 0.07),  # voiced fricatives
    "b": ((250, 1100, 2300), 0.3, 0.1, 0.05),  # voiced stops
    "s": ((4500, 5500, 6500), 0.0, 0.5, 0.09),
    "ʃ": ((2500, 3300, 5000), 0.0, 0.5, 0.09),
    "x": ((1200, 1800, 3500), 0.0, 0.4, 0.08),  # also f, h
    "t": ((2000, 3500, 5000), 0.0, 0.15, 0.06),  # also k
}
NUMBERS = {sound: number for number, sound in enumerate(SOUNDS)}
VOWELS = 6  # the first sounds
ALIKE = {"m": "n", "l": "r", "f": "x", "h": "x", "k": "t", "d": "b", "g": "b"}


@dataclass(frozen=True, kw_only=True)
class Speaker:
    """A voice: pitch, size of the vocal tract, tempo, breath, brightness; 1 is an average man."""

    name: str
    pitch_hz: float
    tract: float  # factor of the resonances
    tempo: float
    breath: float
    tilt: float
    range: float  # factor of all movements


@dataclass(frozen=True, kw_only=True)
class Style:
    """How an emotion sounds: averages first, then courses over a phrase as values at knots.

    Attributes:
        pitch_st: mean, in semitones about the speaker's own.
        tempo: factor.
        tilt: brightness of the voice source, factor.
        length_s: median of the clips' lengths.
        pitch: course in semitones.
        loudness: course in dB.
        quality: course from 0 (breathy, dark) to 1 (pressed, bright).
        attack: loudness within a vowel: 1 falls from its beginning, -1 rises to its end.
        tremor_st: depth of a tremor of about 6 Hz.
        speeding: tempo at the end of a phrase relative to its beginning, as a power of two.
    """

    pitch_st: float
    tempo: float
    tilt: float
    length_s: float
    pitch: tuple[float, ...]
    loudness: tuple[float, ...]
    quality: tuple[float, ...]
    attack: float = 0.0
    tremor_st: float = 0.15
    speeding: float = 0.0


def make_speaker(rng: np.random.Generator, name: str, *, place: float) -> Speaker:
    """A voice; `place` (0 to 1) is where its pitch lies among its sex's."""
    low, high, tract = (175, 240, 1.17) if name[0] == "F" else (90, 145, 1.0)
    return Speaker(
        name=name,
        pitch_hz=low * (high / low) ** place,
        tract=tract * rng.uniform(0.94, 1.06),
        tempo=rng.uniform(0.88, 1.14),
        breath=rng.uniform(0.01, 0.06),
        tilt=2 ** rng.uniform(-0.4, 0.4),
        range=rng.uniform(0.8, 1.2),
    )


def say(rng: np.random.Generator, speaker: Speaker, style: Style) -> tuple[np.ndarray, list[str]]:
    """Samples (n,) at 16 kHz, n a multiple of 320, and the words."""
    words, ids, place = _script(rng, speaker, style)
    n = len(ids) * 16  # the course of everything below is drawn in milliseconds, (n / 16,)
    t = np.arange(len(ids)) / 1000
    scale = speaker.range * rng.uniform(0.85, 1.15)

    pitch = scale * _course(place, style.pitch) + style.pitch_st + rng.normal(0, 1.2)
    tremor = np.sin(2 * np.pi * rng.uniform(5, 7) * t + rng.uniform(0, 6))
    pitch += style.tremor_st * tremor + _smooth(rng.normal(0, 0.75, len(t)), 60)
    loudness = scale * _course(place, style.loudness) + 1.2 * style.tremor_st * tremor
    loudness += _smooth(rng.normal(0, 3, len(t)), 150) + _attack(ids, style.attack * 8)
    quality = np.clip(_course(place, style.quality) + rng.normal(0, 0.1), 0, 1)
    gain = _smooth(np.where(ids >= 0, 10 ** (loudness / 20), 0), 20)

    pitch_hz = _fine(speaker.pitch_hz * 2 ** (pitch / 12))
    source = _source(rng, pitch_hz=pitch_hz, quality=_fine(quality), tilt=speaker.tilt * style.tilt)
    breath = rng.standard_normal(n)
    total = np.zeros(n // 2 + 1, complex)
    hz = np.fft.rfftfreq(n, 1 / SAMPLE_RATE_HZ)
    for number, (resonances, loud, noise, _) in enumerate(SOUNDS.values()):
        if (here := ids == number).any():
            weight = _fine(gain * _smooth(here.astype(float), 20))
            aspiration = speaker.breath * (1 + 4 * _fine(1 - quality)) * loud + 0.3 * noise
            part = weight * (loud * source + aspiration * breath)
            total += np.fft.rfft(part) * _resonances(hz, np.array(resonances) * speaker.tract)
    waveform = np.fft.irfft(total, n)
    waveform *= 10 ** (rng.uniform(-8, -1) / 20) / np.abs(waveform).max()
    return waveform + rng.standard_normal(n) * 10 ** (rng.uniform(-65, -50) / 20), words


def _script(
    rng: np.random.Generator, speaker: Speaker, style: Style
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Words; for each millisecond the sound's number (-1 a pause) and the place in its phrase."""
    shortest_ms, longest_ms = (int(1000 * seconds) for seconds in LENGTH_S)
    target_ms = 1000 * np.clip(style.length_s * np.exp(rng.normal(0, 0.3)), 0.6, 2.7)
    words: list[str] = []
    n = int(rng.integers(40, 120))  # milliseconds so far
    ids, place = [np.full(n, -1)], [np.zeros(n)]
    while not words or target_ms - n > 250:
        left = target_ms - n
        phrase = _phrase(rng, left if left < 1700 else rng.uniform(800, 1300))
        letters = [ALIKE.get(sound, sound) for word in phrase for sound in WORDS[word]]
        x = (np.arange(len(letters)) + 0.5) / len(letters)
        pace = speaker.tempo * style.tempo * 2 ** (style.speeding * 2 * (x - 0.5))
        lengths_s = np.array([SOUNDS[sound][3] for sound in letters]) / pace
        ms = np.round(1000 * lengths_s * rng.uniform(0.85, 1.15, len(x))).astype(int)
        if words and n + ms.sum() > longest_ms - 200:
            break
        pause = rng.integers(90, 200)
        ids += [np.repeat([NUMBERS[sound] for sound in letters], ms), np.full(pause, -1)]
        place += [np.linspace(0, 1, ms.sum()), np.ones(pause)]
        words += phrase
        n += ms.sum() + pause
    rest = max(shortest_ms - n, -n % 20)  # 20 ms are a whole number of samples at every rate
    ids.append(np.full(rest, -1))
    place.append(np.ones(rest))
    return words, np.concatenate(ids)[:longest_ms], np.concatenate(place)[:longest_ms]


def _phrase(rng: np.random.Generator, length_ms: float) -> list[str]:
    """Words for about that long, two at least."""
    words: list[str] = []
    while len(words) < 2 or 85 * sum(len(WORDS[word]) for word in words) < length_ms - 150:
        words.append(str(rng.choice(list(WORDS))))
    return words


def _source(
    rng: np.random.Generator, *, pitch_hz: np.ndarray, quality: np.ndarray, tilt: float
) -> np.ndarray:
    """Glottal pulses (n,) with shimmer and jitter, dark where quality is 0 and bright where 1."""
    phase = np.cumsum(pitch_hz) / SAMPLE_RATE_HZ
    at = np.flatnonzero(np.diff(np.floor(phase)))
    late = (phase[at + 1] % 1) / (pitch_hz[at] / SAMPLE_RATE_HZ)  # by what part of a sample
    late = np.clip(late + rng.normal(0, 0.3, len(at)), 0, 1)
    strength = (1 + rng.normal(0, 0.05, len(at))) * np.sqrt(120 / pitch_hz[at])
    pulses = np.zeros(len(phase) + 1)
    pulses[at] += strength * late
    pulses[at + 1] += strength * (1 - late)
    hz = np.fft.rfftfreq(len(phase), 1 / SAMPLE_RATE_HZ)
    total = np.zeros(len(hz), complex)
    for weight, corner_hz in ((1 - quality, 180), (quality, 700)):
        relative = 1j * hz / (corner_hz * tilt)
        total += np.fft.rfft(pulses[:-1] * weight) * relative / (1 + relative) ** 2
    return 4 * np.fft.irfft(total, len(phase))


def _resonances(hz: np.ndarray, centres_hz: np.ndarray) -> np.ndarray:
    """The transfer function (n,) of resonators in a row, of equal mean power for every sound."""
    inverse = np.ones(len(hz), complex)
    for centre in centres_hz:
        width = 50 + 0.06 * centre
        inverse *= 1 - (hz / centre) ** 2 + 1j * (hz * (width / centre**2))
    mean_power = np.mean(1 / np.abs(inverse[::8]) ** 2)  # every eighth bin is dense enough
    return 1 / (inverse * np.sqrt(mean_power))


def _attack(ids: np.ndarray, depth_db: float) -> np.ndarray:
    """In dB (m,): within each vowel from +depth to -depth."""
    starts = np.flatnonzero(np.diff(ids, prepend=-2))
    lengths = np.diff(starts, append=len(ids))
    inside = (np.arange(len(ids)) - np.repeat(starts, lengths)) / np.repeat(lengths, lengths)
    return np.where((ids >= 0) & (ids < VOWELS), depth_db * (1 - 2 * inside), 0)


def _course(place: np.ndarray, knots: tuple[float, ...]) -> np.ndarray:
    return np.interp(place, np.linspace(0, 1, len(knots)), knots)


def _smooth(values: np.ndarray, width: int) -> np.ndarray:
    window = np.hanning(width + 2)[1:-1]
    return np.convolve(values, window / window.sum(), mode="same")


def _fine(values: np.ndarray) -> np.ndarray:
    """(m,) values in milliseconds → (16 m,) at the sampling rate, linearly between them."""
    following = np.append(values[1:], values[-1])
    steps = np.arange(16) / 16
    return (values[:, None] + (following - values)[:, None] * steps).ravel()
