"""The cases of the benchmark: what each side does, in turns, and what is to be reached."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lib.bench import ours as bench_ours
from lib.bench import peers, peers_speech
from lib.bench import table as bench
from lib.bench.ours import Job
from lib.bench.process import apart
from lib.bench.table import Measured, Row, Target
from lib.spec import n_layers_of, read_encoder_config


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Where and how large.

    Attributes:
        jobs: text, frozen (text, of more epochs), head (of more rows, too), heads (of the base
            size), speech-tiny, speech-base and prepare, as far as the chosen cases need them.
        seeds: of the cases over several seeds.
        repeats: of each pair.
        device: cpu or cuda:N.
        threads: of torch; None for one a core.
        peak_flops: of a matrix product, per second.
        tell: called with a line about each measurement.
    """

    jobs: Mapping[str, Job]
    seeds: int
    repeats: int
    device: str
    threads: int | None
    peak_flops: float
    tell: Callable[[str], None]

    def ours(self, job: Job, *, cache: str | None = None) -> Measured:
        """Our run of a job; with a cache folder of its own unless one is given."""
        with tempfile.TemporaryDirectory(dir=job.out) as own:
            return self.told("ours", self.apart(bench_ours.train, job=job, cache=cache or own))

    def peer(self, job: Job, *, best: bool = False) -> Measured:
        """HF Trainer's run of a job of text; the report's way of a job of speech."""
        if job.speech:
            found = self.apart(peers_speech.speech, job=job)
        else:
            found = self.apart(peers.text, job=job, best=best)
        return self.told("best" if best else "peer", found)

    def apart(self, work: Callable[..., Measured], **options: Any) -> Measured:
        """A measurement in a process of its own, on the setting's device."""
        return apart(work, threads=self.threads, device=self.device, **options)

    def row(
        self,
        case: str,
        peer: str,
        ours: list[Measured],
        theirs: list[Measured],
        *,
        least: float | None = None,
        most: float | None = None,
    ) -> Row:
        """A row of the table, with the target that lib.bench describes."""
        target = Target(least=least, most=most)
        return bench.row(case, peer, ours, theirs, target=target, peak_flops=self.peak_flops)

    def told(self, side: str, found: Measured) -> Measured:
        """The measurement, once a line is told about it."""
        right = "" if found.accuracy is None else f", accuracy {100 * found.accuracy:.1f}"
        self.tell(f"  {side}: {found.seconds:.3g} s{right}")
        return found


DEFAULTS, BEST = "HF Trainer, defaults", "HF Trainer, at its best"


def full(at: Setting) -> list[Row]:
    """Full fine-tuning of text, and of half the layers."""
    job = at.jobs["text"]
    half = replace(job, n_layers=n_layers_of(0.5, layers_of(job), what="layers"))
    sides: dict[str, list[Measured]] = {name: [] for name in ("ours", "peer", "best", "half")}
    for _ in range(at.repeats):
        sides["ours"].append(at.ours(job))
        sides["peer"].append(at.peer(job))
        sides["best"].append(at.peer(job, best=True))
        sides["half"].append(at.ours(half))
    name = f"full fine-tuning, {job.epochs} epochs, batch {job.batch_size}"
    kept = f"{half.n_layers} of {layers_of(job)} layers kept"
    ours = sides["ours"]
    return [
        at.row(name, DEFAULTS, ours, sides["peer"], least=2.0 if on_gpu(at) else 1.5),
        at.row(name, BEST, ours, sides["best"], least=1.0),
        at.row(kept, "ours, all layers", sides["half"], ours, most=0.55),
    ]


def frozen(at: Setting) -> list[Row]:
    """The first three quarters of the layers frozen."""
    job = at.jobs["frozen"]
    n = n_layers_of(0.75, layers_of(job), what="layers")
    return _frozen(
        at, replace(job, n_frozen=n), f"first {n} of {layers_of(job)} frozen", (2.2, 1.5, 2.8)
    )


def head(at: Setting) -> list[Row]:
    """All frozen but the head."""
    job = at.jobs["head"]
    job = replace(job, n_frozen=layers_of(job))
    return _frozen(at, job, "all frozen but the head", (6.0, 4.0, 15.0))


