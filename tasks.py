"""Recipes: which scripts, in which order, with which options. They compute nothing themselves."""

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from invoke import Collection, Context, Exit, task

from lib import hub

ROOT = Path(__file__).resolve().parent

# The defaults of bare `invoke bert-all`; README has them in a table.
FARSTAIL = "data/raw/farstail"
PREPROCESS = {"default": "none", "report": "full"}
FREEZE, KEEP, PRUNE = 0.75, 0.5, 0.4

HELP = {
    "data": "folder with FarsTail's three files, or one that data.prepare made",
    "model": "encoder: a local folder, or a hub's id",
    "revision": "commit of a hub's model; by default the pinned one",
    "name": "name of the study: the folder under runs/bert/",
    "recipe": "default (what published work uses) or report (what the reference report did)",
    "seeds": "how many seeds, from 0 on",
    "epochs": "passes over the training split; by default the recipe's",
    "limit": "rows of each split at the most, for a quick look; no result",
    "device": "auto, cpu, cuda or cuda:N",
    "force": "train again what is there",
}


def run(c: Context, *words: str, then: Sequence[str] = (), **options: object) -> None:
    """Run one command of this environment's Python in the project's folder, and echo it.

    Args:
        c: invoke's.
        words: of the command after `python -m`.
        then: more words, after the options; a flag given twice counts as last given.
        options: flags by name; None leaves one out, True gives it without a value.
    """
    python = sys.executable
    if Path(python).is_relative_to(ROOT):
        python = str(Path(python).relative_to(ROOT))
    line = [python, "-m", *words]
    for name, value in options.items():
        if value is None or value is False:
            continue
        line.append(f"--{name.replace('_', '-')}")
        if value is not True:
            line += [str(item) for item in value] if isinstance(value, list) else [str(value)]
    command = shlex.join([*line, *then])
    if Path.cwd() != ROOT:
        command = f"cd {shlex.quote(str(ROOT))} && {command}"
    c.run(command, echo=True, pty=sys.stdout.isatty())


def here(path: str) -> str:
    """A path as the user wrote it, seen from the project; one that is only there means that one."""
    if Path(path).is_absolute() or Path(path).exists() or Path.cwd() == ROOT:
        path = os.path.relpath(path, ROOT) if is_inside(path) else os.path.abspath(path)  # noqa: PTH100
    return path


def is_inside(path: str) -> bool:
    """Whether a path lies in the project, links not followed."""
    return Path(os.path.abspath(path)).is_relative_to(ROOT)  # noqa: PTH100


def flags(c: Context) -> list[str]:
    """What the user gave after `--`."""
    return shlex.split(c.remainder)


def prepared_text(c: Context, data: str, preprocess: str, *, force: bool = False) -> str:
    """Fetch and prepare text if needed; the prepared folder."""
    folder = here(data)
    if (ROOT / folder / "meta.json").is_file():
        return folder
    if folder == FARSTAIL:
        run(c, "scripts.fetch_farstail", out=folder)
    name = f"{Path(folder).name}-{preprocess}"
    what = {"data": folder, "preprocess": preprocess, "name": name}
    run(c, "scripts.prepare_text", **what, force=force)
    return f"data/prepared/{name}"


def local_model(c: Context, model: str, revision: str | None) -> str:
    """Fetch a hub's model if needed; the local folder."""
    folder = here(model)
    if (ROOT / folder).is_dir() or model.startswith((".", "/", "data/")):
        return folder
    folder = f"data/models/{hub.local_name(model)}"
    run(c, "scripts.fetch_model", model=model, revision=revision, out=folder)
    return folder


def text_study(
    c: Context,
    *,
    data: str,
    model: str,
    revision: str | None,
    name: str,
    recipe: str,
    seeds: int,
    variants: bool,
    training: Mapping[str, Any],
    device: str,
    force: bool,
) -> None:
    """Train, evaluate and draw a study of text: one run a seed, or all five variants."""
    if recipe not in PREPROCESS:
        raise Exit(f"error: --recipe {recipe}: choose of {', '.join(PREPROCESS)}", code=2)
    if seeds < 1:
        raise Exit(f"error: --seeds {seeds}: give 1 or more", code=2)
    prepared = prepared_text(c, data, PREPROCESS[recipe])
    encoder = local_model(c, model, revision)
    how = {"device": device, "force": force, "resume": not force}
    found = []
    for seed in range(seeds):
        options = {"data": prepared, "model": encoder, "name": name, "recipe": recipe, "seed": seed}
        run(c, "scripts.train_bert", **options, **training, **how, then=flags(c))
        base = f"runs/bert/{name}/full-s{seed}"
        found.append(base)
        if variants:
            found += text_variants(c, base, seed, recipe=recipe, how=how)
    run(c, "scripts.floors", data=prepared)
    run(c, "scripts.evaluate", runs=found, device=device)
    run(c, "scripts.plot", study=f"runs/bert/{name}")


