"""What a user sees when the machine fails a real training, and what is left of it."""

import contextlib
import errno
import json
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from lib import checkpoints, files
from scripts import _fuzz_world as world
from tests.test_faults import mounted

TEXT = (*world.BERT_RUN, "--epochs", "3", "--batch-size", "2", "--save-every", "2")
SPEECH = (
    *(*world.HUBERT_RUN, "--epochs", "2", "--augment", "none", "--mask-time", "0"),
    *("--cache", "on"),
)
Ends = Callable[..., str]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiny corpora and untrained models."""
    place = tmp_path_factory.mktemp("inputs")
    with contextlib.chdir(place):
        world.make()
        world.run_script("train_bert", (*TEXT, "--variant", "whole"))
    return place


@pytest.fixture
def place(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a copy of the inputs, to be damaged."""
    shutil.copytree(inputs, tmp_path / "place")
    (tmp_path / "place").chmod(0o755)
    monkeypatch.chdir(tmp_path / "place")
    return tmp_path / "place"


@pytest.fixture
def ends(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ends:
    """Runs a script to an error of exit code 2, and gives the one line that it says."""

    def run(script: str, *argv: str) -> str:
        monkeypatch.setattr("sys.argv", [])
        with pytest.raises(SystemExit) as ended:
            world.run_script(script, argv)
        said = capsys.readouterr().err
        lines = [line for line in said.splitlines() if line.startswith("error: ")]
        assert ended.value.code == 2, said
        assert len(lines) == 1, said
        assert "Traceback" not in said
        return lines[0]

    return run


def same_as_undisturbed(run: Path) -> None:
    whole = Path("runs/bert/s/whole-s0")
    for name in ("metrics.jsonl", "best/model.safetensors"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    assert not [path for path in run.rglob(".*") if path.is_dir()], "nothing half-written"


@contextlib.contextmanager
def no_room_after(n: int, monkeypatch: pytest.MonkeyPatch, way: str, disk: Path) -> Iterator[None]:
    """Take the room from the disk once n checkpoints are written."""
    save, limits = checkpoints.save, resource.getrlimit(resource.RLIMIT_FSIZE)

    def save_then_fill(*told: Any, **options: Any) -> Path:
        nonlocal n
        n -= 1
        if n >= 0:
            return save(*told, **options)
        if way == "full disk":
            free = shutil.disk_usage(disk).free
            (disk / "filler").write_bytes(b"x" * max(0, free - 8 * 4096))
        else:  # a limit that the system sets to the size of files, as a quota does
            resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
        return save(*told, **options)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "save", save_then_fill)
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            (disk / "filler").unlink(missing_ok=True)


@pytest.mark.parametrize("way", ["full disk", "limit"])
@pytest.mark.usefixtures("place")
def test_a_disk_that_fills_in_the_middle_is_one_line_and_the_run_goes_on_when_there_is_room(
    tmp_path: Path, ends: Ends, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted(disk, "size=4m") if way == "full disk" else contextlib.nullcontext():
        argv = (*TEXT, "--out", str(disk))
        run = disk / "bert/s/full-s0"
        with no_room_after(4, monkeypatch, way, disk):
            said = ends("train_bert", *argv)
        reason = os.strerror(errno.ENOSPC if way == "full disk" else errno.EFBIG)
        assert f"{run}/checkpoints/step-" in said
        assert f": {reason}; make room there and go on with --resume" in said
        found = checkpoints.newest(run / "checkpoints")
        assert found is not None
        assert found[1]["step"] == 6
        assert not found[2], "what was saved is whole"
        world.run_script("train_bert", (*argv, "--resume"))
        same_as_undisturbed(run)


@pytest.mark.usefixtures("place")
def test_a_read_only_place_is_one_line(tmp_path: Path, ends: Ends) -> None:
    with mounted(tmp_path / "disk", "size=64k,ro") as disk:
        said = ends("train_bert", *TEXT, "--out", str(disk))
        assert "Read-only file system; see who may use it" in said


@pytest.mark.usefixtures("place")
def test_a_folder_that_may_not_be_written_to_is_one_line(ends: Ends) -> None:
    place = Path(tempfile.mkdtemp())
    place.chmod(0o555)
    user = os.geteuid()
    try:
        os.seteuid(user or 65534)  # root may write anywhere
        said = ends("train_bert", *TEXT, "--out", str(place))
    finally:
        os.seteuid(user)
        place.rmdir()
    assert f"error: {place}/bert: Permission denied; see who may use it" in said


@pytest.mark.usefixtures("place")
def test_a_run_in_use_is_one_line_and_is_left_as_it_is(ends: Ends) -> None:
    run = Path("runs/bert/s/whole-s0")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    with files.locked(run.with_name(f".{run.name}.lock")):
        for flag in ("--resume", "--force"):
            said = ends("train_bert", *TEXT, "--variant", "whole", flag)
            assert "another process holds" in said
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.usefixtures("place")
def test_a_rate_that_makes_the_loss_infinite_stops_in_one_line_and_leaves_a_whole_run(
    ends: Ends,
) -> None:
    hot = (*TEXT, "--learning-rate", "1e30", "--warmup", "0", "--max-grad-norm", "1e30")
    said = ends("train_bert", *hot, "--save-every", "1")
    assert "(training rows " in said
    assert "lower --learning-rate" in said
    found = checkpoints.newest(Path("runs/bert/s/full-s0/checkpoints"))
    assert found is not None
    assert all(torch.isfinite(tensor).all() for tensor in found[0].values())


@pytest.mark.parametrize("umask", [0o027, 0o002])
@pytest.mark.usefixtures("place")
def test_all_that_a_training_writes_has_the_permissions_that_umask_says(umask: int) -> None:
    there = {path: path.stat().st_mtime_ns for path in Path().rglob("*")}
    before = os.umask(umask)
    try:
        world.run_script("train_bert", (*TEXT, "--max-length", "20"))
        world.run_script("evaluate", ("--runs", "runs/bert/s/full-s0", "--device", "cpu"))
    finally:
        os.umask(before)
    new = [path for path in Path().rglob("*") if path not in there]
    assert {path.suffix for path in new} >= {".safetensors", ".json", ".jsonl", ".csv", ".npy"}
    for path in new:
        whole = 0o777 if path.is_dir() else 0o666
        assert path.stat().st_mode & 0o777 == whole & ~umask, path


@pytest.mark.usefixtures("place")
def test_a_run_cannot_go_on_with_another_number_of_processes(ends: Ends) -> None:
    config = json.loads(Path("runs/bert/s/whole-s0/config.json").read_text())
    assert config["processes"] == 1
    metrics = Path("runs/bert/s/whole-s0/metrics.jsonl")
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:-1]))
    said = ends("train_bert", *TEXT, "--variant", "whole", "--resume", "--gpus", "2")
    assert "--gpus 1, now 2" in said


