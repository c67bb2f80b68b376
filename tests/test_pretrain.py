"""Learning without labels from the command line to the model folder that other scripts take."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lib import files, json_lines, packed, runs, sample, scratch_bert, scratch_hubert, speech_sample
from lib.encoders import load_encoder
from lib.errors import UserError
from lib.pretrain import output as pretrain
from lib.pretrain import rows as pretrain_rows
from lib.pretrain import text as pretrain_text
from lib.pretrain import units
from lib.speech import SpeechSplit
from scripts import (
    cluster_units,
    prepare_audio,
    prepare_text,
    pretrain_bert,
    pretrain_hubert,
    sample_speech,
    train_hubert,
)
from scripts import sample as sample_text

FEW: dict[str, Any] = {"epochs": 1, "batch_size": 8, "device": "cpu", "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings and lines without labels, prepared; units; two untrained models."""
    root = tmp_path_factory.mktemp("world")
    speech_sample.write_utterances(root / "raw", n=14, seed=0, workers=1)
    prepare_audio.main(prepare_audio.Config(data=str(root / "raw"), out=str(root), name="audio"))
    cluster_units.main(
        cluster_units.Config(data=str(root / "audio"), split="all", units=6, frames=5000)
    )
    options = scratch_hubert.Options(layers=2, width=32)
    scratch_hubert.make(root / "hubert", options=options)
    lines = list(sample.sentences(80, seed=0))
    (root / "lines.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    small = scratch_bert.Options(layers=2, width=32, vocab=300, positions=64)
    scratch_bert.make(root / "bert", lines, trained_on="x", options=small)
    return root


def speech_config(world: Path, out: Path, **more: Any) -> pretrain_hubert.Config:
    told = FEW | {"data": str(world / "audio"), "model": str(world / "hubert"), "name": "new"}
    return pretrain_hubert.Config(out=str(out / "models"), runs=str(out / "runs"), **told | more)


def text_config(world: Path, out: Path, **more: Any) -> pretrain_bert.Config:
    told = FEW | {"data": str(world / "lines.txt"), "model": str(world / "bert"), "name": "new"}
    return pretrain_bert.Config(
        out=str(out / "models"),
        runs=str(out / "runs"),
        cache_folder=str(out / "cache"),
        **told | more,
    )


CASES = [(pretrain_hubert, speech_config), (pretrain_bert, text_config)]


@pytest.mark.parametrize(("script", "config"), CASES)
def test_a_model_learns_and_is_an_ordinary_folder_that_says_from_what(
    world: Path, tmp_path: Path, script: Any, config: Any
) -> None:
    source = script.main(config(world, tmp_path, epochs=3))
    folder = tmp_path / "models" / "new"
    encoder, first = load_encoder(folder), load_encoder(Path(config(world, tmp_path).model))
    assert not torch.equal(next(encoder.parameters()), next(first.parameters()))
    assert source == files.read_json(folder / "source.json")
    assert source["files"]["model.safetensors"] == files.sha256(folder / "model.safetensors")
    assert source["options"]["inputs"]["model"] == runs.weights_sha256(
        Path(config(world, tmp_path).model)
    )
    (run,) = (tmp_path / "runs" / "pretrain" / "new").glob("*-s0")
    records = json_lines.read(run / "metrics.jsonl")[:-1]
    assert len(records) == 3
    assert records[-1]["loss"] < records[0]["loss"]
    wanted = {"masked_accuracy", "accuracy"} | (
        {"unit_accuracy"} if "hubert" in run.name else set()
    )
    assert wanted <= records[0].keys()
    assert (run / "figures" / "training.png").is_file()


@pytest.mark.parametrize(("script", "config"), CASES)
def test_an_interrupted_run_ends_with_equal_bytes(
    world: Path, tmp_path: Path, script: Any, config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    script.main(config(world, tmp_path / "whole", epochs=2))
    validate, calls = pretrain.validate, []

    def failing(*args: Any, **how: Any) -> dict[str, float]:
        calls.append(1)
        if len(calls) == 2:
            raise UserError("the power went out")
        return validate(*args, **how)

    monkeypatch.setattr(pretrain, "validate", failing)
    with pytest.raises(UserError, match="power"):
        script.main(config(world, tmp_path / "parts", epochs=2))
    script.main(config(world, tmp_path / "parts", epochs=2, resume=True))
    for name in ("models/new/model.safetensors", "runs/pretrain/new/*/metrics.jsonl"):
        (one,), (other,) = (list((tmp_path / of).glob(name)) for of in ("whole", "parts"))
        assert one.read_bytes() == other.read_bytes(), name


def test_what_is_there_is_kept_and_other_options_are_refused(world: Path, tmp_path: Path) -> None:
    pretrain_bert.main(text_config(world, tmp_path))
    files.remove(tmp_path / "runs")
    pretrain_bert.main(text_config(world, tmp_path))
    assert not (tmp_path / "runs").exists(), "nothing is trained again"
    with pytest.raises(UserError, match="--force"):
        pretrain_bert.main(text_config(world, tmp_path, epochs=2))


def test_frozen_convolutions_stay(world: Path, tmp_path: Path) -> None:
    pretrain_hubert.main(speech_config(world, tmp_path, features="frozen", seen_share=0.5))
    before, after = load_encoder(world / "hubert"), load_encoder(tmp_path / "models" / "new")
    same = {
        name: torch.equal(value, after.state_dict()[name])
        for name, value in before.state_dict().items()
    }
    assert all(same[name] for name in same if name.startswith("feature_extractor."))
    assert not all(same.values())


def test_units_of_the_models_own_layer_and_two_sets_at_once(world: Path, tmp_path: Path) -> None:
    pretrain_hubert.main(speech_config(world, tmp_path, name="first"))
    cluster_units.main(
        cluster_units.Config(
            data=str(world / "audio"),
            name="second",
            model=str(tmp_path / "models" / "first"),
            units=4,
            split="all",
            device="cpu",
        )
    )
    source = pretrain_hubert.main(speech_config(world, tmp_path, units=("mfcc", "second")))
    assert source["options"]["units"]["second"].startswith("layer 1 of")
    saved = load_encoder(tmp_path / "models" / "new")
    assert saved.config.hidden_size == 32


def labelled(tmp_path: Path) -> Path:
    """ShEMO's way of naming, five speakers of noise, prepared."""
    import soundfile

    from lib import speech_prepare
    from lib.speech_source import shemo

    rng = np.random.default_rng(0)
    raw = tmp_path / "raw"
    for speaker in range(10):
        for number, letter in enumerate("AANNSSAN"):
            path = raw / "female" / f"F{speaker:02}{letter}{number:02}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, rng.normal(0, 0.1, 6000), 16_000)
    speech_prepare.prepare(shemo(raw), tmp_path / "shemo", workers=1)
    return tmp_path / "shemo"


def test_no_clip_of_validation_or_test_is_ever_read(
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = labelled(tmp_path)
    cluster_units.main(cluster_units.Config(data=str(data), units=4, frames=4000, fold=2))
    read: set[int] = set()
    waveform = SpeechSplit.waveform

    def noting(self: SpeechSplit, row: int) -> np.ndarray:
        read.add(int(self.ids[row]))
        return waveform(self, row)

    monkeypatch.setattr(SpeechSplit, "waveform", noting)
    source = pretrain_hubert.main(speech_config(world, tmp_path, data=str(data)))
    options = {"labels": "filename", "split": "speaker", "fold": 2, "emobox": None}
    assert sorted(read) == units.training_clips(data, options).tolist()
    assert len(read) < len(packed.read_manifest(data))
    assert source["options"]["parts"] == options
    model, fingerprint = tmp_path / "models" / "new", packed.read_meta(data)["fingerprint"]
    assert pretrain_rows.heard(model, "other data", options | {"fold": 1}) is None
    capsys.readouterr()
    for fold, told in ((2, False), (1, True)):
        cfg = train_hubert.Config(data=str(data), fold=fold)
        train_hubert._tell_split(cfg, model, fingerprint)
        assert ("has learnt, without labels" in capsys.readouterr().out) == told


def test_only_the_training_split_of_prepared_text_is_read(world: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in sample.TEXT_FILES.values():
        rows = [f"{name} {i}\tگفت {i}\t{'ecn'[i % 3]}" for i in range(30)]
        (raw / name).write_text("\n".join(["premise\thypothesis\tlabel", *rows]) + "\n")
    data = prepare_text.main(prepare_text.Config(data=str(raw), name="t", out=str(tmp_path)))
    texts, _ = pretrain_text.of_prepared(data, world / "bert", max_length=48)
    from lib.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(world / "bert")
    row = texts.tokens[texts.starts[3] : texts.starts[3] + texts.lengths[3]]
    expected = tokenizer("Train-word.csv 3", "گفت 3")["input_ids"]
    assert len(texts) == 30
    assert row.tolist() == expected


def test_lines_become_rows_pairs_and_parts(world: Path, tmp_path: Path) -> None:
    long = " ".join(["سارا"] * 30)
    text = f"سارا آمد.\n\nسارا آمد.\tسارا رفت.\n{long}\n\t\nسارا آمد.\n"
    (tmp_path / "some.txt").write_text(text, encoding="utf-8")
    texts, sha256 = pretrain_text.of_file(
        tmp_path / "some.txt", world / "bert", max_length=24, cache=tmp_path
    )
    assert sha256 == files.sha256(tmp_path / "some.txt")
    from lib.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(world / "bert")
    parts = [" ".join(["سارا"] * n) for n in (12, 12, 6)]
    singles = [tokenizer(t)["input_ids"] for t in ("سارا آمد.", *parts, "سارا آمد.")]
    rows = [*singles, tokenizer("سارا آمد.", "سارا رفت.")["input_ids"]]
    found = [
        texts.tokens[s : s + n].tolist() for s, n in zip(texts.starts, texts.lengths, strict=True)
    ]
    assert found == rows
    assert texts.second is not None
    assert texts.second[-1] == len(singles[0])
    assert texts.groups[0] == texts.groups[4] == texts.groups[5] != texts.groups[1]


def test_what_is_held_out_is_never_learnt_and_does_not_depend_on_the_seed() -> None:
    groups = np.repeat(np.arange(100), 3)
    learnt, held = pretrain_rows.hold_out(groups)
    assert sorted([*learnt, *held]) == list(range(300))
    assert not set(groups[learnt]) & set(groups[held])
    assert len(held) == 15
    with pytest.raises(UserError, match="hold out"):
        pretrain_rows.hold_out(np.zeros(5))


@pytest.mark.parametrize(
    ("content", "problem"), [(b"\xff\xfe", "line 1: not UTF-8"), (b"\n\t\n", "holds no text")]
)
def test_what_is_no_text_is_one_line(
    world: Path, tmp_path: Path, content: bytes, problem: str
) -> None:
    (tmp_path / "x.txt").write_bytes(content)
    with pytest.raises(UserError, match=problem):
        pretrain_bert.main(text_config(world, tmp_path, data=str(tmp_path / "x.txt")))
    assert not list((tmp_path / "cache").glob("text-*")), "nothing half-written"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"name": "../x"}, "--name"),
        ({"units": ("none",)}, "no units"),
        ({"mask_starts": 1.0}, "--mask-starts"),
        ({"seen_share": 1.0}, "--seen-share"),
        ({"temperature": 0.0}, "--temperature"),
        ({"model": "{world}/bert"}, "HuBERT or wav2vec"),
        ({"learning_rate": 0.0}, "--learning-rate"),
    ],
)
def test_wrong_options_are_one_line_and_leave_nothing(
    world: Path, tmp_path: Path, options: dict[str, Any], problem: str
) -> None:
    told = {k: v.format(world=world) if k == "model" else v for k, v in options.items()}
    with pytest.raises(UserError, match=problem):
        pretrain_hubert.main(speech_config(world, tmp_path, **told))
    assert not list((tmp_path / "models").glob("[!.]*"))


def test_the_unlabelled_sample_is_made_once_and_again_if_changed(tmp_path: Path) -> None:
    for script in (sample_speech, sample_text):
        out = tmp_path / script.__name__
        cfg = script.Config(out=out, unlabelled=3)
        script.main(cfg)
        before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
        script.main(cfg)
        assert before == {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
        victim = next(path for path in sorted(out.iterdir()) if path.name != "SAMPLE")
        victim.write_bytes(b"")
        script.main(cfg)
        assert victim.stat().st_size > 0
        assert json.loads((out / "SAMPLE").read_text())["note"] == "a sample, not a result"
