"""The kinds of input that scripts.fuzz tries: which file is damaged, and which script reads it."""

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from lib.fuzz.attempts import CANARY, Case
from lib.fuzz.damage import damaged_bytes, damaged_json, damaged_safetensors, damaged_table
from lib.fuzz.zips import damaged_zip, hostile_pickle
from lib.text_source import SPLITS
from scripts._fuzz_world import BERT_RUN, FORMATS, HUBERT_RUN

Edits = dict[str, bytes | str | None]
Damage = Callable[[Random, bytes], tuple[bytes, str]]
FULL, SPOKEN = "runs/bert/s/full-s0", "runs/hubert/s/full-s0"
BERT = ("prepared", "models")
NEW = ("--variant", "new", "--epochs", "1", "--limit", "4")
READERS = (  # of a trained run
    ("evaluate", ("--runs", FULL, "--device", "cpu", "--force")),
    ("freeze", ("--run", FULL, "--first", "1", "--init", "base", "--device", "cpu")),
    ("freeze", ("--run", FULL, "--keep", "1", "--device", "cpu")),
    ("prune", ("--run", FULL, "--heads", "0:1", "--device", "cpu")),
    ("train_bert", (*BERT_RUN, "--epochs", "1", "--resume")),
)


def text(draw: Random, world: Path) -> Case:
    """One of the three files of a text corpus."""
    name = f"raw/text/{draw.choice(('train', 'train', 'validation', 'test'))}.tsv"
    data, what = damaged_table(draw, (world / name).read_bytes(), separator="\t")
    argv = [flag for s in SPLITS for flag in (f"--{s}", f"raw/text/{s}.tsv")]
    argv += ["--name", "t", "--out", "out"]
    for flags in (
        *(["--no-quotes"], ["--labels", "e", "c", "n"], ["--hypothesis-column", "None"]),
        *(["--separator", "tab"], ["--separator", draw.choice(("comma", "x", '"', "\n", "aa"))]),
    ):
        argv += flags if draw.random() < 0.1 and flags[0] not in argv else []
    return _case("text files", "prepare_text", argv, ("raw",), {name: data}, what, absent="out/t")


def audio(draw: Random, world: Path) -> Case:
    """A recording among good ones."""
    suffix = draw.choice(list(FORMATS))
    data, what = damaged_bytes(draw, (world / f"raw/formats/x.{suffix}").read_bytes())
    if draw.random() < 0.05:
        suffix = draw.choice(list(FORMATS))  # another name than its content
    listed = (world / "raw/speech/list.csv").read_bytes().replace(b"3.wav", f"x.{suffix}".encode())
    edits: Edits = {f"raw/speech/x.{suffix}": data, "raw/speech/list.csv": listed}
    return _listed("audio", edits, f"{suffix} {what}", draw)


def manifest(draw: Random, world: Path) -> Case:
    """The table of a speech corpus, or links in the place of its recordings."""
    data = (world / "raw/speech/list.csv").read_bytes()
    if draw.random() < 0.2:
        places = (
            "../outside.wav",
            "/etc/passwd",
            "/dev/zero",
            "3.wav",
            "..",
            "none",
            "/proc/self/mem",
        )
        target = draw.choice(places)
        edits: Edits = {"raw/speech/3.wav": target}
        hostile = target not in ("none",)
        return _listed("manifests", edits, f"link to {target}", draw, hostile=hostile)
    if draw.random() < 0.1:
        out = draw.choice(
            ("../outside.wav", "a/../../outside.wav", "/etc/passwd", "./../outside.wav")
        )
        edits = {"raw/speech/list.csv": data.replace(b"3.wav", out.encode())}
        return _listed("manifests", edits, f"path {out}", draw, hostile=True)
    data, what = damaged_table(draw, data)
    return _listed("manifests", {"raw/speech/list.csv": data}, what, draw)


def zips(draw: Random, world: Path) -> Case:
    """A zip file of recordings."""
    name = "raw/shemo/female.zip"
    data, what, hostile = damaged_zip(draw, (world / name).read_bytes())
    argv = ["--data", "raw/shemo", "--name", "s", "--out", "out"]
    argv += ["--skip-bad"] if draw.random() < 0.5 and not hostile else []
    edits: Edits = {name: data}
    return _case(
        "zips", "prepare_shemo", argv, ("raw",), edits, what, absent="out/s", hostile=hostile
    )


