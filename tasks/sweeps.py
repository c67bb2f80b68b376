"""Recipes that vary one thing: layers, heads, preprocessing; and what a split gives away."""

import inspect
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from invoke import Collection, Context, Exit, task

from lib import hub, runs
from lib.spec import read_spec
from tasks import command
from tasks.command import ROOT, flags, here
from tasks.data import FARSTAIL, SHEMO, emobox_of, local_model, prepared_speech, prepared_text
from tasks.studies import HELP, PREPROCESS, SPLIT, SPREAD_HELP, check_choice
from tasks.warm import Slot

WAYS = {"keep": "kept", "freeze": "frozen", "probe": "read by a probe"}
SCORES = ("gradient", "magnitude", "random")
TEXT_WAYS = ("none", "normalize", "full")
FRACTIONS = ",".join(f"{n / 10:g}" for n in range(10))

BASE_HELP = HELP | {
    "at_once": SPREAD_HELP["at_once"],
    "run": "base run, such as runs/bert/farstail/full-s0; without it one is made from the rest",
    "kind": "of the base run to make: bert or hubert",
    "data": "raw or prepared data of the base run to make; by default the kind's corpus",
    "model": "encoder of the base run to make: a folder or a hub's id; by default the kind's",
    "name": "name of the study; by default the corpus's, or the base run's, and the sweep's",
    "fold": "of speech: which fifth of the speakers tests",
}
TOLERANCE = "choose the cheapest that is at most this much below the best in validation"


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
    how, slots = _how(seeds, device, force), command.places(at_once, device)
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
    base, options = Path(run), _options_of(c, run)
    name = name or f"{options['name']}-{sweep}"
    kind = base.parent.parent
    study = runs.study_folder(kind.parent, kind.name, name)
    found, lines = [base], []
    for seed in range(options["seed"] + 1, options["seed"] + seeds):
        lines.append(command.line("scripts.retrain", run=base, seed=seed, name=name, **how))
        found.append(runs.run_folder(study, options | {"seed": seed}))
    command.perform(c, lines, slots)
    n_heads = [len(heads) for heads in read_spec(ROOT / base / "best")[0].kept_heads()]
    return Bases(study=study, runs=found, n_heads=n_heads, how=how, slots=slots)


def _how(seeds: int, device: str, force: bool) -> dict[str, Any]:
    """Options of whatever trains."""
    if seeds < 1:
        raise Exit(f"error: --seeds {seeds}: give 1 or more", code=2)
    return {"device": device, "force": force, "resume": not force}


def _options_of(c: Context, run: str) -> dict[str, Any]:
    """The options of a base run that the user names."""
    path = ROOT / run / "config.json"
    if not path.is_file():
        raise Exit(f"error: --run {run}: no run is there (it has no config.json)", code=2)
    if c.remainder:
        raise Exit("error: flags after -- train a base run; the one of --run has its own", code=2)
    return json.loads(path.read_text(encoding="utf-8"))["options"]


def _heads_of(model: Path) -> list[int]:
    """Heads of each layer of an encoder; those of the base size while it is not there."""
    path = ROOT / model / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    n_heads = config.get("num_attention_heads", 12)
    return [n_heads] * config.get("num_hidden_layers", 12)


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


def several(flag: str, text: str, allowed: Iterable[str]) -> list[str]:
    """The words of a text such as a,b, each once and allowed."""
    words = [word.strip() for word in text.split(",")]
    for word in words:
        check_choice(flag, word, allowed)
    return list(dict.fromkeys(words))


def sibling(study: Path, base: Path, variant: str) -> Path:
    """The run of a variant, in a study, that is made from a base run: VARIANT-sSEED[-fFOLD]."""
    return study / f"{variant}-s{base.name.rpartition('-s')[2]}"


def curve(c: Context, study: Path, points: Sequence[tuple[str, object, Path]], **told: Any) -> None:
    """Evaluate on validation, choose, evaluate the chosen on test, draw."""
    texts = [f"{line}:{x}:{run}" for line, x, run in points]
    command.run(c, "scripts.curve", study=study, points=texts, **told)


