import importlib
import itertools
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from invoke import Config, Context, Exit

from lib import hub
from scripts import _cli
from tasks import data, demo, pretrain, studies
from tasks.command import ROOT, here


def commands(recipe: Any, /, remainder: str = "", **options: Any) -> list[list[str]]:
    """The command lines of a recipe, in order, as words after `python -m`."""
    found: list[list[str]] = []
    dry = Context(Config({"run": {"dry": True}}), remainder=remainder)
    with mock.patch.object(Context, "run", lambda _, line, **__: found.append(shlex.split(line))):
        recipe(dry, **options)
    return [line[line.index("-m") + 1 :] for line in found]


EVERY = {"gpus": 2, "seeds": 2, "epochs": "1", "limit": "8", "revision": "abc", "force": True}
RECIPES: dict[str, tuple[Any, dict[str, Any]]] = {
    "bert": (studies.bert, {}),
    "bert, all options": (studies.bert, EVERY),
    "bert-all": (studies.bert_all, {}),
    "bert-all, report": (studies.bert_all, {"recipe": "report", "model": ".", "seeds": 3}),
    "hubert": (studies.hubert, {}),
    "hubert, all options": (
        studies.hubert,
        EVERY | {"labels": "agree", "folds": "1,2,3,4,5", "augment": "none"},
    ),
    "hubert, emobox": (studies.hubert, {"split": "emobox", "model": "."}),
    "hubert-all": (studies.hubert_all, {"data": __file__}),
    "hubert-all, report": (studies.hubert_all, {"recipe": "report", "model": "."}),
    "demo": (demo.demo, {}),
    "pretrain.hubert": (pretrain.hubert, {}),
    "pretrain.hubert, all options": (
        pretrain.hubert,
        EVERY
        | {"seeds": None, "data": __file__, "name": "new", "units": "50,100", "iterations": 3}
        | {"layer": "2", "again_from": "last", "split": "emobox", "labels": "agree"},
    ),
    "pretrain.hubert, no labels": (pretrain.hubert, {"data": "lib", "model": "."}),
    "pretrain.bert": (pretrain.bert, {}),
    "pretrain.bert, all options": (
        pretrain.bert,
        EVERY | {"seeds": None, "data": __file__, "name": "new", "preprocess": "full"},
    ),
    "pretrain.compare": (pretrain.compare, {"before": ".", "after": "lib", "seeds": 2}),
    "pretrain.compare, speech": (
        pretrain.compare,
        {
            "before": ".",
            "after": "lib",
            "kind": "hubert",
            "folds": "2,3",
            "epochs": "1",
            "force": True,
        },
    ),
    "farstail": (data.farstail, {"force": True, "url": "http://localhost"}),
    "shemo": (data.shemo, {"force": True}),
    "model": (data.model, {"revision": "abc", "out": "x", "force": True}),
    "prepare": (data.prepare, {"preprocess": "full"}),
    "prepare-speech": (data.prepare_speech, {}),
    "scratch-bert": (data.scratch_bert, {"force": True}),
    "scratch-hubert": (data.scratch_hubert, {"layers": 2, "force": True}),
    "clean": (data.clean, {"delete": "tokens"}),
}


@pytest.mark.parametrize("name", RECIPES)
def test_every_command_of_every_recipe_is_accepted_by_its_script(name: str) -> None:
    recipe, options = RECIPES[name]
    found = commands(recipe, **{k: v for k, v in options.items() if v is not None})
    assert found
    for module, *argv in found:
        script = importlib.import_module(module)
        _cli.parse(script.Config, argv, getattr(script, "RECIPES", None))


VARIANTS = ["full", "freeze-9", "last-and-embeddings", "intermediate", "prune-heads"]


def test_bert_all_trains_five_variants_then_floors_evaluation_and_pictures() -> None:
    found = commands(studies.bert_all, data="data/raw/x", model=".", name="real", seeds=2)
    names = [line[0].removeprefix("scripts.") for line in found]
    trained = ["train_bert", "freeze", "freeze", "freeze", "prune"]
    assert names == ["prepare_text", *trained, *trained, "floors", "evaluate", "plot"]
    evaluated = found[-2][found[-2].index("--runs") + 1 : found[-2].index("--device")]
    assert evaluated == [f"runs/bert/real/{v}-s{seed}" for seed in (0, 1) for v in VARIANTS]