def transcripts(draw: Random, world: Path) -> Case:
    """ShEMO's transcripts, or EmoBox's list of its clips."""
    if draw.random() < 0.6:
        name = "raw/shemo/modified_shemo.json"
        data, what = damaged_json(draw, (world / name).read_bytes())
        argv = ["--data", "raw/shemo", "--name", "s", "--out", "out", "--skip-bad"]
        return _case(
            "transcripts", "prepare_shemo", argv, ("raw",), {name: data}, what, absent="out/s"
        )
    name = f"raw/emobox/shemo_{draw.choice(('train', 'test'))}_fold_1.jsonl"
    lines = (world / name).read_bytes().splitlines(keepends=True)
    lines[1], what = damaged_json(draw, lines[1])
    argv = ["--data", "prepared/speech", "--split", "emobox", "--emobox", "raw/emobox"]
    edits: Edits = {name: b"".join(lines)}
    return _case("transcripts", "floors", argv, ("raw", "prepared"), edits, what)


def model_configs(draw: Random, world: Path) -> Case:
    """The config.json of a pretrained model."""
    speech = draw.random() < 0.4
    name = f"models/{'hubert' if speech else 'bert'}/config.json"
    data, what = damaged_json(draw, (world / name).read_bytes())
    return _trained("model configs", {name: data}, what, speech=speech)


def weights(draw: Random, world: Path) -> Case:
    """A pretrained model's weights, with and without the sums that tell damage."""
    speech = draw.random() < 0.3
    folder = f"models/{'hubert' if speech else 'bert'}"
    data, what = damaged_safetensors(draw, (world / folder / "model.safetensors").read_bytes())
    edits: Edits = {f"{folder}/model.safetensors": data}
    if draw.random() < 0.7:
        edits[f"{folder}/source.json"] = None
    return _trained("weights", edits, what, speech=speech)


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
    return _trained("tokenizers", edits, what)


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
    return _case("pickles", "fetch_model", argv, ("models",), edits, what)


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
    return _read(draw, "run configs", {f"{FULL}/{name}": data}, f"{name} {what}")


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
            right = json.loads((world / record).read_bytes()) | {"sha256": _sha256(data)}
            edits[record], hostile = json.dumps(right).encode(), False
    if speech:
        argv = ["--runs", SPOKEN, "--device", "cpu", "--force"]
        needs = (*BERT, "runs")
        return _case("best/", "evaluate", argv, needs, edits, what, hostile=hostile)
    readers = READERS[:2] if hostile else READERS[:4]
    return _read(draw, "best/", edits, what, readers=readers, hostile=hostile)


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
        edits[f"{folder}/manifest.json"] = json.dumps(manifest | {name: _sha256(data)}).encode()
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
    return _case("checkpoints", "train_bert", argv, (*BERT, "runs"), edits, f"{name} {what}")


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
    return _case("reports", script, argv, (*BERT, "runs"), edits, f"{name} {what}")


def prepared_text(draw: Random, world: Path) -> Case:
    """A prepared text folder: what it says of itself, its rows, its token arrays."""
    folder = "prepared/text"
    arrays = sorted((world / folder / "tokens").rglob("*.npy"))
    arrays += sorted((world / folder / "tokens").rglob("tokens.json")) * 6
    path = draw.choice([world / folder / "meta.json", world / folder / "train.csv", *arrays[-12:]])
    name = path.relative_to(world).as_posix()
    data, what = _damage_of(path.suffix)(draw, path.read_bytes())
    edits: Edits = {name: data}
    if path.suffix == ".csv" and draw.random() < 0.6:
        meta = json.loads((world / folder / "meta.json").read_bytes())
        meta["splits"]["train"]["sha256"] = _sha256(data)
        edits[f"{folder}/meta.json"] = json.dumps(meta).encode()
    if draw.random() < 0.4:
        argv = ["--data", folder, "--force"]
        return _case("prepared text", "floors", argv, ("prepared",), edits, f"{path.name} {what}")
    return _trained("prepared text", edits, f"{path.name} {what}")


