"""Evaluate trained runs; only here does a model see the test split."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lib import files, runs
from lib.errors import UserError
from scripts import _cli
from scripts._training import trained_base, training_options

if TYPE_CHECKING:
    from lib.corpus import Corpus
    from lib.models import Classifier

VERSION = 1  # of what a report holds: raised, old reports are made again


@dataclass(frozen=True, kw_only=True)
class Config:
    """Evaluate trained runs in one process.

    All of them are evaluated unless every one has an up-to-date report: their latencies are
    measured in turns, so that they can be compared.
    """

    runs: tuple[str, ...]
    """Folders of runs, such as runs/bert/farstail/full-s0."""
    splits: tuple[Literal["train", "validation", "test"], ...] = ("validation", "test")
    """What to evaluate on."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    force: bool = False
    """Evaluate again also what has an up-to-date report."""


def main(cfg: Config) -> dict[str, dict[str, Any]]:
    """The reports by run folder."""
    if not cfg.runs:
        raise UserError("--runs: name at least one run's folder")
    folders = [Path(name) for name in cfg.runs]
    basis = {folder: _basis(folder, cfg) for folder in folders}
    if not cfg.force and all(_is_done(folder, basis[folder]) for folder in folders):
        print(f"{len(folders)} runs have their reports already")
        return {str(folder): files.read_json(folder / "report.json") for folder in folders}

    from lib import latency, surgery
    from lib.device import pick

    place = pick(cfg.device)
    classifiers: dict[Path, Classifier] = {}
    corpora: dict[str, Corpus] = {}
    reports: dict[Path, dict[str, Any]] = {}
    for folder in folders:
        options = runs.read_config(folder)["options"]
        spec = surgery.read_spec(folder / "best")[0]
        classifiers[folder] = surgery.build(spec, best=folder / "best").to(place)
        data = _corpus(corpora, options)
        reports[folder] = basis[folder] | _evaluate(folder, classifiers[folder], data, cfg)
    cost = latency.cost(
        {str(folder): classifier for folder, classifier in classifiers.items()},
        next(iter(corpora.values())).splits["validation"],
    )
    for folder, found in reports.items():
        found["cost"] = {
            **cost[str(folder)],
            "trainable_params": surgery.count_parameters(classifiers[folder])[1],
            "train_s": runs.train_seconds(folder),
        }
        found["device"] = str(place)
        files.write_json(folder / "report.json", found)  # its presence means done
    return {str(folder): found for folder, found in reports.items()}


def _basis(folder: Path, cfg: Config) -> dict[str, Any]:
    """What a report depends on; equal means up to date."""
    config = trained_base(folder)
    weights = files.read_json(folder / "best" / "model.json")["sha256"]
    return {
        "version": VERSION,
        "run": folder.name,
        "weights": weights,
        "inputs": config["inputs"],
        "evaluated": list(cfg.splits),
    }


def _is_done(folder: Path, basis: Mapping[str, Any]) -> bool:
    if not (folder / "report.json").is_file() or not (folder / "predictions.csv").is_file():
        return False
    report = files.read_json(folder / "report.json")
    return all(report.get(key) == value for key, value in basis.items())


def _corpus(corpora: dict[str, "Corpus"], options: Mapping[str, Any]) -> "Corpus":
    """The run's data, loaded once for all runs that share it."""
    from lib import corpus

    key = files.digest({k: options.get(k) for k in ("data", "model", "max_length", "limit")})
    if key not in corpora:
        corpora[key] = corpus.load(options)
    return corpora[key]


def _evaluate(
    folder: Path, classifier: "Classifier", data: "Corpus", cfg: Config
) -> dict[str, Any]:
    """One run's figures on each split; writes its predictions."""
    import pandas as pd

    from lib import evaluation
    from lib.predict import precision, predict

    config = runs.read_config(folder)
    if config["inputs"]["data"] != data.fingerprint:
        raise UserError(
            f"{folder} was trained on other data than {config['options']['data']} holds"
        )
    device = next(classifier.parameters()).device
    dtype = precision(training_options(config["options"]).amp, device)
    found: dict[str, Any] = {}
    frames = []
    for name in cfg.splits:
        split = data.splits[name]
        started = time.perf_counter()
        logits = predict(classifier, split, dtype=dtype)
        seconds = time.perf_counter() - started
        found[name] = evaluation.report(split, logits, class_names=data.labels)
        found[name] |= {"seconds": seconds, "per_second": len(split) / seconds}
        frames.append(evaluation.predictions(name, split, logits, class_names=data.labels))
        print(f"{folder}, {name}:")
        print("\n".join(f"  {line}" for line in evaluation.lines(found[name])), flush=True)
    with files.staged_file(folder / "predictions.csv") as temporary:
        pd.concat(frames).to_csv(temporary, index=False)
    about = {"labels": list(data.labels), "sample": data.sample, "limit": data.limit}
    return about | {"corpus": data.known_as, "data": data.name, "splits": found}


if __name__ == "__main__":
    _cli.run(main, Config)
