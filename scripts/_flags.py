"""Options that the training scripts share, and what they name."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from lib import hub
from lib.errors import UserError
from lib.options import Training


@dataclass(frozen=True, kw_only=True)
class RunFlags:
    """How to treat a run that is there already, and where to compute."""

    resume: bool = False
    """Go on with the run if it is there, with equal options; nothing to do if it is done."""
    force: bool = False
    """Delete the run if it is there and start again."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    cache: Literal["auto", "on", "off"] = "auto"
    """Compute what frozen parts give once, for all epochs and runs; auto does where it pays."""
    cache_folder: str = "data/cache"
    """Where that is kept."""
    gpus: int = 1
    """Processes that train together, each on a GPU of its own; with --device cpu, on the CPU.
    A step then has that many times --batch-size examples."""
    activation_checkpointing: bool = False
    """Compute activations again in the backward pass: less memory, about a third more time."""
    deterministic: bool = False
    """The same bits each time on a GPU, too; slower. The CPU needs no such option."""
    save_apart: float = 30
    """Save what is needed to go on at a validation, but for those within so many seconds after
    the last time; 0: at each."""
    save_every: int = 0
    """The same each so many steps; 0: not so."""
    save_minutes: float = 10
    """The same each so many minutes; 0: not so."""
    keep_checkpoints: Annotated[int, tyro.conf.arg(aliases=("--keep",))] = 2
    """How many of these checkpoints are kept while the run trains."""


def local_model(model: str, revision: str | None) -> Path:
    """The folder of a model given as a folder or as a hub's id; downloaded on first use.

    Raises:
        UserError: if it is neither, or cannot be had.
    """
    if Path(model).is_dir():
        if revision is not None:
            raise UserError(f"--revision {revision} means nothing for the folder {model}")
        return Path(model)
    if model.startswith((".", "/", "data/")):
        raise UserError(f"{model} does not exist")
    from scripts import fetch_model

    folder = Path("data/models") / hub.local_name(model)
    if not (folder / "source.json").is_file() or revision is not None:
        fetch_model.main(fetch_model.Config(model=model, revision=revision, out=str(folder)))
    return folder


def training_options(options: Mapping[str, Any]) -> Training:
    """The loop's part of a run's options."""
    return Training(**{name: options[name] for name in Training.__dataclass_fields__})
