"""Differences between variants, held against scipy and against what is computed by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from lib import files, metrics, stats
from lib.errors import UserError
from lib.study import compare, results, summary
from lib.study.results import Result
from scripts import compare as script
from tests.test_results import write_run

NAMES = ("a", "b", "c")
N = 240


def result(
    folder: Path,
    said: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    variant: str = "full",
    seed: int = 0,
) -> Result:
    """An evaluated run, as far as comparing it asks for one."""
    folder = folder / f"{variant}-s{seed}"
    folder.mkdir()
    names = np.array(NAMES)
    frame = pd.DataFrame({"split": "test", "id": np.arange(len(labels)), "group": groups})
    frame = frame.assign(label=names[labels], prediction=names[said])
    frame.sample(frac=1, random_state=seed).to_csv(folder / "predictions.csv", index=False)
    test = summary.again(frame, class_names=NAMES) | {"loss": 1.0}
    cost = {"params": 1, "train_s": 1.0}
    report = {"labels": list(NAMES), "splits": {"test": test}, "cost": cost, "split_notes": []}
    return Result(folder.name, {"variant": variant, "seed": seed}, report, (folder,))


@pytest.fixture
def drawn() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    labels, groups = generator.integers(3, size=N), np.arange(N) // 3

    def said(right: float) -> np.ndarray:
        return np.where(generator.random(N) < right, labels, generator.integers(3, size=N))

    rates = {"base": 0.8, "base 1": 0.78, "bad": 0.5, "bad 1": 0.6, "like": 0.79, "like 1": 0.8}
    return {"labels": labels, "groups": groups} | {name: said(of) for name, of in rates.items()}


def test_a_difference_without_groups_is_scipys_paired_bootstrap(
    tmp_path: Path, drawn: dict[str, np.ndarray]
) -> None:
    labels, rows = drawn["labels"], np.arange(N)
    base = result(tmp_path, drawn["base"], labels, rows)
    other = result(tmp_path, drawn["bad"], labels, rows, variant="x")
    found = compare.differences(base, other)
    right = {name: (drawn[name] == labels).astype(float) for name in ("base", "bad")}
    same = scipy_stats.bootstrap(
        (right["bad"], right["base"]),
        lambda two, one, axis=-1: two.mean(axis) - one.mean(axis),
        paired=True,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    accuracy = found["accuracy"]
    ends = tuple(same.confidence_interval)
    assert (accuracy["low"], accuracy["high"]) == pytest.approx(ends, abs=1e-9)
    for metric, of in found.items():
        one, two = (
            metrics.summarize(labels, drawn[name], class_names=NAMES)[metric]
            for name in ("base", "bad")
        )
        assert of["difference"] == pytest.approx(two - one)
        assert of["low"] < of["difference"] < of["high"] < 0
    only = (drawn["base"] == labels, drawn["bad"] == labels)
    counts = int((only[0] & ~only[1]).sum()), int((only[1] & ~only[0]).sum())
    assert found["accuracy"]["mcnemar"] == [stats.mcnemar_p(*counts)]


def test_rows_that_share_a_group_widen_the_interval(
    tmp_path: Path, drawn: dict[str, np.ndarray]
) -> None:
    """Whole groups that are answered alike count once, whatever their rows."""
    groups = np.arange(N) // 12
    labels = drawn["labels"]
    wrong = (labels + 1) % 3
    said = np.where(groups % 4 == 0, wrong, labels)  # a quarter of the groups, all their rows
    widths = []
    for name, of in (("grouped", groups), ("single", np.arange(N))):
        (tmp_path / name).mkdir()
        base = result(tmp_path / name, labels, labels, of)
        other = result(tmp_path / name, said, labels, of, variant="x")
        found = compare.differences(base, other)["accuracy"]
        widths.append(found["high"] - found["low"])
    assert widths[0] / widths[1] == pytest.approx(math.sqrt(12), rel=0.1)


def study(folder: Path, drawn: dict[str, np.ndarray], *, n_seeds: int) -> list[Result]:
    """The results of a baseline, a much worse variant and one that is like it."""
    found = []
    for variant, name in (("full", "base"), ("worse", "bad"), ("alike", "like")):
        seeds = [
            result(
                *(folder, drawn[f"{name} {seed}" if seed else name]),
                *(drawn["labels"], drawn["groups"]),
                variant=variant,
                seed=seed,
            )
            for seed in range(n_seeds)
        ]
        found += [results.seeds_together(seeds)] if n_seeds > 1 else seeds
    return found


@pytest.mark.parametrize("n_seeds", [1, 2])
def test_the_worse_is_told_from_the_alike(
    tmp_path: Path, drawn: dict[str, np.ndarray], n_seeds: int
) -> None:
    rows = compare.with_baseline(study(tmp_path, drawn, n_seeds=n_seeds))
    found: dict[Any, Any] = {(row["variant"], row["metric"]): row for row in rows}
    assert len(found) == len(rows) == 6
    worse, alike = found["worse", "accuracy"], found["alike", "accuracy"]
    assert worse["shown"] == "worse"
    assert worse["high"] < 0
    assert alike["shown"] == "no difference shown"
    assert alike["low"] < 0 < alike["high"]
    assert worse["n_seeds"] == n_seeds == len(worse["mcnemar"])
    corrected = stats.holm([worse["p"], alike["p"]])
    assert [worse["p_holm"], alike["p_holm"]] == corrected
    assert worse["p_holm"] == pytest.approx(2 * worse["p"]), "two variants"
    names = ("base", "base 1")[:n_seeds], ("bad", "bad 1")[:n_seeds]
    means = [np.mean([drawn[name] == drawn["labels"] for name in of]) for of in names]
    assert worse["difference"] == pytest.approx(means[1] - means[0])


def test_seeds_that_disagree_widen_the_interval(
    tmp_path: Path, drawn: dict[str, np.ndarray]
) -> None:
    labels, groups = drawn["labels"], drawn["groups"]
    base = [result(tmp_path, labels, labels, groups, seed=seed) for seed in range(3)]
    wrong = (labels + 1) % 3
    others = [
        result(
            tmp_path, np.where(np.arange(N) < n, wrong, labels), labels, groups, variant="x", seed=s
        )
        for s, n in enumerate((0, 60, 120))
    ]
    spread = compare.differences(results.seeds_together(base), results.seeds_together(others))
    middle = compare.differences(base[1], others[1])
    widths = [of["accuracy"]["high"] - of["accuracy"]["low"] for of in (spread, middle)]
    assert spread["accuracy"]["difference"] == pytest.approx(-0.25)
    assert widths[0] > 2 * widths[1]


def test_the_direction_is_variant_minus_baseline() -> None:
    assert compare.verdict(0.1, 0.01) == "better"
    assert compare.verdict(-0.1, 0.01) == "worse"
    assert compare.verdict(0.1, 0.05) == compare.verdict(0.1, math.nan) == compare.NOT_SHOWN


def test_what_saw_other_rows_is_not_compared(tmp_path: Path, drawn: dict[str, np.ndarray]) -> None:
    labels, groups = drawn["labels"], drawn["groups"]
    base = result(tmp_path, drawn["base"], labels, groups)
    fewer = result(tmp_path, drawn["bad"][1:], labels[1:], groups[1:], variant="x")
    later = result(tmp_path, drawn["bad"], labels, groups, variant="y", seed=7)
    assert compare.with_baseline([base, fewer, later]) == []
    with pytest.raises(ValueError, match="full-s0 and x-s0 share no seed on the same test rows"):
        compare.differences(base, fewer)


def test_pairs_of_variants_over_seeds_stand_on_a_page(tmp_path: Path) -> None:
    study = tmp_path / "study"
    for seed, (one, other) in enumerate([("AANNAANN", "ANNNANAA"), ("AANAAANA", "NNNNAAAA")]):
        write_run(study, other, "AANNAANN", group=0, variant="before", seed=seed)
        write_run(study, one, "AANNAANN", group=0, variant="after", seed=seed)
    rows = script.main(script.Config(study=str(study), pairs=("before:after",)))
    row = next(row for row in rows if row["metric"] == "accuracy")
    assert row["first"] == pytest.approx((4 / 8 + 4 / 8) / 2)
    assert row["second"] == pytest.approx((8 / 8 + 6 / 8) / 2)
    assert row["difference"] == pytest.approx(row["second"] - row["first"])
    assert row["low"] <= row["difference"] <= row["high"]
    assert files.read_json(study / "compare.json")["rows"] == rows
    assert "| before:after | accuracy | 0.5000 | 0.8750 | 0.3750 |" in (
        study / "compare.md"
    ).read_text(encoding="utf-8")


@pytest.mark.parametrize("pair", ["before", "before:nothing", "before:other"])
def test_pairs_that_cannot_be_compared_are_one_line(tmp_path: Path, pair: str) -> None:
    study = tmp_path / "study"
    write_run(study, "AN", "AN", group=0, variant="before")
    write_run(study, "AN", "AN", group=1, variant="other")
    with pytest.raises(UserError, match="--pairs before"):
        script.main(script.Config(study=str(study), pairs=(pair,)))
