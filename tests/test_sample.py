import csv
import io
from itertools import islice
from pathlib import Path

import pytest

from lib import floors, sample, text
from lib.errors import UserError
from scripts import prepare_text
from scripts import sample as script


def rows(name: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(sample.text_files()[name]), delimiter="\t"))


def test_two_generations_are_equal_and_another_seed_is_not() -> None:
    assert sample.text_files() == sample.text_files()
    assert sample.text_files(seed=1) != sample.text_files()


def test_the_files_are_in_farstails_format_with_balanced_classes() -> None:
    for name in sample.TEXT_FILES.values():
        header, *pairs = rows(name)
        assert header[:3] == ["premise", "hypothesis", "label"]
        assert (len(header) == 5) == (name == "Test-word.csv")
        labels = [pair[2] for pair in pairs]
        assert {labels.count(label) for label in "ecn"} == {len(pairs) // 3}
    assert len(rows("Train-word.csv")) > 3000


def test_no_premise_is_in_two_splits() -> None:
    premises = [{pair[0] for pair in rows(name)[1:]} for name in sample.TEXT_FILES.values()]
    assert len(set.union(*premises)) == sum(map(len, premises))


def test_unlabelled_text_holds_no_validation_or_test_premise() -> None:
    held_out = {pair[0] for name in ("Val-word.csv", "Test-word.csv") for pair in rows(name)[1:]}
    lines = list(islice(sample.sentences(500, seed=3), 500))
    assert len(lines) == 500
    told = {text for line in lines for text in line.split("\t")}
    assert all(line.count("\t") == 1 for line in lines)
    assert not told & held_out


def test_its_best_floor_lies_between_40_and_75_percent(tmp_path: Path) -> None:
    script.main(script.Config(out=tmp_path / "raw"))
    folder = prepare_text.main(
        prepare_text.Config(data=str(tmp_path / "raw"), name="sample", out=str(tmp_path))
    )
    assert text.read_meta(folder)["sample"]
    found = {floor["name"]: floor["accuracy"] for floor in floors.floors(folder)}
    assert 0.40 < max(found.values()) < 0.75
    assert found["hypothesis only"] < 0.45, "the hypothesis alone gives little away"


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(UserError, match="not a sample"):
        script.main(script.Config(out=tmp_path))
    assert (tmp_path / "mine").read_text() == "x"
