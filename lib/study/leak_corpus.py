"""What the splits of a prepared corpus give away: text, and speech by each of its protocols."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib import packed, speech, speech_floors, text
from lib.errors import UserError
from lib.persian import Progress
from lib.splits import N_FOLDS
from lib.study import leak, leak_page, leak_speech
from lib.text_source import SPLITS

Fold = tuple[pd.DataFrame, pd.Series, pd.Series]  # manifest, split and label of each clip
KEPT = 200  # near-duplicates that leak.json lists
OWN = "own"  # the only split that text has


def of_text(folder: Path, *, least: float) -> dict[str, Any]:
    """Near-duplicates across the splits of prepared text, of each text and of whole pairs.

    Args:
        folder: made by scripts.prepare_text.
        least: similarity of a near-duplicate.

    Returns:
        near, examples, n_examples and thresholds, as leak.json has them.
    """
    frames = [text.read_split(folder, name).assign(split=name) for name in SPLITS]
    frame = pd.concat(frames, ignore_index=True)
    pairs = "hypothesis" in frame
    if pairs:  # an equal pair has equal halves, whose order counts
        frame["pair"] = frame["premise"] + " ⟶ " + frame["hypothesis"]
    near: list[dict[str, Any]] = []
    examples: list[dict[str, Any]] = []
    for what in ("premise", "hypothesis", "pair") if pairs else ("premise",):
        texts = frame[what].tolist()
        normal = [leak.normal(of) for of in texts]
        table, found = leak.across(
            frame["split"].to_numpy(str),
            leak.nearest_of(leak.text_vectors(texts)),
            labels=frame["label"].to_numpy(str),
            groups=frame["group"].to_numpy(),
            threshold=least,
            equal=lambda one, other, normal=normal: normal[one] == normal[other],  # type: ignore[misc]
        )
        near += [{"split": OWN, "what": what, **row} for row in table]
        examples += leak_page.nearest_first(found, frame, what=what, text=what, split=OWN)
    return _told(near, examples, {"text": least})


def folds(folder: Path, options: Mapping[str, Any]) -> list[Fold] | str:
    """Each fold of a protocol of a prepared speech folder, or why it cannot be had.

    Args:
        folder: made by scripts.prepare_shemo.
        options: labels, split and emobox, as of a run.
    """
    n_folds = N_FOLDS if options["split"] == "speaker" else 1
    try:
        return [speech.parts(folder, {**options, "fold": n + 1}) for n in range(n_folds)]
    except UserError as error:
        return str(error)


def scores(
    folder: Path, found: Sequence[Fold], options: Mapping[str, Any], *, class_names: Sequence[str]
) -> list[dict[str, Any]]:
    """The floors of the test clips of all folds together, what the words give away among them.

    Args:
        folder: whose floors of each fold are there, see scripts.floors.
        found: from `folds`.
        options: labels and split.
        class_names: in their order.
    """
    guesses = []
    for number, (manifest, split, labels) in enumerate(found, start=1):
        name = speech_floors.file_name({**options, "fold": number})
        text_columns = {"group": str, "label": str}
        frame = pd.read_csv(folder / f"{name}.csv", keep_default_na=False, dtype=text_columns)
        words = leak_speech.transcript_guess(manifest, split, labels)
        if words is not None:
            of_id = words.set_axis(manifest["id"][words.index])
            at = list(frame.columns).index("mfcc-svm")
            frame.insert(at, "transcript", of_id[frame["id"]].to_numpy())
        guesses.append(frame)
    shared = [name for name in guesses[0] if all(name in frame for frame in guesses)]
    return speech_floors.score(pd.concat([of[shared] for of in guesses]), class_names=class_names)


def of_speech(
    folder: Path,
    parted: Mapping[str, Sequence[Fold]],
    *,
    least: Mapping[str, float],
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Near-duplicates across the splits of prepared speech, by sound and by words.

    Args:
        folder: made by scripts.prepare_shemo.
        parted: protocol → its folds, from `folds`.
        least: similarity of a near-duplicate, of `text` and of `sound`.
        progress: called with (clips done, clips in all).

    Returns:
        near, examples, n_examples and thresholds, as leak.json has them.
    """
    manifest = packed.read_manifest(folder)
    prints, seconds = leak_speech.fingerprints(folder, progress=progress)
    texts = manifest["transcript"].tolist()
    ways = {"sound": leak_speech.nearest_sound(prints, seconds)}
    if any(leak.normal(words) for words in texts):
        ways["transcript"] = leak.nearest_of(leak.text_vectors(texts))
    same = {
        "sound": lambda one, other: np.array_equal(prints[one], prints[other]),
        "transcript": leak_speech.same_transcript(texts),
    }
    near: list[dict[str, Any]] = []
    examples: list[dict[str, Any]] = []
    for protocol, found in parted.items():
        for what, nearest in ways.items():
            tables = []
            for _, split, labels in found:
                table, pairs = leak.across(
                    split.to_numpy(str),
                    nearest,
                    labels=labels.fillna("").to_numpy(str),
                    groups=_groups(manifest),
                    threshold=least["sound" if what == "sound" else "text"],
                    equal=same[what],
                )
                tables.append(table)
                frame = manifest.assign(label=labels.fillna(""))
                shown = "path" if what == "sound" else "transcript"
                told = {"what": what, "text": shown, "split": protocol}
                examples += leak_page.nearest_first(pairs, frame, **told)
            near += [{"split": protocol, "what": what, **row} for row in leak.added(tables)]
    return _told(near, examples, least)


def _groups(manifest: pd.DataFrame) -> np.ndarray:
    """(N,) the speaker of each clip; where none is known, the clip."""
    speaker = manifest["speaker"].to_numpy(str)
    return np.where(speaker == "", manifest["path"].to_numpy(str), speaker)


def _told(
    near: list[dict[str, Any]], examples: list[dict[str, Any]], least: Mapping[str, float]
) -> dict[str, Any]:
    examples = sorted(examples, key=lambda row: -row["similarity"])
    kept = {"examples": examples[:KEPT], "n_examples": len(examples)}
    return {"near": near, **kept, "thresholds": dict(least)}
