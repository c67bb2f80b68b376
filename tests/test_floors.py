import csv
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest

from lib import floors
from scripts import prepare_text

Rows = Sequence[tuple[str, ...]]


def prepared(tmp_path: Path, train: Rows, test: Rows) -> Path:
    names = ["premise", "hypothesis", "label"] if len(train[0]) == 3 else ["premise", "label"]
    for name, rows in (("train", train), ("validation", train), ("test", test)):
        with (tmp_path / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([names, *rows])
    config = prepare_text.Config(
        train=str(tmp_path / "train.csv"),
        validation=str(tmp_path / "validation.csv"),
        test=str(tmp_path / "test.csv"),
        name="p",
        out=str(tmp_path),
        hypothesis_column="hypothesis" if len(train[0]) == 3 else None,
    )
    return prepare_text.main(config)


def accuracies(folder: Path) -> dict[str, float]:
    return {floor["name"]: floor["accuracy"] for floor in floors.floors(folder)}


def test_a_cue_in_the_hypothesis_is_found_and_the_majority_is_that_of_training(
    tmp_path: Path,
) -> None:
    train = [(f"a{i} b", "yes x" if i % 3 else "no x", "p" if i % 3 else "q") for i in range(60)]
    test = [(f"t{i} b", "no x" if i % 4 else "yes x", "q" if i % 4 else "p") for i in range(40)]
    found = accuracies(prepared(tmp_path, train, test))
    assert found["majority"] == pytest.approx(10 / 40), "p trains most and tests least"
    assert found["hypothesis only"] == 1


def test_overlap_tells_pairs_apart_that_no_single_text_does(tmp_path: Path) -> None:
    words = [f"w{i}" for i in range(40)]

    def pairs(n: int, start: int) -> Rows:
        rows = []
        for i in range(start, start + n):
            premise = " ".join(words[(i + k) % 40] for k in range(6))
            shift = 0 if i % 2 else 20
            hypothesis = " ".join(words[(i + k + shift) % 40] for k in range(4))
            rows.append((premise, hypothesis, "same" if i % 2 else "other"))
        return rows

    found = accuracies(prepared(tmp_path, pairs(200, 0), pairs(60, 7)))
    assert found["overlap"] == 1


def test_single_sentences_have_no_overlap_floor(tmp_path: Path) -> None:
    rows = [(f"good {i}", "p") if i % 2 else (f"bad {i}", "q") for i in range(40)]
    found = accuracies(prepared(tmp_path, rows, rows))
    assert set(found) == {"majority", "words only"}
    assert found["words only"] == 1


def test_overlap_features_by_hand() -> None:
    frame = pd.DataFrame([{"premise": "می‌رود خانه، شهر", "hypothesis": "می‌رود خانه آب آب"}])
    (row,) = floors.overlap_features(frame).tolist()
    # hypothesis {می‌رود, خانه, آب}, premise {می‌رود, خانه, شهر}; its pairs: 1 of 3 is there
    assert row == pytest.approx([2 / 3, 2 / 3, 2 / 4, 1 / 3, 3, 4])
