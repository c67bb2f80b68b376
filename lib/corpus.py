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
        known_as: the published corpus that it is, `farstail` or `shemo`, or None.
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
        options: of config.json, see lib.tokens.load and lib.speech.load.

    Raises:
        UserError: if it is not prepared, or damaged.
    """
    from lib import packed, speech, text, tokens

    folder = Path(options["data"])
    splits: Mapping[str, Split]
    if packed.is_speech(folder):
        meta = packed.read_meta(folder)
        splits = speech.load(folder, options)
    else:
        meta = text.read_meta(folder)
        model, limit = Path(options["model"]), options["limit"]
        splits = tokens.load(folder, model, max_length=options["max_length"], limit=limit)
    return Corpus(
        name=meta["name"],
        labels=tuple(meta["labels"]),
        splits=splits,
        sample=meta["sample"],
        known_as=meta["corpus"],
        fingerprint=meta["fingerprint"],
        limit=options["limit"],
    )
