"""The shapes of JSON files, and what is said of files of other shapes."""

import contextlib
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from lib import checkpoints, files, json_lines, runs
from lib.errors import UserError
from lib.markdown import escape
from lib.shapes import Whole, are_names, misfit
from lib.study import reports

JSON: some.SearchStrategy[Any] = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(),
    lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("value", "shape", "said"),
    [
        (3, float, ""),
        (math.nan, float, "it is nan"),
        (True, int, "it is True"),
        (-1, Whole, "it is -1"),
        (None, (None, str), ""),
        (5, (None, str), "it is 5"),
        (["e", "c"], are_names, ""),
        (["e", "e"], are_names, "it is ['e', 'e']"),
        (["e", ""], are_names, "it is ['e', '']"),
        ({"e": 1}, are_names, "it is {'e': 1}"),
        ({"a": [1, "b"]}, {"a": [int]}, "a[1] is 'b'"),
        ({"a": 1}, {"a": int, "b?": str}, ""),
        ({"a": 1}, {"a": int, "b": (None, str)}, "b is missing"),
        ({"a": {"x": 1, "y": "z"}}, {"a": {str: int}}, "a.y is 'z'"),
        ([], {"a": int}, "it is []"),
    ],
)
def test_a_misfit_is_told_by_its_place(value: Any, shape: Any, said: str) -> None:
    assert misfit(value, shape) == said


@given(JSON)
def test_whatever_json_holds_is_judged_without_an_exception(value: Any) -> None:
    for shape in (reports.SHAPE, runs.SHAPE, checkpoints.STATE):
        assert isinstance(misfit(value, shape), str)


@pytest.mark.parametrize(
    "text", ["7", "[]", "{}", '{"labels": 3}', "{", '{"counts": {"after": 1}}']
)
def test_a_damaged_report_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(UserError, match="is damaged"):
        reports.read(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"step": "six"}, "step is 'six'"),
        ({"scaler": {"_growth_tracker": "6"}}, "scaler._growth_tracker is '6'"),
        ({"scaler": {"scale": None}}, "scaler.scale is None"),
    ],
)
def test_a_checkpoint_whose_state_has_other_types_is_passed_over(
    tmp_path: Path, wrong: dict[str, Any], said: str
) -> None:
    import torch

    for state in ({"step": 3}, {"step": 6} | wrong):
        number = 3 if state == {"step": 3} else 6
        checkpoints.save(tmp_path, number, {"a": torch.ones(2)}, state, keep=2)
    found = checkpoints.newest(tmp_path)
    assert found is not None
    assert found[1] == {"step": 3}
    assert said in found[2][0]


def test_metrics_shorter_than_at_the_checkpoint_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("short")
    with pytest.raises(UserError, match="has 5 bytes, 9 when"):
        json_lines.cut_back(path, 9)
    assert path.read_text() == "short"
    json_lines.cut_back(path, 2)
    assert path.read_text() == "sh"


def test_what_a_killed_writer_left_is_swept_when_a_run_goes_on(tmp_path: Path) -> None:
    config = runs.configuration(script="test", options={}, inputs={"data": ""}, device="cpu")
    run = runs.Run(tmp_path / "run", config, new=True, trained=False)
    runs.begin(run)
    left = (run.checkpoints / ".step-6.ab12_def", run.folder / ".best.qykfmetz")
    for folder in left:
        (folder / "part").mkdir(parents=True)
    kept = run.checkpoints / "step-3"
    kept.mkdir()
    runs.begin(run)
    assert not any(folder.exists() for folder in left)
    assert kept.is_dir()
    assert json.loads((run.folder / "config.json").read_text())["script"] == "test"


