"""Splits: the report's counts, speakers kept apart, what speakers give away."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lib import splits
from lib.errors import UserError

REPORT = {"A": 1059, "N": 1028, "S": 449, "F": 38, "W": 225, "H": 201}


def manifest(
    counts: dict[str, int] = REPORT, *, n_speakers: int = 87, disputed: float = 0.05, seed: int = 0
) -> pd.DataFrame:
    """Clips with the given label counts by speakers who say unequally much, shuffled."""
    generator = np.random.default_rng(seed)
    label = np.repeat(list(counts), list(counts.values()))
    share = generator.lognormal(0, 0.7, n_speakers)
    speaker = generator.choice(n_speakers, len(label), p=share / share.sum())
    spoken = np.where(generator.random(len(label)) < disputed, "N", label)
    number = np.arange(len(label))
    names = [f"M{s:02}{x}{n:04}" for s, x, n in zip(speaker, label, number, strict=True)]
    frame = pd.DataFrame(
        {
            "id": names,
            "path": [f"male/{name}.wav" for name in names],
            "speaker": [name[:3] for name in names],
            "label_filename": label,
            "label_transcript": spoken,
            "split": "",
        }
    )
    return frame.sample(frac=1, random_state=seed)


def counts(split: pd.Series, of_clip: pd.Series, name: str) -> dict[str, int]:
    return {str(label): n for label, n in of_clip[split == name].value_counts().items()}


def test_the_reports_split_has_the_reports_counts() -> None:
    clips = manifest()
    split = splits.assign(clips, protocol="report", version="filename")
    of_clip = splits.labels(clips, "filename")
    test = {"A": 212, "N": 206, "S": 90, "F": 7, "W": 45, "H": 40}
    validation = {"A": 424, "N": 411, "S": 179, "F": 16, "W": 90, "H": 80}
    assert counts(split, of_clip, "test") == test
    assert counts(split, of_clip, "validation") == validation
    rest = {label: n - test[label] - validation[label] for label, n in REPORT.items()}
    assert counts(split, of_clip, "train") == rest
    assert rest["A"] == 423


@pytest.mark.parametrize("protocol", ["report", "speaker"])
def test_a_split_depends_neither_on_the_order_of_rows_nor_on_the_folder(protocol: str) -> None:
    clips = manifest(n_speakers=12)
    split = splits.assign(clips, protocol=protocol, version="filename")
    other = clips.sort_values("id").assign(path=lambda frame: frame["id"] + ".wav")
    again = splits.assign(other, protocol=protocol, version="filename")
    pd.testing.assert_series_equal(split.sort_index(), again.sort_index())
    assert split.index.equals(clips.index)


def test_five_folds_of_speakers_are_disjoint_and_test_every_clip_once() -> None:
    clips = manifest()
    of_clip = splits.labels(clips, "filename")
    n_tested = pd.Series(0, index=clips.index)
    for fold in range(1, 6):
        split = splits.assign(clips, protocol="speaker", version="filename", fold=fold)
        assert set(split) == {"train", "validation", "test"}
        speakers = clips.groupby(split)["speaker"].agg(set)
        assert not speakers["train"] & speakers["test"]
        assert not speakers["train"] & speakers["validation"]
        assert not speakers["validation"] & speakers["test"]
        assert splits.shared_speakers(clips, split) == 0
        assert splits.leak(clips, split, of_clip)["n_shared"] == 0
        n_tested += split == "test"
        assert 540 <= (split == "test").sum() <= 660, "a fifth of 3000, give or take a tenth"
        assert 5 <= counts(split, of_clip, "test")["F"] <= 9
        assert 0.08 <= (split == "validation").sum() / (split != "test").sum() <= 0.17
    assert (n_tested == 1).all()


def test_the_speakers_of_a_fold_are_the_same_for_every_label_version() -> None:
    clips = manifest(n_speakers=20)
    assigned = {v: splits.assign(clips, protocol="speaker", version=v) for v in splits.VERSIONS}
    assert assigned["filename"].equals(assigned["transcript"])
    agree = assigned["agree"]
    disputed = clips["label_filename"] != clips["label_transcript"]
    assert disputed.any()
    assert (agree[disputed] == "").all(), "disputed clips are left out"
    assert agree[~disputed].equals(assigned["filename"][~disputed])


def test_no_fold_is_empty_with_one_speaker_each() -> None:
    clips = pd.DataFrame({"path": [f"{i}.wav" for i in range(10)], "label_transcript": np.nan})
    clips["speaker"] = [f"s{i // 2}" for i in range(10)]
    clips["label_filename"] = ["A", "N"] * 5
    tested = set()
    for fold in range(1, 6):
        split = splits.assign(clips, protocol="speaker", version="filename", fold=fold)
        assert (split == "test").sum() == (split == "validation").sum() == 2
        tested |= set(clips["speaker"][split == "test"])
    assert len(tested) == 5


def test_the_labels_of_each_version() -> None:
    clips = pd.DataFrame({"label_filename": ["A", "N", "S"], "label_transcript": ["A", "S", ""]})
    assert splits.labels(clips, "filename").tolist() == ["A", "N", "S"]
    assert splits.labels(clips, "transcript").dropna().tolist() == ["A", "S"]
    assert splits.labels(clips, "agree").dropna().tolist() == ["A"]
    with pytest.raises(UserError, match="with modified_shemo"):
        splits.labels(clips.assign(label_transcript=""), "agree")


def tiny() -> pd.DataFrame:
    """Speaker x says N, N, A in training; y says A; z tests only."""
    rows = [("x", "N", "train")] * 2 + [("x", "A", "train"), ("y", "A", "train")]
    rows += [("y", "A", "train"), ("x", "A", "validation")]
    rows += [("x", "N", "test"), ("x", "A", "test"), ("y", "N", "test"), ("z", "A", "test")]
    clips = pd.DataFrame(rows, columns=["speaker", "label_filename", "split"])
    return clips.assign(path=[f"{i}.wav" for i in range(len(rows))], label_transcript="")


def test_what_speakers_give_away_by_hand() -> None:
    clips = tiny()
    of_clip = splits.labels(clips, "filename")
    # guesses: x -> N, N; y -> A; z, unknown -> A, the most frequent. Truth: N, A, N, A.
    assert splits.speaker_guess(clips, clips["split"], of_clip).tolist() == ["N", "N", "A", "A"]
    found = splits.leak(clips, clips["split"], of_clip)
    assert found == {"n_test": 4, "n_shared": 3, "accuracy": 0.5, "uar": 0.5}
    assert splits.shared_speakers(clips, clips["split"]) == 2
    split = splits.assign(clips, protocol="manifest", version="filename")
    assert split.equals(clips["split"].rename("split"))
    lines = splits.notes(clips, split, of_clip, protocol="manifest")
    assert len(lines) == 1
    assert "3 of 4 test clips" in lines[0]
    assert "0.500" in lines[0]


def test_a_missing_validation_is_drawn_from_training_speakers_if_they_are_known() -> None:
    clips = manifest(n_speakers=30)
    clips["split"] = np.where(clips["speaker"] < "M06", "test", "train")
    split = splits.assign(clips, protocol="manifest", version="filename")
    assert splits.shared_speakers(clips, split) == 0
    assert split[clips["split"] == "test"].eq("test").all()
    lines = splits.notes(clips, split, clips["label_filename"], protocol="manifest")
    assert "speakers were taken out of training" in lines[0]
    unknown = clips.assign(speaker="")
    split = splits.assign(unknown, protocol="manifest", version="filename")
    share = (split == "validation").sum() / (clips["split"] == "train").sum()
    assert share == pytest.approx(1 / 8, abs=0.01)
    assert (
        "clips were"
        in splits.notes(unknown, split, clips["label_filename"], protocol="manifest")[0]
    )


@pytest.mark.parametrize("as_folder", [True, False])
def test_emobox_keeps_its_test_clips_and_leaves_unlisted_ones_out(
    as_folder: bool, tmp_path: Path
) -> None:
    clips = manifest().sort_values("id").reset_index(drop=True)
    clips["list"] = np.resize(["train", "train", "train", "test", ""], len(clips))
    listed = clips[clips["list"] != ""]
    path = tmp_path / "list.csv"
    table = listed.rename(columns={"id": "utterance", "list": "emobox_fold1"})
    table[["utterance", "emobox_fold1"]].to_csv(path, index=False)
    if as_folder:
        path = tmp_path
        for half in ("train", "test"):
            names = listed["id"][listed["list"] == half]
            lines = [json.dumps({"wav": f"downloads/shemo/male/{name}.wav"}) for name in names]
            (path / f"shemo_{half}_fold_1.jsonl").write_text("\n".join(lines) + "\n")
    split = splits.assign(clips, protocol="emobox", version="filename", emobox=path)
    assert split.eq("test").equals(clips["list"] == "test")
    assert split.eq("").equals(clips["list"] == "")
    share = (split == "validation").sum() / (clips["list"] == "train").sum()
    assert share == pytest.approx(1 / 8, abs=0.01)
    with pytest.raises(UserError, match="--labels filename"):
        splits.assign(clips, protocol="emobox", version="transcript", emobox=path)


@pytest.mark.parametrize(
    ("change", "options", "says"),
    [
        ({}, {"protocol": "speaker", "fold": 6}, "folds 1 to 5"),
        ({}, {"protocol": "speaker", "fold": 0}, "folds 1 to 5"),
        ({}, {"protocol": "report", "fold": 2}, "folds 1 to 1"),
        ({"speaker": ""}, {"protocol": "speaker"}, "no known speaker"),
        ({"speaker": "x"}, {"protocol": "speaker"}, "1 speakers"),
        ({}, {"protocol": "manifest"}, "no training clips"),
        ({"split": "dev"}, {"protocol": "manifest"}, "'dev'"),
        ({"split": "train"}, {"protocol": "manifest"}, "no clip for test"),
        ({}, {"protocol": "emobox"}, "name it with --emobox"),
        ({}, {"protocol": "emobox", "emobox": Path("nowhere")}, "does not exist"),
        ({}, {"protocol": "random"}, "unknown split"),
    ],
)
def test_what_cannot_be_split_is_said_in_one_line(
    change: dict[str, str], options: dict, says: str
) -> None:
    clips = manifest({"A": 40, "N": 40}, n_speakers=8).assign(**change)
    with pytest.raises(UserError, match=says) as error:
        splits.assign(clips, version="filename", **options)
    assert "\n" not in str(error.value)


def test_a_class_that_would_go_untrained_is_named() -> None:
    clips = tiny()
    clips.loc[9, "label_filename"] = "F"
    with pytest.raises(UserError, match="no training clip of the class F"):
        splits.assign(clips, protocol="manifest", version="filename")
    few = manifest({"A": 30, "F": 1})
    with pytest.raises(UserError, match="cannot be split by class"):
        splits.assign(few, protocol="report", version="filename")
