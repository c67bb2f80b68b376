"""One run from its config to its weights, resumable at every step."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lib import cache, checkpoints, optim, runs, surgery, train
from lib.cache import Caching
from lib.corpus import Corpus
from lib.errors import UserError
from lib.loader import Split
from lib.models import Classifier
from lib.options import Training
from lib.predict import precision
from lib.runs import Run
from lib.spec import Spec
from lib.train import Record, State

Checkpoint = tuple[dict[str, Tensor], dict[str, Any], list[str]]


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
    caching: Caching | None = None,
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
        caching: how what is frozen may be computed ahead; None: not at all. A run goes on as it
            began, with the cache or without.
        stop: asked after each step; true saves and raises Stopped.

    Raises:
        Stopped: if `stop` said so.
        UserError: from surgery, the cache, the loop or a checkpoint.
    """
    torch.manual_seed(options.seed)
    classifier = surgery.build(spec, model=model, best=best).to(device)
    found = None if run.new else checkpoints.newest(run.checkpoints)
    splits = {name: corpus.splits[name] for name in ("train", "validation")}
    cached = _ahead(run, found, classifier, splits, caching, options, stop)
    rows, validation = cached["train"], cached["validation"]
    weights = optim.balanced_weights(rows.labels, len(corpus.labels)).to(device)
    loss_fn = optim.cross_entropy(
        class_weights=weights if options.class_weights else None,
        label_smoothing=options.label_smoothing,
    )
    state = train.begin(classifier, options, train.course(options, rows).total)
    runs.begin(run)  # from here on there is something to keep
    _restore(run, state, found)
    del found  # as large as the model and its optimizer's state
    is_cached = cached is not splits
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
            _checkpoint(run, state, is_cached)
            started = time.perf_counter()
        yield record
        if stop():
            if record["event"] == "step":
                _checkpoint(run, state, is_cached)
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
    caching = caching or Caching(mode="off", folder=Path())
    if found is not None:  # by how sums are rounded, the two ways differ in the last digits
        began: cache.Mode = "on" if found[1].get("cached") else "off"
        if caching.mode not in ("auto", began):
            raise UserError(
                f"{run.folder} began with --cache {began}; go on so, or start again with --force"
            )
        caching = replace(caching, mode=began)
    show = caching.progress

    def progress(n_done: int, n_all: int) -> None:
        if show:
            show(n_done, n_all)
        if stop():
            raise Stopped

    device = next(classifier.parameters()).device
    dtype = precision(options.amp, device)
    caching = replace(caching, progress=progress)
    splits, note = cache.use(classifier, splits, caching, dtype=dtype, epochs=options.epochs)
    run.notes += [note] if note else []
    return splits


def _checkpoint(run: Run, state: State, is_cached: bool) -> None:
    metrics = run.folder / "metrics.jsonl"
    numbers = state.numbers() | {"n_bytes": metrics.stat().st_size if metrics.exists() else 0}
    checkpoints.save(run.checkpoints, state.step, state.tensors(), numbers | {"cached": is_cached})


def _restore(run: Run, state: State, found: Checkpoint | None) -> None:
    """Go back to a checkpoint, if there is one."""
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