def harm(path: Path, how: str) -> None:
    """Flip a bit in the middle of a file, or cut it there."""
    data = bytearray(path.read_bytes())
    if how == "flip":
        data[len(data) // 2] ^= 1
        path.write_bytes(data)
    else:
        os.truncate(path, len(data) // 2)


@pytest.mark.parametrize("how", ["flip", "cut"])
@pytest.mark.parametrize(
    ("pattern", "remedy"),
    [
        ("prepared/text/tokens/*/train/tokens.npy", "delete"),
        ("models/bert/model.safetensors", "damaged"),
        ("models/bert/config.json", "config.json"),
    ],
)
@pytest.mark.usefixtures("place")
def test_damaged_text_and_models_are_one_line_that_names_the_file(
    ends: Ends, pattern: str, remedy: str, how: str
) -> None:
    (path,) = Path().glob(pattern)
    harm(path, how)
    said = ends("train_bert", *TEXT, "--variant", "new")
    assert str(path.parent) in said
    assert remedy in said
    assert not Path("runs/bert/s/new-s0").exists()


@pytest.mark.parametrize("how", ["flip", "cut"])
@pytest.mark.usefixtures("place")
def test_a_damaged_prepared_table_is_one_line_that_names_the_file(ends: Ends, how: str) -> None:
    harm(Path("prepared/text/train.csv"), how)
    said = ends("floors", "--data", "prepared/text")
    assert "prepared/text/train.csv is missing or damaged" in said
    assert not Path("prepared/text/floors.json").exists()


@pytest.mark.parametrize("how", ["flip", "cut"])
@pytest.mark.usefixtures("place")
def test_damaged_audio_features_and_best_weights_are_one_line_that_names_the_file(
    ends: Ends, how: str
) -> None:
    world.run_script("train_hubert", SPEECH)
    best = Path("runs/hubert/s/full-s0/best/model.safetensors")
    (store,) = Path("cache").glob("*/rows.bin")
    for path, script, argv in (
        (best, "evaluate", ("--runs", str(best.parents[1]), "--device", "cpu")),
        (store, "train_hubert", (*SPEECH, "--variant", "new")),
        (Path("prepared/speech/audio-000.pcm"), "train_hubert", (*SPEECH, "--variant", "new")),
        (Path("prepared/speech/manifest.csv"), "train_hubert", (*SPEECH, "--variant", "new")),
    ):
        kept = path.read_bytes()
        harm(path, how)
        said = ends(script, *argv, *(["--force"] if script == "train_hubert" else []))
        assert str(path.parent) in said
        assert "damaged" in said or "shorter" in said
        path.write_bytes(kept)


@pytest.mark.parametrize("how", ["flip", "cut"])
@pytest.mark.usefixtures("place")
def test_a_damaged_checkpoint_is_passed_over_aloud_and_the_run_ends_as_it_would_have(
    capsys: pytest.CaptureFixture[str], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    save = checkpoints.save

    def save_or_die(folder: Path, step: int, *told: Any, **options: Any) -> Path:
        if step > 8:
            raise Killed
        return save(folder, step, *told, **options)

    monkeypatch.setattr(checkpoints, "save", save_or_die)
    with pytest.raises(Killed):
        world.run_script("train_bert", (*TEXT, "--keep", "3"))
    monkeypatch.setattr(checkpoints, "save", save)
    run = Path("runs/bert/s/full-s0")
    kept = sorted(path.name for path in (run / "checkpoints").iterdir())
    assert kept == ["step-4", "step-6", "step-8"], "--keep 3, each second step"
    harm(run / "checkpoints/step-8/tensors.safetensors", how)
    capsys.readouterr()
    world.run_script("train_bert", (*TEXT, "--keep", "3", "--resume"))
    said = "".join(capsys.readouterr())
    assert "passed over a damaged checkpoint" in said
    assert "step-8: the SHA-256 of tensors.safetensors" in said
    assert "going on after step 6" in said
    same_as_undisturbed(run)


@pytest.mark.usefixtures("place")
def test_checkpoints_are_written_each_so_many_minutes_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps, save = [], checkpoints.save

    def noted(folder: Path, step: int, *told: Any, **options: Any) -> Path:
        steps.append(step)
        return save(folder, step, *told, **options)

    monkeypatch.setattr(checkpoints, "save", noted)
    usual = (*TEXT, "--save-every", "0", "--save-apart", "0", "--epochs", "1")
    world.run_script("train_bert", (*usual, "--save-minutes", "0"))
    assert steps == [6], "the end of the epoch alone"
    steps.clear()
    world.run_script("train_bert", (*usual, "--save-apart", "60", "--save-minutes", "0", "--force"))
    assert steps == [], "the end comes within a minute"
    world.run_script("train_bert", (*usual, "--save-minutes", "1e-9", "--force"))
    assert list(dict.fromkeys(steps)) == [1, 2, 3, 4, 5, 6]


@pytest.mark.usefixtures("place")
def test_a_study_does_not_start_from_other_weights_or_data_than_its_base_run(ends: Ends) -> None:
    told = ("--run", "runs/bert/s/whole-s0", "--keep", "1", "--device", "cpu")
    tiny = ("--layers", "2", "--width", "16", "--heads", "2", "--out", "models", "--force")
    world.run_script(
        "scratch_bert", ("--data", "prepared/text", "--name", "bert", "--seed", "5", *tiny)
    )
    said = ends("freeze", *told)
    assert "models/bert is not what it was when the base run was trained" in said
    assert not Path("runs/bert/s/keep-1-s0").exists()
