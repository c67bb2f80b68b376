"""How long a forward pass takes: models measured in turns, so that a slow moment hits them all."""

import time
from collections.abc import Mapping

import numpy as np
import torch

from lib.loader import Batch, Split
from lib.models import Classifier


def typical_batch(split: Split, n_rows: int) -> Batch:
    """A batch of the `n_rows` rows whose lengths are nearest to the split's median."""
    distance = np.abs(split.lengths - np.median(split.lengths))
    rows = np.argsort(distance, kind="stable")[:n_rows]
    return split.collate(np.resize(rows, n_rows))


def milliseconds(
    classifiers: Mapping[str, Classifier], batch: Batch, *, seconds: float = 1.0
) -> dict[str, float]:
    """The median time of a forward pass over `batch`, in milliseconds, by name.

    Args:
        classifiers: on one device, measured one after another, again and again.
        batch: inputs; moved to that device first.
        seconds: how long to go on, at the least 5 rounds.
    """
    device = next(next(iter(classifiers.values())).parameters()).device
    inputs = {k: v.to(device) for k, v in batch.items() if k not in ("labels", "ids")}
    times: dict[str, list[float]] = {name: [] for name in classifiers}
    for classifier in classifiers.values():
        classifier.eval()
    until = time.perf_counter() + seconds
    with torch.inference_mode():
        for classifier in classifiers.values():  # the first pass pays for memory and kernels
            classifier(**inputs)
        n_rounds = 0
        while n_rounds < 5 or (time.perf_counter() < until and n_rounds < 200):
            for name, classifier in classifiers.items():
                _wait(device)
                started = time.perf_counter()
                classifier(**inputs)
                _wait(device)
                times[name].append(time.perf_counter() - started)
            n_rounds += 1
    return {name: 1000 * float(np.median(found)) for name, found in times.items()}


def cost(classifiers: Mapping[str, Classifier], split: Split) -> dict[str, dict[str, float]]:
    """What each classifier costs, by name: params, latency_ms_b1 and latency_ms_b32.

    Args:
        classifiers: on one device.
        split: batches of its typical lengths are timed, of 1 and of 32 rows.
    """
    one, many = (milliseconds(classifiers, typical_batch(split, n)) for n in (1, 32))
    return {
        name: {
            "params": sum(parameter.numel() for parameter in classifier.parameters()),
            "latency_ms_b1": one[name],
            "latency_ms_b32": many[name],
        }
        for name, classifier in classifiers.items()
    }


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
