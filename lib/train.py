"""The one loop, for both modalities: a generator of records; scripts write what it yields."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib import optim, parallel, plan
from lib.course import course, epoch_plan
from lib.loader import Batch, Split, batches
from lib.options import Training
from lib.predict import forward, precision
from lib.tally import Tally

Record = dict[str, Any]
PROGRESS = ("step", "n_seen", "best_score", "best_step", "n_worse")
LOOK_EVERY = 32  # steps after which the host waits for a GPU, to see whether all was finite


@dataclass
class State:
    """All that changes while a run trains, which is what a checkpoint holds, and what it needs."""

    model: nn.Module
    replica: nn.Module  # runs the model; with several processes it averages their gradients
    optimizer: torch.optim.Optimizer
    rate: Callable[[int], float]  # the learning rate of a step, by the steps done before
    scaler: torch.amp.GradScaler
    tally: Tally
    step: int = 0
    n_seen: int = 0  # since the last validation
    best_score: float | None = None
    best_step: int = 0
    n_worse: int = 0

    def tensors(self) -> dict[str, Tensor]:
        """Weights and optimizer state by name."""
        found = {f"model.{key}": value for key, value in self.model.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{index}.{name}": value for name, value in slots.items()}
        return found

    def numbers(self) -> Record:
        """Everything else, fit for JSON."""
        loss_sum, n_right = self.tally.sums()
        told = {name: getattr(self, name) for name in PROGRESS}
        scaler = self.scaler.state_dict()
        return told | {"loss_sum": loss_sum, "n_right": n_right, "scaler": scaler}

    def restore(self, tensors: dict[str, Tensor], numbers: Record) -> None:
        """Go back to a checkpoint.

        Raises:
            KeyError, ValueError, RuntimeError: if it is one of another run, or lacks something.
        """
        model = {k[len("model.") :]: v for k, v in tensors.items() if k.startswith("model.")}
        self.model.load_state_dict(model, strict=True)
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            kind, _, rest = key.partition(".")
            if kind == "optimizer":
                index, _, name = rest.partition(".")
                slots.setdefault(int(index), {})[name] = value
        if len({frozenset(of) for of in slots.values()}) > 1:
            raise ValueError("the optimizer's state lacks some of what it needs")
        groups = self.optimizer.state_dict()["param_groups"]  # as the options tell
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})
        self.scaler.load_state_dict(numbers["scaler"])
        for name in PROGRESS:
            setattr(self, name, numbers[name])
        self.tally.start(numbers["loss_sum"], numbers["n_right"])


def begin(model: nn.Module, options: Training, n_steps: int) -> State:
    """The state before the first of a run's `n_steps` optimizer steps; the model is placed."""
    device = next(model.parameters()).device
    replica = parallel.replica(model, device).train()
    optimizer = optim.optimizer(
        model,
        name=options.optimizer,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
    )
    rate = optim.schedule(
        options.learning_rate, n_steps=n_steps, warmup=options.warmup, decay=options.decay
    )
    fp16 = precision(options.amp, device) is torch.float16
    scaler = torch.amp.GradScaler(device.type, enabled=fp16)
    return State(model, replica, optimizer, rate, scaler, Tally(device))


def steps(
    state: State,
    train: Split,
    options: Training,
    *,
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    validate: Callable[[], Record],
    budget: int = 0,
) -> Iterator[Record]:
    """Train from `state` to the end of the run, yielding a record after each step.

    Every record has event, step, epoch and n; event `step` has the step's mean loss and accuracy,
    event `validation` what `validate` returns, the training loss and accuracy since the one
    before, and `better`. The state is consistent whenever a record is yielded, so the caller may
    save it then, once `state.tally.refuse_not_finite()` has passed; the order and the dropout of
    what follows depend only on the seed and the step. On a GPU a step's loss and accuracy are
    tensors, which the host need not wait for.

    Args:
        state: from `begin`, or restored; it goes on from its step.
        train: whose rows are learnt; several processes share each step.
        options: of the loop.
        loss_fn: of logits (B, C) and labels (B,), the sum over the batch.
        validate: figures of the model now, with those that `options.metric` may name.
        budget: padded length of a forward pass at the most, to which micro-batches are cut; the
            step stays the same. 0 leaves them as they are.

    Raises:
        UserError: if a loss or a gradient was not finite; the weights are those before that step.
    """
    device = next(state.model.parameters()).device
    dtype = precision(options.amp, device)
    whole = course(options, train)
    every = options.eval_every

    def due() -> bool:
        ends = state.step % every == 0 if every else whole.ends_epoch(state.step)
        return state.n_seen > 0 and (ends or state.step == whole.total)

    def validated() -> Record:
        return _validation(state, validate, options) | {"epoch": whole.epochs(state.step)}

    if due():  # a run that was stopped between a step and its validation
        yield validated()
    while state.step < whole.total and not stopped_early(state, options):
        epoch, done = whole.place(state.step)
        split, todo = epoch_plan(options, train, epoch)
        todo = todo[done : done + whole.total - state.step]
        if budget:
            todo = [plan.in_passes(step, split.lengths, budget=budget) for step in todo]
        feed = batches(split, (rows for step in todo for rows in _rows(step)), device=device)
        for step in todo:
            group = [(next(feed), len(rows) > 0) for rows in step[parallel.rank()]]
            record = _step(state, group, loss_fn=loss_fn, options=options, dtype=dtype)
            if device.type == "cpu" or state.step % LOOK_EVERY == 0:
                state.tally.refuse_not_finite()
                _refuse_no_scale(state)
            yield {"event": "step", "epoch": whole.epochs(state.step)} | record
            if due():
                yield validated()
                if stopped_early(state, options):
                    return


