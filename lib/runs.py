"""The folder of a run: what it was told, what it measured, and whether it is done."""

import contextlib
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from lib import files, json_lines
from lib.errors import UserError
from lib.shapes import misfit

PACKAGES = ("torch", "transformers", "numpy", "scikit-learn", "tokenizers", "hazm", "librosa")
# Options that make no other run.
TRANSIENT = (
    "device",
    "resume",
    "force",
    "cache",
    "cache_folder",
    "gpus",
    "activation_checkpointing",
    "deterministic",
    "save_apart",
    "save_every",
    "save_minutes",
    "keep_checkpoints",
)
# What of a config.json is taken for granted; scripts check the options of their own.
SHAPE = {
    "script": str,
    "options": {"variant?": str, "seed?": int, "data?": str, "model?": str, "split?": str},
    "change": dict,
    "inputs": {"data": str, "model?": str, "base?": str},
}


@dataclass
class Run:
    """An open run.

    Attributes:
        folder: runs/<bert|hubert>/<study>/<variant>-s<seed>[-f<fold>].
        config: what config.json holds.
        new: whether nothing of it is on the disk yet, or what is there is to be replaced.
        trained: whether training has ended well.
        notes: what the user should hear, such as a damaged checkpoint that was passed over.
    """

    folder: Path
    config: dict[str, Any]
    new: bool
    trained: bool
    notes: list[str] = field(default_factory=list)

    @property
    def best(self) -> Path:
        """The folder of the selected weights."""
        return self.folder / "best"

    @property
    def checkpoints(self) -> Path:
        """The folder of what is needed to go on."""
        return self.folder / "checkpoints"


def study_folder(out: Path, kind: str, name: str) -> Path:
    """The folder of a study: OUT/KIND/NAME.

    Raises:
        UserError: if the name would leave that place.
    """
    _check_name("--name", name)
    return out / kind / name


def _check_name(flag: str, name: str) -> None:
    if not re.fullmatch(r"[^\W.][^/\\\x00-\x1f]*", name):
        raise UserError(f"{flag} {name!r} is no name for a folder; letters and digits are")


def run_folder(study: Path, options: Mapping[str, Any]) -> Path:
    """The folder of a run in its study: VARIANT-sSEED, and -fFOLD where there are folds.

    Args:
        study: runs/<bert|hubert>/<study>.
        options: variant, seed and, for speech, split and fold.

    Raises:
        UserError: if the variant's name would leave the study.
    """
    variant, seed = options["variant"], options["seed"]
    fold = f"-f{options['fold']}" if options.get("split") == "speaker" else ""
    _check_name("--variant", variant)
    return study / f"{variant}-s{seed}{fold}"


@contextlib.contextmanager
def opened(
    folder: Path, config: Mapping[str, Any], *, resume: bool = False, force: bool = False
) -> Iterator[Run]:
    """A run to train, locked against other processes while the block runs.

    Nothing is written or deleted before `begin`, so that a mistake found until then costs nothing.

    Args:
        folder: of the run.
        config: from `configuration`; its options, change and inputs say what the run is.
        resume: go on with what is there, if its options and inputs are the same.
        force: start again in the place of what is there.

    Raises:
        UserError: if the run exists and neither flag is given; if it exists with other options or
            inputs; if another process holds it.
    """
    with files.locked(folder.with_name(f".{folder.name}.lock")):
        if force or not (folder / "config.json").is_file():
            yield Run(folder, dict(config), new=True, trained=False)
            return
        if not resume:
            raise UserError(f"{folder} exists; --resume goes on with it, --force starts it again")
        refuse_other(folder, config)
        yield Run(folder, read_config(folder), new=False, trained=is_trained(folder))


def begin(run: Run) -> None:
    """Write config.json of a new run, in the place of what was there.

    Of a run that goes on what a killed process left half-written is removed.
    """
    if not run.new:
        files.sweep(run.folder)
        files.sweep(run.checkpoints)
    else:
        files.remove(run.folder)
        run.folder.mkdir(parents=True)
        files.write_json(run.folder / "config.json", run.config)
        run.new = False


