"""How many optimizer steps each epoch of a run has, and which rows each step holds."""

import math
from dataclasses import dataclass

import numpy as np

from lib import parallel, plan
from lib.errors import UserError
from lib.loader import Split
from lib.options import Training


@dataclass(frozen=True)
class Course:
    """How many optimizer steps each epoch of a run has: known before the first one.

    Attributes:
        sizes: of whole epochs.
        total: steps of the run, which may end within the last epoch.
    """

    sizes: tuple[int, ...]
    total: int

    def place(self, step: int) -> tuple[int, int]:
        """The epoch, 0-based, that follows `step` steps, and the steps of it that are done."""
        epoch = 0
        while epoch < len(self.sizes) - 1 and step >= self.sizes[epoch]:
            step -= self.sizes[epoch]
            epoch += 1
        return epoch, step

    def epochs(self, step: int) -> float:
        """`step` steps in epochs."""
        epoch, done = self.place(step)
        return epoch + done / self.sizes[epoch]

    def ends_epoch(self, step: int) -> bool:
        """Whether the step-th step is the last of its epoch, or of the run."""
        epoch, done = self.place(step)
        return step == self.total or done in (0, self.sizes[epoch])


def course(options: Training, split: Split) -> Course:
    """The course of a run over a training split.

    Raises:
        UserError: if an epoch has no step.
    """
    n_epochs = max(1, math.ceil(options.epochs))
    sizes = tuple(len(epoch_plan(options, split, epoch)[1]) for epoch in range(n_epochs))
    if min(sizes) == 0:
        raise UserError(f"{len(split)} training rows do not fill a step; lower --batch-size")
    part = options.epochs - (n_epochs - 1)
    return Course(sizes, sum(sizes[:-1]) + math.ceil(part * sizes[-1]))


def epoch_plan(
    options: Training, split: Split, epoch: int
) -> tuple[Split, list[list[list[np.ndarray]]]]:
    """The split as it is in an epoch, and that epoch's steps → ranks → micro-batches."""
    split = split.epoch(seed=options.seed, epoch=epoch)
    rows = None
    if options.balanced_sampling:
        rows = plan.balanced(split.labels, seed=options.seed, epoch=epoch)
    steps = plan.epoch(
        split.lengths,
        rows=rows,
        batch_size=options.batch_size,
        budget=round(options.batch_length * split.unit),
        accumulation=options.accumulation,
        ranks=parallel.size(),
        seed=options.seed,
        epoch=epoch,
        pool=options.pool,
        drop_last=options.drop_last,
    )
    return split, steps
