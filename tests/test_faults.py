"""What a machine can do to a run: one clear error, and what was saved stays good."""

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from lib import checkpoints, files, runs
from lib.errors import UserError
from scripts import _cli

STATE = {"step": 3}


@contextlib.contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A small file system in memory; the test is skipped where none can be mounted."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        mounted = False
    if not mounted:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)  # what is mapped lives on


def _save(folder: Path, step: int, n: int = 4) -> Path:
    return checkpoints.save(folder, step, {"a": torch.ones(n)}, {"step": step}, keep=2)


def _step(folder: Path) -> int:
    found = checkpoints.newest(folder)
    assert found is not None
    return int(found[1]["step"])


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "size=256k") as small:
        _save(small, 3)
        with pytest.raises(OSError, match="No space left") as caught:
            _save(small, 6, n=100_000)
        assert caught.value.errno == errno.ENOSPC
        assert [path.name for path in small.iterdir()] == ["step-3"]
        assert _step(small) == 3


def test_a_full_disk_leaves_the_old_text(tmp_path: Path) -> None:
    with mounted(tmp_path / "small", "size=64k") as small:
        files.write_text(small / "page", "old")
        with pytest.raises(OSError, match="No space left"):
            files.write_text(small / "page", "x" * 200_000)
        assert (small / "page").read_text() == "old"
        assert [path.name for path in small.iterdir()] == ["page"]


def test_a_read_only_folder_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Of a script that saves."""

        folder: str = str(tmp_path / "fixed")
        """To save to."""

    monkeypatch.setattr("sys.argv", ["script"])
    with (
        mounted(tmp_path / "fixed", "size=64k,ro") as fixed,
        pytest.raises(SystemExit) as ended,
    ):
        _cli.run(lambda cfg: _save(Path(cfg.folder), 3), Config)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith(f"error: {fixed}/")
    assert ": Read-only file system; see who may use it" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json", "manifest.json"])
@pytest.mark.parametrize("harm", ["flip", "cut", "remove"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    tmp_path: Path, name: str, harm: str
) -> None:
    _save(tmp_path, 3)
    path = _save(tmp_path, 6) / name
    data = bytearray(path.read_bytes())
    if harm == "flip":
        data[-3] ^= 1
        path.write_bytes(data)
    elif harm == "cut":
        os.truncate(path, len(data) // 2)
    else:
        path.unlink()
    found = checkpoints.newest(tmp_path)
    assert found is not None
    tensors, state, damaged = found
    assert state == STATE
    assert torch.equal(tensors["a"], torch.ones(4))
    assert len(damaged) == 1
    assert "step-6" in damaged[0]


def test_a_second_process_is_refused_and_disturbs_nothing(tmp_path: Path) -> None:
    config = runs.configuration(script="test", options={}, inputs={"data": ""}, device="cpu")
    with runs.opened(tmp_path / "run", config) as run:
        runs.begin(run)
        _save(run.checkpoints, 3)
        for flags in ({"resume": True}, {"force": True}):
            with (
                pytest.raises(UserError, match="another process holds"),
                runs.opened(tmp_path / "run", config, **flags),
            ):
                pass
        assert _step(run.checkpoints) == 3


def test_memory_that_is_out_names_the_options_to_turn(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Of a script that trains."""

        batch_size: int = 8
        """Examples."""

    def train(cfg: Config) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr("sys.argv", ["script"])
    with pytest.raises(SystemExit) as ended:
        _cli.run(train, Config)
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith("error: the GPU is out of memory; lower --batch-size")
    assert said.count("\n") == 1
