"""Scoring the heads of a run, and what removing them costs before anything is trained again."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch

from lib import heads, loader, optim, plan
from lib.errors import UserError
from lib.loader import Split
from lib.models import Classifier
from lib.predict import precision, predict

FRACTIONS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def scores(
    classifier: Classifier, split: Split, *, kind: str, n_rows: int, seed: int
) -> np.ndarray:
    """Head scores (L, H), NaN where there is no head.

    Args:
        classifier: on its device.
        split: training data, which only gradient scores look at.
        kind: `gradient`, `magnitude` or `random`.
        n_rows: rows that gradient scores see at the most.
        seed: which rows these are, or of the random scores.
    """
    if kind == "magnitude":
        return heads.magnitude(classifier)
    if kind == "random":
        return heads.random_scores(classifier, seed=seed)
    rows = np.random.default_rng(seed).permutation(len(split))[:n_rows]
    order = plan.by_length(split.lengths[rows], budget=16 * int(split.lengths.max()))
    device = next(classifier.parameters()).device
    batches = loader.batches(split, (rows[some] for some in order), device=device)
    return heads.gradient_importance(classifier, batches, optim.cross_entropy())


def masked(
    classifier: Classifier,
    scores: np.ndarray,
    split: Split,
    *,
    amp: str,
    fractions: Sequence[float] = FRACTIONS,
    **how: Any,
) -> Iterator[tuple[float, int, np.ndarray]]:
    """For each fraction of heads masked: the fraction, heads masked, and predictions (N,).

    Args:
        classifier: fine-tuned, on its device.
        scores: (L, H), the weakest go first.
        split: validation data.
        amp: precision, as in the run's options.
        fractions: of all heads, rising; it ends where `how` forbids more.
        how: scope and min_per_layer, as in heads.weakest.
    """
    device = next(classifier.parameters()).device
    for fraction in fractions:
        try:
            gone = heads.weakest(scores, fraction, **how)
        except UserError:
            return
        gates = [
            torch.tensor([float((layer, head) not in gone) for head in kept], device=device)
            for layer, kept in enumerate(classifier.kept_heads)
        ]
        with heads.gated(classifier, gates):
            logits = predict(classifier, split, dtype=precision(amp, device))
        yield fraction, len(gone), logits.argmax(1)


def curve(
    classifier: Classifier, scores: np.ndarray, split: Split, *, amp: str, **how: Any
) -> list[dict[str, float]]:
    """Accuracy against the fraction of heads removed, by masking, without training again.

    Args:
        classifier, scores, split, amp, how: as in `masked`.

    Returns:
        For each fraction: fraction, n_removed, accuracy.
    """
    return [
        {
            "fraction": fraction,
            "n_removed": n_gone,
            "accuracy": float((predicted == split.labels).mean()),
        }
        for fraction, n_gone, predicted in masked(classifier, scores, split, amp=amp, **how)
    ]
