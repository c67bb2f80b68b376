"""Recipes of the studies: fine-tune whole, frozen, truncated, pruned; evaluate; floors; table."""

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from invoke import Context, Exit, task

from lib import hub, runs
from tasks.command import check_seeds, flags, line, perform, places, run
from tasks.data import FARSTAIL, SHEMO, emobox_of, local_model, prepared_speech, prepared_text
from tasks.warm import Slot

# The defaults of bare `invoke bert-all` and `invoke hubert-all`; README has them in tables.
PREPROCESS = {"default": "none", "report": "full"}
AUGMENT = {"default": "default", "report": "report"}
SPLIT = {"default": "speaker", "report": "report"}
LABELS = ("filename", "transcript", "agree")
PROTOCOLS = ("speaker", "report", "emobox", "manifest")
FREEZE, KEEP, PRUNE = 0.75, 0.5, 0.4

HELP = {
    "model": "encoder: a local folder, or a hub's id",
    "revision": "commit of a hub's model; by default the pinned one",
    "recipe": "default (what published work uses) or report (what the reference report did)",
    "seeds": "how many seeds, from 0 on",
    "epochs": "passes over the training split; by default the recipe's",
    "limit": "rows of each split at the most, for a quick look; no result",
    "device": "auto, cpu, cuda or cuda:N",
    "force": "train again what is there",
}
SPREAD_HELP = {
    "gpus": "GPUs that train one run together",
    "at_once": "runs at once, each on a GPU of its own, or on its share of the CPU's cores",
}
TEXT_HELP = (
    HELP
    | SPREAD_HELP
    | {
        "data": "folder with FarsTail's three files, or one that data.prepare made",
        "name": "name of the study: the folder under runs/bert/",
    }
)
SPEECH_HELP = (
    HELP
    | SPREAD_HELP
    | {
        "data": "ShEMO's folder, a manifest CSV, or a folder that data.prepare-speech made",
        "name": "name of the study: the folder under runs/hubert/",
        "labels": "label version: filename, transcript, or agree (where both are equal)",
        "split": "speaker (five folds), report, emobox or manifest; by default the recipe's",
        "folds": "folds of the speakers to test on, such as 1 or 1,2,3,4,5",
        "augment": "variants of training clips: none, default or report; by default the recipe's",
    }
)


def study(
    c: Context,
    kind: str,
    *,
    name: str,
    recipe: str,
    seeds: int,
    parts: Iterable[Mapping[str, Any]],
    variants: bool,
    options: Mapping[str, Any],
    device: str,
    force: bool,
    gpus: int = 1,
    at_once: int = 1,
) -> None:
    """Train one run, or all five variants, for each seed and part; evaluate, floors, pictures.

    Args:
        c: invoke's.
        kind: bert or hubert.
        name: of the study.
        recipe: of the training script.
        seeds: how many.
        parts: what decides who trains and who tests, as options: one entry for text, one a fold
            for speech.
        variants: whether to train the report's variants 2 to 5 too.
        options: of the training script; `data` is the prepared folder, `model` a local one.
        device: to compute on.
        force: train again what is there.
        gpus: that train one run together.
        at_once: runs at once, each on a GPU of its own.
    """
    slots = check_how(seeds, gpus, at_once, device)
    folder = runs.study_folder(Path("runs"), kind, name)
    how: dict[str, Any] = {"device": device, "force": force, "resume": not force}
    how |= {"gpus": gpus} if gpus > 1 else {}
    found, first, then, in_turn = [], [], [], []
    parts = list(parts)
    for seed, part in itertools.product(range(seeds), parts):
        told = {**options, "name": name, "recipe": recipe, "seed": seed, **part}
        first.append(line(f"scripts.train_{kind}", **told, **how, then=flags(c)))
        in_turn.append(first[-1])
        base = runs.run_folder(folder, {"variant": "full", "seed": seed, **part})
        found.append(str(base))
        for script, variant, change in CHANGES if variants else ():
            # The report's variant 2 went on from variant 1 and trained its embeddings.
            second = variant == "freeze-9" and recipe == "report"
            more: dict[str, Any] = {"init": "base", "embeddings": "trainable"} if second else {}
            more |= {**change, "variant": variant, **how}
            then.append(line(f"scripts.{script}", run=base, **more))
            in_turn.append(then[-1])
            changed = runs.run_folder(folder, {"variant": variant, "seed": seed, **part})
            found.append(str(changed))
    # Several at once: the runs that the others start from come first.
    for stage in (first, then) if at_once > 1 else (in_turn,):
        perform(c, stage, slots)
    for part in parts:
        run(c, "scripts.floors", data=options["data"], **part)
    run(c, "scripts.evaluate", runs=found, device=device)
    run(c, "scripts.plot", study=folder)


CHANGES: list[tuple[str, str, dict[str, Any]]] = [
    ("freeze", "freeze-9", {"first": FREEZE}),
    ("freeze", "last-and-embeddings", {"all_but_last": 1}),
    ("freeze", "intermediate", {"keep": KEEP}),
    ("prune", "prune-heads", {"fraction": PRUNE}),
]


