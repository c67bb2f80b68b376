"""From a model and a split to logits: forward passes in the right precision, without gradients."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lib import metrics, parallel, plan
from lib.errors import UserError
from lib.loader import Batch, Split, batches


def forward(model: nn.Module, batch: Batch, *, dtype: torch.dtype | None) -> Tensor:
    """Logits (B, C) of a batch; under autocast if a dtype is given."""
    inputs = {key: value for key, value in batch.items() if key not in ("labels", "ids")}
    device = batch["labels"].device.type
    with torch.autocast(device, dtype=dtype, enabled=dtype is not None):
        return model(**inputs)


def passes(
    model: nn.Module, split: Split, *, budget: int | None = None, in_turn: int | None = None
) -> list[np.ndarray]:
    """The batches of a pass without gradients: rows of about one length together.

    Args:
        model: on its device.
        split: to pass over.
        budget: padded length of one batch, in the unit of the split's lengths.
        in_turn: rows of each batch, one after another, whatever their lengths.
    """
    if in_turn:
        rows = np.arange(len(split))
        return [rows[start : start + in_turn] for start in range(0, len(rows), in_turn)]
    if budget is None:
        budget = budget_of(model, split)
    return list(plan.by_length(split.lengths, budget=budget))


def budget_of(model: nn.Module, split: Split) -> int:
    """The padded length of a forward pass that is fastest, in the unit of the split's lengths."""
    device = next(model.parameters()).device.type
    width: Any = model.width  # of every model that the loop trains
    return plan.budget(split.lengths, unit=split.unit, width=width, gpu=device == "cuda")


def training_budget(model: nn.Module, split: Split) -> int:
    """The padded length of a forward pass of a training step on the CPU; 0 for any.

    That is on a GPU, and where a row's outcome depends on which rows it is padded with.
    """
    on_cpu = next(model.parameters()).device.type == "cpu"
    return budget_of(model, split) if on_cpu and getattr(split, "fixed_rows", True) else 0


def predict(
    model: nn.Module,
    split: Split,
    *,
    dtype: torch.dtype | None = None,
    budget: int | None = None,
    order: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """Logits (N, C) float32 of every row, in row order, in eval mode, without gradients.

    Processes that have joined share the batches, so all of them must call this.

    Args:
        model: on its device.
        split: to predict.
        dtype: of autocast, None for full precision.
        budget: padded length of one batch, in the unit of the split's lengths.
        order: batches of rows, together each row once; None takes `passes`.
    """
    device = next(model.parameters()).device
    order = passes(model, split, budget=budget) if order is None else order
    mine = parallel.take_turns(list(order))
    model.eval()
    parts = []
    with torch.inference_mode():
        for batch in batches(split, mine, device=device):
            parts.append(forward(model, batch, dtype=dtype).float())
    found = torch.cat(parts).cpu().numpy() if parts else None
    rows = np.concatenate(mine) if mine else None
    told = [both for both in parallel.gathered((rows, found)) if both[0] is not None]
    logits = np.concatenate([values for _, values in told])
    in_order = np.empty_like(logits)
    in_order[np.concatenate([some for some, _ in told])] = logits
    return in_order


def validate(
    model: nn.Module,
    split: Split,
    *,
    class_names: tuple[str, ...],
    amp: str = "off",
    in_turn: int | None = None,
) -> dict[str, Any]:
    """What a validation during training finds.

    Args:
        model: on its device.
        split: to predict.
        class_names: C names.
        amp: precision, as in a run's options.
        in_turn: as in `passes`.

    Returns:
        n, loss, accuracy, uar, macro_f1; first_predictions and first_labels, of the first ten
        rows; n_predicted and n_true, rows by class.
    """
    device = next(model.parameters()).device
    order = passes(model, split, in_turn=in_turn)
    logits = predict(model, split, dtype=precision(amp, device), order=order)
    predicted = logits.argmax(1)
    found = metrics.summarize(split.labels, predicted, class_names=class_names)
    return {
        "n": len(split),
        "loss": mean_loss(logits, split.labels),
        **{name: found[name] for name in ("accuracy", "uar", "macro_f1")},
        "first_predictions": predicted[:10].tolist(),
        "first_labels": split.labels[:10].tolist(),
        "n_predicted": np.bincount(predicted, minlength=len(class_names)).tolist(),
        "n_true": np.bincount(split.labels, minlength=len(class_names)).tolist(),
    }


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities (N, C), float64, of logits (N, C)."""
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def mean_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    """The mean cross-entropy over examples, in nats: plain, whatever the run trained with."""
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


def precision(amp: str, device: torch.device) -> torch.dtype | None:
    """The dtype of autocast on this device, None for full precision.

    Raises:
        UserError: if mixed precision is asked for on the CPU, where it is many times slower.
    """
    if amp in ("off", "auto") and (amp == "off" or device.type != "cuda"):
        return None
    if device.type != "cuda":
        raise UserError(f"--amp {amp} needs a GPU; on the CPU it is many times slower")
    if amp == "auto":
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    return torch.bfloat16 if amp == "bf16" else torch.float16
