"""What the scripts that learn without labels share: from a config to a run, then a model folder."""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lib import json_lines, launch, made_model, runs
from lib.errors import UserError
from lib.options import Training, check
from scripts._flags import RunFlags, training_options
from scripts._training import Setting, train

if TYPE_CHECKING:
    import torch

    from lib.fit import Task


@dataclass(frozen=True, kw_only=True)
class Pretraining(Training, RunFlags):
    """The options that the two share, with defaults that fit."""

    name: str
    """Of the model: the folder below --out; its run is RUNS/pretrain/NAME-sSEED."""
    out: str = "data/models"
    """Folder of the models."""
    runs: str = "runs"
    """Folder of all runs."""
    revision: str | None = None
    """Commit of a hub's model; by default the one this project pins."""
    metric: Literal["loss", "accuracy"] = "loss"
    """What is best of what is held out."""
    select: Literal["best", "last"] = "last"
    """Which weights the model gets: of the best validation, or of the last step."""
    layerdrop: float = 0.0
    """Probability that a layer is left out of a training step."""
    limit: int | None = None
    """Rows at the most, for a quick look."""


def learn(
    cfg: Pretraining,
    task_of: "Callable[[torch.device, Training], Task]",
    *,
    made_by: str,
    inputs: Mapping[str, str],
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """What source.json of the model says, made by a run to its end unless it is there already.

    Args:
        cfg: of the script.
        task_of: the task, on a device and with the loop's options.
        made_by: pretrain-hubert or pretrain-bert.
        inputs: fingerprints of data and weights.
        about: what it is trained on, fit for JSON, for source.json.
    """
    from lib import parallel
    from lib.pretrain import output as pretrain

    check(cfg)
    folder = Path(cfg.out) / cfg.name
    transient = (*runs.TRANSIENT, "out", "runs", "revision")
    options = {name: value for name, value in asdict(cfg).items() if name not in transient}
    config = runs.configuration(
        script=made_by.replace("-", "_"), options=options, inputs=inputs, device=cfg.device
    )
    told = {"options": config["options"], "inputs": dict(inputs), **about}
    kept = made_model.there(folder, made_by=made_by, options=told, force=cfg.force)
    if kept is not None:
        print(f"{folder} is there and unchanged")
        return kept
    study = runs.study_folder(Path(cfg.runs), "pretrain", cfg.name)
    where = runs.run_folder(study, {"variant": made_by.removeprefix("pretrain-"), "seed": cfg.seed})
    train(where, config, cfg, functools.partial(_begin, cfg, task_of), describe=_figures)
    if parallel.rank() > 0:
        return {}
    if cfg.gpus > launch.n_launched():  # the processes that trained have made it, too
        kept = made_model.there(folder, made_by=made_by, options=told)
        if kept is not None:
            return kept
    found = pretrain.publish(where / "best", folder, made_by=made_by, trained_on=told)
    _tell(where, folder, bool(about.get("sample")))
    return found


def _begin(
    cfg: Pretraining,
    task_of: "Callable[[torch.device, Training], Task]",
    run: runs.Run,
    setting: Setting,
) -> tuple[int, Iterator[Mapping[str, Any]]]:
    """The number of steps of an open run, and the records of its training."""
    from lib import fit
    from lib.course import course

    options = training_options(asdict(cfg))
    task = task_of(setting.device, options)
    found = fit.checkpoint_of(run)
    records = fit.train_to_end(
        run, task, options, found=found, saving=setting.saving, stop=setting.stop
    )
    return course(options, task.train).total, records


def _figures(record: Mapping[str, Any]) -> str:
    """A validation in words."""
    heard = f", not hidden {record['unit_accuracy']:.3f}" if "unit_accuracy" in record else ""
    return (
        f"held out: loss {record['loss']:.4f}, accuracy on what is hidden "
        f"{record['accuracy']:.4f}{heard}"
    )


def check_name(cfg: Pretraining) -> None:
    """Refuse names that would leave the models' folder, before anything is read.

    Raises:
        UserError: naming it.
    """
    if not cfg.name or Path(cfg.name).name != cfg.name or cfg.name.startswith("."):
        raise UserError(f"--name {cfg.name!r} is no name of a folder below {cfg.out}")


def _tell(run: Path, folder: Path, sample: bool) -> None:
    """Draw the curves, and print what was reached."""
    from lib.pretrain import figures as pretrain_figures

    records = json_lines.read(run / "metrics.jsonl")
    records = [record for record in records if record["event"] == "validation"]
    picture = run / "figures" / "training.png"
    pretrain_figures.curves(picture, records, title=f"{folder.name}: {run.name}", sample=sample)
    last = records[-1]
    heard = f", not hidden {last['unit_accuracy']:.3f}" if "unit_accuracy" in last else ""
    print(
        f"{folder}: {last['step']} steps in {runs.train_seconds(run):.0f} s; held out: loss "
        f"{last['loss']:.3f}, accuracy on what is hidden {last['masked_accuracy']:.3f}{heard}; "
        f"curves in {picture}"
    )
