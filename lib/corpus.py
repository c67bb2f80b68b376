"""The prepared corpus of a run, whatever its modality."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.loader import Split


@dataclass(frozen=True)
class Corpus:
    """What training and evaluation need to know of their data.

    Attributes:
        name: of the prepared folder.
        labels: class names, in the order of the logits.
        splits: train, validation and test.
        sample: whether it is a generated sample, on which no result counts.
        known_as: the published corpus that it is, such as `farstail`, or None.
        fingerprint: of its content.
        limit: rows of each split at the most, None for all.
    """

    name: str
    labels: tuple[str, ...]
    splits: Mapping[str, Split]
    sample: bool
    known_as: str | None
    fingerprint: str
    limit: int | None


def load(options: Mapping[str, Any]) -> Corpus:
    """The corpus that a run's options name.

    Args:
        options: of config.json: data, model, max_length, limit.

    Raises:
        UserError: if it is not prepared, or damaged.
    """
    from lib import text, tokens

    folder = Path(options["data"])
    meta = text.read_meta(folder)
    splits = tokens.load(
        folder,
        Path(options["model"]),
        max_length=options["max_length"],
        limit=options["limit"],
    )
    return Corpus(
        name=meta["name"],
        labels=tuple(meta["labels"]),
        splits=splits,
        sample=meta["sample"],
        known_as=meta["corpus"],
        fingerprint=meta["fingerprint"],
        limit=options["limit"],
    )
