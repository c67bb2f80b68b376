"""Which stores of the cache a run needs, and what each is the digest of."""

import hashlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from lib import files
from lib.cache_split import Rows
from lib.loader import Split
from lib.models import Classifier

FORMAT = 2
# What an encoder's config tells of other things than what its frozen layers compute.
NO_PART = ("num_hidden_layers", "_name_or_path", "architectures", "transformers_version", "dtype")
NO_PART_WORDS = ("dropout", "layerdrop", "mask_", "label", "apply_spec")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A store that a run needs, there or not.

    Attributes:
        folder: of the store.
        made_of: what its name is a digest of.
        source: holds the rows.
        rows: (M,) rows of the source, ascending, that are stored.
    """

    folder: Path
    made_of: dict[str, Any]
    source: Split
    rows: np.ndarray


Part = tuple[Job | None, np.ndarray]  # of a split: the store of an origin, rows of its source


def survey(
    classifier: Classifier, splits: Mapping[str, Rows], *, root: Path, dtype: torch.dtype | None
) -> tuple[list[Job], dict[str, list[Part]]]:
    """The stores that hold what the frozen prefix makes of all rows that any epoch reads.

    A source of which half or more is read is stored whole, so that other folds find their rows in
    it too.

    Args:
        classifier: on its device.
        splits: to read.
        root: folder of all stores.
        dtype: of autocast.

    Returns:
        The stores; and for each split, those of its origins.
    """
    prefix = _describe(classifier, dtype)
    sources: dict[str, tuple[dict[str, Any], Split]] = {}
    used: dict[str, set[int]] = {}
    origins: dict[str, list[tuple[str, np.ndarray]]] = {name: [] for name in splits}
    for name, split in splits.items():
        for content, source, rows in split.origins():
            key = files.digest(content)
            sources[key] = content, source
            used.setdefault(key, set()).update(rows[rows >= 0].tolist())
            origins[name].append((key, rows))
    jobs = {}
    for key, (content, source) in sources.items():
        if not used[key]:
            continue
        rows = np.array(sorted(used[key]), np.int64)
        if 2 * len(rows) >= len(source):
            rows = np.arange(len(source))
        which = hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()
        made_of = prefix | {"content": content, "rows": which}
        folder = root / files.digest(made_of)[:16]
        jobs[key] = Job(folder=folder, made_of=made_of, source=source, rows=rows)
    parts = {name: [(jobs.get(key), rows) for key, rows in of] for name, of in origins.items()}
    return list(jobs.values()), parts


def name_of(classifier: Classifier) -> str:
    """What the prefix gives and `forward` takes: `features` or `hidden`."""
    return "features" if classifier.prefix_layers is None else "hidden"


def gives_first(classifier: Classifier) -> bool:
    """Whether the prefix gives the first position of each row alone, as no other is read."""
    return classifier.reads_first and classifier.prefix_layers == classifier.read_layers


def describe(classifier: Classifier) -> str:
    """The frozen prefix in words."""
    if classifier.prefix_layers is None:
        return "the frozen convolutions"
    n = classifier.prefix_layers
    return f"the first {n} frozen layer{'s' if n > 1 else ''}" if n else "the frozen embeddings"


def _describe(classifier: Classifier, dtype: torch.dtype | None) -> dict[str, Any]:
    """All that decides on what the prefix makes of a row, fit for JSON."""
    parts: list[nn.Module] = list(classifier.feature_encoder)
    if classifier.prefix_layers is not None:
        parts += [*classifier.embeddings, *classifier.layers[: classifier.prefix_layers]]
    config = {
        key: value
        for key, value in classifier.encoder.config.to_dict().items()
        if key not in NO_PART and not any(word in key for word in NO_PART_WORDS)
    }
    return {
        "format": FORMAT,
        "gives": name_of(classifier),
        "layers": classifier.prefix_layers,
        **({"positions": "first"} if gives_first(classifier) else {}),
        "weights": _weights_sha256(parts),
        "config": config,
        "arithmetic": f"{next(classifier.parameters()).device.type} {dtype}",
        "libraries": {n: importlib.metadata.version(n) for n in ("torch", "transformers")},
    }


def _weights_sha256(parts: Sequence[nn.Module]) -> str:
    """The SHA-256 of all parameters and buffers of these modules, in order."""
    sha256 = hashlib.sha256()
    for number, part in enumerate(parts):
        for name, tensor in [*part.named_parameters(), *part.named_buffers()]:
            sha256.update(f"{number} {name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            sha256.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return sha256.hexdigest()
