"""Augmentation: what each transformation does, which rows there are, and that nothing shifts."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lib import augment, augmented, splits
from lib.errors import UserError
from lib.packed import open_packed, read_manifest
from scripts import augment as script
from tests.conftest import pack

REPORT = {"A": 423, "N": 411, "S": 180, "F": 15, "W": 90, "H": 81}
NAMES = tuple(REPORT)


def sine(n: int = 16000, period: int = 80) -> np.ndarray:
    return np.sin(np.arange(n) * 2 * np.pi / period).astype(np.float32)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve clips of 0.2 to 0.3 s: 6 of A, 4 of N, 2 of S; the last four test."""
    folder = tmp_path_factory.mktemp("data") / "corpus"
    generator = np.random.default_rng(0)
    clips = [
        np.rint(3000 * generator.standard_normal(n)).astype(np.int16)
        for n in generator.integers(3200, 4800, 12)
    ]
    labels = list("AANSANAAANNS")
    rows = pd.DataFrame(
        {
            "path": [f"{i:02}{label}.wav" for i, label in enumerate(labels)],
            "speaker": [f"s{i // 4}" for i in range(12)],
            "label_filename": labels,
            "split": ["train"] * 8 + ["validation", "test", "test", "test"],
        }
    )
    return pack(folder, clips, rows)


def samples(folder: Path) -> dict[tuple[int, int], bytes]:
    """The waveform of each (clip, variant) of augmented audio."""
    rows = augmented.load_rows(folder)
    rows = rows[rows["variant"] > 0]
    audio = open_packed(folder, rows)
    keys = zip(rows["id"], rows["variant"], strict=True)
    return {key: audio.read(i).tobytes() for i, key in enumerate(keys)}


def test_transformations_that_change_nothing_return_the_waveform_itself() -> None:
    wave, generator = sine(), np.random.default_rng(0)
    assert augment.pitch_shift(wave, n_semitones=0) is wave
    assert augment.change_speed(wave, factor=1) is wave
    assert augment.add_noise(wave, intensity=0, generator=generator) is wave


def test_noise_has_the_intensity_asked_for_and_a_shift_loses_nothing() -> None:
    wave = sine(160_000)
    noisy = augment.add_noise(wave, intensity=0.005, generator=np.random.default_rng(0))
    assert noisy.dtype == np.float32
    assert np.std(noisy - wave) == pytest.approx(0.005, rel=0.02)
    later = augment.circular_shift(np.arange(8000, dtype=np.float32), seconds=0.1)
    assert later[1600] == 0
    assert later[0] == 8000 - 1600
    assert np.array_equal(np.sort(later), np.arange(8000))