def refuse_other(folder: Path, config: Mapping[str, Any]) -> None:
    """Check that a run that exists was told the same.

    Raises:
        UserError: naming each option or input that differs.
    """
    old, new = _identity(read_config(folder)), _identity(config)
    differing = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    if differing:
        told = ", ".join(f"{key} {old.get(key)!r}, now {new.get(key)!r}" for key in differing[:5])
        more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
        raise UserError(
            f"{folder} was made with other options: {told}{more}; choose another --name, or "
            "--force starts it again"
        )


def configuration(
    *,
    script: str,
    options: Mapping[str, Any],
    inputs: Mapping[str, str],
    change: Mapping[str, Any] | None = None,
    device: str,
    argv: list[str] | None = None,
) -> dict[str, Any]:
    """What goes into config.json.

    Args:
        script: that makes the run.
        options: by name; paths as strings.
        inputs: fingerprints of data and weights.
        change: what a study changed against its base run.
        device: where it runs.
        argv: the command line.
    """
    return {
        "script": script,
        "options": json.loads(json.dumps(dict(options), default=str)),
        "change": json.loads(json.dumps(dict(change or {}), default=str)),
        "inputs": dict(inputs),
        "argv": sys.argv if argv is None else argv,
        "git": git_state(),
        "versions": {"python": platform.python_version()} | package_versions(),
        "device": device,
        "threads": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def read_config(folder: Path, *, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What config.json of a run holds.

    Args:
        folder: of the run.
        options: shape that its options must have, beside that of every run, see lib.shapes.

    Raises:
        UserError: if the folder is no run, or the file is damaged.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"{folder} is no run (it has no config.json)")
    config = files.read_json(path)
    if wrong := misfit(config, SHAPE) or misfit(config["options"], dict(options or {}), "options"):
        raise UserError(f"{path} is damaged ({wrong}); make the run again with --force")
    return dict(config)


def is_trained(folder: Path) -> bool:
    """Whether a run's training has ended well; its `best/` is then final."""
    records = json_lines.read(folder / "metrics.jsonl")
    return bool(records and records[-1].get("event") == "end")


def train_seconds(folder: Path) -> float:
    """Seconds of training, validation included; parts that were done twice count once."""
    by_step = {}
    for record in json_lines.read(folder / "timing.jsonl"):
        step, seconds = record.get("step"), record.get("seconds")
        if isinstance(step, int) and isinstance(seconds, int | float):
            by_step[step] = seconds
    return float(sum(by_step.values()))


def weights_sha256(folder: Path) -> str:
    """The SHA-256 of a model folder's weights.

    Raises:
        UserError: if there are no safetensors weights, or others than its source.json tells of:
            a flipped bit would load without a word.
    """
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise UserError(
            f"{folder} has no model.safetensors; `./inv data.model ID` downloads a model and "
            "converts it"
        )
    found = files.sha256_once(weights)
    source = folder / "source.json"
    told = files.read_json(source) if source.is_file() else None
    sums = told.get("files") if isinstance(told, dict) else None
    recorded = sums.get(weights.name) if isinstance(sums, dict) else None
    if recorded not in (None, found):
        raise UserError(
            f"{weights} is damaged (its SHA-256 is not the one in source.json); delete {folder} "
            "and make or download it again"
        )
    return found


def package_versions() -> dict[str, str]:
    """The installed versions of the packages that can change a number."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


def git_state() -> dict[str, Any] | None:
    """The commit of this code and whether it was changed since; None without git."""
    root = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = bool(git("status", "--porcelain", "--untracked-files=no"))
        return {"commit": git("rev-parse", "HEAD"), "changed": changed}
    except (OSError, subprocess.CalledProcessError):
        return None


def _identity(config: Mapping[str, Any]) -> dict[str, Any]:
    """What makes two runs the same run, flat."""
    flat = {f"--{key.replace('_', '-')}": value for key, value in config["options"].items()}
    for key in TRANSIENT:
        flat.pop(f"--{key.replace('_', '-')}", None)
    flat["--gpus"] = config.get("processes", 1)
    flat |= {f"change of {key}": value for key, value in config["change"].items()}
    return flat | {f"input {key}": value for key, value in config["inputs"].items()}
