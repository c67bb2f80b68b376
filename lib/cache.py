"""What a frozen prefix makes of each row, computed once and read from the disk from then on.

A store is a folder ROOT/KEY, see lib.cache_store. KEY is a digest of the prefix's weights after
surgery, of what the rows are, and of the arithmetic; no split, label, fold or training seed is in
it, so all runs that have that prefix share the store.
"""

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor

from lib import cache_store, files, plan
from lib.cache_key import Job, Part, describe, gives_first, name_of, survey
from lib.cache_split import CachedSplit, Rows
from lib.cache_store import Store
from lib.errors import UserError
from lib.loader import Split, batches
from lib.models import Classifier
from lib.persian import Progress
from lib.predict import budget_of

Mode = Literal["auto", "on", "off"]


@dataclass(frozen=True, kw_only=True)
class Caching:
    """Whether a run may read what its frozen prefix gives from the disk, and from where.

    Attributes:
        mode: `auto` does so where it is valid and pays, `on` wherever it is valid.
        folder: of all stores.
        progress: called with (rows done, rows in all) while stores are made.
    """

    mode: Mode
    folder: Path
    progress: Progress | None = None


def use(
    classifier: Classifier,
    splits: Mapping[str, Split],
    caching: Caching,
    *,
    dtype: torch.dtype | None,
    epochs: float,
) -> tuple[Mapping[str, Split], str | None]:
    """The splits, read from the cache where that is valid and asked for, and what to tell of it.

    `auto` asks for it where fewer rows are to be computed than the run would pass through the
    frozen part; stores that are there cost nothing.

    Args:
        classifier: on its device.
        splits: train and validation.
        caching: what the user wants.
        dtype: of the run's autocast.
        epochs: of the run.

    Raises:
        UserError: if a store is damaged; for `on`, if the cache is not valid or has no room.
    """
    if caching.mode == "off":
        return splits, None
    asked = caching.mode == "on"
    reason = refusal(classifier, splits.values())
    if reason and asked:
        raise UserError(f"--cache on: {reason}; leave it out, or say --cache off")
    if reason:
        return splits, None
    rows = {name: cast(Rows, split) for name, split in splits.items()}
    jobs, parts = survey(classifier, rows, root=caching.folder, dtype=dtype)
    missing = [job for job in jobs if not job.folder.exists()]
    n_passed = epochs * len(splits["train"]) + math.ceil(epochs) * len(splits["validation"])
    n_missing = sum(len(job.rows) for job in missing)
    if not asked and (n_missing >= n_passed or _is_cheap(classifier)):
        return splits, None
    try:
        needed = sum(estimate(classifier, job, dtype=dtype) for job in missing)
        cache_store.check_room(needed, caching.folder)
    except UserError as error:
        if asked:
            raise
        return splits, f"no cache: {error}"
    started = time.perf_counter()
    fill(classifier, missing, dtype=dtype, progress=caching.progress)
    seconds = time.perf_counter() - started
    cached = {
        name: open_split(split, parts[name], gives=name_of(classifier))
        for name, split in rows.items()
    }
    n_bytes = sum(files.size_bytes(job.folder) for job in jobs)
    where = jobs[0].folder if len(jobs) == 1 else caching.folder
    told = f"reading the output of {describe(classifier)} from {where}, {n_bytes / 1e6:.0f} MB"
    return cached, told + (f" ({n_missing} rows computed in {seconds:.0f} s)" if missing else "")


def refusal(classifier: Classifier, splits: Iterable[Split]) -> str | None:
    """Why nothing of these splits can be computed ahead; None if it can."""
    if classifier.prefix_layers is None and not classifier.features_frozen:
        return "what comes first in the encoder learns, so nothing above it stays the same"
    for split in splits:
        if not hasattr(split, "fixed_rows"):
            return "these rows cannot be told from others"
        if not split.fixed_rows:
            return "without --mask padding counts as sound, so a clip depends on its batch"
    return None


