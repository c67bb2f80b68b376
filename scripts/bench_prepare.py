"""Time prepare_shemo's core against bare decoding and resampling of the same files."""

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lib.bench.process import watched
from lib.errors import UserError
from lib.pool import n_cores
from scripts import _cli


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
    from lib.bench.bare import bare
    from lib.speech_prepare import prepare
    from lib.speech_source import shemo

    if cfg.repeats < 1 or (cfg.workers is not None and cfg.workers < 1):
        raise UserError("--repeats and --workers: give 1 or more")
    corpus = shemo(Path(cfg.data))
    if any(source.member is not None for source in corpus.sources):
        raise UserError(f"{cfg.data} holds zip files; unpack them, as bare decoding reads files")
    paths = [source.file for source in corpus.sources]
    n_workers = cfg.workers or n_cores()
    bare_s, core_s, peaks = [], [], []
    for turn in range(cfg.repeats):
        seconds, _ = _timed(partial(bare, paths, workers=n_workers))
        bare_s.append(seconds)
        with tempfile.TemporaryDirectory() as out:
            folder = Path(out) / "shemo"
            seconds, peak = _timed(partial(prepare, corpus, folder, workers=n_workers))
        core_s.append(seconds)
        peaks.append(peak)
        print(f"{turn}: bare {bare_s[-1]:.2f} s, core {seconds:.2f} s, {peak / 1e6:.0f} MB")
    bare_all, core = statistics.median(bare_s), statistics.median(core_s)
    found = Result(bare_s=bare_all, core_s=core, ratio=core / bare_all, peak_bytes=max(peaks))
    print(
        f"{len(paths)} files, {n_workers} processes: bare {bare_all:.2f} s, core {core:.2f} s, "
        f"ratio {found.ratio:.2f}; at most {found.peak_bytes / 1e6:.0f} MB beyond what was there"
    )
    return found


def _timed(work: Callable[[], object]) -> tuple[float, int]:
    """Wall time in s, and the most memory in bytes, see lib.bench.process."""
    started = time.perf_counter()
    _, peak = watched(work)
    return time.perf_counter() - started, peak


if __name__ == "__main__":
    _cli.run(main, Config)