def text_variants(
    c: Context, base: str, seed: int, *, recipe: str, how: Mapping[str, Any]
) -> list[str]:
    """Train the report's variants 2 to 5 from a base run; their folders."""
    # The report's variant 2 went on from variant 1 and trained its embeddings, see reference.
    second = {"init": "base", "embeddings": "trainable"} if recipe == "report" else {}
    changes: list[tuple[str, str, dict[str, Any]]] = [
        ("freeze", "freeze-9", {"first": FREEZE, **second}),
        ("freeze", "last-and-embeddings", {"all_but_last": 1}),
        ("freeze", "intermediate", {"keep": KEEP}),
        ("prune", "prune-heads", {"fraction": PRUNE}),
    ]
    for script, variant, options in changes:
        run(c, f"scripts.{script}", run=base, **options, variant=variant, **how)
    return [f"{Path(base).parent}/{variant}-s{seed}" for _, variant, _ in changes]


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
    ) -> None:
        text_study(
            c,
            data=data,
            model=model,
            revision=revision,
            name=name,
            recipe=recipe,
            seeds=seeds,
            variants=variants,
            training={"epochs": epochs, "limit": limit},
            device=device,
            force=force,
        )

    body.__doc__ = doc
    return task(body, name=name, help=HELP)


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


@task(help={"force": "make everything again, as after an update of the project"})
def demo(c: Context, force: bool = False) -> None:
    """The five variants on the embedded corpus, in minutes on a laptop: a sample, not a result."""
    run(c, "scripts.sample", out="data/raw/sample")
    prepared = prepared_text(c, str(ROOT / "data/raw/sample"), "none", force=force)
    sizes: dict[str, Any] = {"layers": 4, "width": 64}
    run(c, "scripts.scratch_bert", data=prepared, name="tiny-bert", **sizes, force=force)
    text_study(
        c,
        data=str(ROOT / prepared),
        model=str(ROOT / "data/models/tiny-bert"),
        revision=None,
        name="demo",
        recipe="default",
        seeds=1,
        variants=True,
        training=DEMO,
        device="cpu",
        force=force,
    )


# A model that knows nothing yet needs a higher rate and more passes than a pretrained one.
DEMO = {"epochs": 6, "learning_rate": 1e-3, "batch_size": 32}


@task
def test(c: Context) -> None:
    """All that CI checks: style, types, tests. After --: flags of pytest."""
    lint(c)
    run(c, "mypy")
    run(c, "pytest", *flags(c))


@task
def lint(c: Context) -> None:
    """Check style and format."""
    run(c, "ruff", "check", ".")
    run(c, "ruff", "format", "--check", ".")


@task(name="format")
def format_code(c: Context) -> None:
    """Mend style and format."""
    run(c, "ruff", "check", "--fix", ".")
    run(c, "ruff", "format", ".")


@task
def slow(c: Context) -> None:
    """The tests that take minutes. After --: flags of pytest."""
    run(c, "pytest", "-m", "slow", *flags(c))


@task
def gpu(c: Context) -> None:
    """The tests that need an NVIDIA GPU. After --: flags of pytest."""
    run(c, "pytest", "-m", "gpu", *flags(c))


@task(help={"out": "folder for the three files", "url": "where they are, if they moved"})
def farstail(c: Context, out: str = FARSTAIL, url: str | None = None, force: bool = False) -> None:
    """Download FarsTail's three files and check their MD5."""
    run(c, "scripts.fetch_farstail", out=here(out), url=url, force=force)


@task(
    positional=["model"],
    help={"model": "a hub's id, owner/name", "revision": HELP["revision"], "out": "folder"},
)
def model(
    c: Context,
    model: str = hub.DEFAULT,
    revision: str | None = None,
    out: str | None = None,
    force: bool = False,
) -> None:
    """Download a pretrained model ahead of time, for nodes without internet."""
    out = here(out) if out else None
    run(c, "scripts.fetch_model", model=model, revision=revision, out=out, force=force)


@task(help={"data": "FarsTail's folder", "preprocess": "none, normalize or full"})
def prepare(c: Context, data: str = FARSTAIL, preprocess: str = "none") -> None:
    """Check and prepare text. After --: flags of prepare_text, such as other files and columns."""
    run(c, "scripts.prepare_text", data=here(data), preprocess=preprocess, then=flags(c))


@task(
    help={
        "data": "a corpus for the vocabulary: FarsTail's folder, or one that data.prepare made",
        "name": "the model is data/models/NAME",
        "layers": "how many",
        "width": "of the hidden states",
        "vocab": "word pieces at the most",
    }
)
def scratch_bert(
    c: Context,
    data: str = FARSTAIL,
    name: str = "tiny-bert",
    layers: int = 4,
    width: int = 64,
    vocab: int = 8000,
    force: bool = False,
) -> None:
    """Make an untrained BERT with a vocabulary from a corpus: data/models/NAME."""
    prepared = prepared_text(c, data, "none")
    options: dict[str, Any] = {
        "name": name,
        "layers": layers,
        "width": width,
        "vocab": vocab,
        "force": force,
    }
    run(c, "scripts.scratch_bert", data=prepared, **options)


@task(help={"delete": "what to delete: tokens, prepared, models, checkpoints or runs"})
def clean(c: Context, delete: str | None = None) -> None:
    """List what was made under data/ and runs/ with its size, and delete what is named."""
    run(c, "scripts.clean", delete=delete)


namespace = Collection(bert, bert_all, demo, test)
namespace.add_collection(Collection("data", farstail, model, prepare, scratch_bert, clean))
namespace.add_collection(Collection("dev", lint, format_code, slow, gpu))
namespace.configure({"run": {"echo_format": "{command}"}})  # plain: to be pasted