def test_hubert_all_trains_five_variants_on_each_fold_with_the_folds_own_floors() -> None:
    found = commands(studies.hubert_all, data="data/raw/x", model=".", name="real", folds="2,4")
    names = [line[0].removeprefix("scripts.") for line in found]
    trained = ["train_hubert", "freeze", "freeze", "freeze", "prune"]
    assert names[:2] == ["prepare_shemo", "augment"]
    assert names[2:] == [*trained, *trained, "floors", "floors", "evaluate", "plot"]
    evaluated = found[-2][found[-2].index("--runs") + 1 : found[-2].index("--device")]
    assert evaluated == [f"runs/hubert/real/{v}-s0-f{fold}" for fold in (2, 4) for v in VARIANTS]
    assert [line[line.index("--fold") + 1] for line in found if "--fold" in line] == [
        *("2", "4"),
        *("2", "4"),
    ]


def test_the_reports_speech_recipe_has_its_split_and_its_augmentation() -> None:
    found = commands(studies.hubert, recipe="report", model=".")
    (augment,) = [line for line in found if line[0] == "scripts.augment"]
    assert augment[augment.index("--recipe") + 1 :][0] == "report"
    assert augment[augment.index("--split") + 1 :][0] == "report"
    (evaluate,) = [line for line in found if line[0] == "scripts.evaluate"]
    assert "runs/hubert/shemo/full-s0" in evaluate, "no fold in the name where there are none"


def test_a_second_iteration_has_units_of_the_first_ones_model_and_starts_as_told() -> None:
    for again_from, start in (("start", "."), ("last", "data/models/x-1")):
        found = commands(
            pretrain.hubert, data="lib", model=".", name="x", iterations=2, again_from=again_from
        )
        names = [line[0].removeprefix("scripts.") for line in found]
        learnt = ["cluster_units", "pretrain_hubert"]
        assert names == ["prepare_audio", *learnt, *learnt]
        made = [dict(itertools.pairwise(line)) for line in found[1:]]
        assert [of["--name"] for of in made[1::2]] == ["x-1", "x"]
        assert "--model" not in made[0]
        assert (made[2]["--model"], made[3]["--model"]) == ("data/models/x-1", start)
        assert [of["--units"] for of in made[1::2]] == [made[0]["--name"], made[2]["--name"]]
        assert made[0]["--split"] == made[2]["--split"] == "all"


def test_units_learnt_from_other_clips_have_other_names() -> None:
    names = set()
    for options in ({}, {"fold": 2}, {"labels": "agree"}, {"split": "report"}, {"units": "50"}):
        found = commands(pretrain.hubert, model=".", **options)
        (line,) = [line for line in found if line[0] == "scripts.cluster_units"]
        names.add(line[line.index("--name") + 1])
    assert len(names) == 5


def test_two_encoders_are_compared_under_equal_options_whole_and_frozen() -> None:
    found = commands(pretrain.compare, before=".", after="lib", seeds=2, remainder="--pooling max")
    trained = [line for line in found if line[0] == "scripts.train_bert"]
    assert len(trained) == 4
    for first, second in itertools.batched(trained, 2):
        assert set(first) ^ set(second) == {".", "lib", "before", "after"}
        assert first[-2:] == ["--pooling", "max"]
    assert found[-2][0] == "scripts.evaluate"
    assert len([word for word in found[-2] if word.startswith("runs/bert/pretrained/")]) == 8


def test_flags_after_two_dashes_reach_the_training_script_and_win() -> None:
    found = commands(
        studies.bert, remainder="--learning-rate 0.5 --epochs 9", model=".", epochs="1"
    )
    (train,) = [line for line in found if line[0] == "scripts.train_bert"]
    script = importlib.import_module("scripts.train_bert")
    config = _cli.parse(script.Config, train[1:], script.RECIPES)
    assert (config.learning_rate, config.epochs) == (0.5, 9)
    assert not any("0.5" in line for line in found if line[0] != "scripts.train_bert")