def _frozen(at: Setting, job: Job, case: str, least: tuple[float, float, float]) -> list[Row]:
    """One seed against both ways of the Trainer, and several seeds that share the cache."""
    one: list[Measured] = []
    best: list[Measured] = []
    first: list[Measured] = []
    ours: list[Measured] = []
    theirs: list[Measured] = []
    for _ in range(at.repeats):
        mine, its = [], []
        with tempfile.TemporaryDirectory(dir=job.out) as cache:
            for seed in range(at.seeds):
                mine.append(at.ours(replace(job, seed=seed), cache=cache))
                its.append(at.peer(replace(job, seed=seed)))
                if seed == 0:
                    best.append(at.peer(job, best=True))
        one.append(mine[0])
        first.append(its[0])
        # What is computed ahead is not computed again by the other seeds: no rate for these.
        ours.append(replace(bench.together(mine), flops=0.0))
        theirs.append(replace(bench.together(its), flops=0.0))
    name = f"{case}, {job.epochs} epochs"
    rows = [
        at.row(name, DEFAULTS, one, first, least=least[0]),
        at.row(name, BEST, one, best, least=least[1]),
    ]
    if at.seeds > 1:
        of_seeds = f"{name}, {at.seeds} seeds"
        rows.append(at.row(of_seeds, DEFAULTS, ours, theirs, least=least[2]))
    return rows


def heads(at: Setting) -> list[Row]:
    """Half the heads of the base size removed, batches of 32: attention alone, the whole model."""
    rows = []
    for what, whole, target in (("attention block", False, 1.5), ("whole model", True, None)):
        pairs: tuple[list[Measured], list[Measured]] = ([], [])
        for _ in range(at.repeats):
            for side, keep in zip(pairs, (0.5, 1.0), strict=True):
                how: dict[str, Any] = {"data": at.jobs["heads"].data, "keep": keep, "whole": whole}
                found = at.apart(bench_ours.passes, model=at.jobs["heads"].model, **how)
                side.append(at.told(f"{what}, {keep:.0%} of the heads", found))
        name = f"half of {heads_of(at.jobs['heads'])} heads removed, batch 32: {what}"
        rows.append(at.row(name, "ours, all heads", *pairs, least=target))
    return rows


def speech_tiny(at: Setting) -> list[Row]:
    """A tiny speech encoder, its convolutions frozen, from raw recordings."""
    return _speech(at, at.jobs["speech-tiny"], "speech, tiny", 2.0)


def speech_base(at: Setting) -> list[Row]:
    """A speech encoder of the base size, its convolutions frozen, from raw recordings."""
    return _speech(at, at.jobs["speech-base"], "speech, base", 2.0 if on_gpu(at) else 1.4)


def _speech(at: Setting, job: Job, name: str, least: float) -> list[Row]:
    ours, theirs = [], []
    for _ in range(at.repeats):
        ours.append(at.ours(job))
        theirs.append(at.peer(job))
    case = f"{name}, convolutions frozen, {job.epochs} epochs"
    return [at.row(case, "the report's way", ours, theirs, least=least)]


def layers_of(job: Job) -> int:
    """How many layers a job's encoder has."""
    return int(read_encoder_config(Path(job.model))["num_hidden_layers"])


def heads_of(job: Job) -> int:
    """How many heads each layer of a job's encoder has."""
    return int(read_encoder_config(Path(job.model))["num_attention_heads"])


def on_gpu(at: Setting) -> bool:
    """Whether the setting's device is a GPU."""
    return at.device.startswith("cuda")


def prepare(at: Setting) -> list[Row]:
    """Packing many recordings beside bare soundfile and soxr on all cores."""
    data = at.jobs["prepare"].data
    pairs: dict[bool, list[Measured]] = {True: [], False: []}
    for _ in range(at.repeats):
        for ours, side in pairs.items():
            how = {"data": data, "ours": ours, "out": at.jobs["prepare"].out}
            side.append(
                at.told("ours" if ours else "peer", at.apart(peers_speech.preparation, **how))
            )
    case, peer = "preparation of speech, core", "soundfile and soxr alone"
    return [at.row(case, peer, pairs[True], pairs[False], most=2.0)]


CASES: dict[str, Callable[[Setting], list[Row]]] = {
    "full": full,
    "frozen": frozen,
    "head": head,
    "heads": heads,
    "speech-tiny": speech_tiny,
    "speech-base": speech_base,
    "prepare": prepare,
}
