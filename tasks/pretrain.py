"""Recipes of learning without labels: HuBERT's way, masked words, and whether it has helped."""

import itertools
from pathlib import Path
from typing import Any

from invoke import Collection, Context, Exit, task

from lib import hub, runs
from tasks.command import ROOT, check_seeds, flags, here, run
from tasks.data import (
    FARSTAIL,
    SHEMO,
    emobox_of,
    is_labelled,
    local_model,
    prepared_audio,
    prepared_speech,
    prepared_text,
)
from tasks.studies import LABELS, PREPROCESS, PROTOCOLS, check_choice, fold_numbers

EVERY_CLIP = "all"  # of --split: of a corpus that nobody is tested on
FIRST_WEIGHTS = ("start", "last")

HELP = {
    "model": "encoder to go on from: a local folder, or a hub's id; an untrained one starts anew",
    "revision": "commit of a hub's model; by default the pinned one",
    "name": "the new model is data/models/NAME; by default MODEL-CORPUS",
    "epochs": "passes over what is learnt from; by default the script's",
    "limit": "rows to learn from at the most, for a quick look; no result",
    "device": "auto, cpu, cuda or cuda:N",
    "gpus": "GPUs that train together",
    "force": "learn again what is there",
}
LABELS_HELP = {"labels": "of speech: label version, which decides on the clips of each split"}


@task(
    help=HELP
    | LABELS_HELP
    | {
        "fold": "of --split speaker: which fifth of the speakers tests",
        "data": "folder of recordings, ShEMO's folder, a manifest CSV, or a prepared folder",
        "units": "clusters of the first iteration, and of the next ones: such as 100,500",
        "iterations": "1: units of MFCC; 2: then also of what the model made of that gives",
        "layer": "whose output the next units are of, from 1; by default the middle one",
        "again_from": "first weights of the next iterations: start (MODEL's) or last (go on)",
        "split": "whose training clips are learnt from: speaker, report, emobox or manifest; or "
        "all clips of a corpus that tests nobody; by default speaker, without labels all",
    }
)
def hubert(
    c: Context,
    data: str = SHEMO,
    model: str = hub.HUBERT,
    revision: str | None = None,
    name: str | None = None,
    units: str = "100",
    iterations: int = 1,
    layer: str | None = None,
    again_from: str = "start",
    split: str | None = None,
    labels: str = "filename",
    fold: int = 1,
    epochs: str | None = None,
    limit: str | None = None,
    device: str = "auto",
    gpus: int = 1,
    force: bool = False,
) -> None:
    """Cluster speech; let an encoder tell hidden units. After --: flags of pretrain_hubert."""
    numbers = unit_numbers(units, iterations)
    check_choice("again-from", again_from, FIRST_WEIGHTS)
    part = _part(split or (PROTOCOLS[0] if is_labelled(data) else EVERY_CLIP), labels, fold, data)
    everyone = part["split"] == EVERY_CLIP
    prepared = prepared_audio(c, data) if everyone else prepared_speech(c, data)
    first = encoder = local_model(c, model, revision)
    name = name or _name(first, prepared)
    of_whom = "" if everyone else f"-{labels}-{part['split']}{fold}"
    for number, n_units in enumerate(numbers, 1):
        told: dict[str, Any] = {"name": f"mfcc-{n_units}{of_whom}"}
        if number > 1:
            of = f"{name}-{number - 1}"
            told = {"name": f"{of}-{n_units}{of_whom}", "model": encoder, "layer": layer}
            told["device"] = device
        run(c, "scripts.cluster_units", data=prepared, units=n_units, **told, **part, force=force)
        made = {"name": name if number == iterations else f"{name}-{number}"}
        made["model"] = encoder if again_from == "last" else first
        how = _how(epochs, limit, device, gpus, force)
        what: dict[str, Any] = {"data": prepared, "units": told["name"], **made, **how}
        run(c, "scripts.pretrain_hubert", **what, then=flags(c))
        encoder = f"data/models/{made['name']}"


@task(
    help=HELP
    | {
        "data": "text file, one text a line, a tab between two that belong together; or FarsTail's "
        "folder, or one that data.prepare made: of these only the training split is read",
        "preprocess": "of FarsTail's folder: none, normalize or full",
    }
)
def bert(
    c: Context,
    data: str = FARSTAIL,
    model: str = hub.DEFAULT,
    revision: str | None = None,
    name: str | None = None,
    preprocess: str = PREPROCESS["default"],
    epochs: str | None = None,
    limit: str | None = None,
    device: str = "auto",
    gpus: int = 1,
    force: bool = False,
) -> None:
    """Let a text encoder tell hidden words. After --: flags of pretrain_bert."""
    check_choice("preprocess", preprocess, ("none", "normalize", "full"))
    path = here(data)
    if path != FARSTAIL and not (ROOT / path).exists():
        raise Exit(f"error: --data {data} is no text file, and no folder", code=2)
    source = path if (ROOT / path).is_file() else prepared_text(c, data, preprocess)
    encoder = local_model(c, model, revision)
    told = {"data": source, "model": encoder}
    told["name"] = name or _name(encoder, source)
    run(
        c,
        "scripts.pretrain_bert",
        **told,
        **_how(epochs, limit, device, gpus, force),
        then=flags(c),
    )


