"""What a base run still knows in validation as ever more heads are masked, nothing trained."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lib import files
from lib.derive import derived
from lib.spec import read_spec
from scripts import _cli
from scripts._base import trained_base

VERSION = 1  # of what the files hold: raised, old ones are made again
Score = Literal["gradient", "magnitude", "random"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Mask ever more attention heads of a base run, the lowest-scored first; predict validation."""

    run: str
    """The base run's folder, such as runs/bert/farstail/full-s0."""
    scores: tuple[Score, ...] = ("gradient",)
    """By which scores heads go, see scripts.prune."""
    fractions: tuple[float, ...] = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    """Shares of all heads, rising; those that leave a layer too few are left out."""
    score_rows: int = 2048
    """Training rows for gradient scores, at the most."""
    score_seed: int = 0
    """Of random scores, and of the rows that gradient scores see."""
    min_per_layer: int = 1
    """Heads that each layer keeps at the least."""
    name: str | None = None
    """Study that the file goes to; by default the base run's."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    force: bool = False
    """Predict again what is there."""


def main(cfg: Config) -> Path:
    """The CSV file: score, fraction, n_removed, id, group, label, prediction and seed of each row.

    A JSON file of the same name tells what it was made of.
    """
    base = Path(cfg.run)
    config = trained_base(base)
    spec, record = read_spec(base / "best")
    _, folder = derived(base, config["options"], name=cfg.name, variant="masked")
    path = folder.with_suffix(".csv")
    told = ("scores", "fractions", "score_rows", "score_seed", "min_per_layer")
    basis: dict[str, Any] = {"version": VERSION, "run": str(base), "base": record["sha256"]}
    basis |= {"inputs": config["inputs"]}
    basis |= {name: _plain(getattr(cfg, name)) for name in told}
    there = path.with_suffix(".json")
    if not cfg.force and files.read_sealed(there, beside=path) == basis:
        print(f"{path}: made already with these options")
        return path

    import numpy as np
    import pandas as pd

    from lib import corpus, pruning, surgery
    from lib.device import pick

    options = config["options"]
    data = corpus.load(options)
    validation, names = data.splits["validation"], np.asarray(data.labels)
    tuned = surgery.build(spec, best=base / "best").to(pick(cfg.device))
    how: dict[str, Any] = {"amp": options["amp"], "min_per_layer": cfg.min_per_layer}
    frames = []
    for kind in cfg.scores:
        scores = pruning.shared_scores(
            path.parent / "scores",
            tuned,
            data.splits["train"],
            made_of=pruning.identity(record["sha256"], spec, config["inputs"], options),
            kind=kind,
            n_rows=cfg.score_rows,
            seed=cfg.score_seed,
        )
        found = pruning.masked(tuned, scores, validation, fractions=cfg.fractions, **how)
        for fraction, n_gone, predicted in found:
            columns: dict[str, Any] = {"score": kind, "fraction": fraction, "n_removed": n_gone}
            columns |= {"seed": options["seed"], "id": validation.ids, "group": validation.groups}
            columns |= {"label": names[validation.labels], "prediction": names[predicted]}
            frames.append(pd.DataFrame(columns))
            right = (predicted == validation.labels).mean()
            print(f"{kind}, {n_gone} heads masked: validation accuracy {right:.4f}", flush=True)
    there.unlink(missing_ok=True)  # the two belong together: without it the table does not count
    with files.staged_file(path) as temporary:
        pd.concat(frames).to_csv(temporary, index=False)
    files.write_sealed(there, basis, beside=path)
    return path


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


if __name__ == "__main__":
    _cli.run(main, Config)
