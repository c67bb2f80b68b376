"""Let a speech encoder learn without labels: tell the units of frames that are hidden from it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lib import hub, packed, runs
from lib.errors import UserError
from lib.options import Training
from lib.spec import read_encoder_config
from scripts import _cli
from scripts._flags import local_model
from scripts._pretrain import Pretraining, check_name, learn

if TYPE_CHECKING:
    import torch

    from lib.fit import Task


@dataclass(frozen=True, kw_only=True)
class Config(Pretraining):
    """Let a speech encoder learn without labels, from the clips that its units were learnt from.

    Which clips those are, cluster_units was told: of a corpus that is to be tested on, those of
    the training split. A twentieth of them is held out, to measure by.
    """

    data: str = "data/prepared/shemo"
    """Folder that scripts.prepare_shemo or scripts.prepare_audio made."""
    units: tuple[str, ...] = ("mfcc",)
    """Names of the units to tell, that scripts.cluster_units made; each gets a projection."""
    model: str = hub.HUBERT
    """To start from: HuBERT or wav2vec 2.0, a folder or a hub's id, or an untrained one."""
    features: Literal["frozen", "trainable"] = "trainable"
    """The convolutional encoder."""
    mask_starts: float = 0.08
    """Share of the frames that begin a hidden span."""
    mask_span: int = 10
    """Frames of a hidden span."""
    seen_share: float = 0.0
    """Of the frames to be told, the share of those that are not hidden."""
    temperature: float = 0.1
    """That the cosines are divided by."""
    max_seconds: float = 0
    """Longer clips are cut to their middle; 0 keeps them whole."""
    epochs: float = 20
    """Passes over the clips."""
    batch_size: int = 32
    """Clips of one forward pass, at the most."""
    batch_length: float = 128
    """Padded seconds of one forward pass at the most; 0 for any."""
    learning_rate: float = 1e-4
    """The highest rate of the schedule; HuBERT-base's own is 5e-4, at 2000 s a step."""


def main(cfg: Config) -> dict[str, Any]:
    """What source.json of the model says."""
    from lib.pretrain import units

    check_name(cfg)
    model, data = local_model(cfg.model, cfg.revision), Path(cfg.data)
    meta, encoder = packed.read_meta(data), read_encoder_config(model)
    if encoder.get("model_type") not in ("hubert", "wav2vec2"):
        raise UserError(
            f"{model} is a {encoder.get('model_type')}: HuBERT or wav2vec 2.0 are needed"
        )
    if not cfg.units or not cfg.temperature > 0:
        raise UserError(f"--units {cfg.units}, --temperature {cfg.temperature:g}: give some")
    packed.refuse_short(data, encoder)
    made = [units.read_meta(data / "units" / name) for name in cfg.units]
    parts: dict[str, Any] = made[0]["parts"]
    if any(of["parts"] != parts for of in made):
        raise UserError(f"--units {' '.join(cfg.units)} were learnt from different clips")

    def task_of(device: "torch.device", options: Training) -> "Task":
        return _task(cfg, model, encoder, parts, device, options)

    inputs = {"data": meta["fingerprint"], "model": runs.weights_sha256(model)}
    inputs |= {
        f"units {n}": of["sha256"]["units.bin"] for n, of in zip(cfg.units, made, strict=True)
    }
    about = {
        "data": meta["fingerprint"],
        "corpus": meta["name"],
        "parts": parts,
        "units": {n: of["features"] for n, of in zip(cfg.units, made, strict=True)},
        "sample": meta["sample"],
    }
    return learn(cfg, task_of, made_by="pretrain-hubert", inputs=inputs, about=about)


def _task(
    cfg: Config,
    model: Path,
    encoder: dict[str, Any],
    parts: dict[str, Any],
    device: "torch.device",
    options: Training,
) -> "Task":
    """What the loop needs to know."""
    import functools

    import torch

    from lib import fit, optim
    from lib.predict import training_budget
    from lib.pretrain import masks, units
    from lib.pretrain import output as pretrain
    from lib.pretrain import speech as pretrain_speech
    from lib.pretrain.features import frames_of
    from lib.pretrain.models import MaskedSpeech, body_of

    train, held_out = pretrain_speech.load(
        Path(cfg.data),
        cfg.units,
        units.training_clips(Path(cfg.data), parts),
        frames=frames_of(encoder),
        spans=masks.Spans(share=cfg.mask_starts, length=cfg.mask_span),
        seen_share=cfg.seen_share,
        max_seconds=cfg.max_seconds,
        limit=cfg.limit,
    )
    torch.manual_seed(cfg.seed)
    body = body_of(
        model, encoder, frozen_features=cfg.features == "frozen", layerdrop=cfg.layerdrop
    )
    body.recompute = cfg.activation_checkpointing
    n_units = [track.n_units for track in train.tracks]
    learner = MaskedSpeech(body, n_units=n_units, temperature=cfg.temperature).to(device)
    return fit.Task(
        model=learner,
        train=train,
        loss_fn=optim.cross_entropy(label_smoothing=cfg.label_smoothing),
        validate=functools.partial(pretrain.validate, learner, held_out, amp=options.amp),
        save=lambda folder, record: pretrain.save(folder, learner, start=model, record=record),
        budget=training_budget(learner, train),
    )


if __name__ == "__main__":
    _cli.run(main, Config)
