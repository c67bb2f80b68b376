"""One run from its config to its weights, resumable at every step."""

import functools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lib import cache, checkpoints, json_lines, optim, parallel, predict, runs, surgery, train
from lib.cache import Caching
from lib.corpus import Corpus
from lib.course import course
from lib.errors import UserError
from lib.loader import Split
from lib.models import Classifier
from lib.options import Training
from lib.runs import Run
from lib.spec import Spec
from lib.train import Record, State

Checkpoint = tuple[dict[str, Tensor], dict[str, Any], list[str]]


class Stopped(Exception):
    """Training was asked to stop; what was done is saved."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What differs between fine-tuning and learning without labels.

    Attributes:
        model: on its device; called with a batch it gives logits (B, C).
        train: the rows to learn.
        loss_fn: of logits (B, C) and labels (B,), the sum over the batch.
        validate: figures of the model now: n, loss, accuracy and what else `--metric` may name.
        save: writes `best/`, the folder given first, with a record of how it came about.
        budget: padded length of a forward pass at the most, see train.steps.
    """

    model: nn.Module
    train: Split
    loss_fn: Callable[[Tensor, Tensor], Tensor]
    validate: Callable[[], Record]
    save: Callable[[Path, Record], None]
    budget: int = 0


@dataclass(frozen=True, kw_only=True)
class Saving:
    """When a checkpoint is written, beside the end of what was asked to stop.

    Attributes:
        apart_s: at a validation, if as many seconds have gone by since the last one: where an epoch
            takes seconds, writing the weights and the optimizer's state takes as long.
        every: optimizer steps; 0 for no such rule.
        minutes: since the last one; 0 for no such rule.
        keep: how many remain, so that the one before stands in for a damaged one.
    """

    apart_s: float = 0
    every: int = 0
    minutes: float = 0
    keep: int = 2


def fit(
    run: Run,
    corpus: Corpus,
    spec: Spec,
    options: Training,
    *,
    model: Path | None = None,
    best: Path | None = None,
    device: torch.device,
    caching: Caching | None = None,
    saving: Saving = Saving(),
    recompute: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Record]:
    """Train a classifier to its end, yielding the loop's records; then `best/` holds its weights.

    Args:
        run: open; metrics.jsonl, timing.jsonl, checkpoints/ and best/ are written here.
        corpus: with splits `train` and `validation`.
        spec: of the classifier.
        options: of the loop.
        model: folder of the pretrained encoder, unless
        best: `best/` of a base run gives the first weights.
        device: to train on.
        caching: how what is frozen may be computed ahead; None: not at all. A run goes on as it
            began, with the cache or without.
        saving: when checkpoints are written.
        recompute: compute activations again in the backward pass instead of keeping them.
        stop: asked after each step; true saves and raises Stopped.

    Raises:
        Stopped: if `stop` said so.
        UserError: from surgery, the cache, the loop or a checkpoint.
    """
    torch.manual_seed(options.seed)
    classifier = surgery.build(spec, model=model, best=best).to(device)
    classifier.recompute = recompute
    found = checkpoint_of(run)
    splits = {name: corpus.splits[name] for name in ("train", "validation")}
    cached = _ahead(run, found, classifier, splits, caching, options, stop)
    rows, validation = cached["train"], cached["validation"]
    weights = optim.balanced_weights(rows.labels, len(corpus.labels)).to(device)
    only_head = cached is not splits and classifier.prefix_layers == classifier.read_layers
    in_turn = None if getattr(validation, "fixed_rows", True) else options.batch_size
    task = Task(
        model=classifier,
        train=rows,
        loss_fn=optim.cross_entropy(
            class_weights=weights if options.class_weights else None,
            label_smoothing=options.label_smoothing,
        ),
        validate=functools.partial(
            predict.validate,
            classifier,
            validation,
            class_names=corpus.labels,
            amp=options.amp,
            in_turn=in_turn,
        ),
        save=lambda folder, record: surgery.save(folder, classifier, spec, record=record),
        budget=0 if only_head else predict.training_budget(classifier, splits["train"]),
    )
    more = {"cached": cached is not splits}
    yield from train_to_end(run, task, options, found=found, saving=saving, more=more, stop=stop)


def checkpoint_of(run: Run) -> Checkpoint | None:
    """The newest whole checkpoint of a run that goes on, None if there is none.

    Raises:
        UserError: if there are some, but all are damaged.
    """
    return None if run.new else checkpoints.newest(run.checkpoints)


