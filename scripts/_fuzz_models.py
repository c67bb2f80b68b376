"""Inputs of scripts.fuzz that come with models and runs."""

import io
import json
import zipfile
from pathlib import Path
from random import Random

from lib.fuzz.attempts import CANARY, Case
from lib.fuzz.damage import damaged_bytes, damaged_json, damaged_safetensors, damaged_table
from lib.fuzz.zips import hostile_pickle
from scripts._fuzz_cases import (
    BERT,
    FULL,
    READERS,
    SPOKEN,
    Damage,
    Edits,
    made,
    read,
    sha256,
    trained,
)
from scripts._fuzz_world import BERT_RUN


def model_configs(draw: Random, world: Path) -> Case:
    """The config.json of a pretrained model."""
    speech = draw.random() < 0.4
    name = f"models/{'hubert' if speech else 'bert'}/config.json"
    data, what = damaged_json(draw, (world / name).read_bytes())
    return trained("model configs", {name: data}, what, speech=speech)


def weights(draw: Random, world: Path) -> Case:
    """A pretrained model's weights, with and without the sums that tell damage."""
    speech = draw.random() < 0.3
    folder = f"models/{'hubert' if speech else 'bert'}"
    data, what = damaged_safetensors(draw, (world / folder / "model.safetensors").read_bytes())
    edits: Edits = {f"{folder}/model.safetensors": data}
    if draw.random() < 0.7:
        edits[f"{folder}/source.json"] = None
    return trained("weights", edits, what, speech=speech)


def tokenizers(draw: Random, world: Path) -> Case:
    """The files of a model's tokenizer."""
    name = draw.choice(("tokenizer.json",) * 3 + ("tokenizer_config.json",))
    data, what = damaged_json(draw, (world / "models/bert" / name).read_bytes())
    edits: Edits = {f"models/bert/{name}": data}
    if draw.random() < 0.2:  # the older form: a vocabulary alone
        vocabulary = json.loads((world / "models/bert/tokenizer.json").read_bytes())["model"][
            "vocab"
        ]
        data, what = damaged_bytes(draw, "\n".join(vocabulary).encode(), head=400)
        edits = {"models/bert/vocab.txt": data, "models/bert/tokenizer.json": None}
    return trained("tokenizers", edits, what)


def pickles(draw: Random, world: Path) -> Case:
    """Weights as .bin, placed by hand: damaged ones, and code."""
    import torch

    written = io.BytesIO()
    torch.save({"a.weight": torch.ones(3, 4)}, written)
    data, what = damaged_bytes(draw, written.getvalue(), head=len(written.getvalue()))
    if draw.random() < 0.5:
        data, what = hostile_pickle(draw, CANARY)
        if draw.random() < 0.5:  # inside the zip file that torch writes
            outer = io.BytesIO()
            with (
                zipfile.ZipFile(written) as old,
                zipfile.ZipFile(outer, "w", zipfile.ZIP_STORED) as new,
            ):
                for info in old.infolist():
                    new.writestr(
                        info, data if info.filename.endswith("data.pkl") else old.read(info)
                    )
            data = outer.getvalue()
    argv = ["--model", "x/hand", "--out", "models/hand"]
    edits: Edits = {"models/hand/pytorch_model.bin": data}
    return made("pickles", "fetch_model", argv, ("models",), edits, what)


def run_configs(draw: Random, world: Path) -> Case:
    """The config.json of a run, or what it measured."""
    name = draw.choice(("config.json", "config.json", "metrics.jsonl", "timing.jsonl"))
    old = (world / FULL / name).read_bytes()
    if name == "config.json":
        data, what = damaged_json(draw, old)
    else:
        lines = old.splitlines(keepends=True)
        place = draw.randrange(len(lines))
        lines[place], what = damaged_json(draw, lines[place])
        data = b"".join(lines)
    return read(draw, "run configs", {f"{FULL}/{name}": data}, f"{name} {what}")


def best_weights(draw: Random, world: Path) -> Case:
    """The best/ of a run: with the sum of the weights left as it was, or made right again."""
    speech = draw.random() < 0.2
    best = f"{SPOKEN if speech else FULL}/best"
    record, tensors = f"{best}/model.json", f"{best}/model.safetensors"
    if draw.random() < 0.5:
        data, what = damaged_json(draw, (world / record).read_bytes())
        edits: Edits = {record: data}
        hostile = False
    else:
        old = (world / tensors).read_bytes()
        data, what = damaged_safetensors(draw, old)
        edits, hostile = {tensors: data}, data != old
        if draw.random() < 0.5:
            right = json.loads((world / record).read_bytes()) | {"sha256": sha256(data)}
            edits[record], hostile = json.dumps(right).encode(), False
    if speech:
        argv = ["--runs", SPOKEN, "--device", "cpu", "--force"]
        needs = (*BERT, "runs")
        return made("best/", "evaluate", argv, needs, edits, what, hostile=hostile)
    readers = READERS[:2] if hostile else READERS[:4]
    return read(draw, "best/", edits, what, readers=readers, hostile=hostile)


def checkpoints(draw: Random, world: Path) -> Case:
    """The checkpoints of a stopped run, of which a valid one may be left."""
    top = "runs/bert/s/stopped-s0"
    step = draw.choice((6, 6, 3))
    folder = f"{top}/checkpoints/step-{step}"
    name = draw.choice(("tensors.safetensors", "state.json", "state.json", "manifest.json"))
    old = (world / folder / name).read_bytes()
    damage: Damage = damaged_safetensors if name.startswith("tensors") else damaged_json
    data, what = damage(draw, old)
    edits: Edits = {f"{folder}/{name}": data}
    way = draw.random()
    if way < 0.4 and name != "manifest.json":  # damage that no sum can tell
        manifest = json.loads((world / folder / "manifest.json").read_bytes())
        edits[f"{folder}/manifest.json"] = json.dumps(manifest | {name: sha256(data)}).encode()
        if name.startswith("tensors") and what in ("values", "bytes"):
            what += " with its sum"
    elif way < 0.5:
        edits[f"{folder}/{name}"] = None
        what = "removed"
    elif way < 0.6:
        odd = ("step-", "step-x", "step-99", "step-006", "step-9" + "9" * 30, "step-٣", "step--1")
        other = f"{top}/checkpoints/{draw.choice(odd)}/{name}"
        edits, what = {other: draw.choice((data, old))}, f"beside it {other[30:60]}"
    elif way < 0.7:
        data = (world / top / "metrics.jsonl").read_bytes()
        edits = {
            f"{top}/metrics.jsonl": draw.choice((None, b"", data[:40], data * 2, b"\xff" + data))
        }
        what = "metrics.jsonl"
    argv = [*BERT_RUN, "--epochs", "3", "--variant", "stopped", "--resume"]
    return made("checkpoints", "train_bert", argv, (*BERT, "runs"), edits, f"{name} {what}")


def reports(draw: Random, world: Path) -> Case:
    """What an evaluation wrote, as scripts.plot and scripts.evaluate read it."""
    run = draw.choice((FULL, FULL, SPOKEN))
    name = draw.choice(("report.json", "report.json", "predictions.csv", "config.json"))
    old = (world / run / name).read_bytes()
    data, what = (damaged_table if name.endswith("csv") else damaged_json)(draw, old)
    script, argv = "plot", ["--study", str(Path(run).parent)]
    if draw.random() < 0.3:
        script, argv = "evaluate", ["--runs", run, "--device", "cpu"]
    edits: Edits = {f"{run}/{name}": data}
    return made("reports", script, argv, (*BERT, "runs"), edits, f"{name} {what}")