def text_recipe(name: str, doc: str, *, variants: bool) -> Any:
    """A recipe of the text study; the two differ in name and in whether variants are trained."""

    def body(
        c: Context,
        data: str = FARSTAIL,
        model: str = hub.DEFAULT,
        revision: str | None = None,
        name: str = "farstail",
        recipe: str = "default",
        seeds: int = 1,
        epochs: str | None = None,
        limit: str | None = None,
        device: str = "auto",
        force: bool = False,
        gpus: int = 1,
        at_once: int = 1,
    ) -> None:
        check_how(seeds, gpus, at_once, device)
        check_choice("recipe", recipe, PREPROCESS)
        prepared = prepared_text(c, data, PREPROCESS[recipe])
        encoder = local_model(c, model, revision)
        study(
            c,
            "bert",
            name=name,
            recipe=recipe,
            seeds=seeds,
            parts=[{}],
            variants=variants,
            options={"data": prepared, "model": encoder, "epochs": epochs, "limit": limit},
            device=device,
            force=force,
            gpus=gpus,
            at_once=at_once,
        )

    body.__doc__ = doc
    return task(body, name=name, help=TEXT_HELP)


def speech_recipe(name: str, doc: str, *, variants: bool) -> Any:
    """A recipe of the speech study; the two differ in name and in whether variants are trained."""

    def body(
        c: Context,
        data: str = SHEMO,
        model: str = hub.HUBERT,
        revision: str | None = None,
        name: str = "shemo",
        recipe: str = "default",
        labels: str = "filename",
        split: str | None = None,
        folds: str = "1",
        augment: str | None = None,
        seeds: int = 1,
        epochs: str | None = None,
        limit: str | None = None,
        device: str = "auto",
        force: bool = False,
        gpus: int = 1,
        at_once: int = 1,
    ) -> None:
        check_choice("recipe", recipe, SPLIT)
        check_how(seeds, gpus, at_once, device)
        protocol = split or SPLIT[recipe]
        variants_of_clips = augment or AUGMENT[recipe]
        check_choice("labels", labels, LABELS)
        check_choice("split", protocol, PROTOCOLS)
        check_choice("augment", variants_of_clips, ("none", "default", "report"))
        numbers = fold_numbers(folds, protocol)
        prepared = prepared_speech(c, data)
        part: dict[str, Any] = {"labels": labels, "split": protocol}
        if protocol == "emobox":
            part["emobox"] = emobox_of(data)
        parts = [part | {"fold": fold} for fold in numbers]
        encoder = local_model(c, model, revision)
        if variants_of_clips == "report":
            for part in parts:
                run(c, "scripts.augment", data=prepared, recipe="report", **part)
        elif variants_of_clips != "none":
            run(c, "scripts.augment", data=prepared, recipe=variants_of_clips)
        options = {"data": prepared, "model": encoder, "augment": variants_of_clips}
        study(
            c,
            "hubert",
            name=name,
            recipe=recipe,
            seeds=seeds,
            parts=parts,
            variants=variants,
            options=options | {"epochs": epochs, "limit": limit},
            device=device,
            force=force,
            gpus=gpus,
            at_once=at_once,
        )

    body.__doc__ = doc
    return task(body, name=name, help=SPEECH_HELP)


def check_how(seeds: int, gpus: int, at_once: int, device: str) -> list[Slot]:
    """Where each of the runs at once has its place; refuses what no study can have."""
    check_seeds(seeds)
    if gpus > 1 and at_once > 1:
        raise Exit("error: give --gpus or --at-once, not both", code=2)
    return places(at_once, device)


def check_choice(flag: str, value: str, allowed: Iterable[str]) -> None:
    """Refuse what is not allowed before anything is fetched or computed."""
    if value not in allowed:
        raise Exit(f"error: --{flag} {value}: choose of {', '.join(allowed)}", code=2)


def fold_numbers(folds: str, protocol: str) -> list[int]:
    """The folds that a text such as 1,2,3 names, each once."""
    words = [word.strip() for word in folds.split(",")]
    allowed = [str(n) for n in range(1, 6)] if protocol == "speaker" else ["1"]
    for word in words:
        if word not in allowed:
            remedy = f"--split {protocol} has the folds {', '.join(allowed)}"
            raise Exit(f"error: --folds {folds}: {remedy}", code=2)
    return [int(word) for word in dict.fromkeys(words)]


bert = text_recipe(
    "bert",
    "Fine-tune a text encoder; evaluate, floors, pictures. After --: flags of train_bert.",
    variants=False,
)
bert_all = text_recipe(
    "bert-all",
    "Five variants (full, freeze-9, last-and-embeddings, intermediate, prune-heads), one table.",
    variants=True,
)
hubert = speech_recipe(
    "hubert",
    "Fine-tune a speech encoder; evaluate, floors, pictures. After --: flags of train_hubert.",
    variants=False,
)
hubert_all = speech_recipe(
    "hubert-all",
    "The same five variants of a speech encoder, one table.",
    variants=True,
)
