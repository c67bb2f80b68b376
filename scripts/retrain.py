"""Train a base run again with another seed, or on other prepared data: the same otherwise."""

from dataclasses import dataclass
from pathlib import Path

from lib import packed, runs, text
from lib.derive import derived
from lib.errors import UserError
from lib.spec import read_spec
from scripts import _cli
from scripts._base import trained_base
from scripts._flags import RunFlags
from scripts._training import make_run


@dataclass(frozen=True, kw_only=True)
class Config(RunFlags):
    """Train a base run again with another seed or data; everything else is as in the base run."""

    run: str
    """The base run's folder, such as runs/bert/farstail/full-s0."""
    seed: int | None = None
    """Of the head's first weights, the order of examples and dropout; by default the base run's."""
    data: str | None = None
    """Prepared folder with the same classes; by default the base run's."""
    name: str | None = None
    """Study that the run goes to; by default the base run's."""
    variant: str | None = None
    """Name of the run; by default the base run's."""


def main(cfg: Config) -> Path:
    """The folder of the trained run."""
    base = Path(cfg.run)
    config = trained_base(base)
    if config["change"]:
        raise UserError(
            f"{base} is itself made from {config['change'].get('base')}: give that one as --run"
        )
    options, inputs = config["options"], dict(config["inputs"])
    spec, _ = read_spec(base / "best")
    seed = options["seed"] if cfg.seed is None else cfg.seed
    data = cfg.data or options["data"]
    speech = packed.is_speech(Path(data))
    if speech != ("split" in options):
        raise UserError(f"--data {data} holds {'speech' if speech else 'no speech'}, unlike {base}")
    meta = (packed if speech else text).read_meta(Path(data))
    if tuple(meta["labels"]) != spec.labels:
        raise UserError(f"--data {data} has the classes {meta['labels']}, unlike {base}")
    inputs["data"] = meta["fingerprint"]
    variant = cfg.variant or options["variant"]
    options, folder = derived(base, options, name=cfg.name, variant=variant, seed=seed, data=data)
    told = runs.configuration(script="retrain", options=options, inputs=inputs, device=cfg.device)
    model = Path(options["model"])
    return make_run(folder, told, cfg, lambda _: spec, model=model)


if __name__ == "__main__":
    _cli.run(main, Config)