def test_the_reports_recipe_goes_on_from_the_fine_tuned_weights_in_variant_2_only() -> None:
    found = commands(studies.bert_all, recipe="report", model=".")
    (changed,) = [line for line in found if "--init" in line]
    assert "freeze-9" in changed
    assert "farstail-full" in " ".join(found[1])


def test_paths_are_those_of_the_caller_and_the_command_runs_in_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my data").mkdir()
    with mock.patch.object(Context, "run") as run:
        data.prepare(Context(), data="my data")
    command = run.call_args.args[0]
    assert command.startswith(f"cd {shlex.quote(str(ROOT))} && ")
    assert shlex.quote(str(tmp_path / "my data")) in command
    assert here(data.FARSTAIL) == data.FARSTAIL, "the project's own default"


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        (studies.bert, {"recipe": "other"}),
        (studies.bert, {"seeds": 0}),
        (studies.hubert, {"recipe": "other"}),
        (studies.hubert, {"folds": "1,6"}),
        (studies.hubert, {"split": "report", "folds": "2"}),
        (studies.hubert, {"split": "other"}),
        (pretrain.hubert, {"units": "100,500"}),
        (pretrain.hubert, {"units": "many"}),
        (pretrain.hubert, {"iterations": 0}),
        (pretrain.hubert, {"again_from": "other"}),
        (pretrain.hubert, {"split": "all", "fold": 2}),
        (pretrain.bert, {"preprocess": "other"}),
        (pretrain.bert, {"data": "nowhere.txt"}),
        (pretrain.compare, {"before": ".", "after": ".", "split": "all", "kind": "hubert"}),
        (pretrain.compare, {"before": ".", "after": ".", "seeds": 0}),
        (pretrain.compare, {"before": ".", "after": ".", "folds": "6", "kind": "hubert"}),
    ],
)
def test_a_wrong_option_of_a_recipe_is_one_line_with_exit_code_2(
    recipe: Any, options: dict[str, Any]
) -> None:
    with mock.patch.object(Context, "run"), pytest.raises(Exit) as caught:
        recipe(Context(), **options)
    assert caught.value.code == 2
    assert str(caught.value.message).startswith("error: --")


def readme_table(title: str) -> dict[str, str]:
    """First column → second column of the README's table that follows a line of text."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").split(title, 1)[1]
    rows = itertools.takewhile(lambda line: line.startswith("|"), text.strip().splitlines())
    return {cells[1].strip(): cells[2].strip() for cells in (row.split("|") for row in rows)}


def test_the_readme_states_the_defaults_of_bare_bert_all() -> None:
    default = importlib.import_module("scripts.train_bert").RECIPES["default"]
    rows = readme_table("What bare `invoke bert-all` does:")
    expected = {
        "data folder": data.FARSTAIL,
        "model": hub.DEFAULT,
        "revision": hub.REVISIONS[hub.DEFAULT],
        "preprocessing": studies.PREPROCESS["default"],
        "epochs": f"{default.epochs:g}",
        "batch": str(default.batch_size),
        "learning rate": f"{default.learning_rate:g}",
        "layers frozen": f"{studies.FREEZE:g}",
        "layers kept": f"{studies.KEEP:g}",
        "heads removed": f"{studies.PRUNE:g}",
        "selection": default.metric,
    }
    for name, value in expected.items():
        assert f"`{value}`" in rows[name], name


def test_the_readme_states_the_defaults_of_bare_hubert() -> None:
    default = importlib.import_module("scripts.train_hubert").RECIPES["default"]
    rows = readme_table("What bare `invoke hubert` does:")
    expected = {
        "data folder": data.SHEMO,
        "model": hub.HUBERT,
        "revision": hub.REVISIONS[hub.HUBERT],
        "labels": default.labels,
        "split": studies.SPLIT["default"],
        "folds": str(default.fold),
        "augmentation": studies.AUGMENT["default"],
        "epochs": f"{default.epochs:g}",
        "batch": str(default.batch_size),
        "learning rate": f"{default.learning_rate:g}",
        "selection": default.metric,
    }
    for name, value in expected.items():
        assert f"`{value}`" in rows[name], name
    assert (default.augment, default.split) == (rows["augmentation"].split("`")[1], "speaker")
    assert default.class_weights
    assert default.features == "frozen"


def test_recipes_import_no_torch() -> None:
    code = "import sys, tasks; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
