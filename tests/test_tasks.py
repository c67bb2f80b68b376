import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from invoke import Context, Exit

import tasks
from scripts import _cli

ROOT = Path(tasks.ROOT)


def commands(recipe: Any, /, remainder: str = "", **options: Any) -> list[list[str]]:
    """The command lines of a recipe, in order, as words after `python -m`."""
    lines = []
    with mock.patch.object(Context, "run", lambda _, line, **__: lines.append(line)):
        recipe(Context(remainder=remainder), **options)
    words = [shlex.split(line) for line in lines]
    return [line[line.index("-m") + 1 :] for line in words]


RECIPES: dict[str, tuple[Any, dict[str, Any]]] = {
    "bert": (tasks.bert, {}),
    "bert, all options": (
        tasks.bert,
        {"seeds": 2, "epochs": "1", "limit": "8", "revision": "abc", "force": True},
    ),
    "bert-all": (tasks.bert_all, {}),
    "bert-all, report": (tasks.bert_all, {"recipe": "report", "model": ".", "seeds": 3}),
    "demo": (tasks.demo, {}),
    "farstail": (tasks.farstail, {"force": True, "url": "http://localhost"}),
    "model": (tasks.model, {"revision": "abc", "out": "x", "force": True}),
    "prepare": (tasks.prepare, {"preprocess": "full"}),
    "scratch-bert": (tasks.scratch_bert, {"force": True}),
    "clean": (tasks.clean, {"delete": "tokens"}),
}


@pytest.mark.parametrize("name", RECIPES)
def test_every_command_of_every_recipe_is_accepted_by_its_script(name: str) -> None:
    recipe, options = RECIPES[name]
    found = commands(recipe, **options)
    assert found
    for module, *argv in found:
        script = importlib.import_module(module)
        _cli.parse(script.Config, argv, getattr(script, "RECIPES", None))


def test_bert_all_trains_five_variants_then_floors_evaluation_and_pictures() -> None:
    found = commands(tasks.bert_all, data="data/raw/x", model=".", name="real", seeds=2)
    names = [line[0].removeprefix("scripts.") for line in found]
    trained = ["train_bert", "freeze", "freeze", "freeze", "prune"]
    assert names == ["prepare_text", *trained, *trained, "floors", "evaluate", "plot"]
    evaluated = found[-2][found[-2].index("--runs") + 1 : found[-2].index("--device")]
    variants = ["full", "freeze-9", "last-and-embeddings", "intermediate", "prune-heads"]
    assert evaluated == [f"runs/bert/real/{v}-s{seed}" for seed in (0, 1) for v in variants]


def test_flags_after_two_dashes_reach_the_training_script_and_win() -> None:
    found = commands(tasks.bert, remainder="--learning-rate 0.5 --epochs 9", model=".", epochs="1")
    (train,) = [line for line in found if line[0] == "scripts.train_bert"]
    script = importlib.import_module("scripts.train_bert")
    config = _cli.parse(script.Config, train[1:], script.RECIPES)
    assert (config.learning_rate, config.epochs) == (0.5, 9)
    assert not any("0.5" in line for line in found if line[0] != "scripts.train_bert")


def test_the_reports_recipe_goes_on_from_the_fine_tuned_weights_in_variant_2_only() -> None:
    found = commands(tasks.bert_all, recipe="report", model=".")
    (changed,) = [line for line in found if "--init" in line]
    assert "freeze-9" in changed
    assert "farstail-full" in " ".join(found[1])


def test_paths_are_those_of_the_caller_and_the_command_runs_in_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my data").mkdir()
    with mock.patch.object(Context, "run") as run:
        tasks.prepare(Context(), data="my data")
    command = run.call_args.args[0]
    assert command.startswith(f"cd {shlex.quote(str(ROOT))} && ")
    assert shlex.quote(str(tmp_path / "my data")) in command
    assert tasks.here(tasks.FARSTAIL) == tasks.FARSTAIL, "the project's own default"


@pytest.mark.parametrize("options", [{"recipe": "other"}, {"seeds": 0}])
def test_a_wrong_option_of_a_recipe_is_one_line_with_exit_code_2(options: dict[str, Any]) -> None:
    with pytest.raises(Exit) as caught:
        tasks.bert(Context(), **options)
    assert caught.value.code == 2
    assert str(caught.value.message).startswith("error: --")


def test_the_readme_states_the_defaults_of_bare_bert_all() -> None:
    script = importlib.import_module("scripts.train_bert")
    hub = importlib.import_module("lib.hub")
    default = script.RECIPES["default"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([\w ,-]+?) \| (.+?) \|$", readme, re.MULTILINE))
    expected = {
        "data folder": tasks.FARSTAIL,
        "model": hub.DEFAULT,
        "revision": hub.REVISIONS[hub.DEFAULT],
        "preprocessing": tasks.PREPROCESS["default"],
        "epochs": f"{default.epochs:g}",
        "batch": str(default.batch_size),
        "learning rate": f"{default.learning_rate:g}",
        "layers frozen": f"{tasks.FREEZE:g}",
        "layers kept": f"{tasks.KEEP:g}",
        "heads removed": f"{tasks.PRUNE:g}",
        "selection": default.metric,
    }
    for name, value in expected.items():
        assert f"`{value}`" in rows[name], name


def test_recipes_import_no_torch() -> None:
    code = "import sys, tasks; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
