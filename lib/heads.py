"""How much each attention head matters, and which ones to remove.

Scores are (L, H) arrays over the original layers and heads, NaN where a head is gone.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from lib.errors import UserError
from lib.loader import Batch
from lib.models import Classifier


@contextlib.contextmanager
def gated(classifier: Classifier, gates: Sequence[Tensor]) -> Iterator[None]:
    """Multiply each head's output by a gate while the block runs; 0 masks the head.

    Args:
        classifier: whose heads are gated.
        gates: for each layer, (H,) or (B, H) over the heads it still has.
    """

    def hook(gate: Tensor) -> Callable[[nn.Module, tuple[Tensor]], tuple[Tensor]]:
        def scale(_: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor]:
            heads = inputs[0].unflatten(-1, (gate.shape[-1], -1))  # (B, T, H, head width)
            wide = gate[:, None, :, None] if gate.ndim == 2 else gate[:, None]
            return ((heads * wide).flatten(-2),)

        return scale

    handles = [
        classifier.attention_output(layer).register_forward_pre_hook(hook(gate))
        for layer, gate in enumerate(gates)
        if gate.shape[-1] > 0
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def gradient_importance(
    classifier: Classifier,
    batches: Iterable[Batch],
    loss: Callable[[Tensor, Tensor], Tensor],
) -> np.ndarray:
    """Scores (L, H): the mean over examples of |d loss / d gate|, each layer scaled to norm 1.

    Args:
        classifier: scored in eval mode, so that no dropout is drawn.
        batches: of training data, with `labels`.
        loss: of logits and labels, summed over the batch.

    Source: Michel, Levy and Neubig 2019, equation 2 and section 4.1 (the l2 norm by layer).
    """
    was_training = classifier.training
    classifier.eval()
    totals = [np.zeros(len(kept)) for kept in classifier.kept_heads]
    n_examples = 0
    for batch in batches:
        inputs = {key: value for key, value in batch.items() if key not in ("labels", "ids")}
        labels = batch["labels"]
        gates = [
            torch.ones(len(labels), len(kept), device=labels.device, requires_grad=True)
            for kept in classifier.kept_heads
        ]
        with gated(classifier, gates):
            total = loss(classifier(**inputs), labels)
        gradients = torch.autograd.grad(total, gates, allow_unused=True)
        for sums, gradient in zip(totals, gradients, strict=True):
            if gradient is not None:  # None: a layer without heads, or one that is not computed
                sums += gradient.abs().sum(0).double().cpu().numpy()
        n_examples += len(labels)
    classifier.train(was_training)
    if n_examples == 0:
        raise ValueError("no batch to score heads on")
    scaled = [sums / n_examples for sums in totals]
    return _table(classifier, [s / (np.linalg.norm(s) or 1.0) for s in scaled])


def magnitude(classifier: Classifier) -> np.ndarray:
    """Scores (L, H): the l2 norm of all weights that belong to the head."""
    rows = []
    for layer, kept in enumerate(classifier.kept_heads):
        parts = [linear.weight for linear in classifier.query_key_value(layer)]
        parts.append(classifier.attention_output(layer).weight.T)
        squares = torch.stack([part.detach().square().sum(1) for part in parts]).sum(0)
        by_head = squares.view(len(kept), -1).sum(1) if kept else squares.new_zeros(0)
        rows.append(by_head.sqrt().cpu().double().numpy())
    return _table(classifier, rows)


def random_scores(classifier: Classifier, *, seed: int) -> np.ndarray:
    """Scores (L, H) drawn uniformly from [0, 1): the control for the other two."""
    generator = np.random.default_rng(seed)
    n_heads = classifier.encoder.config.num_attention_heads
    drawn = generator.random((len(classifier.kept_heads), n_heads))
    return _table(classifier, [drawn[i, kept] for i, kept in enumerate(classifier.kept_heads)])


def weakest(
    scores: np.ndarray, fraction: float, *, scope: str = "global", min_per_layer: int = 1
) -> list[tuple[int, int]]:
    """The heads to remove: the lowest-scored `fraction` of those that exist.

    Args:
        scores: (L, H), NaN where there is no head.
        fraction: in [0, 1], of all heads (`global`) or of each layer's (`layer`), rounded.
        scope: whether heads compete over all layers or within each.
        min_per_layer: heads that every layer keeps, if it has that many.

    Returns:
        (layer, head) pairs, weakest first.

    Raises:
        UserError: if the fraction is out of range, or more would go than may.
    """
    if not 0 <= fraction <= 1:
        raise UserError(f"--fraction {fraction:g}: give a number from 0 to 1")
    there = ~np.isnan(scores)
    ranked = sorted(zip(*np.nonzero(there), strict=True), key=lambda at: (scores[at], at))
    spare = np.maximum(there.sum(1) - min_per_layer, 0)
    if scope == "layer":
        quota = np.minimum(np.rint(fraction * there.sum(1)).astype(int), spare)
        total = int(quota.sum())
    else:
        quota = spare
        total = round(fraction * int(there.sum()))
    chosen: list[tuple[int, int]] = []
    for layer, head in ranked:
        if len(chosen) < total and quota[layer] > 0:
            quota[layer] -= 1
            chosen.append((int(layer), int(head)))
    if len(chosen) < total:
        raise UserError(
            f"--fraction {fraction:g} would remove {total} heads, but only {len(chosen)} may go "
            f"while each layer keeps {min_per_layer}; lower it or --min-per-layer"
        )
    return chosen


def _table(classifier: Classifier, rows: Sequence[np.ndarray]) -> np.ndarray:
    """Scores of the kept heads, set into (L, H) at their original places."""
    table = np.full((len(rows), classifier.encoder.config.num_attention_heads), np.nan)
    for layer, (kept, row) in enumerate(zip(classifier.kept_heads, rows, strict=True)):
        table[layer, kept] = row
    return table
