"""Which rows go into which batch: pure functions, so every rank and every resume agrees."""

from collections.abc import Iterator

import numpy as np


def n_steps(n_rows: int, step_size: int) -> int:
    """Optimizer steps of one epoch; the last one may be smaller than `step_size` rows."""
    return -(-n_rows // step_size)


def epoch(
    lengths: np.ndarray,
    *,
    batch_size: int,
    accumulation: int = 1,
    ranks: int = 1,
    seed: int,
    epoch: int,
    pool: int = 50,
) -> list[list[list[np.ndarray]]]:
    """The steps of one epoch, each row in exactly one of them.

    Rows are shuffled, then sorted by length within pools of `pool` steps, so that a batch holds
    clips or sentences of about one length while the order stays random. How many ranks there are
    does not change which rows a step holds.

    Args:
        lengths: (N,) cost of each row, in tokens or samples.
        batch_size: rows of one forward pass on one rank.
        accumulation: forward passes of one optimizer step on one rank.
        ranks: processes that share each step.
        seed: of the run.
        epoch: 0-based.
        pool: steps that are sorted together; 1 leaves the order entirely random.

    Returns:
        steps → ranks → micro-batches → (B,) int64 row indices. Every rank has the same number of
        micro-batches in a step, so that no rank waits for a forward pass that never comes; the
        last step of an epoch may be too small for that, and then some micro-batches are empty.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(len(lengths))
    step_size = batch_size * accumulation * ranks
    steps: list[np.ndarray] = []
    for start in range(0, len(order), step_size * pool):
        rows = order[start : start + step_size * pool]
        if pool > 1:
            rows = rows[np.argsort(lengths[rows], kind="stable")]
        steps += [rows[i : i + step_size] for i in range(0, len(rows), step_size)]
    if pool > 1:
        steps = [steps[i] for i in generator.permutation(len(steps))]
    return [_share(rows, ranks=ranks, accumulation=accumulation) for rows in steps]


def by_length(lengths: np.ndarray, *, budget: int, max_rows: int = 1024) -> Iterator[np.ndarray]:
    """Batches for a pass without gradients: longest first, as many rows as the budget holds.

    Args:
        lengths: (N,) cost of each row, in tokens or samples.
        budget: padded cost of one batch; a row that alone exceeds it is a batch of its own.
        max_rows: rows of a batch at the most.

    Yields:
        (B,) int64 row indices; together each row once.
    """
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        n_rows = max(1, min(max_rows, budget // max(1, int(lengths[order[start]]))))
        yield order[start : start + n_rows]
        start += n_rows


def _share(rows: np.ndarray, *, ranks: int, accumulation: int) -> list[list[np.ndarray]]:
    """One step's rows, dealt so that equal turns of all ranks hold neighbouring lengths."""
    turns = np.array_split(rows, accumulation) if len(rows) >= accumulation else [rows]
    return [[turn[rank::ranks] for turn in turns] for rank in range(ranks)]
