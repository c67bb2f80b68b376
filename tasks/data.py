"""Recipes for data and models: fetch, prepare, make untrained ones, clean."""

from pathlib import Path
from typing import Any

from invoke import Collection, Context, task

from lib import files, hub
from tasks.command import ROOT, flags, here, refusals, run

FARSTAIL = "data/raw/farstail"
SHEMO = "data/raw/shemo"


def prepared_text(c: Context, data: str, preprocess: str, *, force: bool = False) -> str:
    """Fetch and prepare text if needed; the prepared folder."""
    folder = here(data)
    if (ROOT / folder / "meta.json").is_file():
        return folder
    if folder == FARSTAIL:
        run(c, "scripts.fetch_farstail", out=folder)
    name = f"{Path(folder).name}-{preprocess}"
    what: dict[str, Any] = {"data": folder, "preprocess": preprocess, "name": name}
    run(c, "scripts.prepare_text", **what, force=force)
    return f"data/prepared/{name}"


def is_labelled(data: str) -> bool:
    """Whether speech has labels: a manifest, ShEMO's folders, or what was prepared of such."""
    folder = ROOT / here(data)
    if (folder / "meta.json").is_file():
        with refusals():
            return bool(files.read_json(folder / "meta.json", {"labels": [str]})["labels"])
    return here(data) == SHEMO or folder.is_file() or any(folder.glob("[fF]emale*"))


def prepared_audio(c: Context, data: str, *, force: bool = False) -> str:
    """Pack recordings without labels if needed; the prepared folder."""
    folder = here(data)
    if (ROOT / folder / "meta.json").is_file():
        return folder
    name = Path(folder).name
    run(c, "scripts.prepare_audio", data=folder, name=name, force=force)
    return f"data/prepared/{name}"


def emobox_of(data: str) -> str:
    """The folder with EmoBox's list beside speech; a prepared folder holds none: then ShEMO's."""
    folder = here(data)
    return f"{folder if (ROOT / folder / 'emobox').is_dir() else SHEMO}/emobox"


def prepared_speech(c: Context, data: str, *, force: bool = False) -> str:
    """Fetch and prepare speech if needed; the prepared folder. A file is taken for a manifest."""
    folder = here(data)
    if (ROOT / folder / "meta.json").is_file():
        return folder
    if (ROOT / folder).is_file():
        name = Path(folder).stem
        run(c, "scripts.prepare_shemo", manifest=folder, name=name, force=force)
    else:
        if folder == SHEMO and not any((ROOT / folder).glob("[fF]*")):  # no women's recordings
            run(c, "scripts.fetch_shemo", out=folder)
        name = Path(folder).name
        run(c, "scripts.prepare_shemo", data=folder, name=name, force=force)
    return f"data/prepared/{name}"


def local_model(c: Context, model: str, revision: str | None) -> str:
    """Fetch a hub's model if needed; the local folder."""
    folder = here(model)
    if (ROOT / folder).is_dir() or model.startswith((".", "/", "data/")):
        return folder
    folder = f"data/models/{hub.local_name(model)}"
    run(c, "scripts.fetch_model", model=model, revision=revision, out=folder)
    return folder


@task(help={"out": "folder for the three files", "url": "where they are, if they moved"})
def farstail(c: Context, out: str = FARSTAIL, url: str | None = None, force: bool = False) -> None:
    """Download FarsTail's three files and check their MD5."""
    run(c, "scripts.fetch_farstail", out=here(out), url=url, force=force)


@task(help={"out": "folder for the zips and lists"})
def shemo(c: Context, out: str = SHEMO, force: bool = False) -> None:
    """Download ShEMO, its transcripts and EmoBox's list. After --: flags of fetch_shemo (links)."""
    run(c, "scripts.fetch_shemo", out=here(out), force=force, then=flags(c))


@task(
    positional=["model"],
    help={
        "model": "a hub's id, owner/name",
        "revision": "its commit; by default the pinned one",
        "out": "folder",
    },
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


@task(help={"data": "ShEMO's folder"})
def prepare_speech(c: Context, data: str = SHEMO) -> None:
    """Check and pack speech. After --: flags of prepare_shemo, such as --manifest, --skip-bad."""
    run(c, "scripts.prepare_shemo", data=here(data), then=flags(c))


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
    sizes: dict[str, Any] = {"layers": layers, "width": width, "vocab": vocab}
    run(c, "scripts.scratch_bert", data=prepared, name=name, **sizes, force=force)


@task(
    help={
        "name": "the model is data/models/NAME",
        "layers": "how many; 12 in the base size",
        "width": "of the hidden states; 768 in the base size",
    }
)
def scratch_hubert(
    c: Context,
    name: str = "tiny-hubert",
    layers: int = 4,
    width: int = 64,
    force: bool = False,
) -> None:
    """Make an untrained HuBERT: data/models/NAME. After --: flags of scratch_hubert."""
    sizes: dict[str, Any] = {"layers": layers, "width": width}
    run(c, "scripts.scratch_hubert", name=name, **sizes, force=force, then=flags(c))


@task(help={"delete": "what to delete: tokens, prepared, cache, models, checkpoints or runs"})
def clean(c: Context, delete: str | None = None) -> None:
    """List what was made under data/ and runs/ with its size, and delete what is named."""
    run(c, "scripts.clean", delete=delete)


namespace = Collection(
    *(farstail, shemo, model, prepare, prepare_speech, scratch_bert, scratch_hubert, clean)
)
