"""The embedded speech corpus: equal everywhere, named as ShEMO, fair, and audibly emotional."""

import re
import wave
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from lib import speech_sample
from lib.errors import UserError
from lib.files import read_json
from lib.speech_sample import CLIPS, EMOTIONS, Clip, render, speech_clips, utterances
from lib.voice import LENGTH_S
from scripts import sample_speech

CORPUS = speech_clips()


def named(clip: Clip) -> str:
    return clip.name[3]


def pitch_moves_up(samples: np.ndarray, rate: int) -> bool:
    """Whether pitch rises over the clip: the sum of its small steps from frame to frame."""
    size, shortest, longest = rate // 20, rate // 450, rate // 75
    frames = samples[: len(samples) // size * size].reshape(-1, size) * np.hanning(size)
    spectrum = np.abs(np.fft.rfft(frames, 2 * size)) ** 0.5  # flattens the resonances
    spectrum[:, 1500 * 2 * size // rate :] = 0
    correlation = np.fft.irfft(spectrum)[:, shortest:longest]
    steps = np.diff(np.log2(shortest + correlation.argmax(1)))
    return float(steps[np.abs(steps) < 0.12].sum()) < 0  # of the period: the larger, the lower


def shrink(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(speech_sample, "CLIPS", dict.fromkeys(CLIPS, 1))
    patch.setattr(speech_sample, "N_SPEAKERS", 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small corpus: one clip of each of four speakers and six emotions."""
    out = tmp_path_factory.mktemp("speech") / "sample"
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        sample_speech.main(sample_speech.Config(out=out))
    return out


def test_names_are_those_of_shemo_and_every_speaker_has_every_emotion() -> None:
    assert all(re.fullmatch(r"(female/F|male/M)\d\d[ANSFWH]\d\d\.wav", c.path) for c in CORPUS)
    assert len({clip.name for clip in CORPUS}) == len(CORPUS)
    assert 600 <= len(CORPUS) <= 800
    counts = Counter((clip.name[:3], named(clip)) for clip in CORPUS)
    speakers = {speaker for speaker, _ in counts}
    assert len(speakers) == 12
    for speaker in speakers:  # so that the speaker says nothing of the emotion
        assert {letter: counts[speaker, letter] for letter in EMOTIONS} == CLIPS


def test_a_few_labels_are_disputed_and_every_emotion_is_still_spoken_often() -> None:
    disputed = [clip for clip in CORPUS if clip.emotion != named(clip)]
    assert 0.04 < len(disputed) / len(CORPUS) < 0.06
    assert min(Counter(clip.emotion for clip in CORPUS).values()) > 50
    assert set(Counter(clip.emotion for clip in CORPUS)) == set(EMOTIONS)


def test_sampling_rates_are_mixed_and_say_nothing_of_the_emotion() -> None:
    low = Counter(named(clip) for clip in CORPUS if clip.sample_rate == 22050)
    assert {clip.sample_rate for clip in CORPUS} == {44100, 22050}
    share = low.total() / len(CORPUS)
    assert 0.03 < share < 0.1
    counts = Counter(map(named, CORPUS))
    chi_squared = sum(
        (low[letter] - share * counts[letter]) ** 2 / (share * (1 - share) * counts[letter])
        for letter in EMOTIONS
    )
    assert chi_squared < 11.07  # 95 % of the distribution with five degrees of freedom


def test_a_clip_does_not_depend_on_what_was_made_before_it() -> None:
    late = render(speech_clips()[400])
    for clip in CORPUS[:3]:
        render(clip)
    assert np.array_equal(render(CORPUS[400])[0], late[0])
    assert not np.array_equal(render(speech_clips(seed=1)[400])[0], late[0])


def test_clips_are_of_their_length_and_never_clipped() -> None:
    for clip in CORPUS[::20]:
        samples, _ = render(clip)
        seconds = len(samples) / clip.sample_rate
        assert LENGTH_S[0] <= seconds <= LENGTH_S[1]
        assert samples.dtype == np.dtype("<i2")
        assert 5000 < np.abs(samples.astype(int)).max() < 32767


def test_the_folder_is_laid_out_as_shemo(folder: Path) -> None:
    entries = read_json(folder / "modified_shemo.json")
    paths = [*folder.rglob("*.wav")]
    assert {path.name for path in paths} == set(entries)
    assert len(paths) == 24
    for path in paths:
        entry = entries[path.name]
        assert (entry["gender"], entry["speech_name"]) == (path.parent.name, path.stem)
        assert entry["emotion"] in EMOTIONS.values()
        assert entry["transcript"].endswith(".")
        with wave.open(str(path)) as file:
            assert (file.getnchannels(), file.getsampwidth()) == (1, 2)
            assert file.getframerate() in (22050, 44100)
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        spoken = {f"{clip.name}.wav": EMOTIONS[clip.emotion] for clip in speech_clips()}
    assert {name: entry["emotion"] for name, entry in entries.items()} == spoken


def test_two_generations_are_equal_and_a_changed_file_is_mended(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        cfg = sample_speech.Config(out=tmp_path / "again")
        sample_speech.main(cfg)
        for path in folder.rglob("*"):
            if path.is_file():
                twin = tmp_path / "again" / path.relative_to(folder)
                assert twin.read_bytes() == path.read_bytes()
        capsys.readouterr()
        sample_speech.main(cfg)
        assert "unchanged" in capsys.readouterr().out
        victim = tmp_path / "again" / "male" / "M01A01.wav"
        victim.write_bytes(b"")
        sample_speech.main(cfg)
        assert victim.read_bytes() == (folder / "male" / "M01A01.wav").read_bytes()


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.wav").write_bytes(b"precious")
    with pytest.raises(UserError, match="not a sample"):
        sample_speech.main(sample_speech.Config(out=tmp_path, force=True))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.wav"]


def test_pitch_falls_in_anger_and_rises_in_surprise() -> None:
    rising = {}
    for letter in "AW":
        clips = [clip for clip in CORPUS if clip.emotion == letter][::4]
        rising[letter] = np.mean([pitch_moves_up(render(c)[0], c.sample_rate) for c in clips])
    assert rising["A"] < 0.25
    assert rising["W"] > 0.75


def test_unlabelled_speech_is_as_much_as_asked_for_and_repeats() -> None:
    first, second = list(utterances(4, seed=5)), list(utterances(6, seed=5))
    assert (len(first), len(second)) == (4, 6)
    for a, b in zip(first, second, strict=False):
        assert np.array_equal(a, b)
        assert a.dtype == np.float32
        assert LENGTH_S[0] * 16000 <= len(a) <= LENGTH_S[1] * 16000
        assert np.abs(a).max() <= 1
    assert not np.array_equal(first[0], next(utterances(1, seed=6)))
