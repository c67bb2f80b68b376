"""Fine-tune a speech encoder on prepared speech: a run under runs/hubert/."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from lib import hub, packed, runs, speech
from lib.errors import UserError
from lib.options import Training, check
from lib.spec import Spec, read_encoder_config
from scripts import _cli
from scripts._flags import RunFlags, local_model
from scripts._training import make_run


@dataclass(frozen=True, kw_only=True)
class Config(Training, RunFlags):
    """Fine-tune a speech encoder on prepared speech."""

    data: str = "data/prepared/shemo"
    """Folder that scripts.prepare_shemo made."""
    model: str = hub.HUBERT
    """HuBERT, wav2vec 2.0 or WavLM: a local folder, or a hub's id."""
    revision: str | None = None
    """Commit of a hub's model; by default the one this project pins."""
    recipe: Literal["default", "report"] = "default"
    """Set of defaults: what works, or what the reference report did."""
    name: str = "shemo"
    """Name of the study: the folder under runs/hubert/."""
    variant: str = "full"
    """Name of the run in its study."""
    out: str = "runs"
    """Folder of all runs."""
    labels: Literal["filename", "transcript", "agree"] = "filename"
    """Label version: of the file names, of the re-aligned transcripts, or where both agree."""
    split: Literal["speaker", "report", "emobox", "manifest"] = "speaker"
    """Who trains and who tests, see lib.splits; only speaker keeps test speakers unheard."""
    fold: int = 1
    """Which fifth of the speakers tests, 1 to 5."""
    emobox: str | None = None
    """EmoBox's list of clips, for --split emobox."""
    augment: Literal["none", "default", "report"] = "default"
    """Variants of the training clips, made once on first use; see scripts.augment."""
    mask: bool = True
    """Tell padding from sound: a clip's logits are then the same in any batch."""
    max_seconds: float = 0
    """Longer clips are cut to their middle; 0 keeps them whole."""
    features: Literal["frozen", "trainable"] = "frozen"
    """The convolutional encoder."""
    pooling: Literal["mean", "max", "weighted"] = "mean"
    """How hidden states become one vector; weighted learns a sum of all layers."""
    head: Literal["linear", "mlp"] = "mlp"
    """What maps that vector to the classes; mlp: D, 4 D, classes."""
    dropout: float = 0.1
    """Before the head's last layer."""
    layerdrop: float = 0.0
    """Probability that a layer is left out of a training step."""
    mask_time: float = 0.0
    """Share of a clip's frames that SpecAugment hides in training."""
    limit: int | None = None
    """Clips of each split at the most, for a quick look; no result."""


# Source: the reference report, 1.1 (HF Trainer's defaults and HuBERT's own layerdrop 0.1 and
# SpecAugment 0.05 included); its 634 whole steps an epoch make its 2536 steps.
RECIPES = {
    "default": Config(
        epochs=12,
        learning_rate=5e-5,
        batch_size=32,
        batch_length=64,
        class_weights=True,
        metric="uar",
        mask_time=0.05,
    ),
    "report": Config(
        recipe="report",
        split="report",
        augment="report",
        mask=False,
        layerdrop=0.1,
        mask_time=0.05,
        optimizer="adam",
        learning_rate=1e-5,
        weight_decay=0.0,
        warmup=0.0,
        batch_size=2,
        accumulation=2,
        epochs=4,
        drop_last=True,
        eval_every=200,
        select="last",
        pool=1,
    ),
}


def main(cfg: Config) -> Path:
    """The folder of the trained run."""
    check(cfg)
    model = local_model(cfg.model, cfg.revision)
    meta = packed.read_meta(Path(cfg.data))
    encoder = read_encoder_config(model)
    if "conv_kernel" not in encoder:
        raise UserError(f"{model} is no speech encoder; train_bert is for text")
    packed.refuse_short(Path(cfg.data), encoder)
    options = asdict(cfg) | {"model": str(model), "revision": None}
    config = runs.configuration(
        script="train_hubert",
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
        layerdrop=cfg.layerdrop,
        mask_time=cfg.mask_time,
        frozen_features=cfg.features == "frozen",
    )
    _tell_split(cfg, model, meta["fingerprint"])
    folder = runs.run_folder(runs.study_folder(Path(cfg.out), "hubert", cfg.name), options)
    return make_run(folder, config, cfg, lambda _: spec, model=model)


def _tell_split(cfg: Config, model: Path, fingerprint: str) -> None:
    """Print what must be known of the split before its figures are believed: leaks."""
    from lib import splits
    from lib.pretrain.rows import heard

    manifest, split, of_clip = speech.parts(Path(cfg.data), asdict(cfg))
    notes = splits.notes(manifest, split, of_clip, protocol=cfg.split)
    if known := heard(model, fingerprint, asdict(cfg)):
        notes.append(known)
    for note in notes:
        print(f"note: {note}")


if __name__ == "__main__":
    _cli.run(main, Config, RECIPES)