def test_an_encoder_config_with_impossible_values_is_refused(tmp_path: Path) -> None:
    from lib.encoders import empty_encoder
    from lib.spec import check_encoder

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = {"model_type": "bert", "intermediate_size": 16, "vocab_size": 9} | sizes
    for name in ("attention_probs_dropout_prob", "layer_norm_eps", "hidden_dropout"):
        with pytest.raises(UserError, match=f"its {name} is inf"):
            check_encoder(config | {name: math.inf}, tmp_path / "config.json")
    for share in (2, -1, 10**400, 1.5):
        with pytest.raises(UserError, match="its hidden_dropout is"):
            check_encoder(config | {"hidden_dropout": share}, tmp_path / "config.json")
    with pytest.raises(UserError, match="it knows no 'gel'"):
        empty_encoder(config | {"hidden_act": "gel"})


FIELDS = {
    **{"model_type": "hubert", "hidden_size": 16, "num_hidden_layers": 1, "conv_stride": [5]},
    **{"num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 9, "conv_kernel": [10]},
    **{"conv_dim": [8], "pad_token_id": 0, "hidden_act": "gelu", "layer_norm_eps": 1e-5},
    **{"num_conv_pos_embedding_groups": 4, "num_conv_pos_embeddings": 8, "auto_map": None},
}


@given(kind=some.sampled_from(["bert", "hubert", "roberta", "wavlm"]), changed=some.data())
def test_whatever_a_models_config_holds_is_taken_or_refused_in_one_line(
    kind: str, changed: some.DataObject
) -> None:
    from lib.spec import check_encoder

    config: Any = FIELDS | {"model_type": kind}
    for name in changed.draw(some.lists(some.sampled_from(list(FIELDS)), min_size=1, max_size=3)):
        config = config | {name: changed.draw(JSON)}
    with contextlib.suppress(UserError):
        check_encoder(config, Path("config.json"))


def test_a_models_padding_must_be_in_its_vocabulary(tmp_path: Path) -> None:
    from lib.spec import check_encoder

    config = {name: value for name, value in FIELDS.items() if "conv" not in name}
    config["model_type"] = "bert"
    check_encoder(config, tmp_path)
    for value in (-1, 9, 0.5, "0"):
        with pytest.raises(UserError, match="its pad_token_id is"):
            check_encoder(config | {"pad_token_id": value}, tmp_path)


@given(some.text())
def test_an_escaped_text_begins_no_table_tag_link_or_code(text: str) -> None:
    shown = escape(f"a{text}")
    assert "\n" not in shown
    assert "<" not in shown
    assert not re.search(r"(?<!\\)(?:\\\\)*[\[\]|`]", shown)


def test_a_clip_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    from lib.speech_source import _read_transcripts

    path = tmp_path / "modified_shemo.json"
    entry = {"speech_name": 1.5, "emotion": "anger", "transcript": "x"}
    files.write_json(path, {"0": entry})
    with pytest.raises(UserError, match=r"1\.5 is no file name of ShEMO"):
        _read_transcripts(path)


def test_a_sealed_file_that_was_changed_counts_as_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    record = {"b": [1, 2.5, None], "a": {"c": "ا"}}
    files.write_sealed(path, record)
    assert files.read_sealed(path) == record
    path.write_text(path.read_text(encoding="utf-8").replace("2.5", "2.6"), encoding="utf-8")
    assert files.read_sealed(path) is None
    for text in ("", "[]", "{}", json.dumps(record)):
        path.write_text(text)
        assert files.read_sealed(path) is None
    assert files.read_sealed(tmp_path / "none.json") is None
    beside = tmp_path / "b.csv"
    beside.write_text("x")
    files.write_sealed(path, record, beside=beside)
    assert files.read_sealed(path, beside=beside) == record
    beside.write_text("y")
    assert files.read_sealed(path, beside=beside) is None


def test_a_file_of_another_shape_is_refused_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"n": "x"}')
    with pytest.raises(UserError, match=r"a\.json is damaged \(n is 'x'\); make it$"):
        files.read_json(tmp_path / "a.json", {"n": int}, remedy="make it")
