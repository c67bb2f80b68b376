"""Fine-tune a text encoder on prepared text: a run under runs/bert/."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from lib import hub, runs
from lib.errors import UserError
from lib.options import Training, check
from lib.spec import Spec, read_encoder_config
from scripts import _cli
from scripts._flags import RunFlags, local_model
from scripts._training import make_run


@dataclass(frozen=True, kw_only=True)
class Config(Training, RunFlags):
    """Fine-tune a text encoder on prepared text."""

    data: str = "data/prepared/farstail-none"
    """Folder that scripts.prepare_text made."""
    model: str = hub.DEFAULT
    """Encoder of the BERT, RoBERTa or XLM-R family: a local folder, or a hub's id."""
    revision: str | None = None
    """Commit of a hub's model; by default the one this project pins."""
    recipe: Literal["default", "report"] = "default"
    """Set of defaults: what published work uses, or what the reference report did."""
    name: str = "farstail"
    """Name of the study: the folder under runs/bert/."""
    variant: str = "full"
    """Name of the run in its study."""
    out: str = "runs"
    """Folder of all runs."""
    max_length: int = 128
    """Tokens of a pair at the most, special ones included; longer pairs are cut."""
    pooling: Literal["cls", "mean", "max"] = "cls"
    """How the last hidden states become one vector."""
    head: Literal["linear", "mlp"] = "linear"
    """What maps that vector to the classes."""
    dropout: float = 0.1
    """Before the head's last layer."""
    limit: int | None = None
    """Rows of each split at the most, for a quick look; no result."""


# Source: the FaBERT notebook for FarsTail (learning rate 3e-5, batch 16, 7 epochs, best validation
# F1), by which ParsBERT reaches 82.5; the report gives 128 pairs, 5 epochs, the last model, and
# leaves its rate open.
RECIPES = {
    "default": Config(epochs=7),
    "report": Config(
        recipe="report",
        data="data/prepared/farstail-full",
        epochs=5,
        batch_size=128,
        select="last",
        pool=1,
    ),
}


def main(cfg: Config) -> Path:
    """The folder of the trained run."""
    from lib import text

    check(cfg)
    model = local_model(cfg.model, cfg.revision)
    meta = text.read_meta(Path(cfg.data))
    encoder = read_encoder_config(model)
    _check_length(cfg.max_length, encoder)
    if cfg.recipe == "report" and meta["preprocess"] != "full":
        print(f"note: the report's preprocessing is full, that of {cfg.data} {meta['preprocess']}")
    options = asdict(cfg) | {"model": str(model), "revision": None}
    config = runs.configuration(
        script="train_bert",
        options={key: options[key] for key in options if key not in runs.TRANSIENT},
        inputs={"data": meta["fingerprint"], "model": runs.weights_sha256(model)},
        device=cfg.device,
    )
    spec = Spec(
        encoder=encoder,
        labels=tuple(meta["labels"]),
        pooling=cfg.pooling,
        head=cfg.head,
        dropout=cfg.dropout,
    )
    folder = runs.run_folder(runs.study_folder(Path(cfg.out), "bert", cfg.name), options)
    return make_run(folder, config, cfg, lambda _: spec, model=model)


def _check_length(max_length: int, encoder: dict[str, object]) -> None:
    positions = int(str(encoder.get("max_position_embeddings", 512)))
    if encoder.get("model_type") != "bert":  # RoBERTa's positions start after the padding's
        positions -= int(str(encoder.get("pad_token_id", 1))) + 1
    if max_length > positions:
        raise UserError(f"--max-length {max_length}: this model has {positions} positions")


if __name__ == "__main__":
    _cli.run(main, Config, RECIPES)
