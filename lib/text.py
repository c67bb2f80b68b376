"""Labelled sentences and pairs of sentences: checked, cleaned and prepared for training."""

import csv
import hashlib
import importlib.metadata
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib.errors import UserError
from lib.files import digest, locked, read_json, sha256, staged_folder, write_json
from lib.persian import Progress, clean
from lib.shapes import Whole, are_names, misfit
from lib.text_source import FARSTAIL_MD5, FLAGS, SPLITS, Layout, read_sources

FORMAT = 1
MAKE_AGAIN = "scripts.prepare_text --force makes it again"
META = {  # what meta.json must tell
    **{"name": str, "sample": bool, "labels": are_names, "preprocess": str, "pairs": bool},
    **{"corpus": (str, None), "fingerprint": str, "made_of": dict, "warnings": [str]},
    "splits": {name: {"n": Whole, "counts": {str: Whole}, "sha256": str} for name in SPLITS},
}


def prepare(
    sources: Mapping[str, Path],
    out: Path,
    *,
    layout: Layout = Layout(),  # noqa: B008 - frozen
    preprocess: str = "none",
    sample: bool = False,
    workers: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> bool:
    """Whether the prepared folder `out` was made now; False when it was there, from equal input.

    It holds meta.json and train.csv, validation.csv and test.csv with the columns id (0-based row
    of the source), group (one number per distinct raw premise over all splits), label, premise,
    hypothesis (for pairs) and, where the source has them, hard_hypothesis and hard_overlap (0, 1).

    Args:
        sources: one file for each of train, validation and test.
        out: the folder to make, whole or not at all.
        layout: columns, separator, quotation marks and labels of the files. Without labels: e, c,
            n if the training file has just these, else those of the training file, sorted.
        preprocess: "none", "normalize" or "full", see lib/clean.py.
        sample: whether this is the generated corpus; a file SAMPLE beside a source says so too.
        workers: processes for the cleaning; the result does not depend on it. None: all cores.
        force: make it again, in the place of one made from other files or options.
        progress: called with (texts cleaned, texts in all).

    Raises:
        UserError: naming file and row, if a source is not what it should be; if `out` was made
            from something else and `force` is false.
    """
    files = {split: _identify(sources[split]) for split in SPLITS}
    options = {key: list(v) if isinstance(v, tuple) else v for key, v in asdict(layout).items()}
    made_of = {
        "format": FORMAT,
        **{f"{split} file": files[split]["sha256"] for split in SPLITS},
        "preprocess": preprocess,
        "hazm": None if preprocess == "none" else importlib.metadata.version("hazm"),
        "sample": sample or any((path.parent / "SAMPLE").exists() for path in sources.values()),
        **options,
    }
    with locked(out.parent / f".{out.name}.lock", wait=True):
        if _is_made(out, made_of, force=force):
            return False
        frames, labels = read_sources(sources, layout=layout)
        _add_groups(frames)
        warnings = _warnings(frames, labels)
        warnings += _clean(frames, preprocess, workers=workers, progress=progress)
        md5 = {split: files[split]["md5"] for split in SPLITS}
        columns = (layout.premise, layout.hypothesis, layout.label)
        is_farstail = md5 == FARSTAIL_MD5 and columns == ("premise", "hypothesis", "label")
        meta = {
            "format": FORMAT,
            "kind": "text",
            "name": out.name,
            "sample": made_of["sample"],
            "labels": labels,
            "preprocess": preprocess,
            "pairs": layout.hypothesis is not None,
            "corpus": "farstail" if is_farstail else None,
            "key": digest(made_of),
            "made_of": made_of,
            "sources": files,
            "warnings": warnings,
        }
        _write(out, frames, meta)
    return True


def read_meta(folder: Path) -> dict[str, Any]:
    """What meta.json of a prepared text folder says.

    Raises:
        UserError: if the folder is missing, of another kind or format, or damaged.
    """
    path = folder / "meta.json"
    if not path.is_file():
        raise UserError(f"{folder} holds no prepared text; make it with scripts.prepare_text")
    meta = read_json(path)
    if not isinstance(meta, dict) or meta.get("kind") != "text":
        raise UserError(f"{path} is not of a text made with scripts.prepare_text")
    if meta.get("format") != FORMAT:
        raise UserError(f"{path} is of another version; make it with scripts.prepare_text --force")
    if wrong := misfit(meta, META):
        raise UserError(f"{path} is damaged ({wrong}); {MAKE_AGAIN}")
    return meta


def read_split(folder: Path, split: str) -> pd.DataFrame:
    """The rows of one split of a prepared folder; the columns are those that `prepare` names.

    Raises:
        UserError: if the folder is not a prepared text folder or the file has been changed.
    """
    meta = read_meta(folder)
    path = folder / f"{split}.csv"
    if not path.is_file() or sha256(path) != meta["splits"][split]["sha256"]:
        raise UserError(f"{path} is missing or damaged; {MAKE_AGAIN}")
    kinds: dict[Any, Any] = {"label": str, "premise": str, "hypothesis": str}
    kinds |= dict.fromkeys(("id", "group", *FLAGS.values()), np.int64)
    try:
        frame = pd.read_csv(path, keep_default_na=False, dtype=kinds)
        columns = {"id", "group", "label", "premise", *(["hypothesis"] if meta["pairs"] else [])}
        if not columns <= set(frame.columns) or not set(frame["label"]) <= set(meta["labels"]):
            raise ValueError("other columns or labels than meta.json says")
        if len(frame) != meta["splits"][split]["n"]:
            raise ValueError(f"{len(frame)} rows, not {meta['splits'][split]['n']}")
    except ValueError as error:  # pandas's own are of this kind
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{path} is damaged ({reason}); {MAKE_AGAIN}") from None
    return frame


def n_words(texts: pd.Series) -> np.ndarray:
    """(N,) how many words, parted by white space, each text has."""
    return np.array([len(text.split()) for text in texts])


def _identify(path: Path) -> dict[str, str]:
    """Name, MD5 (which the corpus's authors publish) and SHA-256 of a source file."""
    if not path.is_file():
        raise UserError(f"{path} {'is not a file' if path.exists() else 'does not exist'}")
    with path.open("rb") as file:
        md5 = hashlib.file_digest(file, "md5").hexdigest()
    return {"file": path.name, "md5": md5, "sha256": sha256(path)}


def _is_made(out: Path, made_of: Mapping[str, Any], *, force: bool) -> bool:
    """Whether `out` holds, undamaged, what `made_of` gives; an error if it may not be replaced."""
    if not out.exists():
        return False
    path = out / "meta.json"
    if not path.is_file() or b'"kind": "text"' not in path.read_bytes():
        raise UserError(f"{out} exists and is no prepared text; choose another --name")
    if force:
        return False
    meta = read_meta(out)
    before = meta.get("made_of", {})
    other = [key.replace("_", " ") for key in made_of if made_of[key] != before.get(key)]
    if other:
        remedy = "replace it with --force or choose another --name"
        raise UserError(f"{out} was prepared differently ({', '.join(other)}); {remedy}")
    paths = {split: out / f"{split}.csv" for split in SPLITS}
    return all(
        path.is_file() and sha256(path) == meta["splits"][split]["sha256"]
        for split, path in paths.items()
    )


def _add_groups(frames: Mapping[str, pd.DataFrame]) -> None:
    """Number the distinct raw premises over all splits."""
    numbers, _ = pd.factorize(pd.concat([frame["premise"] for frame in frames.values()]))
    start = 0
    for frame in frames.values():
        frame["group"] = numbers[start : start + len(frame)]
        start += len(frame)


def _warnings(frames: Mapping[str, pd.DataFrame], labels: list[str]) -> list[str]:
    """What is suspect in the raw rows but no error."""
    rows = pd.concat([frame.assign(split=split) for split, frame in frames.items()])
    texts = [column for column in ("premise", "hypothesis") if column in rows]
    what = "pair" if len(texts) == 2 else "sentence"
    pairs = rows.groupby(texts, sort=False).agg(
        n=("id", "size"), labels=("label", "nunique"), splits=("split", "nunique")
    )
    n_shared = int((rows.groupby("group")["split"].nunique() > 1).sum())
    n_broken = sum(int(rows[text].str.contains(r"[\r\n]").sum()) for text in texts)
    counts = {
        "texts with a line break in them": n_broken,
        "premises in more than one split": n_shared if len(texts) == 2 else 0,
        f"{what}s in more than one split": int((pairs["splits"] > 1).sum()),
        f"{what}s that occur more than once": int((pairs["n"] > 1).sum()),
        f"{what}s that occur with different labels": int((pairs["labels"] > 1).sum()),
    }
    absent = [
        f"{split} has no row of the label {label!r}"
        for split, frame in frames.items()
        for label in labels
        if label not in set(frame["label"])
    ]
    return [f"{text}: {n}" for text, n in counts.items() if n] + absent


def _clean(
    frames: Mapping[str, pd.DataFrame], how: str, *, workers: int | None, progress: Progress | None
) -> list[str]:
    """Clean the texts of all splits in place, each distinct one once; what to warn of."""
    columns = [c for c in ("premise", "hypothesis") if c in frames["train"]]
    texts = dict.fromkeys(text for f in frames.values() for column in columns for text in f[column])
    cleaned, n_emptied = clean(list(texts), how, workers=workers, progress=progress)
    if how != "none":
        by_text = dict(zip(texts, cleaned, strict=True))
        for frame in frames.values():
            for column in columns:
                frame[column] = [by_text[text] for text in frame[column]]
    return [f"texts that {how!r} left empty, kept less cleaned: {n_emptied}"] if n_emptied else []


def _write(out: Path, frames: Mapping[str, pd.DataFrame], meta: dict[str, Any]) -> None:
    columns = ["id", "group", "label", "premise", "hypothesis", *FLAGS.values()]
    splits: dict[str, Any] = {}
    with staged_folder(out) as folder:
        for split, frame in frames.items():
            path = folder / f"{split}.csv"
            kept = frame[[column for column in columns if column in frame]]
            kept.to_csv(path, index=False, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
            counts = frame["label"].value_counts()
            splits[split] = {
                "n": len(frame),
                "counts": {label: int(counts.get(label, 0)) for label in meta["labels"]},
                "sha256": sha256(path),
            }
        fingerprint = digest({split: splits[split]["sha256"] for split in SPLITS})
        write_json(folder / "meta.json", meta | {"fingerprint": fingerprint, "splits": splits})
