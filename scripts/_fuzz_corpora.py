"""Inputs of scripts.fuzz that users bring, and what is prepared of them."""

import json
from pathlib import Path
from random import Random

from lib.fuzz.attempts import Case
from lib.fuzz.damage import damaged_bytes, damaged_json, damaged_table
from lib.fuzz.zips import damaged_zip
from lib.text_source import SPLITS
from scripts._fuzz_cases import (
    Edits,
    damage_of,
    made,
    prepared,
    sha256,
    trained,
)
from scripts._fuzz_world import FORMATS


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
    return made("text files", "prepare_text", argv, ("raw",), {name: data}, what, absent="out/t")


def audio(draw: Random, world: Path) -> Case:
    """A recording among good ones."""
    suffix = draw.choice(list(FORMATS))
    data, what = damaged_bytes(draw, (world / f"raw/formats/x.{suffix}").read_bytes())
    if draw.random() < 0.05:
        suffix = draw.choice(list(FORMATS))  # another name than its content
    listed = (world / "raw/speech/list.csv").read_bytes().replace(b"3.wav", f"x.{suffix}".encode())
    edits: Edits = {f"raw/speech/x.{suffix}": data, "raw/speech/list.csv": listed}
    return prepared("audio", edits, f"{suffix} {what}", draw)


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
        return prepared("manifests", edits, f"link to {target}", draw, hostile=hostile)
    if draw.random() < 0.1:
        out = draw.choice(
            ("../outside.wav", "a/../../outside.wav", "/etc/passwd", "./../outside.wav")
        )
        edits = {"raw/speech/list.csv": data.replace(b"3.wav", out.encode())}
        return prepared("manifests", edits, f"path {out}", draw, hostile=True)
    data, what = damaged_table(draw, data)
    return prepared("manifests", {"raw/speech/list.csv": data}, what, draw)


def zips(draw: Random, world: Path) -> Case:
    """A zip file of recordings."""
    name = "raw/shemo/female.zip"
    data, what, hostile = damaged_zip(draw, (world / name).read_bytes())
    argv = ["--data", "raw/shemo", "--name", "s", "--out", "out"]
    argv += ["--skip-bad"] if draw.random() < 0.5 and not hostile else []
    edits: Edits = {name: data}
    return made(
        "zips", "prepare_shemo", argv, ("raw",), edits, what, absent="out/s", hostile=hostile
    )


def transcripts(draw: Random, world: Path) -> Case:
    """ShEMO's transcripts, or EmoBox's list of its clips."""
    if draw.random() < 0.6:
        name = "raw/shemo/modified_shemo.json"
        data, what = damaged_json(draw, (world / name).read_bytes())
        argv = ["--data", "raw/shemo", "--name", "s", "--out", "out", "--skip-bad"]
        return made(
            "transcripts", "prepare_shemo", argv, ("raw",), {name: data}, what, absent="out/s"
        )
    name = f"raw/emobox/shemo_{draw.choice(('train', 'test'))}_fold_1.jsonl"
    lines = (world / name).read_bytes().splitlines(keepends=True)
    lines[1], what = damaged_json(draw, lines[1])
    argv = ["--data", "prepared/speech", "--split", "emobox", "--emobox", "raw/emobox"]
    edits: Edits = {name: b"".join(lines)}
    return made("transcripts", "floors", argv, ("raw", "prepared"), edits, what)


def prepared_text(draw: Random, world: Path) -> Case:
    """A prepared text folder: what it says of itself, its rows, its token arrays."""
    folder = "prepared/text"
    arrays = sorted((world / folder / "tokens").rglob("*.npy"))
    arrays += sorted((world / folder / "tokens").rglob("tokens.json")) * 6
    path = draw.choice([world / folder / "meta.json", world / folder / "train.csv", *arrays[-12:]])
    name = path.relative_to(world).as_posix()
    data, what = damage_of(path.suffix)(draw, path.read_bytes())
    edits: Edits = {name: data}
    if path.suffix == ".csv" and draw.random() < 0.6:
        meta = json.loads((world / folder / "meta.json").read_bytes())
        meta["splits"]["train"]["sha256"] = sha256(data)
        edits[f"{folder}/meta.json"] = json.dumps(meta).encode()
    if draw.random() < 0.4:
        argv = ["--data", folder, "--force"]
        return made("prepared text", "floors", argv, ("prepared",), edits, f"{path.name} {what}")
    return trained("prepared text", edits, f"{path.name} {what}")


def prepared_speech(draw: Random, world: Path) -> Case:
    """A prepared speech folder: what it says of itself, its manifest, its audio; a cache."""
    cached = sorted((world / "cache").glob("*/*.*"))
    folder = world / "prepared/speech"
    names = ("meta.json", "meta.json", "manifest.csv", "manifest.csv", "audio-000.pcm")
    path = draw.choice([*(folder / name for name in names), *cached])
    name = path.relative_to(world).as_posix()
    data, what = damage_of(path.suffix)(draw, path.read_bytes())
    edits: Edits = {name: data}
    if path.suffix == ".csv" and draw.random() < 0.7:
        meta = json.loads((folder / "meta.json").read_bytes())
        meta["files"]["manifest.csv"] = sha256(data)
        edits["prepared/speech/meta.json"] = json.dumps(meta).encode()
    kind, what = "prepared speech", f"{path.name} {what}"
    if path.parent == folder and draw.random() < 0.3:
        argv = ["--data", "prepared/speech", "--split", "manifest", "--force"]
        return made(kind, "floors", argv, ("prepared",), edits, what)
    return trained(kind, edits, what, speech=True, cache="on" if path in cached else "off")
