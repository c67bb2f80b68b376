"""Show that preparing and training on speech take no more memory on a larger corpus."""

import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from lib import files
from lib.errors import UserError
from scripts import _cli

ROOT = Path(__file__).resolve().parent.parent
RENDERED = 100  # clips that are synthesised; the others are links to them
BATCH = 16


@dataclass(frozen=True, kw_only=True)
class Config:
    """Prepare and train on a corpus, and on the same corpus ten times over: peak memory of both.

    The clips are generated, as long as ShEMO's. Counted is memory that the processes have for
    themselves, imports included; pages of files that they read are not.
    """

    clips: int = 3000
    """Of the smaller corpus, a multiple of 100; ShEMO has 3000."""
    times: int = 10
    """How many times larger the other one is."""
    steps: int = 200
    """Optimizer steps of both trainings; then they validate on a tenth of the clips. In the first
    hundred memory grows on any corpus, as what one batch frees is kept for another's lengths."""
    repeats: int = 3
    """How often each is done; medians are compared."""
    out: str = "runs/bench-memory"
    """Folder of memory.json, and of what is made on the way."""


@dataclass(frozen=True, kw_only=True)
class Peaks:
    """Bytes at the most with so many clips, median over the repeats."""

    clips: int
    preparing: int
    training: int


def main(cfg: Config) -> tuple[Peaks, Peaks]:
    """The peaks of both corpora, which are printed and saved as memory.json."""
    if cfg.clips < RENDERED or cfg.clips % RENDERED or min(cfg.times, cfg.steps, cfg.repeats) < 1:
        problem = "give --clips a multiple of 100, --times, --steps and --repeats 1 or more"
        raise UserError(problem)
    from scripts import scratch_hubert

    out = Path(cfg.out)
    scratch_hubert.main(scratch_hubert.Config(name="tiny", out=out / "models"))
    sizes = cfg.clips, cfg.clips * cfg.times
    turns = [[_peaks(cfg, out, n) for n in sizes] for _ in range(cfg.repeats)]
    small, large = (_median(of_size) for of_size in zip(*turns, strict=True))
    for name in ("preparing", "training"):
        one, other = getattr(small, name), getattr(large, name)
        print(
            f"{name}: {one / 1e6:.0f} MB with {small.clips} clips, {other / 1e6:.0f} MB with "
            f"{large.clips}: {other / one:.2f} times as much"
        )
    told = {"options": asdict(cfg), "peaks": [asdict(small), asdict(large)]}
    files.write_json(out / "memory.json", told)
    return small, large


def _peaks(cfg: Config, out: Path, n_clips: int) -> Peaks:
    from lib.bench.data import speech_files
    from lib.bench.process import peak_of

    copies, tenth = n_clips // RENDERED, RENDERED // 10
    sizes = (RENDERED - 2 * tenth, tenth, tenth)
    manifest = speech_files(out / f"raw-{n_clips}", sizes=sizes, copies=copies)
    prepared = (out / "prepared" / str(n_clips)).absolute()
    files.remove(prepared)
    how = ["--manifest", str(manifest.absolute()), "--name", prepared.name]
    preparing = peak_of(_python("prepare_shemo", *how, "--out", str(prepared.parent)), folder=ROOT)
    n_train = sizes[0] * copies
    epochs = cfg.steps * BATCH / n_train
    how = ["--data", str(prepared), "--model", str((out / "models" / "tiny").absolute())]
    how += ["--split", "manifest", "--augment", "none", "--epochs", f"{epochs:.6f}"]
    how += ["--batch-size", str(BATCH), "--batch-length", "0", "--name", str(n_clips)]
    how += ["--device", "cpu", "--cache", "off", "--force", "--out", str((out / "runs").absolute())]
    training = peak_of(_python("train_hubert", *how), folder=ROOT)
    found = Peaks(clips=n_clips, preparing=preparing, training=training)
    print(f"{n_clips} clips: preparing {preparing / 1e6:.0f} MB, training {training / 1e6:.0f} MB")
    return found


def _median(found: Sequence[Peaks]) -> Peaks:
    return Peaks(
        clips=found[0].clips,
        preparing=round(statistics.median(one.preparing for one in found)),
        training=round(statistics.median(one.training for one in found)),
    )


def _python(script: str, *words: str) -> list[str]:
    return [sys.executable, "-m", f"scripts.{script}", *words]


if __name__ == "__main__":
    _cli.run(main, Config)
