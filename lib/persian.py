"""Persian text cleaned with hazm, on all cores."""

import functools
import math
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from lib.errors import UserError

PREPROCESS = ("none", "normalize", "full")
TEXTS_PER_TASK = 200
TEXTS_PER_WORKER = 20_000  # a worker first loads hazm and its words: as long as cleaning 20 000

Progress = Callable[[int, int], None]

_work: Callable[[str], tuple[str, bool]]


def clean(
    texts: list[str], how: str, *, workers: int | None = None, progress: Progress | None = None
) -> tuple[list[str], int]:
    """The cleaned texts, in order, and how many of them `how` would have emptied.

    "normalize" is hazm's Normalizer. "full" goes on: split into words, remove hazm's stop words
    (negations and question words are among them), put hazm's lemma in the place of each word. The
    lemma stays as hazm writes it: `past#present` for a verb (`رفت#رو`). A text of which nothing is
    left keeps its normalised form, or, where that is empty too, its raw one.

    Args:
        texts: none of them empty.
        how: one of PREPROCESS.
        workers: processes; the result does not depend on it. None: as many as pay, at most one a
            core.
        progress: called with (texts done, texts in all).

    Raises:
        UserError: if `how` is unknown, `workers` below 1, or a worker process died.

    Source: the reference report, 1.2 (normalise, remove stop words, lemmatise).
    """
    if how not in PREPROCESS:
        raise UserError(f"unknown preprocessing {how!r}; one of {', '.join(PREPROCESS)}")
    if workers is not None and workers < 1:
        raise UserError(f"{workers} workers cannot clean text; give 1 or more")
    if how == "none":
        return texts, 0
    n_paying = math.ceil(len(texts) / TEXTS_PER_WORKER)
    n_workers = workers or max(1, min(_n_cores(), n_paying))
    cleaned: list[str] = []
    n_emptied = 0
    for text, emptied in _results(texts, how, n_workers):
        cleaned.append(text)
        n_emptied += emptied
        if progress and (len(cleaned) % TEXTS_PER_TASK == 0 or len(cleaned) == len(texts)):
            progress(len(cleaned), len(texts))
    return cleaned, n_emptied


@functools.cache
def cleaner(how: str) -> Callable[[str], tuple[str, bool]]:
    """A function from a text to (the cleaned text, whether `how` left nothing of it)."""
    from hazm import Lemmatizer, Normalizer, WordTokenizer, stopwords_list

    normalizer = Normalizer()
    if how == "normalize":
        return lambda text: _first_with_letters(normalizer.normalize(text), text)
    tokenizer, lemmatizer, stop_words = WordTokenizer(), Lemmatizer(), set(stopwords_list())

    def full(text: str) -> tuple[str, bool]:
        normal = normalizer.normalize(text)
        words = [word for word in tokenizer.tokenize(normal) if word]  # lemmatize("") is "#هست"
        lemmas = [lemmatizer.lemmatize(word) for word in words if word not in stop_words]
        return _first_with_letters(" ".join(lemmas), normal, text)

    return full


def is_blank(text: str) -> bool:
    """Whether a text shows nothing: spaces, joiners and control characters only."""
    return not any(letter.isprintable() and letter != " " for letter in text)


def _first_with_letters(*forms: str) -> tuple[str, bool]:
    kept = next((form for form in forms if not is_blank(form)), forms[-1])
    return kept, is_blank(forms[0])


def _results(texts: list[str], how: str, n_workers: int) -> Iterator[tuple[str, bool]]:
    """(Cleaned text, whether it was emptied) of each text, in order."""
    if n_workers == 1:
        yield from map(cleaner(how), texts)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy locks of other threads
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(n_workers, context, _start, (how,)) as pool:
        try:
            yield from pool.map(_call, texts, chunksize=TEXTS_PER_TASK)
        except BrokenProcessPool:
            message = "a cleaning process died, perhaps for want of memory; try --workers 1"
            raise UserError(message) from None
        except BaseException:  # Ctrl-C does not wait for what is queued
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            raise


def _start(how: str) -> None:
    """Make a worker process ready; Ctrl-C reaches the parent too, which ends it."""
    global _work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _work = cleaner(how)


def _call(text: str) -> tuple[str, bool]:
    return _work(text)


def _n_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
