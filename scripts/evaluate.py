"""Evaluate trained runs; only here does a model see the test split."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lib import files, runs
from lib.errors import UserError
from lib.study import reports
from scripts import _cli
from scripts._base import trained_base
from scripts._flags import training_options

if TYPE_CHECKING:
    from lib.corpus import Corpus
    from lib.loader import Split
    from lib.models import Classifier
    from lib.spec import Spec

VERSION = 2  # of what a report holds: raised, old reports are made again
OF_TEXT = ("data", "model", "max_length", "limit")
OF_SPEECH = ("labels", "split", "fold", "emobox", "augment", "mask", "max_seconds")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Evaluate trained runs in one process.

    All of them are evaluated unless every one has an up-to-date report: their latencies are
    measured in turns, so that they can be compared. A split that an up-to-date report has stays
    in it: what validation chose can be evaluated on the test split later.
    """

    runs: tuple[str, ...]
    """Folders of runs, such as runs/bert/farstail/full-s0."""
    splits: tuple[Literal["train", "validation", "test"], ...] | None = None
    """What to evaluate on; by default validation and test, and of speech also train."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    force: bool = False
    """Evaluate again also what has an up-to-date report."""
    only_missing: bool = False
    """Leave alone those that have one; latencies are then those of several commands."""


def main(cfg: Config) -> dict[str, dict[str, Any]]:
    """The reports by run folder."""
    if not cfg.runs:
        raise UserError("--runs: name at least one run's folder")
    folders = [Path(name) for name in cfg.runs]
    basis = {folder: _basis(folder, cfg) for folder in folders}
    there = {} if cfg.force else {str(f): _up_to_date(f, basis[f]) for f in folders}
    there = {name: report for name, report in there.items() if report}
    if len(there) == len(folders):
        print(f"{len(folders)} runs have their reports already")
        return there
    if cfg.only_missing:
        folders = [folder for folder in folders if str(folder) not in there]

    from lib import corpus, latency, surgery
    from lib.device import pick

    place = pick(cfg.device)
    corpora: dict[str, Corpus] = {}
    reports: dict[Path, dict[str, Any]] = {}
    timed: dict[tuple[str, str], dict[str, Classifier]] = {}  # by what they take, one of a shape
    typical: dict[tuple[str, str], Split] = {}
    for folder in folders:
        options = runs.read_config(folder)["options"]
        key = files.digest({name: options.get(name) for name in OF_TEXT + OF_SPEECH})
        if key not in corpora:
            corpora[key] = corpus.load(options)
        spec = surgery.read_spec(folder / "best")[0]
        classifier = surgery.build(spec, best=folder / "best").to(place)
        told = basis[folder]
        reports[folder] = told | _evaluate(folder, classifier, corpora[key], told["evaluated"])
        reports[folder]["cost"] = {
            "trainable_params": surgery.count_parameters(classifier)[1],
            "train_s": runs.train_seconds(folder),
            "shape": _shape(options, spec),
        }
        takes = (options["data"], options["model"])
        typical.setdefault(takes, corpora[key].splits["validation"])
        timed.setdefault(takes, {}).setdefault(_shape(options, spec), classifier)
    cost: dict[str, dict[str, float]] = {}
    for takes, classifiers in timed.items():
        cost |= latency.cost(classifiers, typical[takes])
    for folder, found in reports.items():
        found["cost"] |= cost[found["cost"].pop("shape")]
        found["device"] = str(place)
        files.write_json(folder / "report.json", found)  # its presence means done
    return there | {str(folder): found for folder, found in reports.items()}


def _basis(folder: Path, cfg: Config) -> dict[str, Any]:
    """What a report depends on; equal means up to date."""
    config = trained_base(folder)
    path = folder / "best" / "model.json"
    record = files.read_json(path, {"sha256": str}, remedy="train the run again with --force")
    every = ("train", "validation", "test")
    usual = every if "split" in config["options"] else every[1:]  # only speech has protocols
    asked = usual if cfg.splits is None else cfg.splits
    basis = {
        "version": VERSION,
        "run": folder.name,
        "weights": record["sha256"],
        "inputs": config["inputs"],
    }
    there = _up_to_date(folder, basis).get("evaluated", [])
    return basis | {"evaluated": [name for name in every if name in asked or name in there]}


def _up_to_date(folder: Path, basis: Mapping[str, Any]) -> dict[str, Any]:
    """A run's report, empty if it has none with this basis."""
    if not (folder / "report.json").is_file() or not (folder / "predictions.csv").is_file():
        return {}
    try:
        report = reports.read(folder)
    except UserError:  # a damaged one is made again
        return {}
    return report if all(report.get(key) == value for key, value in basis.items()) else {}


def _shape(options: Mapping[str, Any], spec: "Spec") -> str:
    """Equal for classifiers that differ only in their weights: one is timed for all."""
    n_heads = [len(kept) for kept in spec.kept_heads()]
    sizes = [n_heads, spec.read_layers, spec.pooling, spec.head, len(spec.labels)]
    return files.digest([options["data"], options["model"], spec.encoder, *sizes])


def _evaluate(
    folder: Path, classifier: "Classifier", data: "Corpus", names: list[str]
) -> dict[str, Any]:
    """One run's figures on each split; writes its predictions."""
    import pandas as pd

    from lib import evaluation
    from lib.about import about
    from lib.predict import precision

    config = runs.read_config(folder)
    options = config["options"]
    if config["inputs"]["data"] != data.fingerprint:
        raise UserError(f"{folder} was trained on other data than {options['data']} holds")
    dtype = precision(training_options(options).amp, next(classifier.parameters()).device)
    found = about(data, options) | {"splits": {}}
    for note in found["split_notes"]:
        print(f"{folder}: {note}")
    frames = []
    for name in names:
        split = data.splits[name]
        # Where padding counts as sound, the batches are part of the answer: those of training.
        in_turn = None if options.get("mask", True) else options["batch_size"]
        logits, pace = evaluation.timed(classifier, split, dtype=dtype, in_turn=in_turn)
        figures = evaluation.report(split, logits, class_names=data.labels) | pace
        found["splits"][name] = figures
        frames.append(evaluation.predictions(name, split, logits, class_names=data.labels))
        print(f"{folder}, {name}:")
        told = evaluation.lines(figures, unit="clips" if "split" in options else "rows")
        print("\n".join(f"  {line}" for line in told), flush=True)
    with files.staged_file(folder / "predictions.csv") as temporary:
        pd.concat(frames).to_csv(temporary, index=False)
    return found


if __name__ == "__main__":
    _cli.run(main, Config)
