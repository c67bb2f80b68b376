"""Time this toolkit beside its peers, on the same data and from the same weights: runs/bench/."""

import platform
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lib import files
from lib.errors import UserError
from scripts import _cli

if TYPE_CHECKING:
    from lib.bench.cases import Setting
    from lib.bench.table import Row

Case = Literal[
    "full",
    "frozen",
    "head",
    "heads",
    "speech-tiny",
    "speech-base",
    "prepare",
    "recipe",
    "processes",
]
QUICK = ("full", "frozen", "head", "heads", "speech-tiny", "prepare")
ON_GPU = ("full", "frozen", "speech-base")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Time this toolkit beside its peers: HF Trainer, the reference report's way, bare decoding.

    Both sides take turns in processes of their own, from the same weights, on the same rows, with
    the same batch size, rate, epochs and validations; both keep their best weights on the disk.
    """

    cases: tuple[Case, ...] = ()
    """Which; by default all that the device is for."""
    device: str = "cpu"
    """cpu, cuda or cuda:N; on CUDA the encoders have the base size."""
    size: Literal["tiny", "small", "base"] = "small"
    """Of the text encoder on the CPU: 12 layers, 64, 128 or 768 wide."""
    repeats: int = 3
    """How often each pair is timed; the median of the paired ratios counts."""
    quick: bool = False
    """In about three minutes: once each, on fewer rows, without what takes long."""
    threads: int | None = None
    """Of torch on the CPU; by default one a core. On a busy machine one is steadier."""
    data: str = "data/prepared/farstail-none"
    """Prepared text; where it is not there, generated rows as long as FarsTail's."""
    rows: int = 128
    """Pairs of text to train on, on the CPU."""
    out: str = "runs/bench"
    """Folder of bench.json and bench.md, and of what is made on the way."""


def main(cfg: Config) -> "list[Row]":
    """The rows of the table, which is printed and saved as bench.json and bench.md."""
    if min(cfg.repeats, cfg.threads or 1) < 1 or cfg.rows < 64:
        raise UserError("give --repeats and --threads 1 or more, --rows 64 or more")
    from lib.bench import table as bench
    from lib.bench.cases import CASES
    from scripts import _bench_commands

    cases = {**CASES, "recipe": _bench_commands.recipe, "processes": _bench_commands.processes}
    chosen = cfg.cases or _usual(cfg, tuple(cases))
    out = Path(cfg.out)
    out.mkdir(parents=True, exist_ok=True)
    with files.locked(out / ".lock"):
        at, about = _setting(cfg, out, chosen)
        rows, began = [], time.monotonic()
        for name in chosen:
            print(f"{name}, after {time.monotonic() - began:.0f} s:", flush=True)
            rows += cases[name](at)
            about["took_s"] = round(time.monotonic() - began)
            files.write_json(out / "bench.json", about | {"rows": bench.as_json(rows)})
            with files.staged_file(out / "bench.md") as staged:
                told = "".join(f"{line}\n" for line in _lines(about))
                staged.write_text(f"{told}\n{bench.table(rows)}", encoding="utf-8")
    print((out / "bench.md").read_text(encoding="utf-8"))
    return rows


def _usual(cfg: Config, every: tuple[str, ...]) -> tuple[str, ...]:
    if cfg.device != "cpu":
        return ON_GPU
    return QUICK if cfg.quick else every


def _setting(cfg: Config, out: Path, cases: tuple[str, ...]) -> "tuple[Setting, dict[str, Any]]":
    """The jobs of both sides, their data and models made where they are not there; and a record."""
    from lib.bench.cases import Setting
    from lib.bench.process import apart, matrix_peak
    from lib.device import pick
    from lib.pool import n_cores
    from scripts import _bench_jobs

    device = str(pick(cfg.device))
    gpu = device.startswith("cuda")
    data = _bench_jobs.text(cfg.data, out)
    n_rows = 1_000_000 if gpu else cfg.rows // 2 if cfg.quick else cfg.rows
    how: dict[str, Any] = {"size": cfg.size, "n_rows": n_rows, "quick": cfg.quick}
    how |= {"device": device, "threads": cfg.threads}
    peak = apart(matrix_peak, device=device, threads=cfg.threads)
    at = Setting(
        jobs=_bench_jobs.make(out, data=data, cases=cases, **how),
        seeds=1 if cfg.quick else 3,
        repeats=1 if cfg.quick else cfg.repeats,
        device=device,
        threads=cfg.threads,
        peak_flops=peak.flops / peak.seconds,
        tell=lambda line: print(line, flush=True),
    )
    about = {
        "options": asdict(cfg),
        "text": data,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.processor() or platform.machine()}, {n_cores()} cores",
        "device": device,
        "peak_gflops": at.peak_flops / 1e9,
    }
    return at, about


def _lines(about: dict[str, Any]) -> list[str]:
    """What must be known of a table, above it."""
    when, peak = about["date"][:10], about["peak_gflops"]
    return [
        f"{about['machine']}, {about['device']}, {when}; a matrix product reaches {peak:.0f} "
        f"GFLOP/s; the cases took {about['took_s'] / 60:.0f} min.",
        f"Text: {about['text']}. Ratios are peer / ours, medians of pairs with the least and the "
        "greatest; FLOP/s on real lengths, without padding; memory beyond what imports take.",
    ]


if __name__ == "__main__":
    _cli.run(main, Config)