def _layers(
    c: Context,
    bases: Callable[[], Bases],
    way: str = "keep",
    layers: str | None = None,
    tolerance: str | None = None,
) -> None:
    """Keep, freeze or probe 1 to L layers; curves on validation, the chosen on test."""
    ways = several("way", way, WAYS)
    of = bases()
    n_layers = len(of.n_heads)
    allowed = [str(n) for n in range(n_layers + 1)]
    chosen = several("layers", layers, allowed) if layers else allowed
    numbers = sorted(int(n) for n in chosen)
    points: list[tuple[str, object, Path]] = []
    lines: list[list[str]] = []
    for base in of.runs:
        # The base run is the whole model, and the one with nothing frozen.
        for line in ways:
            same = {"keep": n_layers, "freeze": 0}.get(line)
            for n in sorted(numbers, reverse=line == "freeze"):  # what computes least comes first
                if n == same:
                    points.append((line, n, base))
                elif n > 0:
                    variant = f"{line}-{n}"
                    change: dict[str, Any] = {"first" if line == "freeze" else line: n}
                    told: dict[str, Any] = {"name": of.study.name, "variant": variant}
                    told |= {**change, **of.how}
                    lines.append(command.line("scripts.freeze", run=base, **told))
                    points.append((line, n, sibling(of.study, base, variant)))
    command.perform(c, lines, of.slots)
    label = f"layers {', '.join(WAYS[line] for line in ways)}"
    device = of.how["device"]
    curve(c, of.study, points, base=of.runs, label=label, tolerance=tolerance, device=device)


def _heads(
    c: Context,
    bases: Callable[[], Bases],
    score: str = "gradient",
    retrain: str = "both",
    fractions: str = FRACTIONS,
    tolerance: str | None = None,
) -> None:
    """Remove 0 to 0.9 of the heads, retrained or not; curves on validation, the chosen on test."""
    scores = several("score", score, SCORES)
    check_choice("retrain", retrain, ("both", "yes", "no"))
    shares = sorted(map(float, several("fractions", fractions, FRACTIONS.split(","))))
    of = bases()
    spare = sum(max(0, n - 1) for n in of.n_heads)  # each layer keeps a head
    shares = [share for share in shares if round(share * sum(of.n_heads)) <= spare]
    masked: list[Path] = []
    points: list[tuple[str, object, Path]] = []
    lines: list[list[str]] = []
    for base in of.runs:
        told: dict[str, Any] = {"run": base, "name": of.study.name}
        seed = base.name.rpartition("-s")[2].partition("-")[0]
        if retrain != "yes":
            told_too: dict[str, Any] = {name: of.how[name] for name in ("device", "force")}
            told_too |= {"score_seed": seed}
            told_too |= {"scores": scores, "fractions": shares}
            lines.append(command.line("scripts.mask_heads", **told, **told_too))
            masked.append(sibling(of.study, base, "masked").with_suffix(".csv"))
        for line in scores if retrain != "no" else ():
            for share in reversed(shares):
                if share == 0:
                    points.append((line, 0, base))
                    continue
                variant = f"{line}-{share:g}"
                change: dict[str, Any] = {"fraction": share, "score": line, "score_seed": seed}
                change |= {"variant": variant, "no_curve": True}
                lines.append(command.line("scripts.prune", **told, **change, **of.how))
                points.append((line, f"{share:g}", sibling(of.study, base, variant)))
    command.perform(c, lines, of.slots)
    label, device = "fraction of heads removed", of.how["device"]
    how: dict[str, Any] = {
        "base": of.runs,
        "masked": masked or None,
        "label": label,
        "tolerance": tolerance,
    }
    curve(c, of.study, points, **how, device=device)


