"""NaN and infinity: training stops before the step and names the rows; fp16 only skips it."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from lib import optim, plan, predict, surgery, train
from lib.errors import UserError
from lib.options import Training
from lib.spec import Spec
from lib.train import State
from tests.conftest import toy_split

OPTIONS = Training(epochs=2, batch_size=4, accumulation=2, pool=1, learning_rate=1e-3)
N = 32
BAD = 3  # the step, 1-based, that goes wrong


def third_step_rows() -> set[int]:
    steps = plan.epoch(
        toy_split(N).lengths, batch_size=4, accumulation=2, seed=OPTIONS.seed, epoch=0, pool=1
    )
    return {int(row) for turn in steps[BAD - 1][0] for row in turn}


class Spoilt:
    """Cross-entropy whose loss, or whose gradient alone, is spoilt in some micro-batches."""

    def __init__(self, what: str, value: float, turns: set[int]) -> None:
        self.what, self.value, self.turns, self.n = what, value, turns, 0
        self.loss_fn = optim.cross_entropy()

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        turn, self.n = self.n, self.n + 1
        if turn in self.turns and self.what == "loss":
            return self.loss_fn(logits, labels) * self.value
        if turn in self.turns:
            logits.register_hook(lambda gradient: gradient * self.value)
        return self.loss_fn(logits, labels)


def begun(spec: Spec, model: Path) -> State:
    torch.manual_seed(0)
    return train.begin(surgery.build(spec, model=model), OPTIONS, 8)


def loop(state: State, loss_fn: Any) -> Iterator[Any]:
    judge = partial(predict.validate, state.model, toy_split(6), class_names=("low", "high"))
    return train.steps(state, toy_split(N), OPTIONS, loss_fn=loss_fn, validate=judge)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("what", ["loss", "gradient"])
@pytest.mark.parametrize("turn", [2 * (BAD - 1), 2 * (BAD - 1) + 1])
def test_training_stops_before_the_step_and_names_its_rows(
    toy_spec: Spec, toy_model: Path, what: str, value: float, turn: int
) -> None:
    sound = begun(toy_spec, toy_model)
    rows = loop(sound, optim.cross_entropy())
    for _ in range(BAD - 1):
        next(rows)
    before = {name: value.clone() for name, value in sound.tensors().items()}
    state = begun(toy_spec, toy_model)
    with pytest.raises(UserError) as stopped:
        list(loop(state, Spoilt(what, value, {turn})))
    said = str(stopped.value)
    assert said.startswith("the loss is" if what == "loss" else "the gradient's norm is")
    assert f"at step {BAD}" in said
    named = said.split("(training rows ")[1].split(")")[0]
    assert {int(number) for number in named.split(", ")} == third_step_rows()
    after = state.tensors()
    assert after.keys() == before.keys()
    assert all(torch.equal(of, before[name]) for name, of in after.items())


def test_an_overflow_of_fp16_skips_the_step_and_training_goes_on(
    toy_spec: Spec, toy_model: Path
) -> None:
    state = begun(toy_spec, toy_model)
    state.scaler = torch.amp.GradScaler("cpu", enabled=True, init_scale=2.0**16)
    weights: list[dict[str, torch.Tensor]] = []
    records = []
    for record in loop(state, Spoilt("gradient", float("inf"), {2 * (BAD - 1)})):
        records.append(record)
        weights.append({name: w.clone() for name, w in state.model.state_dict().items()})
    steps = [i for i, record in enumerate(records) if record["event"] == "step"]
    assert len(steps) == 8, "all of them are counted"
    skipped = steps[BAD - 1]
    assert all(torch.equal(w, weights[skipped - 1][name]) for name, w in weights[skipped].items())
    assert any(not torch.equal(w, weights[skipped][name]) for name, w in weights[-1].items())
    assert state.scaler.get_scale() == 2.0**15


def test_gradients_that_no_smaller_scale_mends_stop_the_run(
    toy_spec: Spec, toy_model: Path
) -> None:
    state = begun(toy_spec, toy_model)
    state.scaler = torch.amp.GradScaler("cpu", enabled=True, init_scale=4.0)
    before = {name: weight.clone() for name, weight in state.model.state_dict().items()}
    with pytest.raises(UserError, match=r"however they are scaled, before step 4; .*--amp bf16"):
        list(loop(state, Spoilt("gradient", float("inf"), set(range(99)))))
    assert all(torch.equal(w, before[name]) for name, w in state.model.state_dict().items())