def train_to_end(
    run: Run,
    task: Task,
    options: Training,
    *,
    found: Checkpoint | None,
    saving: Saving = Saving(),
    more: Mapping[str, Any] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Record]:
    """Train from the start, or from a checkpoint, to the end, yielding the loop's records.

    Several processes train together; the first one writes.

    Args:
        run: open.
        task: what to train.
        options: of the loop.
        found: from `checkpoint_of`; emptied, for it is as large as the model.
        saving: when checkpoints are written.
        more: what else a checkpoint is to tell.
        stop: asked after each step; true saves and raises Stopped.

    Raises:
        Stopped: if `stop` said so.
        UserError: from the loop or the checkpoint.
    """
    state = train.begin(task.model, options, course(options, task.train).total)
    if parallel.rank() == 0:
        runs.begin(run)  # from here on there is something to keep
    _restore(run, state, found)
    save = functools.partial(_checkpoint, run, state, saving, more or {})
    saved_at, started = time.monotonic(), time.perf_counter()
    saved: Record | None = None
    for record in train.steps(
        state,
        task.train,
        options,
        loss_fn=task.loss_fn,
        validate=task.validate,
        budget=task.budget,
    ):
        validates = record["event"] == "validation"
        if validates:
            seconds = time.perf_counter() - started
            timing = {"step": state.step, "seconds": seconds, "validation_s": record.pop("seconds")}
            if parallel.rank() == 0:
                json_lines.append(run.folder / "metrics.jsonl", record)
                json_lines.append(run.folder / "timing.jsonl", timing)
                if record["better"] and options.select == "best":
                    _select(run, task, state, options)
        if _is_due(saving, state.step, saved_at, validates=validates):
            saved_at, saved = save(), record
        if validates:
            started = time.perf_counter()
        yield record
        if parallel.any_of(stop()):
            if saved is not record:
                save()
            parallel.wait_for_all()  # or one that is gone would have the others ended, too
            raise Stopped
    selected = state.best_step if options.select == "best" else state.step
    end = {"event": "end", "step": state.step, "selected_step": selected}
    if parallel.rank() == 0:
        if options.select == "last":
            _select(run, task, state, options)
        json_lines.append(run.folder / "metrics.jsonl", end)
        checkpoints.clear(run.checkpoints)
    run.trained = True
    yield end


def _select(run: Run, task: Task, state: State, options: Training) -> None:
    record = {"step": state.step, "seed": options.seed, options.metric: state.best_score}
    task.save(run.best, record)


def _is_due(saving: Saving, step: int, saved_at: float, *, validates: bool) -> bool:
    """Whether a rule asks for a checkpoint after this step; the same in every process."""
    if saving.every and step % saving.every == 0:
        return True
    seconds = saving.apart_s if validates else 60 * saving.minutes
    late = time.monotonic() - saved_at >= seconds
    return (validates or bool(saving.minutes)) and parallel.any_of(late)


def _checkpoint(run: Run, state: State, saving: Saving, more: Mapping[str, Any]) -> float:
    """Write a checkpoint, if this is the first process; the time at which that was done.

    Raises:
        UserError: if a step since the last look was not finite.
    """
    state.tally.refuse_not_finite()
    if parallel.rank() == 0:
        metrics = run.folder / "metrics.jsonl"
        n_bytes = metrics.stat().st_size if metrics.exists() else 0
        numbers = state.numbers() | {"n_bytes": n_bytes} | dict(more)
        checkpoints.save(run.checkpoints, state.step, state.tensors(), numbers, keep=saving.keep)
    return time.monotonic()


def _ahead(
    run: Run,
    found: Checkpoint | None,
    classifier: Classifier,
    splits: Mapping[str, Split],
    caching: Caching | None,
    options: Training,
    stop: Callable[[], bool],
) -> Mapping[str, Split]:
    """The splits, with what is frozen computed ahead as the user or the checkpoint says."""
    how = caching or Caching(mode="off", folder=Path())
    if found is not None:  # by how sums are rounded, the two ways differ in the last digits
        began: cache.Mode = "on" if found[1].get("cached") else "off"
        if how.mode not in ("auto", began):
            raise UserError(
                f"{run.folder} began with --cache {began}; go on so, or start again with --force"
            )
        how = replace(how, mode=began)
    show = how.progress

    def progress(n_done: int, n_all: int) -> None:
        if show:
            show(n_done, n_all)
        if stop():
            raise Stopped

    device = next(classifier.parameters()).device
    dtype = predict.precision(options.amp, device)
    how = replace(how, progress=progress)

    def used(how: Caching) -> tuple[Mapping[str, Split], str | None]:
        return cache.use(classifier, splits, how, dtype=dtype, epochs=options.epochs)

    if parallel.size() == 1:
        splits, note = used(how)
    else:  # the first one fills the stores; the others find them, or do without as it does
        is_cached, note = parallel.by_first(lambda: _whether(used(how), splits))
        if is_cached and parallel.rank() > 0:
            how = replace(how, mode="on", progress=None)
        splits = used(how)[0] if is_cached else splits
    run.notes += [note] if note else []
    return splits


def _whether(
    used: tuple[Mapping[str, Split], str | None], splits: Mapping[str, Split]
) -> tuple[bool, str | None]:
    """Whether the cache is used at all, and what to tell of it."""
    return used[0] is not splits, used[1]


def _restore(run: Run, state: State, found: Checkpoint | None) -> None:
    """Go back to a checkpoint, if there is one."""
    metrics = run.folder / "metrics.jsonl"
    if found is None:
        if parallel.rank() == 0:
            json_lines.cut_back(metrics, 0)
        return
    tensors, numbers, damaged = found
    run.notes += [f"passed over a damaged checkpoint ({problem})" for problem in damaged]
    try:
        if parallel.rank() == 0:
            json_lines.cut_back(metrics, numbers["n_bytes"])
        state.restore(tensors, numbers)
    except (KeyError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"the checkpoint in {run.checkpoints} does not fit this run ({reason}); start again "
            "with --force"
        ) from None
    tensors.clear()  # as large as the model and its optimizer's state
    run.notes.append(f"going on after step {state.step}")
