"""Train a base run's encoder again with frozen or with fewer layers: variants 2, 3 and 4."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from lib import runs
from lib.derive import derived
from lib.errors import UserError
from lib.spec import Spec, n_layers_of, read_spec
from scripts import _cli
from scripts._base import first_weights, trained_base
from scripts._flags import RunFlags
from scripts._training import make_run


@dataclass(frozen=True, kw_only=True)
class Config(RunFlags):
    """Train again with frozen or fewer layers; everything else is as in the base run.

    Give one of --first, --all-but-last, --keep, --read, --probe and --only. Numbers of layers are
    counts or fractions below 1 (0.75 of 12 is 9); layers are counted from 0. What is frozen runs
    in eval mode, without dropout.
    """

    run: str
    """The base run's folder, such as runs/bert/farstail/full-s0."""
    first: float | None = None
    """Freeze the first N layers, and the embeddings with them."""
    all_but_last: float | None = None
    """Freeze all layers but the last N; the embeddings learn."""
    keep: float | None = None
    """Keep only the first N layers; all of them learn."""
    read: float | None = None
    """Classify from the output of the first N layers; the others stay, unused and frozen."""
    probe: float | None = None
    """Train a linear head alone on the output of the first N layers, all of them frozen."""
    only: str | None = None
    """Train only layers A-B, such as 4-7; the rest and the embeddings are frozen."""
    embeddings: Literal["auto", "frozen", "trainable"] = "auto"
    """Whether the embeddings are frozen; auto as said above."""
    init: Literal["pretrained", "base"] = "pretrained"
    """First weights: the pretrained encoder's, or the base run's fine-tuned ones."""
    keep_checkpoints: int = 2
    """How many checkpoints are kept while the run trains; --keep is of layers here."""
    name: str | None = None
    """Study that the run goes to; by default the base run's."""
    variant: str | None = None
    """Name of the run; by default it says what was done."""


def main(cfg: Config) -> Path:
    """The folder of the trained run, beside the base run."""
    base = Path(cfg.run)
    config = trained_base(base)
    whole, record = read_spec(base / "best")
    spec, name = changed(cfg, whole)
    change = {"base": str(base), "init": cfg.init} | _change(whole, spec)
    inputs = dict(config["inputs"])
    if cfg.init == "base":
        inputs["base"] = record["sha256"]
    options, folder = derived(base, config["options"], name=cfg.name, variant=cfg.variant or name)
    told = runs.configuration(
        script="freeze", options=options, inputs=inputs, change=change, device=cfg.device
    )
    weights = first_weights(cfg.init, base, options)
    return make_run(folder, told, cfg, lambda _: spec, **weights)


def changed(cfg: Config, spec: Spec) -> tuple[Spec, str]:
    """The base run's spec with the change that the options name, and a name for it.

    Raises:
        UserError: if not exactly one change is named, or the model lacks those layers.
    """
    ways = {"first", "all_but_last", "keep", "read", "probe", "only"}
    chosen = sorted(way for way in ways if getattr(cfg, way) is not None)
    if len(chosen) != 1:
        flags = ", ".join(f"--{way.replace('_', '-')}" for way in chosen) or "none"
        raise UserError(
            f"give one of --first, --all-but-last, --keep, --read, --probe, --only (got {flags})"
        )
    way, n_layers = chosen[0], spec.n_layers
    if way == "probe" and cfg.init == "base":
        raise UserError("--probe trains a fresh head on the pretrained encoder: leave --init out")
    every = list(range(n_layers))
    if way == "only":
        first, last = _range(str(cfg.only), n_layers)
        frozen, name = [i for i in every if not first <= i <= last], f"only-{first}-{last}"
    else:
        n = n_layers_of(getattr(cfg, way), n_layers, what=f"--{way.replace('_', '-')}")
        frozen = {"first": every[:n], "all_but_last": every[: n_layers - n], "probe": every}.get(
            way, []
        )
        name = {
            "first": f"freeze-{n}",
            "all_but_last": f"last-{n}-and-embeddings",
            "keep": f"keep-{n}",
            "read": f"read-{n}",
            "probe": f"probe-{n}",
        }[way]
        if way == "keep":
            heads = {i: kept for i, kept in (spec.heads or {}).items() if i < n}
            spec = replace(spec, keep_layers=n, read_layers=None, heads=heads or None)
        elif way == "read":
            spec = replace(spec, read_layers=n)
        elif way == "probe":
            spec = _probe(spec, n)
        if way in ("keep", "read", "probe") and n == 0:
            raise UserError(f"--{way} 0 leaves no layer")
    embeddings = cfg.embeddings == "frozen" or (
        cfg.embeddings == "auto" and way in ("first", "probe", "only")
    )
    return replace(spec, frozen_layers=tuple(frozen), frozen_embeddings=embeddings), name


def _probe(spec: Spec, n: int) -> Spec:
    """A linear head on the output of layer n - 1, which is the same in every epoch.

    So nothing hides frames of it, and where the base run mixes all layers the mean is taken.
    """
    pooling = "mean" if spec.pooling == "weighted" else spec.pooling
    return replace(
        spec, read_layers=n, head="linear", pooling=pooling, mask_time=0.0, layerdrop=0.0
    )


def _change(whole: Spec, spec: Spec) -> dict[str, Any]:
    """What differs from the base run's classifier, for config.json."""
    names = ("keep_layers", "read_layers", "frozen_layers", "frozen_embeddings")
    change = {name: getattr(spec, name) for name in names if getattr(spec, name) is not None}
    others = ("head", "pooling", "mask_time", "layerdrop")  # of a probe
    before, after = ({name: getattr(of, name) for name in others} for of in (whole, spec))
    return change | {name: after[name] for name in others if after[name] != before[name]}


def _range(text: str, n_layers: int) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if not (first.isdigit() and (last.isdigit() or not dash)):
        raise UserError(f"--only {text}: give two layers, such as 4-7, or one")
    low, high = int(first), int(last or first)
    if not low <= high < n_layers:
        raise UserError(f"--only {text}: the model has layers 0-{n_layers - 1}")
    return low, high


if __name__ == "__main__":
    _cli.run(main, Config)