layers = with_base(
    _layers,
    way="keep (only the first N), freeze (the first N), probe (a linear head on the output of the "
    "first N); several with commas",
    layers="numbers of layers, such as 1,6,12; by default all",
    tolerance=TOLERANCE,
)
heads = with_base(
    _heads,
    score="gradient, magnitude or random; several with commas",
    retrain="yes, no or both: fine-tune again without the heads, or only mask them",
    fractions="shares of all heads to remove, such as 0,0.3,0.6; each layer keeps one",
    tolerance=TOLERANCE,
)


@task(
    help={name: BASE_HELP[name] for name in HELP}
    | {"run": BASE_HELP["run"]}
    | {
        "data": "FarsTail's three files, not yet prepared",
        "name": BASE_HELP["name"],
        "way": "of preprocessing: none, normalize, full; several with commas",
        "tolerance": "choose the first way that is at most this much below the best in validation",
    }
)
def preprocess(
    c: Context,
    way: str = ",".join(TEXT_WAYS),
    tolerance: str | None = None,
    run: str | None = None,
    data: str = FARSTAIL,
    model: str = hub.DEFAULT,
    revision: str | None = None,
    name: str | None = None,
    recipe: str = "default",
    seeds: int = 1,
    epochs: str | None = None,
    limit: str | None = None,
    device: str = "auto",
    force: bool = False,
) -> None:
    """Prepare text in three ways; compared on validation, the chosen on test."""
    ways = several("way", way, TEXT_WAYS)
    check_choice("recipe", recipe, PREPROCESS)
    how = _how(seeds, device, force)
    if (ROOT / here(data) / "meta.json").is_file():
        raise Exit(f"error: --data {data} is prepared already: give the raw files", code=2)
    base = Path(here(run)) if run else None
    options: dict[str, Any] = {"name": Path(data).name, "seed": 0}
    if base:
        options = _options_of(c, str(base))
    name = name or f"{options['name']}-preprocess"
    out = base.parent.parent.parent if base else Path("runs")
    study = runs.study_folder(out, "bert", name)
    encoder = None if base else local_model(c, model, revision)
    made = {"model": encoder, "recipe": recipe, "epochs": epochs, "limit": limit}
    points: list[tuple[str, object, Path]] = []
    for words in ways:
        prepared = prepared_text(c, data, words)
        for seed in range(options["seed"], options["seed"] + seeds):
            told: dict[str, Any] = {"data": prepared, "seed": seed, "name": name}
            told |= {"variant": f"text-{words}", **how}
            if base and (seed, prepared) == (options["seed"], options["data"]):
                points.append(("preprocessing", words, base))
                continue
            if base:
                command.run(c, "scripts.retrain", run=base, **told)
            else:
                command.run(c, "scripts.train_bert", **made, **told, then=flags(c))
            points.append(("preprocessing", words, study / f"text-{words}-s{seed}"))
    curve(c, study, points, label="preprocessing", tolerance=tolerance, device=device)


@task(
    help={
        "kind": "what --data holds: bert (text) or hubert (speech)",
        "data": "raw or prepared data; by default the kind's corpus",
        "labels": "of speech: filename, transcript or agree",
        "force": "compute it again",
    }
)
def leak(
    c: Context,
    kind: str = "bert",
    data: str | None = None,
    labels: str = "filename",
    force: bool = False,
) -> None:
    """What splits give away, and near-duplicates across them. After --: flags of scripts.leak."""
    check_choice("kind", kind, ("bert", "hubert"))
    corpus = here(data or (FARSTAIL if kind == "bert" else SHEMO))
    if kind == "bert":
        prepared = prepared_text(c, corpus, "none")
        command.run(c, "scripts.leak", data=prepared, force=force, then=flags(c))
        return
    prepared = prepared_speech(c, corpus)
    emobox = emobox_of(corpus)
    told = {"labels": labels, "emobox": emobox if (ROOT / emobox).is_dir() else None}
    command.run(c, "scripts.leak", data=prepared, **told, force=force, then=flags(c))


namespace = Collection(layers, heads, preprocess, leak)
