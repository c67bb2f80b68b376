"""Kill real training processes at random moments, resume them, compare with uninterrupted ones.

    python -m tests.kill --n 60

Each trial starts a training in a process of its own (a fork of this one, which has imported all
that takes long), sends it a signal at a moment drawn from its seed, or just when a checkpoint is
being written, resumes it, perhaps to kill it again, and compares the bytes of metrics.jsonl,
best/model.safetensors and predictions.csv (of learning without labels, the model folder it makes)
with those of a training that nobody disturbed.
"""

import argparse
import collections
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from random import Random

from scripts import _fuzz_world as world

COMPARED = ("metrics.jsonl", "best/model.safetensors")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
SAVED = ("--save-every", "2", "--save-apart", "0")
COMMON = (
    *("--device", "cpu", "--batch-size", "2", "--learning-rate", "1e-3", "--eval-every", "3"),
    *SAVED,
)
TEXT = (
    *("--data", "prepared/text", "--model", "models/bert", "--max-length", "24", "--name", "k"),
    *("--epochs", "9", *COMMON),
)
SPEECH = (
    *("--data", "prepared/speech", "--model", "models/hubert", "--name", "k", "--epochs", "15"),
    *("--split", "manifest", "--cache-folder", "cache", *COMMON),
)
BASE = {"bert": "runs/bert/k/full-s0", "hubert": "runs/hubert/k/full-s0"}


@dataclass(frozen=True)
class Job:
    """A training: its script, its command line without --resume, and the folder it makes.

    Attributes:
        model: the model folder that it makes beside, of learning without labels.
    """

    script: str
    argv: tuple[str, ...]
    folder: str
    model: str | None = None


def study(kind: str, script: str, variant: str, *argv: str) -> Job:
    """A training that goes on from the base run of its kind."""
    flags = ("--run", BASE[kind], "--variant", variant, "--device", "cpu", *SAVED, *argv)
    return Job(script, (*flags, "--cache-folder", "cache"), f"runs/{kind}/k/{variant}-s0")


def pretraining(kind: str, *argv: str) -> Job:
    """A training without labels."""
    name = f"pretrained-{kind}"
    flags = ("--name", name, "--model", f"models/{kind}", "--out", "models", *COMMON)
    where = f"runs/pretrain/{name}/{kind}-s0"
    return Job(f"pretrain_{kind}", (*flags, *argv), where, f"models/{name}")


JOBS = {
    "bert full": Job("train_bert", TEXT, BASE["bert"]),
    "hubert full, augmented, spans hidden": Job(
        "train_hubert", (*SPEECH, "--mask-time", "0.1", "--layerdrop", "0.2"), BASE["hubert"]
    ),
    "bert accumulation, weighted": Job(
        "train_bert",
        (*TEXT, "--variant", "parts", "--accumulation", "2", "--class-weights"),
        "runs/bert/k/parts-s0",
    ),
    "bert freeze first, cached": study("bert", "freeze", "first", "--first", "1", "--cache", "on"),
    "bert all but last": study("bert", "freeze", "last", "--all-but-last", "1"),
    "bert keep": study("bert", "freeze", "keep", "--keep", "1"),
    "bert prune": study("bert", "prune", "prune", "--heads", "0:1"),
    "hubert cached convolutions": Job(
        "train_hubert",
        (*SPEECH, "--variant", "cached", "--cache", "on", "--mask-time", "0"),
        "runs/hubert/k/cached-s0",
    ),
    "hubert freeze first": study("hubert", "freeze", "first", "--first", "1"),
    "hubert keep": study("hubert", "freeze", "keep", "--keep", "1"),
    "hubert prune": study("hubert", "prune", "prune", "--heads", "1:0"),
    "hubert accumulation": Job(
        "train_hubert",
        (*SPEECH, "--variant", "parts", "--accumulation", "2"),
        "runs/hubert/k/parts-s0",
    ),
    "bert retrain": Job(
        "retrain", ("--run", BASE["bert"], "--seed", "1", "--device", "cpu"), "runs/bert/k/full-s1"
    ),
    "hubert retrain": Job(
        "retrain",
        ("--run", BASE["hubert"], "--seed", "1", "--device", "cpu", *SAVED),
        "runs/hubert/k/full-s1",
    ),
    "hubert report": Job(
        "train_hubert",
        (*SPEECH, "--recipe", "report", "--augment", "none", "--variant", "report"),
        "runs/hubert/k/report-s0",
    ),
    "pretrain bert": pretraining("bert", "--data", "prepared/text", "--epochs", "6"),
    "pretrain hubert": pretraining("hubert", "--data", "prepared/speech", "--epochs", "8"),
}


