"""Near-duplicates across the splits of a corpus: rows that a model has all but seen before."""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer

from lib.stats import accuracy_interval

PAIRS = (("train", "validation"), ("train", "test"), ("validation", "test"))
BLOCK = 512  # rows compared at a time
# Letters that Arabic and Persian keyboards write differently.
SAME = str.maketrans("يىكةۀأإٱؤئ", "ییکهه" + "ااا" + "وی")

Nearest = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def normal(text: str) -> str:
    """A text as two people who copy it would both write it.

    Without punctuation, diacritics, joiners and repeated spaces; one form of each letter and digit;
    lower case.
    """
    text = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).translate(SAME))
    kept = (
        " " if unicodedata.category(letter)[0] in "PSZC" else _plain(letter)
        for letter in text.replace("\u200c", "").replace("\u0640", "")
        if unicodedata.category(letter) != "Mn"
    )
    return " ".join("".join(kept).lower().split())


def _plain(letter: str) -> str:
    return str(unicodedata.decimal(letter)) if letter.isdecimal() else letter


def text_vectors(texts: Sequence[str]) -> Any:
    """(N, V) sparse rows of norm 1, whose products are cosine similarities; 0 for an empty text.

    TF-IDF of the 2- to 4-grams of characters within words, so that an ending, a typing error or a
    word in another place changes little.
    """
    normalised = [normal(text) for text in texts]
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True)
    if not any(re.search(r"\S", text) for text in normalised):
        vectorizer.fit(["nothing"])
        return vectorizer.transform(normalised)
    return vectorizer.fit_transform(normalised)


def nearest_of(vectors: Any) -> Nearest:
    """What finds, for rows, the nearest of other rows: (positions (M,), similarities (M,)).

    Args:
        vectors: (N, V) dense or sparse rows of norm 1; or 0, which is similar to nothing.
    """

    def nearest(known: np.ndarray, asked: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        reference = vectors[known].T
        places = np.zeros(len(asked), np.int64)
        similarities = np.zeros(len(asked))
        for start in range(0, len(asked), BLOCK):
            product = vectors[asked[start : start + BLOCK]] @ reference
            product = product.toarray() if hasattr(product, "toarray") else product
            best = product.argmax(axis=1)
            places[start : start + BLOCK] = best
            similarities[start : start + BLOCK] = product[np.arange(len(best)), best]
        return known[places], similarities

    return nearest


def across(
    split: np.ndarray,
    nearest: Nearest,
    *,
    labels: np.ndarray,
    groups: np.ndarray,
    threshold: float,
    equal: Callable[[int, int], bool],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """How many rows of a split have a near-duplicate in an earlier one, and which.

    Rows of one split are never compared with each other.

    Args:
        split: (N,) train, validation, test, or another text for a row of no split.
        nearest: of rows of the corpus, as `nearest_of` gives it.
        labels: (N,) classes.
        groups: (N,) premise or speaker, resampled for the interval.
        threshold: the least similarity of a near-duplicate.
        equal: whether two rows are equal, not merely near.

    Returns:
        A row for each pair of splits: seen, asked (names of the splits), n (rows asked), n_equal,
        n_near (equal ones included), share (n_near / n), ci_low and ci_high (95 %; None with a
        single group), and same_label: the share of the near ones whose duplicate has their label,
        None where there is none. And the near-duplicates, most similar first: seen, asked,
        row, other, similarity, equal.
    """
    table: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for seen, asked in PAIRS:
        known, rows = np.flatnonzero(split == seen), np.flatnonzero(split == asked)
        if not len(known) or not len(rows):
            continue
        others, similarities = nearest(known, rows)
        near = similarities >= threshold
        pairs = list(zip(rows[near].tolist(), others[near].tolist(), strict=True))
        equals = [equal(row, other) for row, other in pairs]
        low, high = accuracy_interval(near, groups[rows])
        same = labels[rows[near]] == labels[others[near]]
        table.append(
            {
                "seen": seen,
                "asked": asked,
                "n": len(rows),
                "n_equal": sum(equals),
                "n_near": int(near.sum()),
                "share": float(near.mean()),
                "ci_low": None if np.isnan(low) else low,
                "ci_high": None if np.isnan(high) else high,
                "same_label": float(same.mean()) if near.any() else None,
            }
        )
        found += [
            {"seen": seen, "asked": asked, "row": row, "other": other}
            | {"similarity": float(similarity), "equal": same_text}
            for (row, other), similarity, same_text in zip(
                pairs, similarities[near], equals, strict=True
            )
        ]
    return table, sorted(found, key=lambda pair: -pair["similarity"])


def added(tables: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The tables of several folds as one: counts added up, shares anew, without intervals.

    A clip is asked for in several folds, so an interval of the sum would be too narrow.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for row in (row for table in tables for row in table):
        key = (row["seen"], row["asked"])
        n_same = (row["same_label"] or 0.0) * row["n_near"]
        if key not in found:
            found[key] = {**row, "same_label": n_same}
            continue
        for name in ("n", "n_equal", "n_near"):
            found[key][name] += row[name]
        found[key]["same_label"] += n_same
    for row in found.values():
        row["share"] = row["n_near"] / row["n"]
        row["same_label"] = row["same_label"] / row["n_near"] if row["n_near"] else None
        if len(tables) > 1:
            row |= {"ci_low": None, "ci_high": None}
    return list(found.values())