@task(
    positional=["before", "after"],
    help=LABELS_HELP
    | {
        "folds": "of speech: folds of the speakers to test on, such as 1 or 1,2,3,4,5",
        "before": "encoder without it: a local folder, or a hub's id",
        "after": "encoder with it, such as data/models/NAME; or any other of the same kind",
        "kind": "of the encoders: bert (text) or hubert (speech)",
        "data": "labelled data to fine-tune on, as for bert and hubert; by default the kind's",
        "name": "name of the study: the folder under runs/bert/ or runs/hubert/",
        "first": "layers that are frozen in the second comparison, as a number or a share",
        "split": "of speech: speaker, report, emobox or manifest",
        "seeds": "how many seeds, from 0 on",
        "epochs": "passes over the training split; by default the training script's",
        "limit": "rows of each split at the most, for a quick look; no result",
        "device": HELP["device"],
        "force": "train again what is there",
    },
)
def compare(
    c: Context,
    before: str,
    after: str,
    kind: str = "bert",
    data: str | None = None,
    name: str = "pretrained",
    first: str = "0.75",
    split: str = PROTOCOLS[0],
    labels: str = "filename",
    folds: str = "1",
    seeds: int = 3,
    epochs: str | None = None,
    limit: str | None = None,
    device: str = "auto",
    force: bool = False,
) -> None:
    """Fine-tune two encoders equally, whole and frozen: which is better? After --: flags."""
    check_choice("kind", kind, ("bert", "hubert"))
    check_seeds(seeds)
    corpus = data or (FARSTAIL if kind == "bert" else SHEMO)
    parts: list[dict[str, Any]] = [{}]
    if kind == "hubert":
        check_choice("split", split, PROTOCOLS)
        numbers = fold_numbers(folds, split)
        parts = [_part(split, labels, fold, corpus) for fold in numbers]
    if kind == "bert":
        prepared = prepared_text(c, corpus, PREPROCESS["default"])
    else:
        prepared = prepared_speech(c, corpus)
    models = {side: local_model(c, of, None) for side, of in (("before", before), ("after", after))}
    study = runs.study_folder(Path("runs"), kind, name)
    how: dict[str, Any] = {"device": device, "force": force, "resume": not force}
    options: dict[str, Any] = {"data": prepared, "name": name, "epochs": epochs, "limit": limit}
    found = []
    for seed, part, side in itertools.product(range(seeds), parts, models):
        told: dict[str, Any] = {"model": models[side], "variant": side, "seed": seed, **part}
        run(c, f"scripts.train_{kind}", **options, **told, **how, then=flags(c))
        whole, frozen = runs.run_folder(study, told), f"{side}-frozen"
        run(c, "scripts.freeze", run=whole, first=first, variant=frozen, **how)
        found += [str(whole), str(runs.run_folder(study, told | {"variant": frozen}))]
    run(c, "scripts.evaluate", runs=found, device=device)
    pairs = [f"{side}:{other}" for side, other in (("before", "after"), FROZEN)]
    run(c, "scripts.compare", study=study, pairs=pairs)


FROZEN = ("before-frozen", "after-frozen")


def unit_numbers(units: str, iterations: int) -> list[int]:
    """How many clusters each iteration has; the last number goes for all that follow."""
    words = [word.strip() for word in units.split(",")]
    if iterations < 1 or len(words) > iterations or not all(word.isdecimal() for word in words):
        raise Exit(
            f"error: --units {units} --iterations {iterations}: give a number of clusters for each "
            "of one or more iterations, or one for all",
            code=2,
        )
    return [int(word) for word in words + words[-1:] * (iterations - len(words))]


def _part(split: str, labels: str, fold: int, data: str) -> dict[str, Any]:
    """Options that say which clips train."""
    check_choice("split", split, (*PROTOCOLS, EVERY_CLIP))
    check_choice("labels", labels, LABELS)
    fold_numbers(str(fold), split)
    part = {"labels": labels, "split": split, "fold": fold}
    return part | ({"emobox": emobox_of(data)} if split == "emobox" else {})


def _name(model: str, data: str) -> str:
    """What a model is called that has learnt from data."""
    return f"{(ROOT / model).resolve().name}-{Path(data).stem}"


def _how(
    epochs: str | None, limit: str | None, device: str, gpus: int, force: bool
) -> dict[str, Any]:
    """Options of both scripts that learn."""
    how: dict[str, Any] = {"epochs": epochs, "limit": limit, "device": device}
    how |= {"gpus": gpus} if gpus > 1 else {}
    return how | {"force": force, "resume": not force}


namespace = Collection(hubert, bert, compare)
