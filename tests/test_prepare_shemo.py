"""From a corpus as people have it to packed speech: whole or absent, and always the same."""

import json
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from lib import zips
from lib.errors import UserError
from lib.files import remove, sha256
from lib.packed import COLUMNS, open_packed, read_manifest, read_meta, shard_name
from lib.pretrain.source import recordings
from lib.speech_manifest import read_manifest as read_table
from lib.speech_read import read_clips
from lib.speech_source import SHEMO_LABELS, shemo
from scripts import fetch_shemo, prepare_shemo
from scripts.prepare_shemo import Config

NAMES = ("F01A01", "F01N01", "F02S01", "F02H01", "M01A01", "M01W02", "M12F01", "M12N10")
SPOKEN = {"F02S01": "neutral"}  # what the transcript of a disputed clip says
EMOTIONS = {"A": "anger", "N": "neutral", "S": "sadness"}
EMOTIONS |= {"F": "fear", "W": "surprise", "H": "happiness"}


def write_clip(path: Path, *, seconds: float = 0.1, channels: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    number = sum(path.stem.encode())
    rate = 22_050 if number % 3 == 0 else 44_100
    wave = 0.3 * np.sin(np.arange(round(seconds * rate)) * number / 20000)
    soundfile.write(path, np.stack([wave] * channels, axis=1), rate)


def write_transcripts(folder: Path, names: tuple[str, ...] = NAMES) -> Path:
    entries = {
        f"{name}.wav": {
            "speech_name": name,
            "emotion": SPOKEN.get(name, EMOTIONS[name[3]]),
            "transcript": f"\ufeffسلام  {name}",
        }
        for name in names
    }
    path = folder / "modified_shemo.json"
    path.write_text(json.dumps(entries))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A tiny ShEMO, with transcripts."""
    raw = tmp_path / "shemo"
    for i, name in enumerate(NAMES):
        write_clip(raw / half(name) / f"{name}.wav", seconds=0.1 + 0.01 * i)
    (raw / "readme.txt").write_text("about")
    (raw / "male" / "._M01A01.wav").write_text("left by macOS")
    write_transcripts(raw)
    return raw


def half(name: str) -> str:
    return "female" if name[0] == "F" else "male"


def config(raw: Path, **options: object) -> Config:
    known = {"data": str(raw), "out": str(raw.parent / "prepared"), "workers": 1, **options}
    return Config(**known)  # type: ignore[arg-type]


def error_of(work: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        work()
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 500
    return text


def left_in(out: Path) -> set[str]:
    return {path.name for path in out.glob("*") if path.suffix != ".lock"}


def pack(raw: Path) -> None:
    """Replace the folders by the zip files that the authors hand out."""
    for part in ("female", "male"):
        with zipfile.ZipFile(raw / f"{part}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted((raw / part).iterdir()):
                archive.write(path, f"{part}/{path.name}")
            archive.writestr("__MACOSX/._x.wav", b"left by macOS")
        shutil.rmtree(raw / part)


def test_shemo_keeps_names_speakers_both_labels_and_sound(folder: Path) -> None:
    prepared = prepare_shemo.main(config(folder))
    frame, meta = read_manifest(prepared), read_meta(prepared)
    assert list(frame.columns) == list(COLUMNS)
    assert frame["id"].tolist() == list(range(8))
    assert frame["path"].tolist() == sorted(f"{half(n)}/{n}.wav" for n in NAMES)
    assert frame["speaker"].tolist() == [path.split("/")[1][:3] for path in frame["path"]]
    assert frame["gender"].tolist() == ["F"] * 4 + ["M"] * 4
    assert "".join(frame["label_filename"]) == "ANHSAWFN"
    assert "".join(frame["label_transcript"]) == "ANHNAWFN"
    assert frame["transcript"][0] == "سلام F01A01"
    assert meta["labels"] == list(SHEMO_LABELS) == list("ANSFWH")
    assert meta["corpus"] == "shemo"
    assert meta["n"] == 8
    assert meta["seconds"] == pytest.approx(frame["seconds"].sum(), abs=1e-3)
    assert not meta["sample"]
    assert "clips whose file name and transcript disagree on the class: 1" in meta["warnings"]
    packed = open_packed(prepared)
    for row in frame.to_dict("records"):
        samples = packed.read(row["id"])
        assert len(samples) == row["n_samples"]
        source = soundfile.info(folder / row["path"])
        assert row["source_rate"] == source.samplerate
        assert abs(len(samples) / 16_000 - source.duration) <= 1 / 16_000
        assert np.abs(samples.astype(int)).max() / 32768 == pytest.approx(row["peak"], abs=1e-6)
    for name in ("durations", "speakers", "classes"):
        assert (prepared / "figures" / f"{name}.png").stat().st_size > 1000


def test_without_transcripts_only_the_label_of_the_file_name_is_known(folder: Path) -> None:
    (folder / "modified_shemo.json").unlink()
    frame = read_manifest(prepare_shemo.main(config(folder)))
    assert set(frame["label_transcript"]) == {""}
    assert "".join(frame["label_filename"]) == "ANHSAWFN"


def test_folders_zip_files_and_one_flat_folder_give_the_same_clips(folder: Path) -> None:
    first = prepare_shemo.main(config(folder, name="folders"))
    flat = folder.parent / "flat"
    flat.mkdir()
    for path in [*folder.rglob("*.wav"), folder / "modified_shemo.json"]:
        shutil.copy(path, flat)
    pack(folder)
    second = prepare_shemo.main(config(folder, name="zips"))
    assert read_meta(first)["fingerprint"] == read_meta(second)["fingerprint"]
    assert read_meta(first)["key"] == read_meta(second)["key"]
    third = prepare_shemo.main(config(flat, name="flat"))
    assert (first / shard_name(0)).read_bytes() == (third / shard_name(0)).read_bytes()
    assert read_manifest(third)["path"].tolist() == sorted(f"{name}.wav" for name in NAMES)


def test_order_and_number_of_workers_change_nothing(folder: Path) -> None:
    five = folder.parent / "five"
    for number in range(5):
        shutil.copytree(folder, five / str(number))
    sources = recordings(five).sources
    one, two = (list(read_clips(sources, max_seconds=60, workers=n)) for n in (1, 2))
    assert len(one) == len(two) == 40
    for a, b in zip(one, two, strict=True):
        assert a.sha256 == b.sha256
        assert a.clip is not None
        assert b.clip is not None
        np.testing.assert_array_equal(a.clip.samples, b.clip.samples)


def test_what_is_prepared_is_reused_until_something_changes(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared = prepare_shemo.main(config(folder))
    before = (prepared / "meta.json").stat().st_ino
    prepare_shemo.main(config(folder))
    assert "reused" in capsys.readouterr().out
    assert (prepared / "meta.json").stat().st_ino == before
    message = error_of(lambda: prepare_shemo.main(config(folder, max_seconds=30.0)))
    assert "prepared differently (max seconds)" in message
    write_clip(folder / "male/M01A01.wav", seconds=0.3)
    assert "(audio)" in error_of(lambda: prepare_shemo.main(config(folder)))
    first = read_meta(prepared)["fingerprint"]
    prepare_shemo.main(config(folder, force=True))
    assert read_meta(prepared)["fingerprint"] != first


def test_a_damaged_shard_is_made_again(folder: Path) -> None:
    prepared = prepare_shemo.main(config(folder))
    whole = (prepared / shard_name(0)).read_bytes()
    (prepared / shard_name(0)).write_bytes(b"\1" + whole[1:])
    prepare_shemo.main(config(folder))
    assert (prepared / shard_name(0)).read_bytes() == whole


def test_a_folder_of_something_else_is_never_replaced(folder: Path) -> None:
    other = folder.parent / "prepared" / "shemo"
    other.mkdir(parents=True)
    (other / "letter.txt").write_text("dear")
    message = error_of(lambda: prepare_shemo.main(config(folder, force=True)))
    assert "is no prepared speech" in message
    assert (other / "letter.txt").read_text() == "dear"


def test_bad_clips_are_listed_with_reasons_and_nothing_is_left(folder: Path) -> None:
    (folder / "female/F01A01.wav").write_bytes(b"")
    data = (folder / "female/F02S01.wav").read_bytes()
    (folder / "female/F02S01.wav").write_bytes(data[:-100])
    (folder / "male/M01A01.wav").unlink()
    (folder / "male/M12N10.wav").write_bytes(b"")
    message = error_of(lambda: prepare_shemo.main(config(folder)))
    assert "4 of 8 clips cannot be used (2 empty file, 1 truncated, 1 missing)" in message
    assert "female/F01A01.wav, female/F02S01.wav, male/M01A01.wav and 1 more" in message
    assert "--skip-bad" in message
    out = folder.parent / "prepared"
    assert left_in(out) == {"shemo.bad.csv"}
    listed = pd.read_csv(out / "shemo.bad.csv")
    assert listed.columns.tolist() == ["path", "label", "reason"]
    assert listed["label"].tolist() == ["A", "S", "A", "N"]
    assert listed["reason"][1] == "truncated: at least 100 bytes are missing"


def test_skip_bad_goes_on_without_them_and_says_how_many_of_which_class(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("female/F01A01.wav", "male/M01A01.wav", "female/F02S01.wav"):
        (folder / name).write_bytes(b"")
    prepared = prepare_shemo.main(config(folder, skip_bad=True))
    assert "left out 3 bad clips (A 2, S 1)" in capsys.readouterr().out
    meta, frame = read_meta(prepared), read_manifest(prepared)
    assert [clip["path"] for clip in meta["skipped"]] == [
        "female/F01A01.wav",
        "female/F02S01.wav",
        "male/M01A01.wav",
    ]
    assert frame["id"].tolist() == list(range(5))
    assert "no clip of the class 'A'" in meta["warnings"]
    assert "--skip-bad" in error_of(lambda: prepare_shemo.main(config(folder)))
    prepare_shemo.main(config(folder, skip_bad=True))
    assert "reused" in capsys.readouterr().out


def test_a_list_of_bad_clips_goes_when_they_are_mended(folder: Path) -> None:
    whole = (folder / "male/M01A01.wav").read_bytes()
    (folder / "male/M01A01.wav").write_bytes(b"")
    error_of(lambda: prepare_shemo.main(config(folder)))
    (folder / "male/M01A01.wav").write_bytes(whole)
    prepare_shemo.main(config(folder))
    assert left_in(folder.parent / "prepared") == {"shemo"}


def test_an_interruption_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lib.speech_prepare._write_meta", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare_shemo.main(config(folder))
    assert left_in(folder.parent / "prepared") == set()


def test_a_sample_corpus_is_marked_and_channels_are_counted(folder: Path) -> None:
    (folder / "SAMPLE").touch()
    write_clip(folder / "male/M01A01.wav", channels=2)
    meta = read_meta(prepare_shemo.main(config(folder)))
    assert meta["sample"]
    assert meta["n_stereo"] == 1


def spoil(folder: Path, how: str) -> None:
    """Make one thing wrong with the tiny ShEMO."""
    if how == "foreign name":
        shutil.copy(folder / "male/M01A01.wav", folder / "male/angry.wav")
    elif how == "twice":
        (folder / "male/more").mkdir()
        shutil.copy(folder / "male/M01A01.wav", folder / "male/more/M01A01.wav")
    elif how == "empty":
        for path in folder.rglob("*.wav"):
            path.unlink()
    elif how == "old transcripts":
        old = {"F01A01": {"speaker_id": "F01", "emotion": "anger", "transcript": "ا"}}
        (folder / "modified_shemo.json").write_text(json.dumps(old))
    elif how == "no transcripts":
        (folder / "modified_shemo.json").write_text('{"F01A01.wav": {"emotion": "anger"}}')
    elif how == "not json":
        (folder / "modified_shemo.json").write_text("<html>")
    else:
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("foreign name", ["male/angry.wav", "not named as in ShEMO", "--manifest"]),
        ("twice", ["M01A01 twice", "male/more/M01A01.wav"]),
        ("empty", ["none of ShEMO's recordings", "female.zip"]),
        ("old transcripts", ["162 of its keys have no such file", "modified_shemo.json"]),
        ("no transcripts", ["no speech_name, emotion and transcript"]),
        ("not json", ["modified_shemo.json is damaged"]),
        ("gone", ["is no folder", "--data"]),
    ],
)
def test_a_wrong_corpus_is_one_line(folder: Path, how: str, words: list[str]) -> None:
    spoil(folder, how)
    message = error_of(lambda: prepare_shemo.main(config(folder)))
    for word in words:
        assert word in message
    assert left_in(folder.parent / "prepared") == set()


def entry(name: str, *, mode: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


@pytest.mark.parametrize(
    ("name", "mode", "words"),
    [
        ("../../F01A01.wav", 0, "leads out of it"),
        ("/tmp/F01A01.wav", 0, "leads out of it"),
        ("a\\..\\..\\F01A01.wav", 0, "leads out of it"),
        ("C:F01A01.wav", 0, "leads out of it"),
        ("female/F01A01.wav", stat.S_IFLNK | 0o777, "a link"),
        ("female/F01A01.wav", stat.S_IFIFO | 0o666, "a special file"),
    ],
)
def test_zip_files_with_paths_or_links_that_lead_out_are_refused(
    tmp_path: Path, name: str, mode: int, words: str
) -> None:
    path = tmp_path / "female.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry(name, mode=mode), b"abc")
    assert words in error_of(lambda: zips.members(path))
    assert sorted(tmp_path.iterdir()) == [path]


def test_zip_bombs_are_refused_before_anything_is_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "male.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("M01A01.wav", bytes(10_000_000))
    assert "over 100 times its size" in error_of(lambda: zips.members(path))
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(5):
            archive.writestr(f"M01A0{number}.wav", bytes(100))
    monkeypatch.setattr(zips, "MAX_FILES", 4)
    assert "5 files" in error_of(lambda: zips.members(path))
    monkeypatch.undo()
    monkeypatch.setattr(zips, "MAX_BYTES", 499)
    assert "too much" in error_of(lambda: zips.members(path))
    monkeypatch.undo()
    monkeypatch.setattr(zips, "MAX_FILE_BYTES", 99)
    assert "unpacked" in error_of(lambda: zips.members(path))


def test_damaged_and_encrypted_zip_files_are_refused(folder: Path) -> None:
    pack(folder)
    path = folder / "male.zip"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "is damaged" in error_of(lambda: shemo(folder))
    path.write_bytes(b"<html>this link is dead</html>")
    assert "is damaged" in error_of(lambda: shemo(folder))
    directory = whole.rindex(b"PK\1\2")
    path.write_bytes(whole[: directory + 8] + b"\1" + whole[directory + 9 :])
    assert "encrypted" in error_of(lambda: shemo(folder))


def test_a_damaged_file_in_a_zip_file_is_a_bad_clip(folder: Path) -> None:
    pack(folder)
    path = folder / "male.zip"
    data = bytearray(path.read_bytes())
    data[data.index(b"M01A01.wav") + 200] ^= 255
    path.write_bytes(data)
    message = error_of(lambda: prepare_shemo.main(config(folder)))
    assert "1 of 8 clips cannot be used (1 damaged): male/M01A01.wav" in message


def table(folder: Path, text: str) -> Path:
    path = folder / "clips.csv"
    path.write_bytes(text.encode())
    return path


HEADER = "path,label\n"
TWO = "female/F01A01.wav,x\nmale/M01A01.wav,y\n"


def test_any_corpus_by_a_table(folder: Path) -> None:
    path = table(
        folder,
        "\ufeffsplit;label;speaker;path;gender;more;transcript\n"
        "train;sad;ali;./male/M01A01.wav;male;1;سلام\n"
        "test;glad;sara;female/F01A01.wav;F;2;\n"
        "validation;sad;;female/F01N01.wav;;3;\n",
    )
    prepared = prepare_shemo.main(config(folder, manifest=str(path), name="own"))
    frame, meta = read_manifest(prepared), read_meta(prepared)
    assert frame["path"].tolist() == ["female/F01A01.wav", "female/F01N01.wav", "male/M01A01.wav"]
    assert frame["label_filename"].tolist() == ["glad", "sad", "sad"]
    assert frame["label_transcript"].tolist() == frame["label_filename"].tolist()
    assert frame["split"].tolist() == ["test", "validation", "train"]
    assert frame["speaker"].tolist() == ["sara", "", "ali"]
    assert frame["gender"].tolist() == ["F", "", "M"]
    assert frame["transcript"].tolist() == ["", "", "سلام"]
    assert meta["labels"] == ["glad", "sad"]
    assert meta["corpus"] is None
    ordered = config(folder, manifest=str(path), name="own2", labels=("sad", "glad"))
    assert read_meta(prepare_shemo.main(ordered))["labels"] == ["sad", "glad"]


def test_paths_of_a_table_may_begin_elsewhere(folder: Path) -> None:
    path = table(folder.parent, HEADER + TWO)
    corpus = read_table(path, root=folder)
    assert [source.file for source in corpus.sources] == [
        f"{folder}/female/F01A01.wav",
        f"{folder}/male/M01A01.wav",
    ]


def test_missing_files_of_a_table_are_listed(folder: Path) -> None:
    path = table(folder, HEADER + TWO + "nowhere.wav,x\n")
    message = error_of(lambda: prepare_shemo.main(config(folder, manifest=str(path))))
    assert "1 of 3 clips cannot be used (1 missing): nowhere.wav" in message


@pytest.mark.parametrize(
    ("text", "where", "words"),
    [
        ("", ", row 1: ", ["empty"]),
        (HEADER, ", row 1: ", ["no row below"]),
        ("file,label\na.wav,x\n", ", row 1: ", ["no column 'path'", "'file', 'label'"]),
        ("path,label,split,split\n", ", row 1: ", ["two columns", "split"]),
        (HEADER + TWO + ",x\n", ", row 4: ", ["path is empty"]),
        (HEADER + TWO + "a.wav,\n", ", row 4: ", ["label is empty"]),
        (HEADER + TWO + "a.wav\n", ", row 4: ", ["1 field"]),
        (HEADER + TWO + "../a.wav,x\n", ", row 4: ", ["not one below", "--root"]),
        (HEADER + TWO + "/etc/a.wav,x\n", ", row 4: ", ["not one below"]),
        (HEADER + TWO + "a\\b.wav,x\n", ", row 4: ", ["with /"]),
        (HEADER + TWO + "./male/M01A01.wav,x\n", ", row 4: ", ["stands in row 3 too"]),
        (HEADER + "a.wav,x\nb.wav,x\n", ": ", ["two different labels"]),
        ("path,label,split\na.wav,x,dev\n", ", row 2: ", ["unknown split 'dev'", "validation"]),
        ("path,label,split\na,x,train\nb,y,\n", ", row 3: ", ["split is empty"]),
        ("path,label,split\na,x,train\nb,y,test\n", ": ", ["no row has the split validation"]),
        ("path,label,gender\na,x,z\n", ", row 2: ", ["unknown gender 'z'"]),
    ],
)
def test_a_wrong_table_is_one_line_with_the_row(
    tmp_path: Path, text: str, where: str, words: list[str]
) -> None:
    path = table(tmp_path, text)
    message = error_of(lambda: read_table(path))
    assert message.startswith(f"{path}{where}")
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("labels", "words"),
    [(("x",), "unknown label 'y'"), (("x", "y", "z"), "no row has the label z")],
)
def test_labels_of_a_table_must_fit(folder: Path, labels: tuple[str, ...], words: str) -> None:
    path = table(folder, HEADER + TWO)
    assert words in error_of(lambda: read_table(path, labels=labels))


def test_the_same_clips_in_another_order_of_rows_are_the_same_corpus(folder: Path) -> None:
    first = read_table(table(folder, HEADER + TWO))
    second = read_table(table(folder, HEADER + "".join(reversed(TWO.splitlines(True)))))
    assert [*first.sources] == [*second.sources]
    assert first.labels == second.labels


def fetch_config(folder: Path, **options: str) -> fetch_shemo.Config:
    dead = "http://127.0.0.1:9"
    known = {"female": dead, "male": dead, "emobox": "", "transcripts": dead}
    return fetch_shemo.Config(out=str(folder), **{**known, **options})  # type: ignore[arg-type]


def test_dead_links_say_where_to_ask_and_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lib.download.BACKOFF_S", 0.0)
    message = error_of(lambda: fetch_shemo.main(fetch_config(tmp_path)))
    assert "github.com/aliyzd95/modified_shemo" in message
    transcripts = write_transcripts(tmp_path)
    monkeypatch.setattr(fetch_shemo, "TRANSCRIPTS_SHA256", sha256(transcripts))
    message = error_of(lambda: fetch_shemo.main(fetch_config(tmp_path)))
    assert "github.com/pariajm/sharif-emotional-speech-dataset" in message
    assert f"put female.zip into {tmp_path}" in message


def test_recordings_that_are_there_are_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    transcripts = folder / "modified_shemo.json"
    monkeypatch.setattr(fetch_shemo, "TRANSCRIPTS_SHA256", sha256(transcripts))
    fetch_shemo.main(fetch_config(folder))
    assert "8 of 8 recordings" in capsys.readouterr().out
    pack(folder)
    remove(folder / "readme.txt")
    fetch_shemo.main(fetch_config(folder))
    assert "8 of 8 recordings" in capsys.readouterr().out
