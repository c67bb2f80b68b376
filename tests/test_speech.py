"""Prepared speech as the loop reads it: which clip a row is, through everything done to rows."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from lib import augment, packed, speech, speech_prepare
from lib.errors import UserError
from lib.speech import SpeechSplit
from lib.speech_source import SHEMO_LABELS, shemo
from lib.text_source import SPLITS

N_SPEAKERS = 6
OPTIONS: dict[str, Any] = {
    "labels": "filename",
    "split": "report",
    "fold": 1,
    "emobox": None,
    "augment": "none",
    "mask": True,
    "max_seconds": 0.0,
    "limit": None,
}
EMOTIONS = {"A": "anger", "N": "neutral", "S": "sadness"}


def names() -> Iterator[str]:
    """Clips such as F01A01: of each of six speakers 8 of A, 4 of N, 3 of S."""
    for speaker in range(N_SPEAKERS):
        for label, n in {"A": 8, "N": 4, "S": 3}.items():
            for number in range(n):
                yield f"{'FM'[speaker % 2]}{speaker:02}{label}{number:02}"


NAMES = tuple(names())
DISPUTED, UNLABELLED = set(NAMES[3::15]), set(NAMES[7::15])  # by the transcripts


@pytest.fixture(scope="module")
def waves() -> dict[str, np.ndarray]:
    """(n,) int16 noise of each clip, 0.1 to 0.3 s at 16 kHz."""
    generator = np.random.default_rng(0)
    return {
        name: generator.integers(-9000, 9000, generator.integers(1600, 4800)).astype(np.int16)
        for name in NAMES
    }


@pytest.fixture(scope="module")
def prepared(waves: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("raw")
    known = {}
    for name, wave in waves.items():
        path = raw / {"F": "female", "M": "male"}[name[0]] / f"{name}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, wave, 16000)
        emotion = EMOTIONS["N" if name in DISPUTED else name[3]]
        if name not in UNLABELLED:
            known[name] = {"speech_name": name, "emotion": emotion, "transcript": "-"}
    (raw / "modified_shemo.json").write_text(json.dumps(known))
    folder = tmp_path_factory.mktemp("prepared") / "shemo"
    speech_prepare.prepare(shemo(raw), folder, workers=1)
    return folder


@pytest.fixture
def noise_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variants that still sound like their clip: with noise, but not moved, shifted or faster."""
    monkeypatch.setattr(augment, "MAX_SHIFT_S", 0.0)
    monkeypatch.setattr(augment, "SPEED", (1.0, 1.0))
    monkeypatch.setattr(augment, "pitch_shift", lambda waveform, n_semitones: waveform)


def load(folder: Path, **options: Any) -> dict[str, SpeechSplit]:
    return speech.load(folder, OPTIONS | options)


def clips(split: SpeechSplit) -> list[str]:
    """The names of the clips that the rows are said to be."""
    return [Path(path).stem for path in split.columns["path"]]


def normal(wave: np.ndarray) -> np.ndarray:
    return (wave - wave.mean(dtype=np.float64)) / wave.std(dtype=np.float64)


def assert_aligned(split: SpeechSplit, waves: dict[str, np.ndarray]) -> None:
    """That each row's waveform, label and all else are of the clip that its path names."""
    said = clips(split)
    batch = split.collate(np.arange(len(split)))
    assert batch["labels"].tolist() == [SHEMO_LABELS.index(name[3]) for name in said]
    assert batch["ids"].tolist() == [sorted(NAMES).index(name) for name in said]
    assert split.lengths.tolist() == [len(waves[name]) for name in said]
    for row, name in enumerate(said):
        heard = batch["input_values"][row, : split.lengths[row]].numpy()
        likeness = float(np.mean(heard * normal(waves[name])))
        assert likeness > (0.97 if split.choices[row, split.chosen[row], 0] else 0.99999)
    assert split.flags["female"].tolist() == [name[0] == "F" for name in said]
    assert split.flags["disputed"].tolist() == [
        name in DISPUTED and name[3] != "N" for name in said
    ]
    speakers = {(name[1:3], group) for name, group in zip(said, split.groups, strict=True)}
    assert len(speakers) == len({speaker for speaker, _ in speakers})
    assert split.columns["label_filename"].tolist() == [name[3] for name in said]


