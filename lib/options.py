"""Options that scripts share; torch-free, so that a command line answers at once."""

from dataclasses import dataclass
from typing import Literal

from lib.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Training:
    """The options of the loop; scripts inherit them, so this is their one place."""

    epochs: float = 3
    """Passes over the training split."""
    batch_size: int = 16
    """Examples of one forward pass, at the most."""
    batch_length: float = 0
    """Padded tokens (text) or seconds (speech) of one forward pass at the most; 0 for any."""
    accumulation: int = 1
    """Forward passes of one optimizer step."""
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    """What updates the weights."""
    learning_rate: float = 3e-5
    """The highest rate of the schedule."""
    weight_decay: float = 0.01
    """Of weight matrices; biases and norms do not decay."""
    warmup: float = 0.1
    """Fraction of all steps over which the rate rises."""
    decay: Literal["linear", "constant"] = "linear"
    """How the rate goes on after the warm-up."""
    class_weights: bool = False
    """Weigh the loss so that each class counts equally."""
    balanced_sampling: bool = False
    """Draw the examples of each epoch so that each class is equally likely."""
    label_smoothing: float = 0.0
    """Probability taken from the true class and spread over all."""
    max_grad_norm: float = 1.0
    """Longer gradients are scaled down to this norm."""
    eval_every: int = 0
    """Optimizer steps between validations; 0 validates after each epoch."""
    select: Literal["best", "last"] = "best"
    """Which weights the run keeps: of the best validation, or of the last step."""
    metric: Literal["macro_f1", "accuracy", "uar", "loss"] = "macro_f1"
    """What is best in validation."""
    patience: int = 0
    """Stop after this many validations without a better one; 0 never does."""
    pool: int = 50
    """Steps whose examples are sorted by length together; 1 leaves the order entirely random."""
    drop_last: bool = False
    """Leave out an epoch's last examples if they do not fill a step."""
    amp: Literal["auto", "off", "bf16", "fp16"] = "auto"
    """Mixed precision, on CUDA only; auto takes bf16 where the GPU has it."""
    seed: int = 0
    """Of the head's first weights, the order of examples and dropout."""


def check(options: Training) -> None:
    """Refuse options that no training can have.

    Raises:
        UserError: naming the flag, its value and what it may be.
    """
    positive = ("epochs", "batch_size", "accumulation", "learning_rate", "max_grad_norm", "pool")
    natural = ("batch_length", "weight_decay", "eval_every", "patience", "seed")
    shares = ("warmup", "label_smoothing")
    for name in (*positive, *natural, *shares):
        value = getattr(options, name)
        if name in positive:
            fits, allowed = value > 0, "more than 0"
        elif name in natural:
            fits, allowed = value >= 0, "0 or more"
        else:
            fits, allowed = 0 <= value < 1, "0 or more, and less than 1"
        if not fits:
            raise UserError(f"--{name.replace('_', '-')} {value:g}: give {allowed}")
