"""Packed audio: what is written is read, without copies, whatever the shards."""

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lib.errors import UserError
from lib.files import sha256
from lib.packed import (
    Packed,
    PackedWriter,
    open_packed,
    read_manifest,
    read_meta,
    shard_name,
)
from tests.conftest import pack

LENGTHS = (700, 400, 1, 1000, 2500, 10)


def clips() -> list[np.ndarray]:
    generator = np.random.default_rng(3)
    return [generator.integers(-32768, 32768, n).astype(np.int16) for n in LENGTHS]


def write(folder: Path, *, shard_bytes: int = 2 * 1200) -> tuple[pd.DataFrame, PackedWriter]:
    rows = []
    with PackedWriter(folder, shard_bytes=shard_bytes) as writer:
        for clip in clips():
            shard, offset = writer.add(clip)
            rows.append({"shard": shard, "offset": offset, "n_samples": len(clip)})
    return pd.DataFrame(rows), writer


def test_what_is_written_is_read_in_any_order_of_rows(tmp_path: Path) -> None:
    frame, _ = write(tmp_path)
    order = [3, 0, 5, 4, 2, 1]
    packed = open_packed(tmp_path, frame.iloc[order])
    assert len(packed) == len(LENGTHS)
    for row, number in enumerate(order):
        samples = packed.read(row)
        assert samples.dtype == np.int16
        np.testing.assert_array_equal(samples, clips()[number])


def test_shards_hold_so_many_bytes_unless_one_clip_is_longer(tmp_path: Path) -> None:
    frame, writer = write(tmp_path)
    assert frame["shard"].tolist() == [0, 0, 0, 1, 2, 3]
    assert frame["offset"].tolist() == [0, 700, 1100, 0, 0, 0]
    sizes = [path.stat().st_size // 2 for path in sorted(tmp_path.glob("audio-*.pcm"))]
    assert sizes == [1101, 1000, 2500, 10]
    assert writer.sha256 == {path.name: sha256(path) for path in tmp_path.glob("audio-*.pcm")}


def test_reading_copies_nothing_and_opens_a_shard_once(tmp_path: Path) -> None:
    frame, _ = write(tmp_path)
    packed = open_packed(tmp_path, frame)
    first, second = packed.read(0), packed.read(1)
    assert not first.flags.owndata
    assert not first.flags.writeable
    base = first.ctypes.data
    assert second.ctypes.data == base + 2 * 700
    assert packed.read(0).ctypes.data == base


def test_another_process_opens_its_own_files(tmp_path: Path) -> None:
    frame, _ = write(tmp_path)
    packed = open_packed(tmp_path, frame)
    packed.read(0)
    sent = pickle.dumps(packed)
    assert len(sent) < 2000
    copy: Packed = pickle.loads(sent)
    np.testing.assert_array_equal(copy.read(4), clips()[4])


def test_a_missing_or_short_shard_is_named(tmp_path: Path) -> None:
    frame, _ = write(tmp_path)
    with (tmp_path / shard_name(0)).open("r+b") as file:
        file.truncate(2 * 1000)
    (tmp_path / shard_name(1)).unlink()
    (tmp_path / shard_name(2)).write_bytes(b"")
    packed = open_packed(tmp_path, frame)
    assert len(packed.read(0)) == 700
    for row, words in ((1, "audio-000.pcm is shorter"), (3, "audio-001.pcm is missing")):
        with pytest.raises(UserError, match=words):
            packed.read(row)
    with pytest.raises(UserError, match=r"audio-002\.pcm is missing or empty"):
        packed.read(4)


def test_a_flipped_bit_is_one_line(tmp_path: Path) -> None:
    rows = pd.DataFrame({"label_filename": ["A"] * len(LENGTHS)})
    folder = pack(tmp_path / "clips", clips(), rows)
    open_packed(folder)
    path = folder / "audio-000.pcm"
    data = bytearray(path.read_bytes())
    data[7] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"audio-000\.pcm is damaged .*--force"):
        open_packed(folder)


@pytest.mark.parametrize("seconds", ["'a", "0.2../0.2", "", "inf", "-1"])
def test_a_length_that_is_none_is_one_line_though_its_sum_is_right(
    tmp_path: Path, seconds: str
) -> None:
    rows = pd.DataFrame({"label_filename": ["A"] * len(LENGTHS)})
    folder = pack(tmp_path / "clips", clips(), rows)
    path, meta = folder / "manifest.csv", json.loads((folder / "meta.json").read_text())
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame.loc[1, "seconds"] = seconds
    frame.to_csv(path, index=False)
    meta["files"]["manifest.csv"] = sha256(path)
    (folder / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(UserError, match=r"manifest\.csv is damaged .*--force"):
        read_manifest(folder)


def test_only_int16_of_one_dimension_is_written(tmp_path: Path) -> None:
    with PackedWriter(tmp_path) as writer, pytest.raises(ValueError, match="float32"):
        writer.add(np.zeros(500, np.float32))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"make it with scripts\.prepare_shemo"):
        read_meta(tmp_path)
    (tmp_path / "meta.json").write_text('{"kind": "text"}')
    with pytest.raises(UserError, match="not of speech"):
        read_meta(tmp_path)
    (tmp_path / "meta.json").write_text('{"kind": "speech", "format": 0}')
    with pytest.raises(UserError, match="another version"):
        read_meta(tmp_path)
