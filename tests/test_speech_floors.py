"""Floors of a speech corpus: by hand, and on cues that were put there."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lib import splits
from lib.errors import UserError
from lib.packed import SAMPLE_RATE, read_manifest
from lib.speech_floors import floors, mfcc_statistics
from tests.conftest import pack


def prepared(folder: Path, rows: pd.DataFrame, waves: list[np.ndarray]) -> Path:
    """A prepared speech folder of given waveforms, (n,) float at 16 kHz."""
    paths = [f"{i:03}.wav" for i in range(len(rows))]
    clips = [np.rint(wave * 32767).astype(np.int16) for wave in waves]
    return pack(folder, clips, rows.assign(path=paths))


def noise(n_clips: int, seconds: float = 0.2) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [0.1 * generator.standard_normal(int(seconds * SAMPLE_RATE)) for _ in range(n_clips)]


def measure(folder: Path) -> dict[str, dict]:
    manifest = read_manifest(folder)
    of_clip = splits.labels(manifest, "filename")
    names = json.loads((folder / "meta.json").read_text())["labels"]
    found = floors(folder, manifest, manifest["split"], of_clip, class_names=names, workers=1)
    return {floor.pop("name"): floor for floor in found}


def test_majority_and_speaker_by_hand(tmp_path: Path) -> None:
    said = {"x": "NNA", "y": "AAA"}
    rows = [(speaker, label, "train") for speaker, labels in said.items() for label in labels]
    rows += [("x", "N", "test"), ("x", "A", "test"), ("y", "A", "test"), ("y", "N", "test")]
    rows += [("z", "A", "test")]
    frame = pd.DataFrame(rows, columns=["speaker", "label_filename", "split"])
    found = measure(prepared(tmp_path / "p", frame, noise(len(rows))))
    assert list(found) == ["majority", "duration", "speaker", "mfcc-svm"]
    # truth N A A N A; majority says A; speaker says N N A A and, of the unknown z, A
    assert found["majority"] == {
        "accuracy": 0.6,
        "ci_low": pytest.approx(0.5),
        "ci_high": pytest.approx(1),
        "uar": 0.5,
        "macro_f1": pytest.approx(0.375),
        "n": 5,
    }
    assert found["speaker"]["accuracy"] == 0.6
    assert found["speaker"]["uar"] == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert found["duration"]["accuracy"] == 0.6, "all clips are equally long"


def test_speaker_identity_is_no_floor_where_no_test_speaker_trains(tmp_path: Path) -> None:
    labels = ["A", "N"] * 6
    frame = pd.DataFrame({"label_filename": labels, "split": ["train"] * 8 + ["test"] * 4})
    apart = frame.assign(speaker=["x"] * 8 + ["y"] * 4)
    assert "speaker" not in measure(prepared(tmp_path / "apart", apart, noise(12)))
    found = measure(prepared(tmp_path / "unknown", frame.assign(speaker=""), noise(12)))
    assert "speaker" not in found
    assert np.isfinite(found["majority"]["ci_low"]), "of unknown speakers, clips are resampled"


def test_duration_and_mfcc_each_learn_their_own_cue(tmp_path: Path) -> None:
    label = np.array(["A", "N"] * 20)
    rows = pd.DataFrame({"label_filename": label, "speaker": [f"s{i // 2}" for i in range(40)]})
    rows["split"] = ["train"] * 28 + ["test"] * 12
    generator = np.random.default_rng(0)
    lengths = generator.integers(3000, 4000, 40)
    longer = np.where(label == "A", 2, 1) * lengths
    by_length = [0.1 * generator.standard_normal(n) for n in longer]
    found = measure(prepared(tmp_path / "length", rows, by_length))
    assert found["duration"]["accuracy"] == 1
    by_sound = [
        0.1 * np.sin(np.arange(n) * (0.1 if of == "A" else 0.5)) + 0.01 * generator.random(n)
        for n, of in zip(lengths, label, strict=True)
    ]
    found = measure(prepared(tmp_path / "sound", rows, by_sound))
    assert found["mfcc-svm"]["accuracy"] == 1
    assert found["duration"]["accuracy"] < 1


def test_features_are_kept_and_a_split_without_tests_is_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"label_filename": ["A", "N"], "speaker": "x", "split": "train"})
    folder = prepared(tmp_path / "p", frame, [*noise(1), np.zeros(300)])
    done = []
    features = mfcc_statistics(folder, workers=1, progress=lambda n, total: done.append((n, total)))
    assert features.shape == (2, 80)
    assert np.isfinite(features).all(), "also of silence shorter than a window"
    assert done == [(1, 2), (2, 2)]
    again = mfcc_statistics(folder, workers=1, progress=lambda n, total: done.append((n, total)))
    assert np.array_equal(again, features)
    assert len(done) == 2, "nothing is made twice"
    with pytest.raises(UserError, match="to test on"):
        measure(folder)
