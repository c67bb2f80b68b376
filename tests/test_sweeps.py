"""Sweeps: their recipes, what is chosen, and that only the chosen is seen on test."""

import csv
import importlib
import json
import random
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from invoke import Config, Context, Exit

from lib import files
from lib.errors import UserError
from lib.spec import Spec
from lib.study import sweep
from scripts import (
    _cli,
    curve,
    evaluate,
    freeze,
    mask_heads,
    prepare_text,
    prune,
    retrain,
    scratch_bert,
    train_bert,
)
from tasks import sweeps
from tests.test_tasks import commands

WORDS = ["کتاب", "خانه", "شهر", "آب", "دید", "نان"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a prepared corpus, a toy model and the trained base run."""
    place = tmp_path_factory.mktemp("sweep")
    generator = random.Random(0)
    (place / "raw").mkdir()
    for name, n in (("Train", 60), ("Val", 18), ("Test", 12)):
        with (place / f"raw/{name}-word.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter="\t")
            writer.writerow(["premise", "hypothesis", "label"])
            for i in range(n):
                premise = " ".join([name, str(i // 3), *generator.choices(WORDS, k=4)])
                writer.writerow([premise, WORDS[i % 3], "ecn"[i % 3]])
    raw = str(place / "raw")
    prepare_text.main(prepare_text.Config(data=raw, name="toy", out=str(place)))
    scratch = {"data": str(place / "toy"), "name": "tiny", "layers": 2, "width": 32}
    scratch_bert.main(scratch_bert.Config(**scratch, out=str(place)))  # type: ignore[arg-type]
    told: dict[str, Any] = {"data": str(place / "toy"), "model": str(place / "tiny")}
    told |= {"out": str(place / "runs"), "name": "study", "epochs": 8, "max_length": 24}
    told |= {"learning_rate": 3e-3, "batch_size": 4}
    train_bert.main(train_bert.Config(**told))
    return place


def base(place: Path) -> str:
    return str(place / "runs/bert/study/full-s0")


RECIPES: dict[str, tuple[Any, dict[str, Any]]] = {
    "layers": (sweeps.layers, {}),
    "layers, all ways": (sweeps.layers, {"way": "keep,freeze,probe", "seeds": 2, "layers": "1,12"}),
    "layers of speech": (sweeps.layers, {"kind": "hubert", "way": "probe", "model": "."}),
    "heads": (sweeps.heads, {"seeds": 2, "epochs": "1", "limit": "8", "tolerance": "0.01"}),
    "heads, three scores": (
        sweeps.heads,
        {"score": "gradient,magnitude,random", "retrain": "no", "force": True},
    ),
    "preprocess": (sweeps.preprocess, {"seeds": 2, "recipe": "report", "tolerance": "0.01"}),
}


@pytest.mark.parametrize("name", RECIPES)
def test_every_command_of_every_sweep_is_accepted_by_its_script(name: str) -> None:
    recipe, options = RECIPES[name]
    found = commands(recipe, **options)
    assert found[-1][0] == "scripts.curve"
    for module, *argv in found:
        script = importlib.import_module(module)
        _cli.parse(script.Config, argv, getattr(script, "RECIPES", None))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"force": True},
        {"kind": "hubert", "labels": "agree"},
        {"kind": "hubert", "data": "list.csv"},
        {"remainder": "--text-similarity 0.9"},
    ],
)
def test_what_splits_give_away_is_asked_of_its_script(options: dict[str, Any]) -> None:
    found = commands(sweeps.leak, **options)
    names = [line[0] for line in found]
    assert names[-1] == "scripts.leak"
    assert len([name for name in names if "prepare" in name]) == 1
    for module, *argv in found:
        script = importlib.import_module(module)
        _cli.parse(script.Config, argv, getattr(script, "RECIPES", None))


def values(line: list[str], flag: str) -> list[str]:
    rest = line[line.index(flag) + 1 :]
    return rest[: next((i for i, word in enumerate(rest) if word.startswith("--")), len(rest))]


def test_the_points_of_a_layer_sweep_are_the_runs_that_its_commands_make() -> None:
    found = commands(sweeps.layers, way="keep,freeze,probe", model=".", name="x", seeds=2)
    points = [point.split(":") for point in values(found[-1], "--points")]
    made = {"full-s0", "full-s1"}
    for words in found:
        if words[0] == "scripts.freeze":
            seed = values(words, "--run")[0].rpartition("-s")[2]
            made.add(f"{values(words, '--variant')[0]}-s{seed}")
    assert {Path(run).name for _, _, run in points} == made
    for line, x, run in points:
        whole = (line, int(x)) in {("keep", 12), ("freeze", 0)}
        assert Path(run).name.startswith("full" if whole else f"{line}-{x}-")
    of = {line: [int(x) for way, x, _ in points if way == line][:13] for line in sweeps.WAYS}
    assert of["keep"][:12] == [*range(1, 13)], "the cheapest first"
    assert of["freeze"] == [*range(12, -1, -1)], "the cheapest first"


def test_no_head_sweep_asks_for_more_than_may_go(place: Path) -> None:
    told = commands(sweeps.heads, run=base(place), name="x")
    pruned = [float(values(line, "--fraction")[0]) for line in told if "--fraction" in line]
    n_layers, n_heads = 2, scratch_heads(place)
    spare = n_layers * (n_heads - 1)
    assert max(pruned) <= spare / (n_layers * n_heads) + 0.1
    assert 0.9 not in pruned, "this toy model has too few heads for it"


def scratch_heads(place: Path) -> int:
    return int(json.loads((place / "tiny/config.json").read_text())["num_attention_heads"])


def test_a_sweep_from_a_run_trains_its_other_seeds_as_that_run_was(place: Path) -> None:
    found = commands(sweeps.layers, run=base(place), seeds=2, layers="1")
    assert found[0][:5] == ["scripts.retrain", "--run", base(place), "--seed", "1"]
    (study,) = values(found[-1], "--study")
    assert study == str(place / "runs/bert/study-layers")
    bases = values(found[-1], "--base")
    assert bases == [base(place), f"{study}/full-s1"]


def test_a_preprocessing_sweep_takes_the_run_that_is_there(place: Path) -> None:
    raw = str(place / "raw")
    prepared = [str(place / "toy"), "b", "c"]
    with mock.patch.object(sweeps, "prepared_text", side_effect=prepared):
        found = commands(sweeps.preprocess, run=base(place), data=raw)
    assert [line[0] for line in found] == ["scripts.retrain", "scripts.retrain", "scripts.curve"]
    assert values(found[-1], "--points")[0] == f"preprocessing:none:{base(place)}"


@pytest.mark.parametrize(
    ("recipe", "options"),
    [
        (sweeps.layers, {"way": "other"}),
        (sweeps.layers, {"layers": "13"}),
        (sweeps.layers, {"seeds": 0}),
        (sweeps.layers, {"run": "runs/none"}),
        (sweeps.heads, {"score": "other"}),
        (sweeps.heads, {"fractions": "0.25"}),
        (sweeps.heads, {"retrain": "maybe"}),
        (sweeps.preprocess, {"way": "other"}),
        (sweeps.layers, {"kind": "other"}),
    ],
)
def test_a_wrong_option_of_a_sweep_is_one_line_with_exit_code_2(
    recipe: Any, options: dict[str, Any]
) -> None:
    with mock.patch.object(Context, "run"), pytest.raises(Exit) as caught:
        recipe(Context(Config({"run": {"dry": True}})), **options)
    assert caught.value.code == 2
    assert re.match(r"error: --\w+ ", str(caught.value.message))


def test_the_chosen_is_the_best_on_validation_and_only_it_is_seen_on_test(place: Path) -> None:
    points = []
    for seed in (0, 1):
        of_seed = base(place)
        if seed:
            of_seed = str(retrain.main(retrain.Config(run=base(place), seed=1, name="layers")))
        told: dict[str, Any] = {"run": of_seed, "name": "layers"}
        for line, change in (
            ("keep", {"keep": 1}),
            ("probe", {"probe": 1}),
            ("probe", {"probe": 2}),
        ):
            ((_, n),) = change.items()
            made = freeze.main(freeze.Config(**told, **change, cache="off"))  # type: ignore[arg-type]
            points.append(f"{line}:{n}:{made}")
        points.append(f"keep:2:{of_seed}")
    study = place / "runs/bert/layers"
    config = curve.Config(study=str(study), points=tuple(points), device="cpu", label="layers")
    rows = curve.main(config)
    assert [row["n_seeds"] for row in rows] == [2] * 4
    for line in ("keep", "probe"):
        of_line = [row for row in rows if row["line"] == line]
        best = max(row["accuracy"] for row in of_line)
        (taken,) = [row for row in of_line if row["chosen"]]
        assert taken["accuracy"] == pytest.approx(best)
        assert taken is next(r for r in of_line if r["accuracy"] == pytest.approx(best))
        assert taken["test_n"] == 12
        for row in of_line:
            for point in points:
                way, x, run = point.split(":", 2)
                if (way, x) == (line, row["x"]):
                    report = json.loads((Path(run) / "report.json").read_text())
                    wanted = ["validation", "test"] if row["chosen"] else ["validation"]
                    assert list(report["splits"]) == wanted
                    frame = pd.read_csv(Path(run) / "predictions.csv")
                    assert frame["split"].value_counts().get("test", 0) == 12 * row["chosen"]
    page = (study / "curve.md").read_text(encoding="utf-8")
    assert "Of 2 seeds only" in page
    assert (study / "figures/curve.png").stat().st_size > 5000
    assert len(pd.read_csv(study / "curve.csv")) == 4
    before = {run: files.sha256(Path(run.split(":", 2)[2]) / "report.json") for run in points}
    assert curve.main(config) == rows
    assert before == {r: files.sha256(Path(r.split(":", 2)[2]) / "report.json") for r in points}


def test_masked_heads_predict_what_the_run_without_these_heads_predicts(place: Path) -> None:
    told: dict[str, Any] = {"run": base(place), "name": "heads", "device": "cpu"}
    scored = mask_heads.Config(**told, scores=("magnitude",), fractions=(0.0, 0.5))
    path = mask_heads.main(scored)
    before = path.stat().st_mtime_ns
    assert mask_heads.main(scored) == path
    assert path.stat().st_mtime_ns == before, "done is skipped"
    cut = prune.main(
        prune.Config(
            **told, score="magnitude", fraction=0.5, retrain=False, curve=False, variant="cut"
        )
    )
    evaluate.main(evaluate.Config(runs=(str(cut),), splits=("validation",), device="cpu"))
    frame = pd.read_csv(path, keep_default_na=False)
    masked = frame[frame["fraction"] == 0.5].sort_values("id")["prediction"].tolist()
    pruned = pd.read_csv(cut / "predictions.csv").sort_values("id")["prediction"].tolist()
    assert masked == pruned
    assert frame[frame["fraction"] == 0.5]["n_removed"].iloc[0] > 0


def test_the_chosen_of_masked_heads_is_made_and_seen_on_test(place: Path) -> None:
    told: dict[str, Any] = {"run": base(place), "name": "masked", "device": "cpu"}
    path = mask_heads.main(mask_heads.Config(**told, scores=("random",), fractions=(0.0, 0.5)))
    study = place / "runs/bert/masked"
    point = f"whole:0:{base(place)}"
    config = curve.Config(
        study=str(study), points=(point,), masked=(str(path),), tolerance=1.0, device="cpu"
    )
    rows = curve.main(config)
    (taken,) = [row for row in rows if row["chosen"] and row["line"] != "whole"]
    assert taken["x"] == "0.5", "any fraction is within a tolerance of 1: the cheapest is taken"
    report = json.loads((study / "random-0.5-masked-s0/report.json").read_text())
    assert report["splits"]["test"]["accuracy"] == pytest.approx(taken["test_accuracy"])


def test_a_probe_trains_a_linear_head_alone_and_hides_no_frames() -> None:
    encoder = {"num_hidden_layers": 4, "num_attention_heads": 2, "conv_kernel": [3]}
    spec = Spec(encoder=encoder, labels=("a", "b"), head="mlp", pooling="weighted", mask_time=0.05)
    found, name = freeze.changed(freeze.Config(run="x", probe=3), spec)
    assert name == "probe-3"
    assert (found.head, found.pooling, found.mask_time, found.read_layers) == (
        "linear",
        "mean",
        0,
        3,
    )
    assert found.frozen_embeddings
    assert found.frozen_layers == (0, 1, 2, 3)
    with pytest.raises(UserError, match="leave --init out"):
        freeze.changed(freeze.Config(run="x", probe=3, init="base"), spec)


def test_a_probe_takes_its_frozen_layers_from_the_cache(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told: dict[str, Any] = {"run": base(place), "name": "cached", "cache_folder": str(place / "c")}
    freeze.main(freeze.Config(**told, probe=1, cache="on"))
    freeze.main(freeze.Config(**told, probe=1, cache="on", variant="again"))
    said = re.findall(r"the first 1 frozen layer from (\S+),.* MB( \(.*)?", capsys.readouterr().out)
    assert len(said) == 2
    assert said[0][1]
    assert not said[1][1], "computed once"


def point_rows(values: dict[str, list[float]]) -> list[dict[str, Any]]:
    return [{"line": line, "accuracy": v} for line, of in values.items() for v in of]


def test_of_equals_and_of_those_within_the_tolerance_the_first_is_chosen() -> None:
    rows = point_rows({"keep": [0.5, 0.8, 0.8], "probe": [0.3, 0.29, 0.31]})
    assert sweep.chosen(rows, "accuracy") == [1, 5]
    assert sweep.chosen(rows, "accuracy", tolerance=0.02) == [1, 3]


def test_figures_of_seeds_are_their_mean_and_deviation() -> None:
    labels = np.array([0, 0, 1, 1, 0, 1])
    predicted = np.array([[0, 0, 1, 1, 0, 0], [0, 1, 1, 1, 1, 0]])
    groups = np.array([0, 0, 1, 1, 2, 2])
    of = sweep.Predictions(ids=np.arange(6), groups=groups, labels=labels, predicted=predicted)
    found = sweep.figures(of, class_names=("a", "b"))
    assert found["accuracy_of_seeds"] == pytest.approx([5 / 6, 3 / 6])
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["accuracy_sd"] == pytest.approx(np.std([5 / 6, 3 / 6], ddof=1))
    assert found["accuracy_low"] < found["accuracy"] < found["accuracy_high"]


def test_runs_of_other_rows_are_not_set_side_by_side(place: Path, tmp_path: Path) -> None:
    evaluate.main(evaluate.Config(runs=(base(place),), splits=("validation",), device="cpu"))
    names = ("e", "c", "n")
    one = sweep.parse([f"a:0:{base(place)}"])[0]
    found = sweep.predictions(one, "validation", class_names=names)
    fewer = replace(found, ids=found.ids[1:], labels=found.labels[1:])
    with pytest.raises(UserError, match="different rows"):
        sweep.refuse_other_rows({"one": found, "other": fewer})
    with pytest.raises(UserError, match="LINE:X:RUN"):
        sweep.parse(["a:0"])
    with pytest.raises(UserError, match="twice"):
        sweep.parse([f"a:0:{base(place)}", f"a:0:{base(place)}"])


def test_a_later_evaluation_keeps_the_splits_of_the_earlier_one(place: Path) -> None:
    run = retrain.main(retrain.Config(run=base(place), seed=7, name="later"))
    told: dict[str, Any] = {"runs": (str(run),), "device": "cpu"}
    evaluate.main(evaluate.Config(**told, splits=("validation",)))
    evaluate.main(evaluate.Config(**told, splits=("test",)))
    report = json.loads((run / "report.json").read_text())
    assert list(report["splits"]) == report["evaluated"] == ["validation", "test"]
    frame = pd.read_csv(run / "predictions.csv")
    assert frame["split"].value_counts().to_dict() == {"validation": 18, "test": 12}
    changed = report | {"weights": "of another training"}
    files.write_json(run / "report.json", changed)
    evaluate.main(evaluate.Config(**told, splits=("validation",)))
    report = json.loads((run / "report.json").read_text())
    assert list(report["splits"]) == ["validation"], "what other weights gave does not stay"


def test_a_run_made_from_another_is_not_retrained_by_its_options_alone(place: Path) -> None:
    made = freeze.main(freeze.Config(run=base(place), keep=1, name="refused"))
    with pytest.raises(UserError, match="itself made from"):
        retrain.main(retrain.Config(run=str(made), seed=3))
    with pytest.raises(UserError, match="base run itself"):
        retrain.main(retrain.Config(run=base(place)))
