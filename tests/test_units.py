"""Units: which frame of the audio each is of, who they are learnt from, and what they say."""

import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from lib import files, scratch_hubert, speech, speech_prepare
from lib.errors import UserError
from lib.pretrain import features as units_features
from lib.pretrain import units
from lib.pretrain.features import MFCC_FRAMES, Frames, frames_of, mfcc
from lib.pretrain.units import Track
from lib.speech_listing import Corpus, Listing, Source
from scripts import cluster_units
from scripts.cluster_units import Config

RATES = (8000, 16000, 22050, 44100, 48000)
SPLITS = ("train", "train", "train", "validation", "test")
TONES_HZ = (300, 2500)


def tones(seconds: float, rate: int, *, first: int, change: float) -> np.ndarray:
    """(n,) float: one tone, and from `change` seconds on the other."""
    t = np.arange(round(seconds * rate)) / rate
    hz = np.where(t < change, TONES_HZ[first], TONES_HZ[1 - first])
    return 0.5 * np.sin(2 * np.pi * np.cumsum(hz) / rate)


def change_s(number: int) -> float:
    return 0.3 + 0.0137 * number


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty clips of two tones, of odd lengths, at five sample rates, by five speakers."""
    raw = tmp_path_factory.mktemp("raw")
    sources = Listing()
    for number in range(30):
        rate, speaker = RATES[number % 5], number // 5
        seconds = 0.7 + 0.0171 * number
        wave = tones(seconds, rate, first=number % 2, change=change_s(number))
        soundfile.write(raw / f"{number:02}.wav", wave, rate)
        label = "AB"[number % 2]
        sources.add(
            Source(
                path=f"{number:02}.wav",
                within=raw,
                label_filename=label,
                label_transcript=label,
                speaker=f"s{speaker}",
                split=SPLITS[number % 5],
            )
        )
    folder = tmp_path_factory.mktemp("prepared") / "tones"
    corpus = Corpus(sources=sources, labels=("A", "B"), sample=True)
    speech_prepare.prepare(corpus, folder, workers=1)
    return folder


def config(prepared: Path, **options: Any) -> Config:
    told: dict[str, Any] = {"units": 2, "frames": 10_000, "split": "manifest", "device": "cpu"}
    return Config(data=str(prepared), **told | options)


@pytest.mark.parametrize("conv", ["tiny", "base"])
def test_a_model_makes_as_many_frames_of_every_length_as_its_config_says(conv: Any) -> None:
    options = scratch_hubert.Options(layers=1, width=32, conv=conv)
    encoder = scratch_hubert.encoder(options)
    frames = frames_of(scratch_hubert.configuration(options))
    for n in (frames.width - 1, frames.width, frames.width + frames.hop - 1, 5000, 5119, 5120):
        if n >= frames.width:
            found = encoder.feature_extractor(torch.zeros(1, n)).shape[2]
            assert found == frames.count(n), n
        else:
            assert frames.count(n) == 0


def test_units_of_hubert_base_are_every_second_mfcc_frame() -> None:
    base = frames_of(scratch_hubert.CONV["base"])
    assert base == Frames(320, 400)
    every = Frames(160, 400)
    for n in (400, 719, 720, 8000, 16123):
        assert every.nearest(n, base).tolist() == list(range(0, every.count(n), 2))


@pytest.mark.parametrize("conv", ["tiny", "base"])
@pytest.mark.parametrize("ours", [MFCC_FRAMES, Frames(640, 1690), Frames(160, 400)])
def test_the_unit_of_a_frame_is_the_one_at_its_centre(conv: str, ours: Frames) -> None:
    wanted = frames_of(scratch_hubert.CONV[conv])
    for n in range(4000, 4700, 37):
        for start, stop in ((0, n), (333, n - 334)):
            found = ours.nearest(n, wanted, start=start, stop=stop)
            assert len(found) == wanted.count(stop - start)
            centres = start + np.arange(len(found)) * wanted.hop + wanted.width / 2
            apart = np.abs(found * ours.hop + ours.width / 2 - centres)
            inside = (found > 0) & (found < ours.count(n) - 1)
            assert apart[inside].max() <= ours.hop / 2


@pytest.mark.parametrize("conv", ["tiny", "base"])
@pytest.mark.parametrize("max_samples", [0, 6001])
def test_units_stay_aligned_with_the_audio_at_every_sample_rate_and_length(
    prepared: Path, conv: str, max_samples: int
) -> None:
    cluster_units.main(config(prepared, name="aligned"))
    track = units.load(prepared, "aligned")
    wanted = frames_of(scratch_hubert.CONV[conv])
    meaning = track.units[track.starts[0]]  # the unit with which clip 0 begins is the first tone
    for clip in range(30):
        found = track.of_clip(clip, wanted, max_samples=max_samples)
        n = int(track.n_samples[clip])
        start = (n - max_samples) // 2 if 0 < max_samples < n else 0
        centres_s = (start + np.arange(len(found)) * wanted.hop + wanted.width / 2) / 16_000
        is_first = (centres_s < change_s(clip)) == (clip % 2 == 0)
        clear = np.abs(centres_s - change_s(clip)) > 0.023  # no MFCC window holds both tones
        assert clear.sum() > 4
        assert ((found == meaning) == is_first)[clear].all(), clip


def test_a_frame_is_described_by_its_own_samples_alone() -> None:
    rng = np.random.default_rng(0)
    wave = rng.normal(size=8000)
    changed = wave.copy()
    changed[4000:4400] = 0
    apart = np.flatnonzero(np.abs(mfcc(wave) - mfcc(changed)).max(1) > 1e-6)
    assert mfcc(wave).shape == (48, 39)
    # Windows of 400 samples, 160 apart, and two slopes of two frames to each side.
    assert apart.min() == (4000 - 399 + 159) // 160 - 4
    assert apart.max() == (4399 // 160) + 4


def test_slopes_are_those_of_a_straight_line() -> None:
    line = np.arange(12.0)[:, None] * np.array([[2.0, -0.5]])
    found = units_features._slopes(line)
    np.testing.assert_allclose(found[2:-2], np.tile([2.0, -0.5], (8, 1)))


def test_only_training_clips_shape_the_clusters(
    prepared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = units.training_clips(prepared, vars(config(prepared)) | {"emobox": None})
    assert {SPLITS[row % 5] for row in rows.tolist()} == {"train"}
    read: list[int] = []
    whole = units_features.mfcc_rows

    def noting(clips: Any, some: np.ndarray) -> Any:
        read.extend(some.tolist())
        return whole(clips, some)

    _, clips = speech.whole(prepared)
    units.fit(clips, rows, noting, n_units=2, n_frames=10_000, seed=0)
    assert sorted(read) == rows.tolist()


def test_no_more_clips_are_held_at_a_time_than_are_needed_whatever_the_corpus(
    prepared: Path, tmp_path: Path
) -> None:
    """Frames to learn from are drawn up to a number; writing lets go of each clip."""
    _, clips = speech.whole(prepared)
    many = clips.take(np.tile(np.arange(len(clips)), 40))
    held: list[weakref.ref[np.ndarray]] = []
    most = [0, 0]

    def noting(which: int) -> units_features.Features:
        def rows(of: Any, some: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
            for row in some.tolist():
                values = np.full((MFCC_FRAMES.count(int(of.lengths[row])), 3), float(row % 7))
                held.append(weakref.ref(values))
                most[which] = max(most[which], sum(ref() is not None for ref in held))
                yield row, values
                del values

        return rows

    every = np.arange(len(many))
    means, counts = units.fit(many, every, noting(0), n_units=3, n_frames=900, seed=0)
    assert most[0] == counts["clips_fitted"] < 70, "a chunk of 64 clips has more than enough"
    held.clear()
    how = {"means": means, "frames": MFCC_FRAMES, "meta": {}}
    units.write(tmp_path / "units", many, noting(1), **how)
    assert most[1] <= 2


def test_units_of_a_layer_are_those_of_the_models_own_frames(
    prepared: Path, tmp_path: Path
) -> None:
    scratch_hubert.make(tmp_path / "toy", options=scratch_hubert.Options(layers=2, width=32))
    meta = cluster_units.main(
        config(prepared, name="layer", model=str(tmp_path / "toy"), layer=1, units=3)
    )
    assert meta["frames"] == {"hop": 640, "width": 1690}
    track = units.load(prepared, "layer")
    centroids = np.load(prepared / "units" / "layer" / "centroids.npy")
    model = scratch_hubert.encoder(scratch_hubert.Options(layers=2, width=32)).eval()
    _, clips = speech.whole(prepared)
    for row in (0, 7, 29):
        wave = torch.from_numpy(clips.waveform(row))[None]
        with torch.no_grad():
            states = model(wave, output_hidden_states=True).hidden_states
        apart = torch.cdist(states[1][0], torch.from_numpy(centroids)).numpy()
        own = track.of_clip(row, track.frames)
        nearest = apart[np.arange(len(own)), own]
        np.testing.assert_allclose(nearest, apart.min(1), rtol=1e-3)


def test_purity_and_information_by_hand() -> None:
    frames = Frames(1, 1)
    track = Track(
        units=np.array([0, 0, 0, 1, 1, 1, 1, 0], np.uint16),
        starts=np.array([0, 4]),
        n_samples=np.array([4, 4]),
        frames=frames,
        n_units=2,
        name="x",
    )
    found = units.purity(track, np.arange(2), pd.Series(["a", "b"]))
    assert found["purity"] == pytest.approx(6 / 8)
    assert found["majority"] == pytest.approx(1 / 2)
    joint = np.array([[3, 1], [1, 3]]) / 8
    expected = (joint * np.log(joint / 0.25)).sum() / np.log(2)
    assert found["nmi"] == pytest.approx(expected)


def test_units_of_other_audio_damaged_ones_and_other_options_are_refused(prepared: Path) -> None:
    cluster_units.main(config(prepared, name="mine"))
    with pytest.raises(UserError, match="units 2, not 3"):
        cluster_units.main(config(prepared, name="mine", units=3))
    path = prepared / "units" / "mine" / "units.bin"
    data = bytearray(path.read_bytes())
    data[5] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        units.load(prepared, "mine")
    meta = prepared / "units" / "mine" / "meta.json"
    told = units.read_meta(meta.parent)
    files.write_sealed(meta, told | {"audio": "other"})
    with pytest.raises(UserError, match="other audio"):
        units.load(prepared, "mine")
    files.write_json(meta, files.read_json(meta) | {"audio": told["audio"]})
    with pytest.raises(UserError, match="damaged"):
        units.load(prepared, "mine")
    with pytest.raises(UserError, match="no units"):
        units.load(prepared, "none")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"layer": 2}, "--layer 2"),
        ({"units": 1}, "--units 1"),
        ({"name": "../x"}, "--name"),
        ({"units": 5000, "frames": 6000}, "lower --units"),
    ],
)
def test_wrong_options_are_one_line(prepared: Path, options: dict[str, Any], problem: str) -> None:
    with pytest.raises(UserError, match=problem):
        cluster_units.main(config(prepared, **{"name": "wrong"} | options))
