"""Time prepare_shemo's core against bare decoding and resampling of the same files."""

import multiprocessing
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lib.errors import UserError
from lib.pool import n_cores
from scripts import _cli

CHUNK = 16  # files handed to a process at a time, as lib/speech_read.py does


@dataclass(frozen=True, kw_only=True)
class Config:
    """Time prepare_shemo's core against bare decoding and resampling of the same files.

    Bare is soundfile.read and soxr.resample in as many processes, whose samples are thrown away:
    no checks, sums, packing or manifest. Both start their processes anew in each repeat, and take
    turns, so that what else the machine does meets both.
    """

    data: str = "data/raw/shemo"
    """ShEMO's folder with female/ and male/, as files."""
    repeats: int = 3
    """How often each is timed; the medians are compared."""
    workers: int | None = None
    """Processes of both; by default one a core."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """Medians of the wall time in s, their ratio, and the most memory at once in bytes."""

    bare_s: float
    core_s: float
    ratio: float
    peak_bytes: int


def main(cfg: Config) -> Result:
    """What was measured."""
    from lib.speech_prepare import prepare
    from lib.speech_source import shemo

    if cfg.repeats < 1 or (cfg.workers is not None and cfg.workers < 1):
        raise UserError("--repeats and --workers: give 1 or more")
    corpus = shemo(Path(cfg.data))
    if any(source.member is not None for source in corpus.sources):
        raise UserError(f"{cfg.data} holds zip files; unpack them, as bare decoding reads files")
    paths = [str(source.file) for source in corpus.sources]
    n_workers = cfg.workers or n_cores()
    bare_s, core_s, peaks = [], [], []
    for turn in range(cfg.repeats):
        seconds, _ = _timed(partial(_bare, paths, n_workers))
        bare_s.append(seconds)
        with tempfile.TemporaryDirectory() as out:
            folder = Path(out) / "shemo"
            seconds, peak = _timed(partial(prepare, corpus, folder, workers=n_workers))
        core_s.append(seconds)
        peaks.append(peak)
        print(f"{turn}: bare {bare_s[-1]:.2f} s, core {seconds:.2f} s, {peak / 1e6:.0f} MB")
    bare, core = statistics.median(bare_s), statistics.median(core_s)
    found = Result(bare_s=bare, core_s=core, ratio=core / bare, peak_bytes=max(peaks))
    print(
        f"{len(paths)} files, {n_workers} processes: bare {bare:.2f} s, core {core:.2f} s, ratio "
        f"{found.ratio:.2f}; at most {found.peak_bytes / 1e6:.0f} MB in all processes together"
    )
    return found


def _bare(paths: list[str], n_workers: int) -> None:
    """Decode and resample all files, and forget them."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_workers, context) as pool:
        for _ in pool.map(_decode, paths, chunksize=CHUNK):
            pass


def _decode(path: str) -> None:
    import soundfile
    import soxr  # type: ignore[import-untyped, unused-ignore]

    waveform, rate = soundfile.read(path, dtype="float32")
    soxr.resample(waveform, rate, 16_000, quality="HQ")


def _timed(work: Callable[[], object]) -> tuple[float, int]:
    """Wall time in s, and the most resident memory of this process and its children in bytes.

    Pages that processes share count once for each, so the memory is an upper bound.
    """
    import psutil  # type: ignore[import-untyped, unused-ignore]

    me, done, peak = psutil.Process(), threading.Event(), 0

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.05):
            total = 0
            for process in (me, *me.children(recursive=True)):
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            peak = max(peak, total)

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    try:
        work()
        return time.perf_counter() - started, peak
    finally:
        done.set()
        watcher.join()


if __name__ == "__main__":
    _cli.run(main, Config)
