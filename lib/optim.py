"""Optimizer, learning-rate schedule and loss of a training run."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

OPTIMIZERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "sgd": torch.optim.SGD}


def optimizer(
    model: nn.Module, *, name: str, learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """An optimizer of what learns; biases and norms do not decay.

    Source: no decay of biases and layer norms, as in BERT's own training (Devlin et al. 2019).
    """
    learning = [p for p in model.parameters() if p.requires_grad and p.numel() > 0]
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]
    # One kernel for all parameters: on the CPU, too, a third of the time of one at a time.
    fused = all(p.device.type in ("cpu", "cuda") for p in learning) or None
    kind = OPTIMIZERS[name]
    return kind([g for g in groups if g["params"]], lr=learning_rate, fused=fused)


def schedule(
    learning_rate: float, *, n_steps: int, warmup: float, decay: str
) -> Callable[[int], float]:
    """The learning rate of a step, by the steps done before it: no state that a run need keep.

    Args:
        learning_rate: the highest.
        n_steps: of the whole run.
        warmup: fraction of `n_steps` over which the rate rises linearly from near 0.
        decay: `linear`, down to 0 after the last step, or `constant`.
    """
    n_warmup = int(warmup * n_steps)

    def rate(step: int) -> float:
        if step < n_warmup:
            return learning_rate * (step + 1) / (n_warmup + 1)
        if decay == "constant":
            return learning_rate
        return learning_rate * max(0.0, (n_steps - step) / max(1, n_steps - n_warmup))

    return rate


def cross_entropy(
    *, class_weights: Tensor | None = None, label_smoothing: float = 0.0
) -> Callable[[Tensor, Tensor], Tensor]:
    """A loss of logits (B, C) and labels (B,): the sum over the batch, a scalar.

    The sum, not the mean: the loop divides by the examples of the whole step, so micro-batches of
    unequal size add up exactly.
    """

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(
            logits.float(),
            labels,
            weight=class_weights,
            label_smoothing=label_smoothing,
            reduction="sum",
        )

    return loss


def balanced_weights(labels: np.ndarray, n_classes: int) -> Tensor:
    """Class weights (C,) by which each class present counts equally; their mean over rows is 1."""
    counts = np.bincount(labels, minlength=n_classes)
    n_present = int((counts > 0).sum())
    weights = np.where(counts > 0, len(labels) / (n_present * np.maximum(counts, 1)), 0.0)
    return torch.tensor(weights, dtype=torch.float32)
