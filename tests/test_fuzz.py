"""Damaged inputs of every kind, given to the real scripts: none may end in a forbidden way."""

import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from random import Random

import pytest

from lib.fuzz import attempts as fuzz
from lib.fuzz.damage import damaged_json
from lib.fuzz.zips import damaged_zip


def test_no_damaged_input_ends_in_a_forbidden_way(tmp_path: Path) -> None:
    # A process of its own: its forks must inherit no threads.
    command = [sys.executable, "-m", "scripts.fuzz", "--n", "40", "--workers", "1"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    counted = done.stdout.splitlines()[-1].split()
    assert counted[:2] == ["all", "40"]
    assert all(int(n) > 0 for n in counted[2:4])  # some are accepted, some refused


def test_each_forbidden_outcome_is_told_from_the_good_ones(tmp_path: Path) -> None:
    case = fuzz.Case(
        kind="k", what="w", script="s", argv=(), needs=(), edits={}, absent="out", hostile=True
    )
    line = "error: no\n"
    assert fuzz.judge(case, 2 << 8, line, tmp_path) == "one-line error"
    assert fuzz.judge(case, 0, "", tmp_path) == "escaped"
    assert fuzz.judge(case, 1 << 8, "", tmp_path) == "traceback"
    assert fuzz.judge(case, 11, "", tmp_path) == "crash"
    assert fuzz.judge(case, 2 << 8, line + line, tmp_path) == "other exit"
    (tmp_path / "out").mkdir()
    assert fuzz.judge(case, 2 << 8, line, tmp_path) == "half-written"
    (tmp_path / fuzz.CANARY).touch()
    assert fuzz.judge(case, 2 << 8, line, tmp_path) == "escaped"


def test_a_saved_input_is_read_back_as_it_was(tmp_path: Path) -> None:
    edits: dict[str, bytes | str | None] = {"a": b"\xff\x00", "b": "../link", "c": None}
    case = fuzz.Case(kind="k", what="w", script="s", argv=("--x",), needs=("raw",), edits=edits)
    fuzz.write_case(tmp_path / "case.json", case, "crash", "said")
    assert fuzz.read_case(tmp_path / "case.json") == case


def test_what_a_seed_draws_does_not_depend_on_what_was_drawn_before() -> None:
    data = b'{"a": {"b": [], "c": [1, {"d": "e"}]}, "f": [[], {}], "g": null}'
    alone = [damaged_json(Random(seed), data) for seed in range(3000)]
    assert [damaged_json(Random(seed), data) for seed in range(3000)] == alone


def test_a_zip_that_a_seed_draws_is_the_same_on_another_day(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        archive.writestr(zipfile.ZipInfo("female/F01A01.wav"), b"RIFF" * 99)
    drawn = []
    for day in (1.0e9, 1.7e9):
        monkeypatch.setattr("time.time", lambda day=day: day)
        drawn.append([damaged_zip(Random(seed), whole.getvalue()) for seed in range(40)])
    assert drawn[0] == drawn[1]
    assert {"bomb", "sizes that lie"} <= {what for _, what, _ in drawn[0]}