def open_split(split: Rows, parts: Sequence[Part], *, gives: str) -> CachedSplit:
    """A split that reads its stores, which are there.

    Raises:
        UserError: if one is damaged.
    """
    stores: list[Store | None] = []
    slots = []
    for job, rows in parts:
        if job is None:
            stores.append(None)
            slots.append(np.full(len(rows), -1))
            continue
        store = cache_store.read(job.folder)
        slot_of = np.full(len(job.source) + 1, -1)  # the last is for rows that no epoch reads
        slot_of[store.rows] = np.arange(len(store.rows))
        stores.append(store)
        slots.append(slot_of[rows])
    return CachedSplit(split=split, gives=gives, stores=stores, slots=slots)


def estimate(classifier: Classifier, job: Job, *, dtype: torch.dtype | None) -> int:
    """About how many bytes a store takes, by what the longest of its rows gives."""
    lengths = job.source.lengths[job.rows]
    if gives_first(classifier):
        lengths = np.ones_like(lengths)
    longest = job.rows[[int(np.argmax(lengths))]]
    (_, values, (n_positions,)) = next(_computed(classifier, job.source, [longest], dtype))
    return math.ceil(lengths.sum() / lengths.max() * n_positions) * values[0, 0].nbytes


def make(
    classifier: Classifier,
    job: Job,
    *,
    dtype: torch.dtype | None,
    progress: Progress | None = None,
) -> bool:
    """Whether a store was made now; False if it was there. It is whole or absent.

    Its batches depend on the source and the rows only, so whichever run comes first writes the
    same bytes. Memory holds a batch at a time, whatever the size of the corpus.

    Args:
        classifier: on its device; its frozen prefix runs in eval mode.
        job: from `survey`.
        dtype: of autocast.
        progress: called with (rows done, rows in all); what it raises leaves nothing behind.
    """
    with files.locked(job.folder.with_name(f".{job.folder.name}.lock"), wait=True):
        if job.folder.exists():
            return False
        lengths = job.source.lengths[job.rows]
        order = plan.by_length(lengths, budget=budget_of(classifier, job.source))
        found = _computed(classifier, job.source, [job.rows[some] for some in order], dtype)
        if progress:
            found = _counted(found, len(job.rows), progress)
        cache_store.write(job.folder, found, about={"made_of": job.made_of})
    return True


def fill(
    classifier: Classifier,
    jobs: Sequence[Job],
    *,
    dtype: torch.dtype | None,
    progress: Progress | None = None,
) -> None:
    """Make these stores, where they are not there; `progress` counts the rows of all of them."""
    n_before, n_all = 0, sum(len(job.rows) for job in jobs)
    for job in jobs:

        def count(n_done: int, _: int, n_before: int = n_before) -> None:
            if progress:
                progress(n_before + n_done, n_all)

        make(classifier, job, dtype=dtype, progress=count)
        n_before += len(job.rows)


def _computed(
    classifier: Classifier, source: Split, order: list[np.ndarray], dtype: torch.dtype | None
) -> Iterator[tuple[np.ndarray, Tensor, list[int]]]:
    """For each batch its rows, what the prefix gives (B, T, width), and how much of T is real."""
    device = _device(classifier)
    was_training = classifier.training
    classifier.eval()
    try:
        for rows, batch in zip(order, batches(source, order, device=device), strict=True):
            inputs = {key: value for key, value in batch.items() if key not in ("labels", "ids")}
            with torch.autocast(device.type, dtype=dtype, enabled=dtype is not None):
                found = classifier.prefix(**inputs)
            values, mask = found[name_of(classifier)], found.get("attention_mask")
            whole = [values.shape[1]] * len(values)
            yield rows, values, whole if mask is None else mask.sum(1).tolist()
    finally:
        classifier.train(was_training)


def _counted(
    found: Iterator[tuple[np.ndarray, Tensor, list[int]]], n_rows: int, progress: Progress
) -> Iterator[tuple[np.ndarray, Tensor, list[int]]]:
    n_done = 0
    for some in found:
        yield some
        n_done += len(some[0])
        progress(n_done, n_rows)


def _is_cheap(classifier: Classifier) -> bool:
    """Whether the frozen part computes next to nothing: a table of embeddings."""
    return classifier.prefix_layers == 0 and not classifier.feature_encoder


def _device(classifier: Classifier) -> torch.device:
    return next(classifier.parameters()).device
