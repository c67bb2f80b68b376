import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lib import files, json_lines, runs
from lib.errors import UserError


def config(**options: Any) -> dict[str, Any]:
    return runs.configuration(
        script="test", options={"epochs": 1, **options}, inputs={"data": "abc"}, device="cpu"
    )


def test_an_existing_run_is_an_error_that_names_both_ways_on(tmp_path: Path) -> None:
    folder = tmp_path / "full-s0"
    with runs.opened(folder, config()) as run:
        assert not folder.exists(), "a mistake until now costs nothing"
        runs.begin(run)
    with pytest.raises(UserError, match=r"--resume.*--force"), runs.opened(folder, config()):
        pass
    (folder / "metrics.jsonl").write_text('{"event": "end"}\n')
    with runs.opened(folder, config(), resume=True) as run:
        assert run.trained
    with runs.opened(folder, config(epochs=2), force=True) as run:
        assert not run.trained
        assert (folder / "metrics.jsonl").exists(), "a mistake until now costs nothing"
        runs.begin(run)
    assert [path.name for path in folder.iterdir()] == ["config.json"]


def test_resuming_with_other_options_or_inputs_names_them(tmp_path: Path) -> None:
    folder = tmp_path / "full-s0"
    with runs.opened(folder, config(pooling="cls")) as run:
        runs.begin(run)
    other = config(pooling="mean", limit=3)
    with (
        pytest.raises(UserError, match=r"--limit None, now 3, --pooling 'cls', now 'mean'"),
        runs.opened(folder, other, resume=True),
    ):
        pass
    moved = config(pooling="cls")
    moved["inputs"]["data"] = "def"
    with (
        pytest.raises(UserError, match="input data 'abc', now 'def'"),
        runs.opened(folder, moved, resume=True),
    ):
        pass


def test_a_run_in_use_is_refused_and_freed_when_its_process_dies(tmp_path: Path) -> None:
    folder = tmp_path / "full-s0"
    code = (
        "import sys, time; from pathlib import Path; from lib import runs\n"
        f"config = {config()!r}\n"
        f"with runs.opened(Path({str(folder)!r}), config) as run:\n"
        "    runs.begin(run); print('open', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    assert other.stdout.readline() == "open\n"
    with pytest.raises(UserError, match="another process"), runs.opened(folder, config()):
        pass
    other.kill()
    other.wait()
    with runs.opened(folder, config(), resume=True):
        pass


@pytest.mark.parametrize("name", ["..", "a/b", "", ".hidden", "a\\b", "x\ny", "-flag"])
def test_a_name_that_leaves_its_folder_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="--variant"):
        runs.run_folder(tmp_path / "study", {"variant": name, "seed": 0})


def test_runs_with_folds_say_so_in_their_name(tmp_path: Path) -> None:
    options = {"variant": "full", "seed": 1, "split": "speaker", "fold": 3}
    assert runs.run_folder(tmp_path / "s", options).name == "full-s1-f3"
    assert runs.run_folder(tmp_path / "s", options | {"split": "report"}).name == "full-s1"


def test_a_torn_last_line_is_left_out_and_a_file_is_cut_back(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    json_lines.append(path, {"step": 1, "x": 0.1})
    size = path.stat().st_size
    json_lines.append(path, {"step": 2})
    with path.open("a") as file:
        file.write('{"step": 3, "lo')
    assert [record["step"] for record in json_lines.read(path)] == [1, 2]
    json_lines.cut_back(path, size)
    assert json.loads(path.read_text()) == {"step": 1, "x": 0.1}


def test_parts_that_were_done_twice_count_once_in_the_training_time(tmp_path: Path) -> None:
    for step, seconds in ((5, 2.0), (10, 3.0), (10, 4.0)):
        json_lines.append(tmp_path / "timing.jsonl", {"step": step, "seconds": seconds})
    assert runs.train_seconds(tmp_path) == 6


NO_DATA = '{"script": "s", "options": {}, "change": {}, "inputs": {"model": "x"}}'


@pytest.mark.parametrize("text", ["", "{", "[]", '{"options": 3}', '"x"', NO_DATA])
def test_a_damaged_config_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(UserError, match=r"config\.json"):
        runs.read_config(tmp_path)


def test_a_staged_folder_is_whole_or_absent_and_has_plain_permissions(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with pytest.raises(FileNotFoundError), files.staged_folder(target) as staged:
        (staged / "half").write_bytes((tmp_path / "not there").read_bytes())
    assert list(tmp_path.iterdir()) == []
    for text in ("one", "two"):
        with files.staged_folder(target) as staged:
            (staged / "whole").write_text(text)
            (staged / "whole").chmod(0o600)
    assert (target / "whole").read_text() == "two"
    plain = tmp_path / "plain"
    plain.write_text("")
    assert (target / "whole").stat().st_mode == plain.stat().st_mode
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "plain"]