def test_the_three_splits_share_no_clip_and_leave_none_out(
    prepared: Path, waves: dict[str, np.ndarray]
) -> None:
    splits = load(prepared)
    assert sorted(name for split in SPLITS for name in clips(splits[split])) == sorted(NAMES)
    for split in splits.values():
        assert_aligned(split, waves)


def test_rows_stay_aligned_through_a_limit_and_taking(
    prepared: Path, waves: dict[str, np.ndarray]
) -> None:
    whole, some = load(prepared)["train"], load(prepared, limit=20)["train"]
    assert len(some) == 20
    assert set(some.ids.tolist()) < set(whole.ids.tolist())
    assert set(some.labels.tolist()) == set(whole.labels.tolist())
    assert_aligned(some, waves)
    rows = np.array([7, 0, 7, 19])
    taken = some.take(rows)
    assert clips(taken) == [clips(some)[row] for row in rows]
    assert_aligned(taken, waves)


@pytest.mark.usefixtures("noise_only")
@pytest.mark.parametrize("limit", [None, 20])
@pytest.mark.parametrize("recipe", ["default", "report"])
def test_rows_stay_aligned_through_augmentation_and_epochs(
    prepared: Path, waves: dict[str, np.ndarray], recipe: str, limit: int | None
) -> None:
    plain = load(prepared, limit=limit)
    splits = load(prepared, augment=recipe, limit=limit)
    train = splits["train"]
    assert set(clips(train)) <= set(clips(plain["train"]))
    if recipe == "default":
        assert clips(train) == clips(plain["train"])
        assert len(np.unique(train.epoch(seed=0, epoch=0).places[:, 0])) == 2, "clips and variants"
    elif limit is None:
        assert np.bincount(train.labels).tolist() == [np.sum(plain["train"].labels == 0)] * 3
    for epoch in range(3):
        now = train.epoch(seed=0, epoch=epoch)
        assert_aligned(now, waves)
        assert_aligned(now.take(np.array([5, 5, 1])), waves)


@pytest.mark.usefixtures("noise_only")
@pytest.mark.parametrize("recipe", ["default", "report"])
def test_only_training_is_augmented(prepared: Path, recipe: str) -> None:
    plain, splits = load(prepared), load(prepared, augment=recipe)
    for name in ("validation", "test"):
        for epoch in range(3):
            now = splits[name].epoch(seed=0, epoch=epoch)
            assert clips(now) == clips(plain[name])
            for row in range(len(now)):
                assert np.array_equal(now.waveform(row), plain[name].waveform(row))


@pytest.mark.usefixtures("noise_only")
def test_a_variant_depends_on_seed_epoch_and_clip_and_on_nothing_else(prepared: Path) -> None:
    train = load(prepared, augment="default")["train"]
    drawn = {
        (seed, epoch): train.epoch(seed=seed, epoch=epoch).chosen
        for seed in range(3)
        for epoch in range(3)
    }
    assert len({tuple(chosen) for chosen in drawn.values()}) == 9
    assert set(np.concatenate(list(drawn.values()))) == {0, 1, 2, 3}
    later = train.epoch(seed=2, epoch=2).epoch(seed=1, epoch=2)  # as after a resume, or not
    assert np.array_equal(later.chosen, drawn[1, 2])
    again = load(prepared, augment="default")["train"].epoch(seed=1, epoch=2)
    rows = np.array([4, 2, 9])
    heard = again.collate(rows)["input_values"]
    for place, row in enumerate(rows):
        wave = later.collate(np.array([row]))["input_values"][0]
        assert torch.equal(heard[place, : len(wave)], wave)
    some = train.take(rows).epoch(seed=1, epoch=2)
    assert np.array_equal(some.chosen, later.chosen[rows]), "as with a limit, or in another fold"


