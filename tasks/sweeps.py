"""Recipes that vary one thing: layers, heads, preprocessing; and what a split gives away."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from invoke import Collection, Context, Exit, task

from lib import hub, runs
from tasks import command
from tasks.bases import BASE_HELP, Bases, how_of, options_of, with_base
from tasks.command import ROOT, flags, here
from tasks.data import FARSTAIL, SHEMO, emobox_of, local_model, prepared_speech, prepared_text
from tasks.studies import HELP, PREPROCESS, check_choice

WAYS = {"keep": "kept", "freeze": "frozen", "probe": "read by a probe"}
SCORES = ("gradient", "magnitude", "random")
TEXT_WAYS = ("none", "normalize", "full")
FRACTIONS = ",".join(f"{n / 10:g}" for n in range(10))

TOLERANCE = "choose the cheapest that is at most this much below the best in validation"


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
    how = how_of(seeds, device, force)
    if (ROOT / here(data) / "meta.json").is_file():
        raise Exit(f"error: --data {data} is prepared already: give the raw files", code=2)
    base = Path(here(run)) if run else None
    options: dict[str, Any] = {"name": Path(data).name, "seed": 0}
    if base:
        options = options_of(c, str(base))
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
