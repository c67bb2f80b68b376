"""Bare decoding and resampling of audio files: what no preparation can do without.

Its processes import only this module, soundfile and soxr.
"""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

SAMPLE_RATE = 16_000  # Hz
CHUNK = 16  # files handed to a process at a time, as lib/speech_read.py does


def bare(paths: list[str], *, workers: int) -> None:
    """Decode and resample all files, and forget them: no checks, sums, packing or manifest."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context) as pool:
        for _ in pool.map(_decode, paths, chunksize=CHUNK):
            pass


def _decode(path: str) -> None:
    import soundfile
    import soxr  # type: ignore[import-untyped, unused-ignore]

    wave, rate = soundfile.read(path, dtype="float32")
    soxr.resample(wave, rate, SAMPLE_RATE, quality="HQ")