def test_padding_is_zeros_and_told_only_where_it_is_and_is_wanted(prepared: Path) -> None:
    split = load(prepared)["test"]
    order = np.argsort(split.lengths)
    rows = order[[0, -1]]
    batch = split.collate(rows)
    n = int(split.lengths[rows[0]])
    assert batch["input_values"].shape == (2, split.lengths[rows[1]])
    assert not batch["input_values"][0, n:].any()
    assert batch["input_values"][0, n - 1] != 0
    assert batch["attention_mask"].sum(1).tolist() == split.lengths[rows].tolist()
    assert batch["attention_mask"][0, :n].all()
    for some in (order[:1], order[[3, 3]]):
        assert "attention_mask" not in split.collate(some)
    unmasked = load(prepared, mask=False)["test"].collate(rows)
    assert "attention_mask" not in unmasked
    assert torch.equal(unmasked["input_values"], batch["input_values"])


def test_a_long_clip_is_cut_to_its_middle_before_it_is_normalised(
    prepared: Path, waves: dict[str, np.ndarray]
) -> None:
    split = load(prepared, max_seconds=0.15)["train"]
    assert (split.lengths < 2400).any()
    assert split.lengths.max() == 2400
    for row, name in enumerate(clips(split)):
        wave = waves[name]
        skipped = max(0, len(wave) - 2400) // 2
        middle = normal(wave[skipped : skipped + 2400])
        assert len(middle) == split.lengths[row]
        np.testing.assert_allclose(split.waveform(row), middle, atol=1e-4)


def test_agree_leaves_out_what_is_disputed_or_has_one_label(prepared: Path) -> None:
    splits = load(prepared, labels="agree")
    known = {name for name in NAMES if name not in UNLABELLED}
    found = {name for split in splits.values() for name in clips(split)}
    assert found == {name for name in known if name not in DISPUTED or name[3] == "N"}
    by_transcript = load(prepared, labels="transcript")
    of = {
        name: SHEMO_LABELS[label]
        for split in by_transcript.values()
        for name, label in zip(clips(split), split.labels, strict=True)
    }
    assert of == {name: "N" if name in DISPUTED else name[3] for name in known}


def test_emobox_tests_its_own_clips_and_leaves_unlisted_ones_out(
    prepared: Path, tmp_path: Path
) -> None:
    listed = {name: ("test" if i % 4 == 0 else "train") for i, name in enumerate(NAMES) if i % 9}
    path = tmp_path / "emobox.csv"
    lines = [f"{name},{half}" for name, half in listed.items()]
    path.write_text("\n".join(["utterance,emobox_fold1", *lines]) + "\n")
    splits = load(prepared, split="emobox", emobox=str(path))
    assert set(clips(splits["test"])) == {name for name in listed if listed[name] == "test"}
    rest = clips(splits["train"]) + clips(splits["validation"])
    assert sorted(rest) == sorted(name for name in listed if listed[name] == "train")


def test_a_corpus_with_a_label_that_its_meta_lacks_is_one_line(prepared: Path) -> None:
    path = prepared / "meta.json"
    meta = path.read_text()
    try:
        path.write_text(json.dumps(json.loads(meta) | {"labels": ["A", "N"]}))
        with pytest.raises(UserError, match="'S' is none of its labels"):
            load(prepared)
    finally:
        path.write_text(meta)


def test_clips_too_short_for_a_model_are_refused_before_training(prepared: Path) -> None:
    packed.refuse_short(prepared, {"conv_kernel": [10, 3], "conv_stride": [5, 2]})
    with pytest.raises(UserError, match=r"too short for this model, which needs 62\.5"):
        packed.refuse_short(prepared, {"conv_kernel": [1000, 1000], "conv_stride": [1000, 1]})
