"""Time this toolkit beside its peers, on the same data and from the same weights: runs/bench/."""

import platform
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lib import files
from lib.errors import UserError
from scripts import _cli

if TYPE_CHECKING:
    from lib.bench import Row
    from lib.bench_cases import Setting
    from lib.bench_ours import Job

Case = Literal["full", "frozen", "head", "heads", "speech-tiny", "speech-base"]


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
    """In about three minutes: once each, on fewer rows, without the base size of speech."""
    threads: int | None = None
    """Of torch on the CPU; by default one a core. On a busy machine one is steadier."""
    data: str = "data/prepared/farstail-none"
    """Prepared text; where it is not there, generated rows as long as FarsTail's."""
    rows: int = 256
    """Pairs of text to train on, on the CPU."""
    out: str = "runs/bench"
    """Folder of bench.json and bench.md, and of what is made on the way."""


def main(cfg: Config) -> "list[Row]":
    """The rows of the table, which is printed and saved as bench.json and bench.md."""
    if min(cfg.repeats, cfg.threads or 1) < 1 or cfg.rows < 64:
        raise UserError("give --repeats and --threads 1 or more, --rows 64 or more")
    from lib import bench, bench_cases

    out = Path(cfg.out)
    out.mkdir(parents=True, exist_ok=True)
    with files.locked(out / ".lock"):
        at, about = _setting(cfg, out)
        rows = []
        for name in cfg.cases or _cases(cfg):
            print(f"{name}:", flush=True)
            rows += bench_cases.CASES[name](at)
            files.write_json(out / "bench.json", about | {"rows": bench.as_json(rows)})
            with files.staged_file(out / "bench.md") as staged:
                told = "".join(f"{line}\n" for line in _lines(about))
                staged.write_text(f"{told}\n{bench.table(rows)}", encoding="utf-8")
    print((out / "bench.md").read_text(encoding="utf-8"))
    return rows


def _cases(cfg: Config) -> tuple[str, ...]:
    from lib.bench_cases import CASES

    if cfg.device != "cpu":
        return ("full", "frozen", "speech-base")
    return tuple(name for name in CASES if not (cfg.quick and name == "speech-base"))


def _setting(cfg: Config, out: Path) -> "tuple[Setting, dict[str, Any]]":
    """The jobs of both sides, their data and models made where they are not there; and a record."""
    from lib.bench_cases import Setting
    from lib.bench_process import apart, matrix_peak
    from lib.device import pick

    device = str(pick(cfg.device))
    gpu = device.startswith("cuda")
    data = _text(cfg, out)
    peak = apart(matrix_peak, device=device, threads=cfg.threads)
    at = Setting(
        jobs=_jobs(cfg, out, data, gpu=gpu),
        seeds=3,
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
        "machine": f"{platform.processor() or platform.machine()}, {_cores()} cores",
        "device": device,
        "peak_gflops": at.peak_flops / 1e9,
    }
    return at, about


def _jobs(cfg: Config, out: Path, data: str, *, gpu: bool) -> "dict[str, Job]":
    """The trainings that the chosen cases need."""
    from dataclasses import replace

    chosen = cfg.cases or _cases(cfg)
    text = _text_job(cfg, out, data, gpu=gpu)
    jobs = {"text": text, "frozen": replace(text, epochs=5)}
    if "speech-tiny" in chosen:
        jobs["speech-tiny"] = _speech_job(cfg, out, "tiny", gpu=gpu)
    if "speech-base" in chosen:
        jobs["speech-base"] = _speech_job(cfg, out, "base", gpu=gpu)
    return jobs


def _text(cfg: Config, out: Path) -> str:
    """The folder of prepared text: the user's, or one made of generated rows."""
    if (Path(cfg.data) / "meta.json").is_file():
        return cfg.data
    from lib.bench_data import text_files
    from scripts import prepare_text

    raw = text_files(out / "raw-text")
    made = prepare_text.Config(data=str(raw), name="text", out=str(out / "prepared"))
    return str(prepare_text.main(made))


def _text_job(cfg: Config, out: Path, data: str, *, gpu: bool) -> "Job":
    from lib.bench_ours import Job
    from scripts import scratch_bert

    width = 768 if gpu else {"tiny": 64, "small": 128, "base": 768}[cfg.size]
    name = f"bert-{width}-{files.digest(data)[:6]}"
    models = out / "models"
    if not (models / name / "source.json").is_file():
        scratch_bert.main(
            scratch_bert.Config(data=data, name=name, layers=12, width=width, out=str(models))
        )
    n_rows = 1_000_000 if gpu else cfg.rows // 2 if cfg.quick else cfg.rows
    return Job(
        data=data,
        model=str(models / name),
        n_train=n_rows,
        n_validation=max(32, n_rows // 5),
        epochs=3 if gpu else 1 if cfg.quick else 2,
        batch_size=32,
        learning_rate=3e-5 if gpu else 5e-4,
        out=str(out),
    )


def _speech_job(cfg: Config, out: Path, size: Literal["tiny", "base"], *, gpu: bool) -> "Job":
    from lib.bench_data import speech_files
    from lib.bench_ours import Job
    from scripts import scratch_hubert

    models, name = out / "models", f"hubert-{size}"
    if not (models / name / "source.json").is_file():
        layers, width = (12, 768) if size == "base" else (4, 64)
        sizes: dict[str, Any] = {"layers": layers, "width": width, "conv": size}
        scratch_hubert.main(scratch_hubert.Config(name=name, out=models, **sizes))
    sizes_of_splits = (1200, 200, 200) if gpu else (12, 4, 8) if size == "base" else (96, 24, 48)
    if cfg.quick:
        sizes_of_splits = (48, 12, 24)
    folder = out / "-".join(["raw-speech", *map(str, sizes_of_splits)])
    return Job(
        data=str(speech_files(folder, sizes=sizes_of_splits)),
        model=str(models / name),
        epochs=2 if size == "base" and not gpu else 4,
        batch_size=4,
        learning_rate=5e-5 if size == "base" else 1e-3,
        out=str(out),
    )


def _cores() -> int:
    from lib.pool import n_cores

    return n_cores()


def _lines(about: dict[str, Any]) -> list[str]:
    """What must be known of a table, above it."""
    when, peak = about["date"][:10], about["peak_gflops"]
    return [
        f"{about['machine']}, {about['device']}, {when}; a matrix product reaches {peak:.0f} "
        "GFLOP/s.",
        f"Text: {about['text']}. Ratios are peer / ours, medians of pairs with the least and the "
        "greatest; FLOP/s on real lengths, without padding; memory beyond what imports take.",
    ]


if __name__ == "__main__":
    _cli.run(main, Config)
