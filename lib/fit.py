"""One run from its config to its weights, resumable at every step."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from lib import checkpoints, optim, runs, surgery, train
from lib.corpus import Corpus
from lib.errors import UserError
from lib.options import Training
from lib.runs import Run
from lib.spec import Spec
from lib.train import Record, State


class Stopped(Exception):
    """Training was asked to stop; what was done is saved."""


def fit(
    run: Run,
    corpus: Corpus,
    spec: Spec,
    options: Training,
    *,
    model: Path | None = None,
    best: Path | None = None,
    device: torch.device,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Record]:
    """Train a run to its end, yielding the loop's records; then `best/` holds its weights.

    Args:
        run: open; metrics.jsonl, timing.jsonl, checkpoints/ and best/ are written here.
        corpus: with splits `train` and `validation`.
        spec: of the classifier.
        options: of the loop.
        model: folder of the pretrained encoder, unless
        best: `best/` of a base run gives the first weights.
        device: to train on.
        stop: asked after each step; true saves and raises Stopped.

    Raises:
        Stopped: if `stop` said so.
        UserError: from surgery, the loop or a checkpoint.
    """
    torch.manual_seed(options.seed)
    classifier = surgery.build(spec, model=model, best=best).to(device)
    rows, validation = corpus.splits["train"], corpus.splits["validation"]
    weights = optim.balanced_weights(rows.labels, len(corpus.labels)).to(device)
    loss_fn = optim.cross_entropy(
        class_weights=weights if options.class_weights else None,
        label_smoothing=options.label_smoothing,
    )
    state = train.begin(classifier, options, train.course(options, rows).total)
    runs.begin(run)  # from here on there is something to keep
    _restore(run, state)
    started = time.perf_counter()
    for record in train.steps(
        state, rows, validation, options, loss_fn=loss_fn, class_names=corpus.labels
    ):
        if record["event"] == "validation":
            seconds = time.perf_counter() - started
            timing = {"step": state.step, "seconds": seconds, "validation_s": record.pop("seconds")}
            runs.append(run.folder / "metrics.jsonl", record)
            runs.append(run.folder / "timing.jsonl", timing)
            if record["better"] and options.select == "best":
                _select(run, state, spec, options)
            _checkpoint(run, state)
            started = time.perf_counter()
        yield record
        if stop():
            if record["event"] == "step":
                _checkpoint(run, state)
            raise Stopped
    if options.select == "last":
        _select(run, state, spec, options)
    selected = state.best_step if options.select == "best" else state.step
    end = {"event": "end", "step": state.step, "selected_step": selected}
    runs.append(run.folder / "metrics.jsonl", end)
    run.trained = True
    checkpoints.clear(run.checkpoints)
    yield end


def _select(run: Run, state: State, spec: Spec, options: Training) -> None:
    record = {"step": state.step, "seed": options.seed, options.metric: state.best_score}
    surgery.save(run.best, state.model, spec, record=record)


def _checkpoint(run: Run, state: State) -> None:
    metrics = run.folder / "metrics.jsonl"
    numbers = state.numbers() | {"n_bytes": metrics.stat().st_size if metrics.exists() else 0}
    checkpoints.save(run.checkpoints, state.step, state.tensors(), numbers)


def _restore(run: Run, state: State) -> None:
    """Go back to the newest valid checkpoint, if there is one."""
    found = checkpoints.newest(run.checkpoints)
    if found is None:
        runs.cut_back(run.folder / "metrics.jsonl", 0)
        return
    tensors, numbers, damaged = found
    run.notes += [f"passed over a damaged checkpoint ({problem})" for problem in damaged]
    try:
        runs.cut_back(run.folder / "metrics.jsonl", numbers["n_bytes"])
        state.restore(tensors, numbers)
    except (KeyError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"the checkpoint in {run.checkpoints} does not fit this run ({reason}); start again "
            "with --force"
        ) from None
    run.notes.append(f"going on after step {state.step}")
