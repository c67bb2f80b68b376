"""Scoring the heads of a run, and what removing them costs before anything is trained again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lib import files, heads, loader, optim, plan
from lib.errors import UserError
from lib.loader import Split
from lib.models import Classifier
from lib.predict import budget_of, precision, predict
from lib.spec import Spec

# Options of a run that decide which training rows it has, and what they are.
CHOOSES_ROWS = (
    *("limit", "max_length", "labels", "split", "fold", "emobox", "augment"),
    *("mask", "max_seconds"),
)
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
    device = next(classifier.parameters()).device
    order = plan.by_length(split.lengths[rows], budget=budget_of(classifier, split))
    batches = loader.batches(split, (rows[some] for some in order), device=device)
    return heads.gradient_importance(classifier, batches, optim.cross_entropy())


def identity(
    weights: object, spec: Spec, inputs: Mapping[str, str], options: Mapping[str, Any]
) -> dict[str, Any]:
    """What head scores depend on beside how they are computed: a classifier and training rows.

    Args:
        weights: what tells the classifier's weights from others.
        spec: of the classifier.
        inputs: of the run.
        options: of the run.
    """
    rows = {name: options[name] for name in CHOOSES_ROWS if name in options}
    return {"weights": weights, "spec": asdict(spec), "data": inputs["data"], "rows": rows}


def shared_scores(
    folder: Path,
    classifier: Classifier,
    split: Split,
    *,
    made_of: Mapping[str, Any],
    kind: str,
    n_rows: int,
    seed: int,
) -> np.ndarray:
    """Head scores as `scores` gives them, read if another run of the study has computed them.

    Args:
        folder: where a study keeps them; a file for each way of scoring.
        classifier: on its device.
        split: training data.
        made_of: what the classifier's weights and the rows are, fit for JSON.
        kind, n_rows, seed: as in `scores`.
    """
    device = next(classifier.parameters()).device.type
    basis = {"kind": kind, "n_rows": n_rows, "seed": seed, "device": device, **made_of}
    path = folder / f"{files.digest(basis)[:16]}.json"
    kept = _kept(path, basis, classifier)
    if kept is not None:
        return kept
    found = scores(classifier, split, kind=kind, n_rows=n_rows, seed=seed)
    rows = [[None if np.isnan(score) else float(score) for score in row] for row in found]
    files.write_sealed(path, {"made_of": basis, "scores": rows})
    return found


def _kept(path: Path, basis: Mapping[str, Any], classifier: Classifier) -> np.ndarray | None:
    """The scores in a file; None if it is absent or damaged, for then they are computed again."""
    kept = files.read_sealed(path)
    if kept is None:
        return None
    found = np.array(kept["scores"], np.float64)  # what is null becomes NaN
    same = files.digest(kept["made_of"]) == files.digest(basis)
    shape = (len(classifier.kept_heads), classifier.encoder.config.num_attention_heads)
    return found if same and found.shape == shape else None


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
