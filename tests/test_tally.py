"""What is not finite changes no weight, however late the host looks."""

from typing import Any

import pytest
import torch

from lib.errors import UserError
from lib.optim import OPTIMIZERS
from lib.tally import Tally

CPU = torch.device("cpu")


def add(tally: Tally, loss: float, norm: float, step: int, *, scaled: bool = False) -> float:
    ids = [torch.tensor([10 * step, 10 * step + 1])]
    sums, length = torch.tensor([loss, 1.0]), torch.tensor(norm)
    return float(tally.add(sums, length, step=step, ids=ids, scaled=scaled))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weights_stay_those_before_the_first_bad_step(name: str) -> None:
    weight = torch.nn.Parameter(torch.ones(3, 2))
    optimizer: Any = OPTIMIZERS[name]([weight], lr=0.1, weight_decay=0.1, fused=True)
    tally = Tally(CPU)
    seen = []
    for step, loss in enumerate([1.0, torch.nan, 1.0], start=1):
        weight.grad = torch.full((3, 2), loss)
        optimizer.found_inf = torch.tensor(add(tally, loss, loss, step))
        optimizer.step()
        seen.append(weight.detach().clone())
    assert not torch.equal(seen[0], torch.ones(3, 2))
    assert torch.equal(seen[0], seen[1])
    assert torch.equal(seen[1], seen[2]), "the step after the bad one is held back, too"
    with pytest.raises(UserError, match=r"the loss is nan at step 2 \(training rows 20, 21\)"):
        tally.refuse_not_finite()


def test_sums_go_on_from_a_checkpoint_and_begin_anew() -> None:
    tally = Tally(CPU)
    tally.start(2.5, 3)
    assert add(tally, 1.0, 1.0, 7) == 0
    tally.refuse_not_finite()
    assert tally.sums() == (3.5, 4)
    tally.start()
    assert tally.sums() == (0.0, 0)


def test_a_long_gradient_is_the_scalers_business_if_there_is_one() -> None:
    assert add(Tally(CPU), 1.0, torch.inf, 1, scaled=True) == 0
    tally = Tally(CPU)
    assert add(tally, 1.0, torch.inf, 1) == 1
    with pytest.raises(UserError, match="the gradient's norm is inf at step 1"):
        tally.refuse_not_finite()
