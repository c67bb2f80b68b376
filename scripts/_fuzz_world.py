"""The folder whose files scripts.fuzz damages: tiny corpora, models and runs, always the same."""

import importlib
import os
import shutil
import sys
import traceback
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

TEXT = {"train": 12, "validation": 6, "test": 6}
WORDS = ("کتاب", "خانه", "شهر", "آب", "می‌رود", "نان")
CLIPS = {"train": 6, "validation": 2, "test": 2}
FORMATS = {  # suffix → libsndfile's names of container and coding
    "wav": ("WAV", "PCM_16"),
    "24.wav": ("WAV", "PCM_24"),
    "float.wav": ("WAV", "FLOAT"),
    "ulaw.wav": ("WAVEX", "ULAW"),
    "rf64.wav": ("RF64", "PCM_16"),
    "flac": ("FLAC", "PCM_16"),
    "ogg": ("OGG", "VORBIS"),
    "opus": ("OGG", "OPUS"),
    "mp3": ("MP3", "MPEG_LAYER_III"),
    "aiff": ("AIFF", "PCM_16"),
    "au": ("AU", "PCM_16"),
    "caf": ("CAF", "PCM_16"),
    "w64": ("W64", "PCM_16"),
}
BERT_RUN = (
    *("--data", "prepared/text", "--model", "models/bert", "--max-length", "24", "--name", "s"),
    *("--batch-size", "4", "--learning-rate", "1e-3", "--device", "cpu"),
)
HUBERT_RUN = (
    *("--data", "prepared/speech", "--model", "models/hubert", "--name", "s", "--batch-size", "4"),
    *("--split", "manifest", "--device", "cpu", "--cache-folder", "cache"),
)


def warm_up() -> None:
    """Import what scripts import, so that no fork has to."""
    import matplotlib.pyplot as plt  # noqa: F401
    import pandas as pd  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import soundfile  # noqa: F401
    import soxr  # type: ignore[import-untyped, unused-ignore] # noqa: F401
    import torch
    from transformers import AutoModel, AutoTokenizer, BertModel, HubertModel  # noqa: F401

    from lib import evaluation, fit, floors, latency, speech_floors, surgery  # noqa: F401

    for path in Path(__file__).parent.glob("[a-z]*.py"):
        importlib.import_module(f"scripts.{path.stem}")
    torch.set_num_threads(1)


def run_script(script: str, argv: tuple[str, ...]) -> None:
    """What `python -m scripts.SCRIPT ARGV` does, in this process."""
    from scripts import _cli

    module = importlib.import_module(f"scripts.{script}")
    sys.argv = [f"scripts/{script}.py", *argv]
    _cli.run(module.main, module.Config, getattr(module, "RECIPES", None))


def build(place: Path, *more: Callable[[], None]) -> None:
    """Make the folder, in a process of its own, so that this one starts no threads.

    Args:
        place: the folder, empty.
        more: what else makes files in it, in the current folder.

    Raises:
        RuntimeError: if that process fails; it has said why.
    """
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with open(os.devnull, "w") as nowhere:
                os.dup2(nowhere.fileno(), 1)
            os.chdir(place)
            for step in (make, *more):
                step()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError("the folder of undamaged files could not be made")


def make() -> None:
    """Make the folder of inputs in the current folder: corpora, prepared ones, untrained models."""
    _text(Path("raw/text"))
    _speech(Path("raw/speech"))
    _shemo(Path("raw/shemo"))
    sources = [flag for s in TEXT for flag in (f"--{s}", f"raw/text/{s}.tsv")]
    run_script("prepare_text", (*sources, "--name", "text", "--out", "prepared"))
    listed = ("--manifest", "raw/speech/list.csv", "--name", "speech", "--out", "prepared")
    run_script("prepare_shemo", listed)
    tiny = ("--layers", "2", "--width", "16", "--heads", "2", "--out", "models")
    run_script("scratch_bert", ("--data", "prepared/text", "--name", "bert", *tiny))
    run_script("scratch_hubert", ("--name", "hubert", *tiny))
    hand = Path("models/hand")
    hand.mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(Path("models/bert", name), hand)


