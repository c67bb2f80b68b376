"""Which rows go into which batch: pure functions, so every rank and every resume agrees."""

from collections.abc import Iterator

import numpy as np

LIMIT_SEED = 44
# A forward pass where it is fastest: on a GPU, without gradients, rows of median length; on the CPU
# tokens or seconds, for what does not fit its caches makes it wait (docs/speed.md).
GPU_ROWS, CPU_TOKENS, CPU_SECONDS = 64, 1024, 8
NARROW = 256  # numbers at a place; of narrower models as many more places fit


def epoch(
    lengths: np.ndarray,
    *,
    rows: np.ndarray | None = None,
    batch_size: int,
    budget: int = 0,
    accumulation: int = 1,
    ranks: int = 1,
    seed: int,
    epoch: int,
    pool: int = 50,
    drop_last: bool = False,
) -> list[list[list[np.ndarray]]]:
    """The steps of one epoch, each row in exactly one of them.

    Rows are shuffled, then sorted by length within pools of `pool` steps, so that a batch holds
    clips or sentences of about one length while the order stays random. How many ranks there are
    does not change which rows a step holds.

    Args:
        lengths: (N,) cost of each row, in tokens or samples.
        rows: the row indices of the epoch, where that is not each of the N once.
        batch_size: rows of one forward pass on one rank, at the most.
        budget: padded length of one forward pass at the most, 0 for any; a row that alone
            exceeds it is a batch of its own.
        accumulation: forward passes of one optimizer step on one rank.
        ranks: processes that share each step.
        seed: of the run.
        epoch: 0-based.
        pool: steps that are sorted together; 1 leaves the order entirely random.
        drop_last: leave out the last rows of the order that do not fill a step.

    Returns:
        steps → ranks → micro-batches → (B,) int64 row indices. Every rank has the same number of
        micro-batches in a step, so that no rank waits for a forward pass that never comes; the
        last step of an epoch may be too small for that, and then some micro-batches are empty.
    """
    generator = np.random.default_rng([seed, epoch])
    order = generator.permutation(np.arange(len(lengths)) if rows is None else rows)
    shares = accumulation * ranks
    if drop_last:
        order = order[: len(order) // (batch_size * shares) * batch_size * shares]
    steps: list[np.ndarray] = []
    for start in range(0, len(order), batch_size * shares * pool):
        some = order[start : start + batch_size * shares * pool]
        if pool > 1:
            some = some[np.argsort(lengths[some], kind="stable")]
        steps += _cut(some, lengths, n_rows=batch_size * shares, budget=budget * shares)
    if pool > 1:
        steps = [steps[i] for i in generator.permutation(len(steps))]
    return [_share(step, ranks=ranks, accumulation=accumulation) for step in steps]


def in_passes(
    step: list[list[np.ndarray]], lengths: np.ndarray, *, budget: int
) -> list[list[np.ndarray]]:
    """The same step of `epoch` in more forward passes, each of that padded length at the most.

    Args:
        step: ranks → micro-batches → row indices.
        lengths: (N,) cost of each row.
        budget: a row that alone exceeds it is a pass of its own.
    """
    ranks: list[list[np.ndarray]] = [[] for _ in step]
    for turn in zip(*step, strict=True):
        in_order = [rows[np.argsort(lengths[rows], kind="stable")] for rows in turn]
        cuts = [_cut(rows, lengths, n_rows=len(rows), budget=budget) for rows in in_order]
        n_passes = max(1, *map(len, cuts))
        for passes, rows, parts in zip(ranks, turn, cuts, strict=True):
            passes += parts + [rows[:0]] * (n_passes - len(parts))
    return ranks


def balanced(labels: np.ndarray, *, seed: int, epoch: int) -> np.ndarray:
    """Row indices of an epoch in which each class that occurs is equally likely: (N,) int64.

    Every row of a class comes before any of its rows comes again.
    """
    generator = np.random.default_rng([seed, epoch, 1])
    classes = np.unique(labels)
    share = np.bincount(np.arange(len(labels)) % len(classes))
    found = []
    for label, n_wanted in zip(generator.permutation(classes), share, strict=True):
        rows = np.flatnonzero(labels == label)
        rounds = [generator.permutation(rows) for _ in range(-(-n_wanted // len(rows)))]
        found.append(np.concatenate(rounds)[:n_wanted])
    return np.concatenate(found)


def limited(labels: np.ndarray, limit: int) -> np.ndarray:
    """At most `limit` row indices, ascending, the classes in proportion: (M,) int64.

    The same rows at every call, whatever a run's seed, so that limited runs can be compared.
    """
    order = np.random.default_rng(LIMIT_SEED).permutation(len(labels))
    share = np.empty(len(labels))
    for label in np.unique(labels):
        rows = order[labels[order] == label]
        share[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
    return np.sort(np.argsort(share, kind="stable")[:limit])


def budget(lengths: np.ndarray, *, unit: int, width: int, gpu: bool) -> int:
    """The padded length of a forward pass, for `by_length` and, on the CPU, `in_passes`.

    Args:
        lengths: (N,) cost of each row.
        unit: of `lengths`: 1 token, or samples of a second.
        width: of the model: of its hidden states or, if these are wider, its convolutions.
        gpu: whether the pass runs on one.
    """
    if gpu:
        return GPU_ROWS * max(1, int(np.median(lengths)))
    return max(1, NARROW // width) * (CPU_TOKENS if unit == 1 else CPU_SECONDS * unit)


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


def _cut(rows: np.ndarray, lengths: np.ndarray, *, n_rows: int, budget: int) -> list[np.ndarray]:
    """Consecutive steps of at most `n_rows` rows and, if `budget` is not 0, that padded length."""
    if not budget:
        return [rows[i : i + n_rows] for i in range(0, len(rows), n_rows)]
    steps, start, longest = [], 0, 0
    for end, row in enumerate(rows):
        longest = max(longest, int(lengths[row]))
        n = end - start + 1
        if n > 1 and (n > n_rows or n * longest > budget):
            steps.append(rows[start:end])
            start, longest = end, int(lengths[row])
    return [*steps, rows[start:]] if len(rows) else []


def _share(rows: np.ndarray, *, ranks: int, accumulation: int) -> list[list[np.ndarray]]:
    """One step's rows, dealt so that equal turns of all ranks hold neighbouring lengths."""
    turns = np.array_split(rows, accumulation) if len(rows) >= accumulation else [rows]
    return [[turn[rank::ranks] for turn in turns] for rank in range(ranks)]