def frequency_hz(wave: np.ndarray) -> float:
    middle = wave[len(wave) // 4 : 3 * len(wave) // 4]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle)), 1 << 18))
    return float(spectrum.argmax() * 16000 / (1 << 18))


def test_pitch_changes_the_frequency_and_speed_the_length_with_it() -> None:
    wave = sine(16000, period=40)  # 400 Hz
    higher = augment.pitch_shift(wave, n_semitones=1)
    assert (higher.shape, higher.dtype) == (wave.shape, wave.dtype)
    assert frequency_hz(higher) == pytest.approx(400 * 2 ** (1 / 12), rel=0.01)
    for factor in (0.9, 1.0371):
        faster = augment.change_speed(wave, factor=factor)
        assert (len(faster), faster.dtype) == (round(16000 / factor), wave.dtype)
        assert frequency_hz(faster) == pytest.approx(400 * factor, rel=0.01)


def test_the_report_resamples_to_six_times_423_and_leaves_the_largest_class_alone() -> None:
    label = np.repeat(NAMES, list(REPORT.values()))
    clips = pd.DataFrame({"id": range(len(label)), "path": [f"{i:04}" for i in range(len(label))]})
    of_clip, split = pd.Series(label), pd.Series("train", index=clips.index)
    split[::400] = "test"
    rows = augment.report_rows(clips, split, of_clip, class_names=NAMES)
    n = int(((of_clip == "A") & (split == "train")).sum())
    assert rows["label"].value_counts().to_dict() == dict.fromkeys(NAMES, n)
    full = augment.report_rows(clips, split.replace("test", "train"), of_clip, class_names=NAMES)
    assert len(full) == 6 * 423
    assert (rows["id"].map(of_clip) == rows["label"]).all()
    assert (rows["id"].map(split) == "train").all()
    is_largest = rows["label"] == "A"
    assert (rows["variant"][is_largest] == 0).all()
    assert rows["id"][is_largest].is_unique
    others = rows[~is_largest]
    assert (others["variant"] > 0).all()
    assert not others[["id", "variant"]].duplicated().any(), "each draw of a clip is another"
    assert (others["noise"] == 0.005).all()
    assert others["shift_s"].abs().max() <= 0.2
    assert set(others["n_semitones"]) == {-1, 0, 1}
    assert (others["speed"] == 1).all()


def test_default_rows_treat_all_classes_alike_and_keep_the_originals(prepared: Path) -> None:
    manifest = read_manifest(prepared)
    rows = augment.default_rows(manifest, n_variants=3, seed=0)
    assert rows.groupby("id")["variant"].agg(list).tolist() == [[0, 1, 2, 3]] * 12
    variants = rows[rows["variant"] > 0]
    assert variants["n_semitones"].between(-1, 1).all()
    assert variants["speed"].between(0.9, 1.1).all()
    to_noise = variants["id"].map(manifest["rms"]) / variants["noise"]
    assert to_noise.between(10 ** (15 / 20), 10 ** (40 / 20)).all(), "15 to 40 dB"
    fewer = augment.default_rows(manifest[::-1][:5], n_variants=1, seed=0)
    shared = rows.merge(fewer, on=list(fewer.columns))
    assert len(shared) == len(fewer), "a variant depends on nothing but clip, seed and number"


def test_samples_depend_neither_on_the_number_of_workers_nor_on_what_else_is_made(
    prepared: Path,
) -> None:
    one, made = augmented.make(prepared, n_variants=1, seed=1, workers=1)
    assert made
    first = samples(one)
    assert augmented.make(prepared, n_variants=1, seed=1, workers=1) == (one, False)
    two, made = augmented.make(prepared, n_variants=1, seed=1, workers=2, force=True)
    assert (two, made) == (one, True)
    assert samples(two) == first
    more = samples(augmented.make(prepared, n_variants=2, seed=1, workers=1)[0])
    assert {key: more[key] for key in first} == first
    assert len(set(more.values())) == 24
    other = samples(augmented.make(prepared, n_variants=1, seed=2, workers=1)[0])
    assert not set(other.values()) & set(first.values())


def test_variants_are_of_their_own_clip_and_speed_gives_their_length(prepared: Path) -> None:
    manifest = read_manifest(prepared)
    rows = augmented.load_rows(augmented.make(prepared, n_variants=1, seed=1, workers=1)[0])
    n_samples = rows["id"].map(manifest["n_samples"])
    assert (rows["shard"][rows["variant"] == 0] == -1).all()
    assert rows["n_samples"].tolist() == np.round(n_samples / rows["speed"]).tolist()


def test_a_variant_that_is_only_moved_holds_the_samples_of_its_clip(prepared: Path) -> None:
    manifest = read_manifest(prepared)
    render = augment.Render(packed=open_packed(prepared, manifest), seed=0)
    made = render((3, "03S.wav", 1, augment.UNTOUCHED | {"shift_s": 0.01}))
    assert np.array_equal(made, np.roll(open_packed(prepared, manifest).read(3), 160))


@pytest.mark.parametrize("recipe", ["default", "report"])
def test_training_rows_are_of_training_clips_with_their_labels(prepared: Path, recipe: str) -> None:
    manifest = read_manifest(prepared)
    of_clip = splits.labels(manifest, "filename")
    split = manifest["split"]
    folder, _ = augmented.make(
        prepared, recipe=recipe, split=split, labels=of_clip, n_variants=1, seed=1, workers=1
    )
    rows = augmented.training_rows(folder, split, of_clip)
    assert (rows["id"] < 8).all()
    assert rows["label"].tolist() == of_clip[rows["id"]].tolist()
    n = rows["label"].value_counts().to_dict()
    assert n == ({"A": 5, "N": 5, "S": 5} if recipe == "report" else {"A": 10, "N": 4, "S": 2})
    if recipe == "report":
        counts = json.loads((folder / "meta.json").read_text())["counts"]
        assert counts == {"before": {"A": 5, "N": 2, "S": 1}, "after": n}
        with pytest.raises(UserError, match="another split or other labels"):
            augmented.training_rows(folder, split[::-1].reset_index(drop=True), of_clip)


def test_the_script_makes_a_recipe_once_and_says_so(
    prepared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = script.Config(data=str(prepared), recipe="report", split="manifest", workers=1)
    folder = script.main(cfg)
    assert script.main(cfg) == folder
    lines = capsys.readouterr().out.splitlines()
    assert "15 rows, 10 of them variants" in lines[0]
    assert lines[2] == "after: A 5, N 5, S 5"
    assert "reused" in lines[3]
    with pytest.raises(UserError, match="1 or more"):
        script.main(script.Config(data=str(prepared), variants=0))
    with pytest.raises(UserError, match="1 or more"):
        script.main(script.Config(data=str(prepared), workers=0))
    (folder / "rows.csv").write_text("row\n")
    with pytest.raises(UserError, match="missing or damaged"):
        augmented.load_rows(folder)
