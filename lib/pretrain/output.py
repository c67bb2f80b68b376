"""Learning without labels: how a model is validated, saved, and made an ordinary model folder."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from lib import files, made_model, parallel
from lib.loader import batches
from lib.predict import forward, passes, precision
from lib.pretrain.models import MaskedSpeech, MaskedText
from lib.pretrain.speech import UnitSplit
from lib.pretrain.text import WordSplit
from lib.tokenizer import TOKENIZER_FILES

# What a model folder holds beside its weights and goes on with.
BESIDE = ("config.json", "preprocessor_config.json", *TOKENIZER_FILES)


def validate(
    model: nn.Module, split: UnitSplit | WordSplit, *, amp: str = "off"
) -> dict[str, float]:
    """What the model tells of what is held out, under masks that are always the same.

    Processes that have joined share the batches, so all of them must call this.

    Args:
        model: of lib.pretrain.models, on its device.
        split: held out.
        amp: precision, as in a run's options.

    Returns:
        n, hidden places; loss, the mean over them in nats, and accuracy, also named
        masked_accuracy; of speech also unit_accuracy, over frames that are not hidden.
    """
    device = next(model.parameters()).device
    n_sets = len(model.embeddings) if isinstance(model, MaskedSpeech) else 1
    order = parallel.take_turns(passes(model, split))
    sums = torch.zeros(5, dtype=torch.float64, device=device)
    model.eval()
    with torch.inference_mode():
        for batch in batches(split, order, device=device):
            logits = forward(model, batch, dtype=precision(amp, device)).float()
            sums += _sums(logits, batch, n_sets)
    loss, n_right, n, n_heard_right, n_heard = parallel.total(sums).tolist()
    found = {"n": int(n), "loss": loss / max(1, n), "accuracy": n_right / max(1, n)}
    found["masked_accuracy"] = found["accuracy"]
    return found | ({"unit_accuracy": n_heard_right / n_heard} if n_heard else {})


def _sums(logits: Tensor, batch: Mapping[str, Tensor], n_sets: int) -> Tensor:
    """(5,): loss, right and number of hidden places; right and number of those not hidden."""
    labels = batch["labels"]
    hidden = torch.ones(len(labels) // n_sets, dtype=torch.bool, device=labels.device)
    if "hide" in batch:
        hidden = batch["hide"].flatten()[batch["positions"]]
    hidden = hidden.repeat(n_sets)
    losses = nn.functional.cross_entropy(logits, labels, reduction="none")
    right = logits.argmax(1) == labels
    parts = (losses[hidden], right[hidden], hidden, right[~hidden], ~hidden)
    return torch.stack([part.double().sum() for part in parts])


def save(
    folder: Path, model: MaskedSpeech | MaskedText, *, start: Path, record: Mapping[str, Any]
) -> None:
    """Write an ordinary model folder, whole or not: the encoder, and the head that tells.

    Args:
        folder: to make, or to replace.
        model: that has learnt.
        start: the model folder whose encoder it was; its config and tokenizer go along.
        record: how the weights came about, for pretrain.json.
    """
    encoder = model.body.encoder
    with files.staged_folder(folder) as staged:
        for name in BESIDE:
            if (start / name).is_file():
                shutil.copyfile(start / name, staged / name)
        weights = {**encoder.state_dict(), **model.head()}
        weights = {name: value.contiguous().cpu() for name, value in weights.items()}
        save_file(weights, staged / "model.safetensors", metadata={"format": "pt"})
        files.write_json(staged / "pretrain.json", dict(record))


def publish(
    best: Path, folder: Path, *, made_by: str, trained_on: Mapping[str, Any]
) -> dict[str, Any]:
    """What source.json of a model folder says, made now of `best/`.

    Args:
        best: of the run, from `save`.
        folder: to make, or to replace if it is of the same making.
        made_by: pretrain-hubert or pretrain-bert.
        trained_on: options and fingerprints, fit for JSON.

    Raises:
        UserError: if the folder holds something else.
    """

    def write(stage: Path) -> None:
        shutil.copytree(best, stage, dirs_exist_ok=True)

    found, _ = made_model.make(folder, write, made_by=made_by, options=trained_on, force=True)
    return found