def start(script: str, argv: tuple[str, ...], log: Path) -> int:
    """The process of `python -m scripts.SCRIPT ARGV`."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # as `python -m scripts.NAME` begins
        world.run_script(script, argv)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def finish(script: str, argv: tuple[str, ...], log: Path) -> None:
    """Run a script to its end; it must end well."""
    code = os.waitstatus_to_exitcode(os.waitpid(start(script, argv, log), 0)[1])
    if code:
        raise AssertionError(f"{script} {' '.join(argv)}: exit code {code}\n{log.read_text()}")


def aim(folder: Path, pid: int, draw: Random, seconds: float) -> str:
    """Wait for the moment to kill: any, or when a checkpoint or best/ is being written."""
    if draw.random() < 0.5:
        time.sleep(draw.random() * seconds)
        return "any moment"
    before = draw.randrange(4)  # writes that are let through
    seen: set[Path] = set()
    until = time.monotonic() + 2 * seconds + 1
    while time.monotonic() < until:
        staged = {*folder.glob("checkpoints/.step-*"), *folder.glob(".best.*")}
        seen |= staged
        if len(seen) > before and staged:
            time.sleep(draw.choice((0, 0, 0.0005, 0.002)))
            return "a write"
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
    return "any moment"


def trial(job: Job, reference: Path, draw: Random, seconds: float, log: Path) -> list[str]:
    """Kill and resume a training until it is done; what was hit, and by which signal.

    Raises:
        AssertionError: if it cannot be resumed, or ends otherwise than the reference.
    """
    folder = Path(job.folder)
    for made in (folder, Path(job.model or folder)):
        shutil.rmtree(made, ignore_errors=True)
    hits = []
    for _ in range(draw.choice((1, 1, 2, 3))):
        pid = start(job.script, (*job.argv, "--resume"), log)
        number = draw.choice(SIGNALS)
        moment = aim(folder, pid, draw, seconds)
        begun = (folder / "config.json").is_file()
        os.kill(pid, number)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        said = log.read_text()
        name = signal.Signals(number).name
        if "Traceback" in said or code not in (0, -number, 128 + number):
            raise AssertionError(f"after {name}: exit code {code}\n{said}")
        hits.append(f"{name} {moment if begun else 'before it began'}{', done' * (code == 0)}")
    finish(job.script, (*job.argv, "--resume"), log)
    for path in outcome(job, log):
        if path.read_bytes() != (reference / path).read_bytes():
            raise AssertionError(f"{path} is another after {', '.join(hits)}")
    left = [path for path in folder.rglob(".*") if path.is_dir()]
    if left:
        raise AssertionError(f"{left[0]} was left behind after {', '.join(hits)}")
    return hits


def outcome(job: Job, log: Path) -> list[Path]:
    """The files of a training that has ended, its evaluation's too, that are to be compared."""
    found = [Path(job.folder, name) for name in COMPARED]
    if job.model:
        return [*found, Path(job.model, "model.safetensors")]
    finish("evaluate", ("--runs", job.folder, "--device", "cpu"), log)
    return [*found, Path(job.folder, "predictions.csv")]


def undisturbed(place: Path, jobs: dict[str, Job]) -> dict[str, tuple[Path, float]]:
    """Folder and seconds of each training when nobody disturbs it, as the caller's folder has it.

    The base runs stay where they are: the studies start from them.
    """
    found = {}
    log = place / "log"
    for number, (name, job) in enumerate(jobs.items()):
        started = time.monotonic()
        finish(job.script, job.argv, log)
        seconds = time.monotonic() - started
        kept = place / f"reference-{number}"
        for path in outcome(job, log):
            (kept / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, kept / path)
        found[name] = kept, seconds
    return found


def main() -> int:
    """The number of trials that failed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--n", type=int, default=60, help="trials")
    parser.add_argument("--seed", type=int, default=0, help="of all draws")
    parser.add_argument("--jobs", type=int, default=len(JOBS), help="how many kinds of training")
    told = parser.parse_args()
    world.warm_up()
    jobs = dict(list(JOBS.items())[: told.jobs])
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    n_failed = 0
    with tempfile.TemporaryDirectory(prefix="kill-") as name:
        place = Path(name)
        world.build(place)
        os.chdir(place)
        units = ("--data", "prepared/speech", "--split", "manifest", "--units", "4")
        if any(job.script == "pretrain_hubert" for job in jobs.values()):
            finish("cluster_units", units, place / "log")
        references = undisturbed(place, jobs)
        for number in range(told.n):
            job_name = list(jobs)[number % len(jobs)]
            reference, seconds = references[job_name]
            draw = Random(f"{told.seed} {number}")
            try:
                hits = trial(jobs[job_name], reference, draw, seconds, place / "log")
            except AssertionError as error:
                n_failed += 1
                print(f"trial {number}, {job_name}: {error}", flush=True)
                counts[job_name]["failed"] += 1
                continue
            counts[job_name]["equal"] += 1
            counts[job_name].update(hits)
        os.chdir("/")
    _show(counts)
    print(f"{told.n} trainings killed and resumed, {n_failed} failed")
    return n_failed


def _show(counts: dict[str, collections.Counter[str]]) -> None:
    """Trials by training and outcome, kills by signal and moment."""
    for name, of in counts.items():
        print(f"{name}: {of.pop('equal', 0)} equal, {of.pop('failed', 0)} failed")
    kills: collections.Counter[str] = collections.Counter()
    for of in counts.values():
        kills.update(of)
    for hit, n in sorted(kills.items()):
        print(f"  {hit}: {n}")


if __name__ == "__main__":
    sys.exit(main() > 0)
