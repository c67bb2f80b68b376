"""The base runs that a sweep starts from, made where they are not there."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from invoke import Context, Exit, task

from lib import files, hub, runs
from lib.shapes import Whole
from lib.spec import SIZES, read_spec
from tasks import command
from tasks.command import ROOT, flags, here
from tasks.data import FARSTAIL, SHEMO, local_model, prepared_speech, prepared_text
from tasks.studies import HELP, PREPROCESS, SPLIT, SPREAD_HELP, check_choice
from tasks.warm import Slot

BASE_HELP = HELP | {
    "at_once": SPREAD_HELP["at_once"],
    "run": "base run, such as runs/bert/farstail/full-s0; without it one is made from the rest",
    "kind": "of the base run to make: bert or hubert",
    "data": "raw or prepared data of the base run to make; by default the kind's corpus",
    "model": "encoder of the base run to make: a folder or a hub's id; by default the kind's",
    "name": "name of the study; by default the corpus's, or the base run's, and the sweep's",
    "fold": "of speech: which fifth of the speakers tests",
}


@dataclass(frozen=True, kw_only=True)
class Bases:
    """What a sweep starts from.

    Attributes:
        study: folder of the sweep.
        runs: a base run for each seed.
        n_heads: heads of each of the base run's layers.
        how: options of whatever trains: device, force, resume.
        slots: where several runs go at once.
    """

    study: Path
    runs: list[Path]
    n_heads: list[int]
    how: dict[str, Any]
    slots: list[Slot]


def base_runs(
    c: Context,
    sweep: str,
    *,
    run: str | None = None,
    kind: str = "bert",
    data: str | None = None,
    model: str | None = None,
    revision: str | None = None,
    name: str | None = None,
    recipe: str = "default",
    fold: int = 1,
    seeds: int = 1,
    epochs: str | None = None,
    limit: str | None = None,
    device: str = "auto",
    force: bool = False,
    at_once: int = 1,
) -> Bases:
    """The base runs of a sweep, trained where they are not there.

    Args:
        c: invoke's.
        sweep: layers or heads: what is appended to the study's name.
        run: a base run that is there; its other seeds are trained as it was.
        kind, data, model, revision, name, recipe, fold, epochs, limit: of the runs to make.
        seeds: how many.
        device: to compute on.
        force: train again what is there, but for `run`.
        at_once: runs at once, each on a GPU of its own.
    """
    check_choice("recipe", recipe, PREPROCESS)
    check_choice("kind", kind, ("bert", "hubert"))
    how, slots = how_of(seeds, device, force), command.places(at_once, device)
    if run is not None:
        return _of_given(c, sweep, here(run), name=name, seeds=seeds, how=how, slots=slots)
    corpus = here(data or (FARSTAIL if kind == "bert" else SHEMO))
    options: dict[str, Any] = {"name": name or f"{Path(corpus).stem}-{sweep}", "recipe": recipe}
    if kind == "bert":
        options["data"] = prepared_text(c, corpus, PREPROCESS[recipe])
    else:
        options["data"] = prepared_speech(c, corpus)
        options |= {"split": SPLIT[recipe], "fold": fold}
    encoder = local_model(c, model or (hub.DEFAULT if kind == "bert" else hub.HUBERT), revision)
    options |= {"model": encoder, "epochs": epochs, "limit": limit}
    study = runs.study_folder(Path("runs"), kind, options["name"])
    found, lines = [], []
    for seed in range(seeds):
        told = {**options, "seed": seed, **how}
        lines.append(command.line(f"scripts.train_{kind}", **told, then=flags(c)))
        found.append(runs.run_folder(study, options | {"variant": "full", "seed": seed}))
    command.perform(c, lines, slots)
    n_heads = _heads_of(Path(encoder))
    return Bases(study=study, runs=found, n_heads=n_heads, how=how, slots=slots)


def _of_given(
    c: Context,
    sweep: str,
    run: str,
    *,
    name: str | None,
    seeds: int,
    how: dict[str, Any],
    slots: list[Slot],
) -> Bases:
    """The base runs of a sweep, of which one is given."""
    base, options = Path(run), options_of(c, run)
    name = name or f"{options['name']}-{sweep}"
    kind = base.parent.parent
    study = runs.study_folder(kind.parent, kind.name, name)
    found, lines = [base], []
    for seed in range(options["seed"] + 1, options["seed"] + seeds):
        lines.append(command.line("scripts.retrain", run=base, seed=seed, name=name, **how))
        found.append(runs.run_folder(study, options | {"seed": seed}))
    command.perform(c, lines, slots)
    with command.refusals():
        n_heads = [len(heads) for heads in read_spec(ROOT / base / "best")[0].kept_heads()]
    return Bases(study=study, runs=found, n_heads=n_heads, how=how, slots=slots)


def how_of(seeds: int, device: str, force: bool) -> dict[str, Any]:
    """Options of whatever trains."""
    command.check_seeds(seeds)
    return {"device": device, "force": force, "resume": not force}


def options_of(c: Context, run: str) -> dict[str, Any]:
    """The options of a base run that the user names."""
    if c.remainder:
        raise Exit("error: flags after -- train a base run; the one of --run has its own", code=2)
    with command.refusals(f"--run {run}: "):
        found = runs.read_config(ROOT / run, options={"name": str, "seed": Whole, "data": str})
    return cast(dict[str, Any], found["options"])


def _heads_of(model: Path) -> list[int]:
    """Heads of each layer of an encoder; those of the base size while it is not there."""
    path = ROOT / model / "config.json"
    sizes = ("num_attention_heads", "num_hidden_layers")
    config: dict[str, int] = {}
    if path.is_file():
        shape = {f"{name}?": range(1, SIZES[name] + 1) for name in sizes}
        with command.refusals():
            config = files.read_json(path, shape, remedy=f"make or download {model} again")
    n_heads, n_layers = (config.get(name, 12) for name in sizes)
    return [n_heads] * n_layers


def with_base(body: Callable[..., None], **told: Any) -> Any:
    """A task that takes the options of `base_runs` and its own; its body is handed the Bases."""
    common = list(inspect.signature(base_runs).parameters.values())[2:]
    own = list(inspect.signature(body).parameters.values())[2:]
    name = body.__name__.removeprefix("_")

    def whole(c: Context, **options: Any) -> None:
        mine = {of.name: options.pop(of.name) for of in own if of.name in options}
        body(c, lambda: base_runs(c, name, **options), **mine)

    context = inspect.Parameter("c", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    plain = [of.replace(kind=context.kind) for of in (*own, *common)]
    whole.__signature__ = inspect.Signature([context, *plain])  # type: ignore[attr-defined]
    whole.__doc__ = body.__doc__
    help_ = BASE_HELP | told
    return task(whole, name=name, help=help_)