def prepared_speech(draw: Random, world: Path) -> Case:
    """A prepared speech folder: what it says of itself, its manifest, its audio; a cache."""
    cached = sorted((world / "cache").glob("*/*.*"))
    folder = world / "prepared/speech"
    names = ("meta.json", "meta.json", "manifest.csv", "manifest.csv", "audio-000.pcm")
    path = draw.choice([*(folder / name for name in names), *cached])
    name = path.relative_to(world).as_posix()
    data, what = _damage_of(path.suffix)(draw, path.read_bytes())
    edits: Edits = {name: data}
    if path.suffix == ".csv" and draw.random() < 0.7:
        meta = json.loads((folder / "meta.json").read_bytes())
        meta["files"]["manifest.csv"] = _sha256(data)
        edits["prepared/speech/meta.json"] = json.dumps(meta).encode()
    kind, what = "prepared speech", f"{path.name} {what}"
    if path.parent == folder and draw.random() < 0.3:
        argv = ["--data", "prepared/speech", "--split", "manifest", "--force"]
        return _case(kind, "floors", argv, ("prepared",), edits, what)
    return _trained(kind, edits, what, speech=True, cache="on" if path in cached else "off")


KINDS: dict[str, tuple[Callable[[Random, Path], Case], int]] = {  # and how often it is drawn
    "audio": (audio, 25),
    "text": (text, 20),
    "manifest": (manifest, 12),
    "zips": (zips, 10),
    "transcripts": (transcripts, 4),
    "model-configs": (model_configs, 12),
    "weights": (weights, 6),
    "tokenizers": (tokenizers, 6),
    "pickles": (pickles, 4),
    "run-configs": (run_configs, 6),
    "best": (best_weights, 8),
    "checkpoints": (checkpoints, 10),
    "reports": (reports, 5),
    "prepared-text": (prepared_text, 6),
    "prepared-speech": (prepared_speech, 6),
}


def numbered(n: int, *, seed: int, kinds: Sequence[str]) -> list[tuple[str, int]]:
    """Which inputs to try: n pairs of a kind and a number, the kinds in proportion."""
    draw = Random(f"{seed} kinds")
    shares = [KINDS[kind][1] for kind in kinds]
    return [(kind, number) for number, kind in enumerate(draw.choices(kinds, shares, k=n))]


def case(world: Path, *, kind: str, number: int, seed: int) -> Case:
    """The number-th input of a seed: the same whenever it is asked for."""
    return KINDS[kind][0](Random(f"{seed} {kind} {number}"), world)


def _case(
    kind: str,
    script: str,
    argv: Sequence[str],
    needs: tuple[str, ...],
    edits: Edits,
    what: str,
    **rest: Any,
) -> Case:
    return Case(
        kind=kind, what=what, script=script, argv=tuple(argv), needs=needs, edits=edits, **rest
    )


def _listed(kind: str, edits: Edits, what: str, draw: Random, *, hostile: bool = False) -> Case:
    """A case of scripts.prepare_shemo with a manifest."""
    argv = ["--manifest", "raw/speech/list.csv", "--name", "s", "--out", "out"]
    argv += ["--skip-bad"] if draw.random() < 0.2 and not hostile else []
    return _case(
        kind, "prepare_shemo", argv, ("raw",), edits, what, absent="out/s", hostile=hostile
    )


def _trained(
    kind: str, edits: Edits, what: str, *, speech: bool = False, cache: str = "off"
) -> Case:
    """A case of a training script that makes a new run of one step."""
    script, argv = ("train_hubert", HUBERT_RUN) if speech else ("train_bert", BERT_RUN)
    more = ("--augment", "none") if speech else ()
    argv = (*argv, *NEW, *more, "--cache", cache)
    needs = (*BERT, "cache") if cache == "on" else BERT
    return _case(kind, script, argv, needs, edits, what)


def _read(
    draw: Random,
    kind: str,
    edits: Edits,
    what: str,
    *,
    readers: Sequence[tuple[str, tuple[str, ...]]] = READERS,
    hostile: bool = False,
) -> Case:
    """A case of one of the scripts that read a trained run."""
    script, argv = draw.choice(readers)
    return _case(kind, script, argv, (*BERT, "runs"), edits, what, hostile=hostile)


def _damage_of(suffix: str) -> Damage:
    return {".json": damaged_json, ".csv": damaged_table}.get(suffix, damaged_bytes)


def _sha256(data: bytes) -> str:
    import hashlib

    return hashlib.sha256(data).hexdigest()
