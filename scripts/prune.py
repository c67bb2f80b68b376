"""Remove attention heads from a base run's encoder and fine-tune it: variant 5."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lib import files, json_lines, runs
from lib.derive import derived, named_heads, with_heads
from lib.spec import Spec, read_spec
from scripts import _cli
from scripts._base import first_weights, trained_base
from scripts._flags import RunFlags
from scripts._training import make_run

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class Config(RunFlags):
    """Score attention heads on training data, remove some physically, fine-tune again.

    Layers and heads are counted from 0. Everything else is as in the base run.
    """

    run: str
    """The base run's folder, such as runs/bert/farstail/full-s0."""
    fraction: float = 0.4
    """Share of all heads to remove, the lowest-scored first."""
    heads: tuple[str, ...] = ()
    """Heads to remove as layer:head, such as 0:3 11:7, instead of --fraction."""
    score: Literal["gradient", "magnitude", "random"] = "gradient"
    """Gradient importance (Michel et al. 2019), norm of the weights, or a draw by --score-seed."""
    score_of: Literal["base", "pretrained"] = "base"
    """Score the heads of the fine-tuned base run, or of the pretrained encoder."""
    score_rows: int = 2048
    """Training rows for gradient scores, at the most."""
    score_seed: int = 0
    """Of random scores, and of the rows that gradient scores see."""
    scope: Literal["global", "layer"] = "global"
    """Whether heads compete over all layers or within each layer."""
    min_per_layer: int = 1
    """Heads that each layer keeps at the least."""
    init: Literal["pretrained", "base"] = "pretrained"
    """First weights of the fine-tuning: the pretrained encoder's, or the base run's."""
    retrain: bool = True
    """Whether to fine-tune again; without it the run is the base run less those heads."""
    curve: bool = True
    """Whether to find what removing ever more heads costs in validation, without training."""
    name: str | None = None
    """Study that the run goes to; by default the base run's."""
    variant: str = "prune-heads"
    """Name of the run."""


def main(cfg: Config) -> Path:
    """The folder of the trained run, beside the base run."""
    base = Path(cfg.run)
    config = trained_base(base)
    spec, record = read_spec(base / "best")
    named = named_heads(cfg.heads)
    options, folder = derived(base, config["options"], name=cfg.name, variant=cfg.variant)
    told = runs.configuration(
        script="prune",
        options=options,
        inputs=config["inputs"] | {"base": record["sha256"]},
        change={
            "base": str(base),
            **({"heads": sorted(cfg.heads)} if named else {"fraction": cfg.fraction}),
            **{k: getattr(cfg, k) for k in ("score", "score_of", "score_rows", "score_seed")},
            **{k: getattr(cfg, k) for k in ("scope", "min_per_layer", "init")},
            **({} if cfg.retrain else {"retrain": False}),
        },
        device=cfg.device,
    )
    if not cfg.retrain:
        return _without_training(cfg, folder, told, base, spec, named)
    weights = first_weights(cfg.init, base, options)
    return make_run(folder, told, cfg, lambda run: _choose(cfg, run, base, spec, named), **weights)


def _without_training(
    cfg: Config,
    folder: Path,
    told: dict[str, Any],
    base: Path,
    spec: Spec,
    named: list[tuple[int, int]],
) -> Path:
    """The folder of a run whose weights are the base run's, less the heads that go."""
    with runs.opened(folder, told, resume=cfg.resume, force=cfg.force) as run:
        if run.trained:
            print(f"{folder}: made already with these options")
            return folder
        pruned = _choose(cfg, run, base, spec, named)

        from lib import surgery

        record = {"step": 0, "seed": told["options"]["seed"]}
        surgery.save(run.best, surgery.build(pruned, best=base / "best"), pruned, record=record)
        json_lines.append(folder / "metrics.jsonl", {"event": "end", "step": 0, "selected_step": 0})
    n_gone = sum(map(len, spec.kept_heads())) - sum(map(len, pruned.kept_heads()))
    print(f"{folder}: the base run's weights, less {n_gone} heads")
    return folder


def _choose(
    cfg: Config, run: runs.Run, base: Path, spec: Spec, named: list[tuple[int, int]]
) -> Spec:
    """Score the heads, draw the pictures, write heads.json; the spec of the pruned classifier."""
    found = None if run.new else files.read_sealed(run.folder / "heads.json")
    if found:  # a run that goes on
        return with_heads(spec, found["kept"])

    import torch

    from lib import corpus, heads, latency, pruning, surgery
    from lib.device import pick

    place = pick(cfg.device)
    options = run.config["options"]
    data = corpus.load(options)
    tuned = surgery.build(spec, best=base / "best").to(place)
    scored = tuned
    if cfg.score_of == "pretrained":
        torch.manual_seed(options["seed"])
        scored = surgery.build(spec, model=Path(options["model"])).to(place)
    told = run.config["inputs"]
    weights = told["base"] if cfg.score_of == "base" else [told["model"], options["seed"]]
    scores = pruning.shared_scores(
        run.folder.parent / "scores",
        scored,
        data.splits["train"],
        made_of=pruning.identity(weights, spec, told, options),
        kind=cfg.score,
        n_rows=cfg.score_rows,
        seed=cfg.score_seed,
    )
    how: dict[str, Any] = {"scope": cfg.scope, "min_per_layer": cfg.min_per_layer}
    gone = named or heads.weakest(scores, cfg.fraction, **how)
    pruned = surgery.build(spec, best=base / "best")
    surgery.remove_heads(pruned, gone)
    curve = []
    if cfg.curve:
        curve = pruning.curve(tuned, scores, data.splits["validation"], amp=options["amp"], **how)
    cost = latency.cost({"before": tuned, "after": pruned.to(place)}, data.splits["validation"])
    found = {
        "scores": [[None if score != score else score for score in row] for row in scores.tolist()],
        "removed": [f"{layer}:{head}" for layer, head in gone],
        "kept": pruned.kept_heads,
        "validation_accuracy_without_retraining": curve,
        "cost": cost,
        "device": str(place),
    }
    runs.begin(run)
    _draw(run.folder, f"{run.folder.name}: {cfg.score} scores", scores, gone, curve, data.sample)
    files.write_sealed(run.folder / "heads.json", found)
    for when, of in cost.items():
        at = f"{of['latency_ms_b1']:.2f} ms at batch 1, {of['latency_ms_b32']:.2f} ms at batch 32"
        print(f"{when}: {of['params']:,} parameters, {at}")
    return with_heads(spec, pruned.kept_heads)


def _draw(
    folder: Path,
    title: str,
    scores: "np.ndarray",
    gone: list[tuple[int, int]],
    curve: list[dict[str, float]],
    sample: bool,
) -> None:
    from lib.study import figures as study_figures

    figures = folder.parent / "figures"
    map_of_scores = figures / f"{folder.name}-scores.png"
    study_figures.head_scores(map_of_scores, scores, gone, title=title, sample=sample)
    if curve:
        drawn = figures / f"{folder.name}-curve.png"
        study_figures.pruning_curve(drawn, curve, title=title, sample=sample)


if __name__ == "__main__":
    _cli.run(main, Config)
