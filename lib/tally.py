"""What the steps of a run add up on the device, so that the host need not wait for each of them."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lib import parallel


class Tally:
    """Sums since the last validation, and the first step whose loss or gradient was not finite."""

    def __init__(self, device: torch.device) -> None:
        """Begin at nothing, on the device of the model."""
        # Loss, right answers; then of the first bad step its number, loss and norm, 0 for none.
        self._values = torch.zeros(5, dtype=torch.float64, device=device)
        self._ids: list[tuple[int, Sequence[Tensor]]] = []  # of the steps not yet looked at

    def add(
        self, sums: Tensor, norm: Tensor, *, step: int, ids: Sequence[Tensor], scaled: bool
    ) -> Tensor:
        """Count a step in, waiting for nothing.

        Args:
            sums: (2,): its loss and its right answers, of all processes.
            norm: of its gradient.
            step: its number, from 1 on.
            ids: of the rows that this process computed, a tensor for each micro-batch.
            scaled: whether a scaler of losses skips steps whose gradient is not finite.

        Returns:
            1 if this step or one before was not finite, else 0: as `found_inf` of a fused
            optimizer it leaves the weights as they are.
        """
        told = torch.stack([torch.full_like(norm, step), sums[0], norm]).double()
        fine = told[1].isfinite() if scaled else told[1:].isfinite().all()
        is_first = ~fine & (self._values[2] == 0)
        self._values[2:] = torch.where(is_first, told, self._values[2:])
        self._values[:2] += sums
        self._ids.append((step, ids))
        return (self._values[2] > 0).float()

    def sums(self) -> tuple[float, int]:
        """Loss and right answers since the last validation."""
        loss, n_right = self._values[:2].tolist()
        return loss, int(n_right)

    def start(self, loss: float = 0.0, n_right: int = 0) -> None:
        """Go on from these sums."""
        self._values[0], self._values[1] = loss, n_right

    def refuse_not_finite(self) -> None:
        """Wait for the device and check the steps since the last look; all processes together.

        Raises:
            UserError: naming the first bad step and its rows; no step since has changed weights.
        """
        step, loss, norm = self._values[2:].tolist()
        if step == 0:
            self._ids.clear()
            return
        mine = [ids for number, ids in self._ids if number == step]
        rows = [int(i) for ids in mine for of_batch in ids for i in of_batch]
        every = [i for of_rank in parallel.gathered(rows) for i in of_rank]
        shown = ", ".join(map(str, every[:8])) + (" ..." if len(every) > 8 else "")
        what = (
            f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm}"
        )
        raise parallel.failure(
            f"{what} at step {int(step)} (training rows {shown}); nothing was updated: lower "
            "--learning-rate, or look at these rows"
        )
