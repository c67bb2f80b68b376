"""Both studies from first to last on generated corpora, their encoders pretrained on the way."""

from typing import Any

from invoke import Context, task

from tasks.command import ROOT, run
from tasks.data import prepared_audio, prepared_speech, prepared_text
from tasks.studies import study

# Encoders this small need higher rates and more passes than those of real size.
LINES, CLIPS = 6000, 1200
LEARN_TEXT = {"epochs": 5, "learning_rate": 3e-3, "mask_share": 0.25, "max_length": 64}
UNITS = 50
# At 25 frames a second five of them are the 200 ms that HuBERT hides at once.
LEARN_SPEECH = {
    "epochs": 5,
    "learning_rate": 2e-3,
    "batch_size": 16,
    "mask_span": 5,
    "seen_share": 0.3,
}
TEXT = {"epochs": 7, "learning_rate": 7e-4, "batch_size": 16, "pooling": "max"}
SPEECH = {
    "epochs": 5,
    "learning_rate": 1.5e-3,
    "batch_size": 16,
    "features": "trainable",
    "pooling": "max",
    "head": "linear",
    "mask_time": 0,
    "augment": "none",
}
TINY: dict[str, Any] = {"layers": 4, "width": 64}


@task(help={"force": "make everything again, as after an update of the project"})
def demo(c: Context, force: bool = False) -> None:
    """Both studies on generated corpora, in minutes on a laptop: a sample, not a result."""
    how: dict[str, Any] = {"name": "demo", "recipe": "default", "seeds": 1, "variants": True}
    how |= {"device": "cpu", "force": force}
    run(c, "scripts.sample", out="data/raw/sample")
    text = prepared_text(c, str(ROOT / "data/raw/sample"), "none", force=force)
    options = {"data": text, "model": _text_encoder(c, text, force=force), **TEXT}
    study(c, "bert", parts=[{}], options=options, **how)

    run(c, "scripts.sample_speech", out="data/raw/sample-speech")
    speech = prepared_speech(c, str(ROOT / "data/raw/sample-speech"), force=force)
    options = {"data": speech, "model": _speech_encoder(c, force=force), **SPEECH}
    part: dict[str, Any] = {"labels": "filename", "split": "speaker", "fold": 1}
    study(c, "hubert", parts=[part], options=options, **how)


def _text_encoder(c: Context, text: str, *, force: bool) -> str:
    """The folder of a tiny BERT that has learnt from text without labels."""
    name, raw = "tiny-bert", "data/raw/sample-unlabelled"
    run(c, "scripts.scratch_bert", data=text, name=name, **TINY, force=force)
    run(c, "scripts.sample", out=raw, unlabelled=LINES)
    told = {"data": f"{raw}/unlabelled.txt", "model": f"data/models/{name}", **LEARN_TEXT}
    return _learnt(c, "scripts.pretrain_bert", f"{name}-pretrained", force=force, **told)


def _speech_encoder(c: Context, *, force: bool) -> str:
    """The folder of a tiny HuBERT that has learnt from speech without labels."""
    name, raw = "tiny-hubert", "data/raw/sample-speech-unlabelled"
    run(c, "scripts.scratch_hubert", name=name, **TINY, force=force)
    run(c, "scripts.sample_speech", out=raw, unlabelled=CLIPS)
    data = prepared_audio(c, str(ROOT / raw), force=force)
    run(c, "scripts.cluster_units", data=data, split="all", units=UNITS, force=force)
    told = {"data": data, "model": f"data/models/{name}", **LEARN_SPEECH}
    return _learnt(c, "scripts.pretrain_hubert", f"{name}-pretrained", force=force, **told)


def _learnt(c: Context, script: str, name: str, *, force: bool, **told: Any) -> str:
    run(c, script, name=name, **told, device="cpu", force=force, resume=not force)
    return f"data/models/{name}"
