"""What the training scripts share: their common options, and the way from a config to a run."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib import launch, runs
from lib.errors import UserError
from lib.spec import Spec
from scripts._flags import RunFlags, training_options
from scripts._progress import figures, rows_bar, show

if TYPE_CHECKING:
    import torch

    from lib.fit import Saving

ECHO_S = 1.0  # the time in which a signal that was passed on arrives again


@dataclass(frozen=True)
class Setting:
    """How a run is computed, which changes nothing of what it is.

    Attributes:
        device: of this process.
        saving: when checkpoints are written.
        stop: whether training was asked to stop.
    """

    device: "torch.device"
    saving: "Saving"
    stop: Callable[[], bool]


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

    Raises:
        UserError: if data or weights are not those of the base run any more; from the run or its
            training.
    """
    _refuse_other_inputs(config, model)

    def begin(run: runs.Run, setting: Setting) -> tuple[int, Iterator[Mapping[str, Any]]]:
        from lib import corpus, fit, parallel
        from lib.cache import Caching
        from lib.course import course

        options = training_options(run.config["options"])
        data = corpus.load(run.config["options"])
        spec = parallel.by_first(lambda: prepare(run))
        bar = rows_bar("frozen layers") if parallel.rank() == 0 else None
        records = fit.fit(
            run,
            data,
            spec,
            options,
            model=model,
            best=best,
            device=setting.device,
            caching=Caching(mode=flags.cache, folder=Path(flags.cache_folder), progress=bar),
            saving=setting.saving,
            recompute=flags.activation_checkpointing,
            stop=setting.stop,
        )
        return course(options, data.splits["train"]).total, records

    train(folder, config, flags, begin, describe=figures)
    return folder


def _refuse_other_inputs(config: Mapping[str, Any], model: Path | None) -> None:
    """Refuse data or weights that are not those a run is told to be made of.

    Raises:
        UserError: naming the folder that has changed.
    """
    from lib import packed, text

    told, data = config["inputs"], Path(config["options"]["data"])
    meta = (packed if packed.is_speech(data) else text).read_meta(data)
    found = {"data": meta["fingerprint"]}
    if model is not None:
        found["model"] = runs.weights_sha256(model)
    for name, place in (("data", data), ("model", model)):
        if name in found and told.get(name) != found[name]:
            raise UserError(
                f"{place} is not what it was when the base run was trained; make that run again "
                "with --force"
            )


def train(
    folder: Path,
    config: Mapping[str, Any],
    flags: RunFlags,
    begin: Callable[[runs.Run, Setting], tuple[int, Iterator[Mapping[str, Any]]]],
    *,
    describe: Callable[[Mapping[str, Any]], str],
) -> None:
    """Open a run and train it to its end, unless it is trained already, and say so.

    SIGTERM, SIGINT and Slurm's SIGUSR1 let the step finish and save; a second one ends at once.
    The exit code is then 128 + the signal's number.

    Args:
        folder: of the run.
        config: from runs.configuration.
        flags: how to treat a run that is there, and how to compute.
        begin: gives the number of steps and the records of the open run.
        describe: one line for a validation's record.

    Raises:
        UserError: from the flags, the run or its training.
    """
    n = _n_processes(flags)
    told = {**config, "processes": n, "deterministic": flags.deterministic}
    how: dict[str, Any] = {"resume": flags.resume, "force": flags.force}
    if n > launch.n_launched():
        from lib.device import refuse_processes

        refuse_processes(n, flags.device)
        with runs.opened(folder, told, **how) as run:  # what is wrong with it is said but once
            trained = run.trained
        if not trained:
            code = launch.again(n)
            if code:
                sys.exit(code)
            return
    with contextlib.ExitStack() as stack:
        run = _opened(stack, folder, told, how, flags)
        if run.trained:
            print(f"{folder}: trained already with these options")
            return
        _train(run, flags, begin, describe)
    print(f"{folder}: trained in {runs.train_seconds(folder):.0f} s")


def _opened(
    stack: contextlib.ExitStack,
    folder: Path,
    config: Mapping[str, Any],
    how: Mapping[str, Any],
    flags: RunFlags,
) -> runs.Run:
    """The run, opened by the first process for all of them."""
    if launch.n_launched() == 1:
        return stack.enter_context(runs.opened(folder, config, **how))
    from lib import parallel
    from lib.device import place

    parallel.join(place(flags.device))
    stack.enter_context(parallel.parting())
    parallel.refuse_unequal("options", [config["options"], config["change"], config["inputs"]])
    return parallel.by_first(lambda: stack.enter_context(runs.opened(folder, config, **how)))


def _n_processes(flags: RunFlags) -> int:
    """How many processes train together.

    Raises:
        UserError: if a flag has no meaning.
    """
    for name, least in (
        ("gpus", 1),
        ("save_apart", 0),
        ("save_every", 0),
        ("save_minutes", 0),
        ("keep_checkpoints", 1),
    ):
        if getattr(flags, name) < least:
            flag = f"--{name.replace('_', '-')}"
            raise UserError(f"{flag} {getattr(flags, name)}: give {least} or more")
    launched = launch.n_launched()
    if launched > 1 and flags.gpus not in (1, launched):
        raise UserError(f"--gpus {flags.gpus}: torchrun has started {launched} processes already")
    return max(flags.gpus, launched)


def _train(
    run: runs.Run,
    flags: RunFlags,
    begin: Callable[[runs.Run, Setting], tuple[int, Iterator[Mapping[str, Any]]]],
    describe: Callable[[Mapping[str, Any]], str],
) -> None:
    """Train an open run to its end, showing progress."""
    from tqdm import tqdm

    from lib import device, fit

    if flags.deterministic:
        device.deterministic()
    caught = _catch_signals()
    saving = fit.Saving(
        apart_s=flags.save_apart,
        every=flags.save_every,
        minutes=flags.save_minutes,
        keep=flags.keep_checkpoints,
    )
    setting = Setting(device.place(flags.device), saving, lambda: bool(caught))
    is_first = launch.rank() == 0
    try:
        total, records = begin(run, setting)
        hidden = None if is_first else True
        with tqdm(total=total, unit="step", disable=hidden, desc=run.folder.name) as bar:
            for record in records:
                if is_first:
                    show(bar, record, run, describe)
    except fit.Stopped:
        if is_first:
            print(f"{run.folder}: stopped and saved; --resume goes on", file=sys.stderr)
        sys.exit(128 + (caught or [signal.SIGTERM])[0])


def _catch_signals() -> list[int]:
    """A list that the first stop signal is put into; a second one ends the process at once.

    A process may hear one signal twice, from the terminal or Slurm and from the recipe or launcher
    that passes it on.
    """
    caught: list[int] = []
    first_at: list[float] = []

    def note(number: int, _: Any) -> None:
        if not caught:
            caught.append(number)
            first_at.append(time.monotonic())
        elif time.monotonic() - first_at[0] >= ECHO_S:
            os._exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, note)
    return caught
