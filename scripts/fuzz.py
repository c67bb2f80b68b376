"""Give damaged inputs of every kind to the scripts that read them, and count what comes of it."""

import collections
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lib.errors import UserError
from lib.fuzz import attempts as fuzz
from scripts import _cli


@dataclass(frozen=True, kw_only=True)
class Config:
    """Give damaged files to the scripts; each must be accepted or refused in one line.

    Forbidden are tracebacks, hangs, crashes of the interpreter, half-written outputs, and escapes:
    hostile files that are accepted, code of theirs that runs.
    """

    n: int = 10_000
    """Damaged inputs."""
    seed: int = 0
    """Of all draws."""
    kinds: tuple[str, ...] = ()
    """Kinds of input; by default all."""
    replay: tuple[str, ...] = ()
    """Try inputs again that were saved as failing."""
    out: str = "runs/fuzz"
    """Where inputs with a forbidden outcome are saved."""
    workers: int | None = None
    """Inputs tried at once; by default one a core."""
    seconds: float = 60.0
    """An input that takes longer hangs."""
    keep_going: bool = False
    """Exit with 0 although there were forbidden outcomes."""


def main(cfg: Config) -> dict[str, dict[str, int]]:
    """How many inputs of each kind had which outcome."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"  # before anything is imported: a fork keeps no threads
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    from lib.pool import n_cores
    from scripts import _fuzz_derived as derived
    from scripts import _fuzz_world as world
    from scripts import _fuzzing

    kinds = cfg.kinds or tuple(_fuzzing.KINDS)
    if unknown := set(kinds) - set(_fuzzing.KINDS):
        raise UserError(f"--kinds {min(unknown)}: choose of {', '.join(_fuzzing.KINDS)}")
    again = [fuzz.read_case(Path(name)) for name in cfg.replay]
    counts: dict[str, dict[str, int]] = collections.defaultdict(collections.Counter)
    limits = fuzz.Limits(seconds=cfg.seconds, n_open=cfg.workers or n_cores())
    world.warm_up()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as shared:
        world.build(Path(shared), world.make_runs, derived.make)

        def drawn() -> Iterator[fuzz.Case]:
            for kind, number in _fuzzing.numbered(cfg.n, seed=cfg.seed, kinds=kinds):
                yield _fuzzing.case(Path(shared), kind=kind, number=number, seed=cfg.seed)

        try:
            with _cli.progress_bar("inputs") as progress:
                found = fuzz.attempt(again or drawn(), Path(shared), _work, limits=limits)
                for n_done, (case, outcome, said) in enumerate(found, start=1):
                    counts[case.kind][outcome] += 1
                    if outcome in fuzz.FORBIDDEN:
                        _tell(case, outcome, said, Path(cfg.out))
                    elif again:
                        print(f"{case.kind}, {case.what}: {outcome}; {said.strip()}")
                    progress(n_done, len(again) or cfg.n)
        finally:  # also of what was tried until somebody stopped it
            print(fuzz.table(counts), flush=True)
    failed = any(of[outcome] for of in counts.values() for outcome in fuzz.FORBIDDEN)
    if failed and not cfg.keep_going:
        raise UserError(f"forbidden outcomes; --replay {cfg.out}/FILE tries one again")
    return dict(counts)


def _work(case: fuzz.Case) -> None:
    from scripts._fuzz_world import run_script

    run_script(case.script, case.argv)


def _tell(case: fuzz.Case, outcome: str, said: str, out: Path) -> None:
    """Save an input with a forbidden outcome, and say what happened."""
    path = out / f"{case.kind.replace(' ', '-').replace('/', '')}-{fuzz.name(case)}.json"
    fuzz.write_case(path, case, outcome, said)
    last = (said.strip().splitlines() or ["nothing was said"])[-1][:200]
    print(f"{outcome}: {case.kind}, {case.what}, {case.script}: {last} ({path})", flush=True)


if __name__ == "__main__":
    _cli.run(main, Config)
