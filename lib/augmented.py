"""Augmented audio on disk: made once beside a prepared corpus, read back as training rows."""

import importlib.metadata
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lib import augment, packed
from lib.errors import UserError
from lib.files import digest, locked, read_sealed, sha256, staged_folder, write_sealed
from lib.packed import PackedWriter, open_packed, read_manifest
from lib.persian import Progress
from lib.pool import n_cores, ordered

FORMAT = 2
RECIPES = ("default", "report")
VARIANTS_PER_WORKER = 300  # the first pitch shift of a process takes as long as these
COLUMNS = ("id", "variant", "label", "shard", "offset", "n_samples", *augment.PARAMETERS)


def make(
    prepared: Path,
    *,
    recipe: str = "default",
    split: pd.Series | None = None,
    labels: pd.Series | None = None,
    n_variants: int = 3,
    seed: int = augment.REPORT_SEED,
    workers: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> tuple[Path, bool]:
    """The folder of augmented audio of a corpus, and whether it was made now or was there.

    It is `prepared`/augmented/RECIPE-KEY, whole or absent, and holds packed audio (see
    lib/packed.py), rows.csv (see `load_rows`) and meta.json, which for the recipe `report` tells
    the class counts before and after. The key depends on the corpus, the recipe's rows and the
    seed, and on nothing else: the default's rows are those of all clips and know no split, label
    or training seed, so all runs share them; the report's are those of a split and its labels.

    Args:
        prepared: a prepared speech folder.
        recipe: one of RECIPES; see lib/augment.py.
        split, labels: of each clip, as lib/splits.py gives them; the recipe `report` needs them.
        n_variants: of each clip in the default recipe.
        seed: of the recipe.
        workers: processes; the samples do not depend on it. None: as many cores as pay.
        force: make it again.
        progress: called with (variants made, variants in all).

    Raises:
        UserError: if the folder is not prepared speech, or an option is out of range.
    """
    meta, manifest = packed.read_meta(prepared), read_manifest(prepared)
    if seed < 0:
        raise UserError(f"a seed of {seed} cannot be used; give 0 or more")
    if recipe == "default":
        if n_variants < 1:
            raise UserError(f"{n_variants} variants leave nothing to make; give 1 or more")
        rows = augment.default_rows(manifest, n_variants=n_variants, seed=seed)
    elif recipe == "report" and split is not None and labels is not None:
        names = meta["labels"]
        rows = augment.report_rows(manifest, split, labels, class_names=names, seed=seed)
    else:
        raise UserError(f"unknown recipe {recipe!r}; one of {', '.join(RECIPES)}")
    made_of = {
        "format": FORMAT,
        "corpus": meta["fingerprint"],
        "recipe": recipe,
        "seed": seed,
        "rows": digest(rows.to_csv(index=False)),
        "libraries": {n: importlib.metadata.version(n) for n in ("librosa", "numpy", "soxr")},
    }
    path = prepared / "augmented" / f"{recipe}-{digest(made_of)[:12]}"
    if path.exists() and not force:  # also where nothing can be written, not even a lock
        return path, False
    with locked(path.parent / f".{path.name}.lock", wait=True):
        if path.exists() and not force:
            return path, False
        with staged_folder(path) as folder:
            render = augment.Render(packed=open_packed(prepared, manifest), seed=seed)
            placed, files = _write(folder, rows, manifest, render, workers, progress)
            placed.to_csv(folder / "rows.csv", index_label="row", lineterminator="\n")
            summary = {
                "format": FORMAT,
                "kind": "augmented speech",
                "recipe": recipe,
                "n_rows": len(rows),
                "n_variants": int((rows["variant"] > 0).sum()),
                "counts": _counts(rows, split, labels, meta["labels"]),
                "made_of": made_of,
                "files": files | {"rows.csv": sha256(folder / "rows.csv")},
            }
            write_sealed(folder / "meta.json", summary)
    return path, True


def read_meta(folder: Path) -> dict[str, Any]:
    """What meta.json of augmented audio says.

    Raises:
        UserError: if the folder is no augmented audio, of another version, or damaged.
    """
    path = folder / "meta.json"
    meta = read_sealed(path)
    if meta is None or (meta.get("kind"), meta.get("format")) != ("augmented speech", FORMAT):
        problem = "is damaged or of another version" if path.is_file() else "does not exist"
        raise UserError(f"{path} {problem}; make it with scripts.augment --force")
    return meta


def load_rows(folder: Path) -> pd.DataFrame:
    """The rows of augmented audio, in order; `open_packed(folder, rows)` reads their waveforms.

    The columns are id (of the clip), variant (0 is the clip itself, which is read from the corpus:
    its shard is -1), label (empty in the default recipe, whose variants serve every label
    version), shard, offset, n_samples, noise (standard deviation, of full scale), shift_s,
    n_semitones and speed.

    Raises:
        UserError: if the folder is no augmented audio, or damaged.
    """
    path = folder / "rows.csv"
    meta = read_meta(folder)
    if not path.is_file() or sha256(path) != meta["files"]["rows.csv"]:
        raise UserError(f"{path} is missing or damaged; scripts.augment --force makes it again")
    rows = pd.read_csv(path, index_col="row", keep_default_na=False, dtype={"label": str})
    return rows[list(COLUMNS)]


def training_rows(folder: Path, split: pd.Series, labels: pd.Series) -> pd.DataFrame:
    """The rows to train on: those of training clips, each with the label of its clip.

    Args:
        folder: augmented audio.
        split, labels: of each clip of the corpus, indexed by its id.

    Raises:
        UserError: if the rows were drawn for another split or other labels.
    """
    rows = load_rows(folder)
    drawn = rows["label"] != ""
    of_row, trains = rows["id"].map(labels), rows["id"].map(split) == "train"
    if not trains[drawn].all() or not (of_row == rows["label"])[drawn].all():
        problem = "was made for another split or other labels"
        raise UserError(f"{folder} {problem}; make it again with scripts.augment")
    return rows.assign(label=of_row)[trains].reset_index(drop=True)


def _counts(
    rows: pd.DataFrame, split: pd.Series | None, labels: pd.Series | None, names: list[str]
) -> dict[str, dict[str, int]]:
    """Training rows by class, before and after the report's recipe; nothing for the default."""
    if "label" not in rows or split is None or labels is None:
        return {}
    found = {"before": labels[split == "train"], "after": rows["label"]}
    return {when: {c: int((of == c).sum()) for c in names} for when, of in found.items()}


def _write(
    folder: Path,
    rows: pd.DataFrame,
    manifest: pd.DataFrame,
    render: augment.Render,
    workers: int | None,
    progress: Progress | None,
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Write the variants into `folder`; (the rows with their places, SHA-256 of the shards)."""
    places = np.full((len(rows), 3), -1)
    places[:, 2] = manifest["n_samples"].to_numpy()[rows["id"]]
    variants = rows[rows["variant"] > 0]
    n_paying = math.ceil(len(variants) / VARIANTS_PER_WORKER)
    n_workers = max(1, min(n_cores(), n_paying)) if workers is None else workers
    with PackedWriter(folder) as writer:
        made = ordered(render, _tasks(variants, manifest["path"]), workers=n_workers)
        for n, (row, samples) in enumerate(zip(variants.index, made, strict=True), start=1):
            places[row] = (*writer.add(samples), len(samples))
            if progress:
                progress(n, len(variants))
    placed = rows.assign(label=rows.get("label", ""))
    placed[["shard", "offset", "n_samples"]] = places
    return placed[list(COLUMNS)], writer.sha256


def _tasks(variants: pd.DataFrame, paths: pd.Series) -> Iterator[augment.Task]:
    """What to render, made as it is needed."""
    columns = variants[["id", "variant", *augment.PARAMETERS]]
    for clip, variant, *values in columns.itertuples(index=False, name=None):
        yield clip, paths[clip], variant, dict(zip(augment.PARAMETERS, values, strict=True))
