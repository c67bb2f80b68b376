"""The one loop, for both modalities: a generator of records; scripts write what it yields."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib import metrics, optim, plan
from lib.errors import UserError
from lib.loader import Batch, Split, batches
from lib.models import Classifier
from lib.options import Training
from lib.predict import forward, mean_loss, precision, predict

Record = dict[str, Any]
PROGRESS = ("step", "loss_sum", "n_right", "n_seen", "best_score", "best_step", "n_worse")


@dataclass
class State:
    """All that changes while a run trains; a checkpoint holds just this."""

    model: Classifier
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LambdaLR
    scaler: torch.amp.GradScaler
    step: int = 0
    loss_sum: float = 0.0  # the three since the last validation
    n_right: int = 0
    n_seen: int = 0
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
        return {name: getattr(self, name) for name in PROGRESS} | {
            "scheduler": self.scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "groups": [
                {key: value for key, value in group.items() if key != "params"}
                for group in self.optimizer.state_dict()["param_groups"]
            ],
        }

    def restore(self, tensors: dict[str, Tensor], numbers: Record) -> None:
        """Go back to a checkpoint."""
        model = {k[len("model.") :]: v for k, v in tensors.items() if k.startswith("model.")}
        self.model.load_state_dict(model, strict=True)
        whole = self.optimizer.state_dict()
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            kind, _, rest = key.partition(".")
            if kind == "optimizer":
                index, _, name = rest.partition(".")
                slots.setdefault(int(index), {})[name] = value
        for group, saved in zip(whole["param_groups"], numbers["groups"], strict=True):
            group.update(saved)
        self.optimizer.load_state_dict({"state": slots, "param_groups": whole["param_groups"]})
        self.scheduler.load_state_dict(numbers["scheduler"])
        self.scaler.load_state_dict(numbers["scaler"])
        for name in PROGRESS:
            setattr(self, name, numbers[name])


def n_steps(options: Training, n_rows: int) -> tuple[int, int]:
    """(optimizer steps of one epoch, of the whole run)."""
    per_epoch = plan.n_steps(n_rows, options.batch_size * options.accumulation)
    return per_epoch, math.ceil(options.epochs * per_epoch)


def begin(model: Classifier, options: Training, n_rows: int) -> State:
    """The state before the first step of a run over `n_rows` training rows."""
    optimizer = optim.optimizer(
        model,
        name=options.optimizer,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
    )
    _, total = n_steps(options, n_rows)
    scheduler = optim.schedule(optimizer, n_steps=total, warmup=options.warmup, decay=options.decay)
    device = next(model.parameters()).device
    fp16 = precision(options.amp, device) is torch.float16
    return State(model, optimizer, scheduler, torch.amp.GradScaler(device.type, enabled=fp16))


def steps(
    state: State,
    train: Split,
    validation: Split,
    options: Training,
    *,
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    class_names: tuple[str, ...],
) -> Iterator[Record]:
    """Train from `state` to the end of the run, yielding a record after each step.

    Every record has event, step, epoch and n; event `step` has the step's mean loss and accuracy,
    event `validation` what `validate` returns, the training loss and accuracy since the one
    before, and `better`. The state is consistent whenever a record is yielded, so the caller may
    save it then; the order and the dropout of what follows depend only on the seed and the step.

    Raises:
        UserError: if a loss or a gradient is not finite; the weights are those before that step.
    """
    device = next(state.model.parameters()).device
    dtype = precision(options.amp, device)
    per_epoch, total = n_steps(options, len(train))
    every = options.eval_every or per_epoch

    def due() -> bool:
        return state.n_seen > 0 and (state.step % every == 0 or state.step == total)

    if due():  # a run that was stopped between a step and its validation
        yield _validation(state, validation, options, per_epoch, class_names)
    while state.step < total and not stopped_early(state, options):
        epoch, done = divmod(state.step, per_epoch)
        todo = plan.epoch(
            train.lengths,
            batch_size=options.batch_size,
            accumulation=options.accumulation,
            seed=options.seed,
            epoch=epoch,
            pool=options.pool,
        )[done : done + total - state.step]
        feed = batches(train, (rows for (turns,) in todo for rows in turns), device=device)
        for (turns,) in todo:
            group = [next(feed) for _ in turns]
            record = _step(state, group, loss_fn=loss_fn, options=options, dtype=dtype)
            yield {"event": "step", "step": state.step, "epoch": state.step / per_epoch} | record
            if due():
                yield _validation(state, validation, options, per_epoch, class_names)
                if stopped_early(state, options):
                    return


def _step(
    state: State,
    group: list[Batch],
    *,
    loss_fn: Callable[[Tensor, Tensor], Tensor],
    options: Training,
    dtype: torch.dtype | None,
) -> Record:
    """One optimizer step over the micro-batches of `group`."""
    model, scaler = state.model, state.scaler
    model.train()
    n = sum(len(batch["labels"]) for batch in group)
    sums = torch.zeros(2, device=group[0]["labels"].device)
    for turn, batch in enumerate(group):
        # Dropout depends on where we are, not on what was drawn before: no state to save.
        torch.manual_seed(_seed_of(options.seed, state.step, turn))
        logits = forward(model, batch, dtype=dtype)
        loss = loss_fn(logits, batch["labels"])  # the sum over the micro-batch
        scaler.scale(loss / n).backward()
        right = (logits.detach().argmax(-1) == batch["labels"]).sum()
        sums += torch.stack([loss.detach().float(), right.float()])
    scaler.unscale_(state.optimizer)  # a disabled scaler is a no-op: no branches here
    norm = nn.utils.clip_grad_norm_(model.parameters(), options.max_grad_norm)
    loss_sum, n_right, norm_value = torch.cat([sums, norm.float().view(1)]).tolist()
    if not math.isfinite(loss_sum) or not (math.isfinite(norm_value) or scaler.is_enabled()):
        state.optimizer.zero_grad(set_to_none=True)
        raise UserError(_not_finite(state.step, loss_sum, norm_value, group))
    scaler.step(state.optimizer)
    scaler.update()
    state.scheduler.step()
    state.optimizer.zero_grad(set_to_none=True)
    state.step += 1
    state.loss_sum += loss_sum
    state.n_right += int(n_right)
    state.n_seen += n
    return {"n": n, "loss": loss_sum / n, "accuracy": n_right / n}


def stopped_early(state: State, options: Training) -> bool:
    """Whether validation has not got better for `patience` times."""
    return bool(options.patience) and state.n_worse >= options.patience


def _validation(
    state: State, split: Split, options: Training, per_epoch: int, class_names: tuple[str, ...]
) -> Record:
    started = time.perf_counter()
    dtype = precision(options.amp, next(state.model.parameters()).device)
    logits = predict(state.model, split, dtype=dtype)
    found = metrics.summarize(split.labels, logits.argmax(1), class_names=class_names)
    loss = mean_loss(logits, split.labels)
    score = -loss if options.metric == "loss" else found[options.metric]
    better = state.best_score is None or score > state.best_score
    if better:
        state.best_score, state.best_step, state.n_worse = score, state.step, 0
    else:
        state.n_worse += 1
    record = {
        "event": "validation",
        "step": state.step,
        "epoch": state.step / per_epoch,
        "n": len(split),
        "learning_rate": state.scheduler.get_last_lr()[0],
        "train_loss": state.loss_sum / max(1, state.n_seen),
        "train_accuracy": state.n_right / max(1, state.n_seen),
        "loss": loss,
        **{name: found[name] for name in ("accuracy", "uar", "macro_f1")},
        "first_predictions": logits.argmax(1)[:10].tolist(),
        "first_labels": split.labels[:10].tolist(),
        "n_predicted": np.bincount(logits.argmax(1), minlength=len(class_names)).tolist(),
        "n_true": np.bincount(split.labels, minlength=len(class_names)).tolist(),
        "better": better,
    }
    state.loss_sum, state.n_right, state.n_seen = 0.0, 0, 0
    return record | {"seconds": time.perf_counter() - started}


def _seed_of(seed: int, step: int, turn: int, rank: int = 0) -> int:
    """A seed for one forward pass, independent of every other one's."""
    return int(np.random.SeedSequence([seed, step, turn, rank]).generate_state(1)[0])


def _not_finite(step: int, loss: float, norm: float, group: list[Batch]) -> str:
    what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm}"
    ids = [int(i) for batch in group for i in batch["ids"]]
    shown = ", ".join(map(str, ids[:8])) + (" ..." if len(ids) > 8 else "")
    return (
        f"{what} at step {step + 1} (training rows {shown}); nothing was updated: lower "
        "--learning-rate, or look at these rows"
    )
