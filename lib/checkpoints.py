"""Checkpoints that are whole or absent: `step-N/` folders, the newest valid one wins."""

import re
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lib import files
from lib.errors import UserError
from lib.shapes import Whole, misfit

# What of a state is taken for granted, where it is there at all
STATE = {
    **dict.fromkeys(("step?", "n_bytes?", "n_right?", "n_seen?", "best_step?", "n_worse?"), Whole),
    "loss_sum?": Real,
    "best_score?": (Real, None),  # before the first validation there is none
    "cached?": bool,
    "scaler?": {
        **{"scale?": float, "growth_factor?": float, "backoff_factor?": float},
        **{"growth_interval?": Whole, "_growth_tracker?": Whole},
    },
}


def save(
    folder: Path,
    step: int,
    tensors: Mapping[str, Tensor],
    state: Mapping[str, Any],
    *,
    keep: int = 1,
) -> Path:
    """Write `folder/step-N`, then delete all but the newest `keep` checkpoints.

    Args:
        folder: `checkpoints/` of a run.
        step: optimizer steps done.
        tensors: weights and optimizer state; saved contiguous, from whatever device.
        state: everything else, fit for JSON.
        keep: how many checkpoints remain, this one included.
    """
    target = folder / f"step-{step}"
    with files.staged_folder(target) as staged:
        save_file({k: v.contiguous() for k, v in tensors.items()}, staged / "tensors.safetensors")
        files.write_json(staged / "state.json", dict(state))
        names = ("tensors.safetensors", "state.json")
        files.write_json(
            staged / "manifest.json", {name: files.sha256(staged / name) for name in names}
        )
    clear(folder, keep=keep)
    return target


def clear(folder: Path, *, keep: int = 0) -> None:
    """Delete all but the newest `keep` checkpoints."""
    for old in _newest_first(folder)[keep:]:
        files.remove(old)


def newest(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any], list[str]] | None:
    """The newest valid checkpoint: tensors on the CPU, state, and what was wrong with newer ones.

    Returns:
        None if there is no checkpoint at all.

    Raises:
        UserError: if there are checkpoints, but all are damaged.
    """
    damaged: list[str] = []
    for path in _newest_first(folder):
        problem = _problem(path)
        if problem is None:
            try:
                state = files.read_json(path / "state.json")
                problem = misfit(state, STATE)
                if not problem:
                    return load_file(path / "tensors.safetensors"), state, damaged
                problem = f"in state.json {problem}"
            except (UserError, SafetensorError) as error:  # right by its sum, and yet no checkpoint
                problem = str(error)
        damaged.append(f"{path}: {problem}")
    if damaged:
        raise UserError(f"no checkpoint is whole ({'; '.join(damaged)}); start again with --force")
    return None


def _newest_first(folder: Path) -> list[Path]:
    steps = [path for path in folder.glob("step-*") if re.fullmatch("[0-9]+", path.name[5:])]
    return sorted(steps, key=lambda path: int(path.name[5:]), reverse=True)


def _problem(path: Path) -> str | None:
    """What is wrong with a checkpoint, None if nothing is."""
    try:
        manifest = files.read_json(path / "manifest.json")
        for name in ("tensors.safetensors", "state.json"):
            if files.sha256(path / name) != manifest.get(name):
                return f"the SHA-256 of {name} is not the one in its manifest"
    except (UserError, OSError, AttributeError) as error:
        return str(error)
    return None
