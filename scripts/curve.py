"""Curves of a sweep: validation figures of many runs, the chosen of them evaluated on test."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lib.errors import UserError
from lib.study import reports
from scripts import _cli

if TYPE_CHECKING:
    from lib.study.sweep import Point


@dataclass(frozen=True, kw_only=True)
class Config:
    """Draw validation figures against what was varied; evaluate what they choose on test.

    Writes STUDY/curve.csv, curve.md and figures/curve.png. Of each line one point is chosen, by
    the mean over its seeds, and only that one is evaluated on the test split.
    """

    study: str
    """The folder to write to, such as runs/bert/farstail-layers."""
    points: tuple[str, ...]
    """LINE:X:RUN for each run, those one would rather have first; equal LINE:X are its seeds."""
    masked: tuple[str, ...] = ()
    """Files of scripts.mask_heads, one for each seed."""
    base: tuple[str, ...] = ()
    """The base runs, drawn as a reference."""
    label: str = "x"
    """What was varied."""
    metric: Literal["auto", "accuracy", "uar", "macro_f1"] = "auto"
    """What chooses; auto: accuracy of text, UAR of speech."""
    tolerance: float = 0.0
    """How far below the best the chosen may be, if it comes earlier among the points."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    format: Literal["png", "svg", "pdf"] = "png"
    """Of the picture."""


def main(cfg: Config) -> list[dict[str, Any]]:
    """A row for each point: its validation figures, whether it is chosen, then its test figures."""
    from lib import runs
    from lib.study import sweep, sweep_page

    if cfg.tolerance < 0:
        raise UserError(f"--tolerance {cfg.tolerance:g}: give 0 or more")
    study = Path(cfg.study)
    points = sweep.parse(cfg.points)
    points += sweep.parse_masked([Path(name) for name in cfg.masked], line="{score}, not retrained")
    if not points:
        raise UserError("--points: name at least one LINE:X:RUN")
    bases = sweep.parse([f"base:0:{run}" for run in cfg.base])
    _validate([*points, *bases], cfg.device)
    report: Any = reports.read(points[0].runs[0])
    config = runs.read_config(points[0].runs[0])
    classes: dict[str, Any] = {"class_names": report["labels"]}
    usual = "uar" if "split" in config["options"] else "accuracy"
    metric = usual if cfg.metric == "auto" else cfg.metric
    found = {f"{p.line} {p.x}": sweep.predictions(p, "validation", **classes) for p in points}
    sweep.refuse_other_rows(found)
    rows = [
        {"line": p.line, "x": p.x, "place": p.place, "n_seeds": len(p.seeds), "chosen": False}
        | sweep.figures(of, **classes)
        | sweep_page.cost(p)
        for p, of in zip(points, found.values(), strict=True)
    ]
    for index in sweep.chosen(rows, metric, tolerance=cfg.tolerance):
        tested = _tested(points[index], study, cfg.device)
        test = sweep.figures(sweep.predictions(tested, "test", **classes), **classes)
        rows[index] |= {"chosen": True} | {f"test_{name}": value for name, value in test.items()}
    reference = None
    if bases:
        of = sweep.predictions(bases[0], "validation", **classes)
        reference = sweep.figures(of, **classes)[metric]
    told = {"label": cfg.label, "report": report, "reference": reference, "suffix": cfg.format}
    sweep_page.write(study, rows, metric, points=points, tolerance=cfg.tolerance, **told)
    return rows


def _validate(points: "Sequence[Point]", device: str) -> None:
    """Evaluate on validation whatever run has no report of it yet."""
    from scripts import evaluate

    runs = dict.fromkeys(str(run) for point in points if not point.masked for run in point.runs)
    evaluate.main(
        evaluate.Config(runs=tuple(runs), splits=("validation",), device=device, only_missing=True)
    )


def _tested(point: "Point", study: Path, device: str) -> "Point":
    """The chosen point, evaluated on the test split; masked heads are removed for it."""
    from dataclasses import replace

    from lib.study import sweep
    from scripts import evaluate, prune

    runs = point.runs
    if point.masked and point.place:
        runs = ()
        for base, path in zip(point.runs, point.masked, strict=True):
            told = sweep.masked_by(path)
            score: Any = point.line.partition(",")[0]
            runs += (
                prune.main(
                    prune.Config(
                        run=str(base),
                        fraction=point.place,
                        score=score,
                        score_rows=told["score_rows"],
                        score_seed=told["score_seed"],
                        min_per_layer=told["min_per_layer"],
                        retrain=False,
                        curve=False,
                        name=study.name,
                        variant=f"{score}-{point.x}-masked",
                        resume=True,
                        device=device,
                    )
                ),
            )
    names = tuple(str(run) for run in runs)
    evaluate.main(evaluate.Config(runs=names, splits=("test",), device=device, only_missing=True))
    return replace(point, runs=runs, masked=())


if __name__ == "__main__":
    _cli.run(main, Config)