def _text(folder: Path) -> None:
    folder.mkdir(parents=True)
    for split, n in TEXT.items():
        rows = ["premise\thypothesis\tlabel\thard(overlap)"]
        for i in range(n):
            premise = f"{split} {i // 3} " + " ".join(WORDS[(i + k) % 6] for k in range(4))
            rows.append(f'"{premise}"\t{WORDS[i % 3]} {WORDS[i % 5]}\t{"ecn"[i % 3]}\t{i % 2}')
        (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def _tone(number: int, rate: int = 16_000) -> Any:
    """A fifth of a second of noise over a tone: (n,) float."""
    import numpy as np

    generator = np.random.default_rng(number)
    time = np.arange(rate // 5) / rate
    return 0.3 * np.sin(2 * np.pi * (200 + 40 * number) * time) + generator.normal(
        0, 0.01, len(time)
    )


def _speech(folder: Path) -> None:
    import soundfile

    folder.mkdir(parents=True)
    rows = ["path,label,speaker,split,gender,transcript"]
    number = 0
    for split, n in CLIPS.items():
        for i in range(n):
            soundfile.write(folder / f"{number}.wav", _tone(number), 16_000)
            rows.append(f"{number}.wav,{'ab'[i % 2]},s{number // 2},{split},{'FM'[i % 2]},سلام {i}")
            number += 1
    (folder / "list.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    formats = folder.parent / "formats"
    formats.mkdir()
    for suffix, (container, coding) in FORMATS.items():
        rate = 48_000 if coding == "OPUS" else 22_050
        path = formats / f"x.{suffix}"
        soundfile.write(path, _tone(3, rate), rate, format=container, subtype=coding)
    soundfile.write(folder.parent / "outside.wav", _tone(1), 16_000)


def _shemo(folder: Path) -> None:
    import json

    folder.mkdir(parents=True)
    wave = (folder.parent / "outside.wav").read_bytes()
    entries: dict[str, dict[str, str]] = {}
    for part, sex in (("female", "F"), ("male", "M")):
        with zipfile.ZipFile(folder / f"{part}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for number, letter in enumerate("AN", start=1):
                name = f"{sex}01{letter}0{number}"
                archive.writestr(zipfile.ZipInfo(f"{part}/{name}.wav"), wave)
                emotion = {"A": "anger", "N": "neutral"}[letter]
                entry = {"speech_name": name, "emotion": emotion, "transcript": "سلام"}
                entries[str(len(entries))] = entry
    (folder / "modified_shemo.json").write_text(json.dumps(entries), encoding="utf-8")
    emobox = folder.parent / "emobox"
    emobox.mkdir()
    for split in ("train", "test"):
        lines = [json.dumps({"key": i, "wav": f"wavs/F01A0{i}.wav"}) for i in range(3)]
        (emobox / f"shemo_{split}_fold_1.jsonl").write_text("\n".join(lines) + "\n")


def make_runs() -> None:
    """A trained and evaluated run of each modality, and one of text stopped in the middle."""
    run_script("train_bert", (*BERT_RUN, "--epochs", "1"))
    run_script("train_hubert", (*HUBERT_RUN, "--epochs", "1", "--augment", "none", "--cache", "on"))
    run_script("evaluate", ("--runs", "runs/bert/s/full-s0", "--device", "cpu"))
    run_script("evaluate", ("--runs", "runs/hubert/s/full-s0", "--device", "cpu"))
    from lib import checkpoints

    save = checkpoints.save
    kept = Path("stopped")

    def save_and_copy(folder: Path, step: int, *rest: Any, **options: Any) -> Path:
        target = save(folder, step, *rest, **options)
        if step <= 6:  # of nine: what a process killed after the sixth step would leave
            shutil.copytree(folder.parent, kept, dirs_exist_ok=True)
        return target

    checkpoints.save = save_and_copy
    stopped = ("--epochs", "3", "--variant", "stopped", "--save-apart", "0")
    run_script("train_bert", (*BERT_RUN, *stopped))
    shutil.rmtree("runs/bert/s/stopped-s0")
    if not (kept / "checkpoints/step-6/state.json").is_file():
        raise RuntimeError(f"{kept} has no checkpoint of step 6")
    kept.rename("runs/bert/s/stopped-s0")
