"""What must be known of a run's data before its figures are believed."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lib import speech, splits
from lib.corpus import Corpus


def about(corpus: Corpus, options: Mapping[str, Any]) -> dict[str, Any]:
    """What a report says of the data, fit for JSON.

    Args:
        corpus: of the run.
        options: of its config.json.

    Returns:
        labels, sample, limit, corpus (the published one that it is), data (its name) and
        split_notes, lines that a reader of the figures must know. Of speech also leak, what
        lib.splits.leak gives where test speakers train, else None; and counts, class → rows to
        train on, `before` and `after` balancing.
    """
    found: dict[str, Any] = {
        "labels": list(corpus.labels),
        "sample": corpus.sample,
        "limit": corpus.limit,
        "corpus": corpus.known_as,
        "data": corpus.name,
        "split_notes": [],
    }
    if "split" not in options:
        return found
    manifest, split, labels = speech.parts(Path(options["data"]), options)
    leak = splits.leak(manifest, split, labels)
    found["leak"] = leak if leak["n_shared"] else None
    found["split_notes"] += splits.notes(manifest, split, labels, protocol=options["split"])
    if not options["mask"]:
        found["split_notes"].append(
            "padding counts as sound, so what is said of a clip depends on its batch: "
            f"{options['batch_size']} clips, one after another"
        )
    names = np.asarray(corpus.labels)
    rows = {"before": labels[split == "train"], "after": names[corpus.splits["train"].labels]}
    found["counts"] = {when: {c: int((of == c).sum()) for c in names} for when, of in rows.items()}
    return found