def _rows(step: list[list[np.ndarray]]) -> list[np.ndarray]:
    """This process's micro-batches of a step; one without rows gets a row, which will not count."""
    return [rows if len(rows) else step[0][0][:1] for rows in step[parallel.rank()]]


def _step(
    state: State,
    group: list[tuple[Batch, bool]],
    *,
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    options: Training,
    dtype: torch.dtype | None,
) -> Record:
    """One optimizer step over the micro-batches of `group` that count."""
    scaler, device = state.scaler, group[0][0]["labels"].device
    if not state.model.training:  # walking through all modules takes as long as a small head
        state.replica.train()
    n = parallel.total_count(sum(len(batch["labels"]) for batch, counts in group if counts))
    sums = torch.zeros(2, device=device)
    for turn, (batch, counts) in enumerate(group):
        # Dropout depends on where we are, not on what was drawn before: no state to save.
        _seed(device, _seed_of(options.seed, state.step, turn, parallel.rank()))
        with parallel.averaged(state.replica, last=turn == len(group) - 1):
            logits = forward(state.replica, batch, dtype=dtype)
            loss = loss_fn(logits, batch["labels"]) * counts  # the sum over the micro-batch
            scaler.scale(loss / max(1, n) * parallel.size()).backward()
        right = (logits.detach().argmax(-1) == batch["labels"]).sum() * counts
        sums += torch.stack([loss.detach().float(), right.float()])
    scaler.unscale_(state.optimizer)  # a disabled scaler is a no-op: no branches here
    learning = [p for of in state.optimizer.param_groups for p in of["params"]]
    norm = nn.utils.clip_grad_norm_(learning, options.max_grad_norm)
    total = parallel.total(sums)
    ids = [batch["ids"] for batch, counts in group if counts]
    guard = state.tally.add(total, norm, step=state.step + 1, ids=ids, scaled=scaler.is_enabled())
    if not scaler.is_enabled():  # an enabled one sets this itself
        state.optimizer.found_inf = guard  # type: ignore[attr-defined]
    for of in state.optimizer.param_groups:
        of["lr"] = state.rate(state.step)
    scaler.step(state.optimizer)
    scaler.update()
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    state.n_seen += n
    # Of a GPU they stay there, until somebody asks.
    loss, right = (value / max(1, n) for value in (total if total.is_cuda else total.tolist()))
    return {"step": state.step, "n": n, "loss": loss, "accuracy": right}


def _refuse_no_scale(state: State) -> None:
    """Refuse to go on skipping steps whose gradients no scale brings into fp16's range.

    Raises:
        UserError: if they overflowed unscaled; nothing was updated by them.
    """
    if state.scaler.is_enabled() and state.scaler.get_scale() < 1:
        raise parallel.failure(
            f"gradients are not finite in fp16, however they are scaled, before step "
            f"{state.step + 1}; those steps were left out: take --amp bf16 or off, or lower "
            "--learning-rate"
        )


def stopped_early(state: State, options: Training) -> bool:
    """Whether validation has not got better for `patience` times."""
    return bool(options.patience) and state.n_worse >= options.patience


def _validation(state: State, validate: Callable[[], Record], options: Training) -> Record:
    started = time.perf_counter()
    state.tally.refuse_not_finite()
    loss_sum, n_right = state.tally.sums()
    found = validate()
    score = -found["loss"] if options.metric == "loss" else found[options.metric]
    better = state.best_score is None or score > state.best_score
    if better:
        state.best_score, state.best_step, state.n_worse = score, state.step, 0
    else:
        state.n_worse += 1
    record = {
        "event": "validation",
        "step": state.step,
        "learning_rate": state.rate(state.step),
        "train_loss": loss_sum / max(1, state.n_seen),
        "train_accuracy": n_right / max(1, state.n_seen),
        **found,
        "better": better,
    }
    state.tally.start()
    state.n_seen = 0
    return record | {"seconds": time.perf_counter() - started}


def _seed(device: torch.device, seed: int) -> None:
    """As torch.manual_seed does, which without a GPU notes the stack of calls for one to come."""
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed_all(seed)


def _seed_of(seed: int, step: int, turn: int, rank: int) -> int:
    """A seed for one forward pass, independent of every other one's."""
    return int(np.random.SeedSequence([seed, step, turn, rank]).generate_state(1)[0])
