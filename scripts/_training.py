"""What the training scripts share: their common options, and the way from a config to a run."""

import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lib import hub, runs
from lib.errors import UserError
from lib.options import Training
from lib.spec import Spec


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


def trained_base(folder: Path) -> dict[str, Any]:
    """The config of a run that a study starts from.

    Raises:
        UserError: if it is no run, or its training has not ended.
    """
    config = runs.read_config(folder)
    if not runs.is_trained(folder):
        raise UserError(f"{folder} is not trained to its end; --resume its training first")
    return config


def first_weights(init: str, base: Path, options: Mapping[str, Any]) -> dict[str, Path]:
    """Where a study's run takes its first weights from, as `make_run` wants it."""
    return {"best": base / "best"} if init == "base" else {"model": Path(options["model"])}


def training_options(options: Mapping[str, Any]) -> Training:
    """The loop's part of a run's options."""
    return Training(**{name: options[name] for name in Training.__dataclass_fields__})


def make_run(
    folder: Path,
    config: Mapping[str, Any],
    flags: RunFlags,
    prepare: Callable[[runs.Run], Spec],
    *,
    model: Path | None = None,
    best: Path | None = None,
) -> Path:
    """Open a run, train it unless it is trained already, and say so; its folder.

    Args:
        folder: of the run.
        config: from runs.configuration.
        flags: how to treat a run that is there.
        prepare: gives the classifier's spec once the run is open.
        model: folder of the pretrained encoder, unless
        best: `best/` of the base run gives the first weights.
    """
    with runs.opened(folder, config, resume=flags.resume, force=flags.force) as run:
        if run.trained:
            print(f"{folder}: trained already with these options")
            return folder
        train_run(run, prepare(run), flags, model=model, best=best)
    print(f"{folder}: trained in {runs.train_seconds(folder):.0f} s")
    return folder


def train_run(
    run: runs.Run,
    spec: Spec,
    flags: RunFlags,
    *,
    model: Path | None = None,
    best: Path | None = None,
) -> Path:
    """Train an open run to its end, showing progress, and return its folder.

    SIGTERM, SIGINT and Slurm's SIGUSR1 let the step finish and save; a second one ends at once.
    The exit code is then 128 + the signal's number.
    """
    from tqdm import tqdm

    from lib import corpus, fit, train
    from lib.cache import Caching
    from lib.device import pick

    options = training_options(run.config["options"])
    place = pick(flags.device)
    data = corpus.load(run.config["options"])
    total = train.course(options, data.splits["train"]).total
    caught = _catch_signals()
    caching = Caching(
        mode=flags.cache, folder=Path(flags.cache_folder), progress=rows_bar("frozen layers")
    )
    records = fit.fit(
        run,
        data,
        spec,
        options,
        model=model,
        best=best,
        device=place,
        caching=caching,
        stop=lambda: bool(caught),
    )
    try:
        with tqdm(total=total, unit="step", disable=None, desc=run.folder.name) as bar:
            for record in records:
                _show(bar, record, run)
    except fit.Stopped:
        message = "stopped and saved; --resume goes on"
        print(f"{run.folder}: {message}", file=sys.stderr)
        sys.exit(128 + caught[0])
    return run.folder


def rows_bar(what: str) -> Callable[[int, int], None]:
    """What is called with (rows done, rows in all); a bar from the first call to the last."""
    from tqdm import tqdm

    bars: list[Any] = []

    def progress(done: int, total: int) -> None:
        if not bars:
            bars.append(tqdm(total=total, unit="row", disable=None, desc=what, leave=False))
        bars[0].update(done - bars[0].n)
        if done == total:
            bars.pop().close()

    return progress


def _show(bar: Any, record: Mapping[str, Any], run: runs.Run) -> None:
    while run.notes:
        bar.write(f"{run.folder}: {run.notes.pop(0)}")
    if record["event"] == "step" and not bar.disable:
        if bar.n == 0:  # a run that goes on starts in the middle
            bar.reset(total=bar.total)
            bar.initial = bar.n = record["step"] - 1
        bar.update(record["step"] - bar.n)
        per_s = record["n"] * (bar.format_dict["rate"] or 0.0)
        loss, accuracy = f"{record['loss']:.3f}", f"{record['accuracy']:.2f}"
        bar.set_postfix(loss=loss, accuracy=accuracy, per_s=f"{per_s:.0f}", refresh=False)
    elif record["event"] == "validation":
        bar.write(
            f"epoch {record['epoch']:.2f}, step {record['step']}: training loss "
            f"{record['train_loss']:.4f}, accuracy {record['train_accuracy']:.4f}; validation loss "
            f"{record['loss']:.4f}, accuracy {record['accuracy']:.4f}, macro F1 "
            f"{record['macro_f1']:.4f}, UAR {record['uar']:.4f}"
        )
        if run.config["options"].get("recipe") == "report" and "split" in run.config["options"]:
            for name in ("first_predictions", "first_labels", "n_predicted", "n_true"):
                bar.write(f"  {name.replace('_', ' ')} {record[name]}")


def _catch_signals() -> list[int]:
    """A list that the first stop signal is put into; a second one ends the process at once."""
    caught: list[int] = []

    def note(number: int, _: Any) -> None:
        if caught:
            os._exit(128 + number)
        caught.append(number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, note)
    return caught
