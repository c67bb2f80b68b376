"""What needs no neural network: the floors that a result on a text corpus is held against."""

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from lib import text
from lib.metrics import summarize
from lib.stats import accuracy_interval

VERSION = 1  # of what is computed: raised, old floors are computed again
WORD = r"[\w\u200c]+"  # a zero-width non-joiner is part of a Persian word


def floors(folder: Path) -> list[dict[str, Any]]:
    """The floors of a prepared text corpus: name, accuracy, ci_low, ci_high, macro_f1, uar and n.

    - majority: the most frequent training class.
    - hypothesis only (for single sentences: words only): TF-IDF of the words that occur in three
      training rows, and a logistic regression. What it reaches, no premise was needed for.
    - overlap: `overlap_features` and gradient boosting.

    Each is fitted on the training split alone; the 95 % intervals resample premises. FarsTail's
    test split gives 0.342, 0.499 and 0.595.

    Args:
        folder: made by scripts.prepare_text.

    Raises:
        UserError: if it is not prepared, or damaged.
    """
    labels = text.read_meta(folder)["labels"]
    train, test = (text.read_split(folder, split) for split in ("train", "test"))
    numbers = {label: number for number, label in enumerate(labels)}
    known, truth = (frame["label"].map(numbers).to_numpy(np.int64) for frame in (train, test))
    guesses = {"majority": np.full(len(truth), np.bincount(known).argmax())}
    column = "hypothesis" if "hypothesis" in train else "premise"
    words = make_pipeline(
        TfidfVectorizer(token_pattern=WORD, min_df=_min_df(len(train))),
        LogisticRegression(max_iter=1000),
    )
    name = "hypothesis only" if column == "hypothesis" else "words only"
    if train[column].str.contains(WORD).any():
        guesses[name] = _guess(words, train[column], known, test[column])
    if column == "hypothesis":
        trees = HistGradientBoostingClassifier(random_state=0)
        guesses["overlap"] = _guess(trees, overlap_features(train), known, overlap_features(test))
    groups = test["group"].to_numpy()
    return [
        {"name": name, **_score(truth, guess, groups, labels)} for name, guess in guesses.items()
    ]


def overlap_features(frame: pd.DataFrame) -> np.ndarray:
    """(N, 6) float: how much of each pair's words both texts share.

    The share of the hypothesis's words that the premise has, of the premise's that the hypothesis
    has, of both's that are common; the share of the hypothesis's word pairs that the premise has;
    the number of words of each.

    Args:
        frame: with the columns premise and hypothesis.
    """
    split: Callable[[str], list[str]] = re.compile(WORD).findall
    rows = []
    for premise, hypothesis in zip(frame["premise"], frame["hypothesis"], strict=True):
        first, second = split(premise), split(hypothesis)
        there, here = set(first), set(second)
        pairs_there = set(itertools.pairwise(first))
        pairs_here = set(itertools.pairwise(second))
        common = len(there & here)
        rows.append(
            (
                common / max(1, len(here)),
                common / max(1, len(there)),
                common / max(1, len(there | here)),
                len(pairs_there & pairs_here) / max(1, len(pairs_here)),
                len(first),
                len(second),
            )
        )
    return np.array(rows, dtype=float)


def _min_df(n_rows: int) -> int:
    """Rows that a word must occur in; a corpus of a few rows would be left with none."""
    return 3 if n_rows >= 1000 else 1


def _guess(model: Any, known: Any, labels: np.ndarray, unseen: Any) -> np.ndarray:
    return model.fit(known, labels).predict(unseen)


def _score(
    truth: np.ndarray, guess: np.ndarray, groups: np.ndarray, labels: list[str]
) -> dict[str, Any]:
    found = summarize(truth, guess, class_names=labels)
    low, high = accuracy_interval(guess == truth, groups)
    interval = {
        "ci_low": None if np.isnan(low) else low,
        "ci_high": None if np.isnan(high) else high,
    }
    return {"accuracy": found["accuracy"], **interval} | {
        name: found[name] for name in ("uar", "macro_f1", "n")
    }
