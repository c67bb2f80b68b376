"""Real training processes, killed and resumed, end as if nobody had disturbed them."""

import os
import subprocess
import sys

import pytest


def _kill(*flags: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.kill", *flags],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_four_killed_trainings_end_as_if_undisturbed() -> None:
    said = _kill("--n", "4", "--jobs", "1")
    assert said.endswith("4 trainings killed and resumed, 0 failed\n")


@pytest.mark.slow
def test_sixty_killed_trainings_of_all_variants_end_as_if_undisturbed() -> None:
    assert _kill("--n", "60").endswith("60 trainings killed and resumed, 0 failed\n")
