"""What a classifier is made of, but for its weights; torch-free, as JSON in model.json."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib import files
from lib.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Spec:
    """Everything but the weights that makes a classifier what it is.

    Attributes:
        encoder: the configuration of the whole pretrained encoder, as in its config.json.
        labels: class names, in the order of the logits.
        pooling: of hidden states over time, see Classifier.
        head: `linear` or `mlp`.
        dropout: before the head's last layer.
        keep_layers: layers 0 .. keep_layers - 1 exist; None keeps all.
        read_layers: layers that are computed, where that is fewer than exist.
        heads: layer → original indices of the heads it keeps, where that is not all.
        layerdrop: probability that a layer is left out of a training step.
        mask_time: share of a clip's frames that SpecAugment hides in training.
        frozen_features: whether the convolutions of a speech encoder are frozen.
        frozen_embeddings: whether what lies below the first layer is frozen.
        frozen_layers: 0-based layers that are frozen.
    """

    encoder: dict[str, Any]
    labels: tuple[str, ...]
    pooling: str = "cls"
    head: str = "linear"
    dropout: float = 0.1
    keep_layers: int | None = None
    read_layers: int | None = None
    heads: Mapping[int, tuple[int, ...]] | None = None
    layerdrop: float = 0.0
    mask_time: float = 0.0
    frozen_features: bool = False
    frozen_embeddings: bool = False
    frozen_layers: tuple[int, ...] = ()

    @property
    def n_layers(self) -> int:
        """Layers that exist after truncation."""
        whole = int(self.encoder["num_hidden_layers"])
        return whole if self.keep_layers is None else self.keep_layers

    def kept_heads(self) -> list[list[int]]:
        """For each layer that exists, the original indices of the heads it keeps."""
        every = tuple(range(self.encoder["num_attention_heads"]))
        return [list((self.heads or {}).get(layer, every)) for layer in range(self.n_layers)]


def read_spec(folder: Path) -> tuple[Spec, dict[str, Any]]:
    """The spec in a `best/` folder, and all of its model.json.

    Raises:
        UserError: if it is missing or damaged.
    """
    record = files.read_json(folder / "model.json")
    try:
        fields: dict[str, Any] = dict(record["spec"])
        heads = fields.pop("heads")
        for key in ("labels", "frozen_layers"):
            fields[key] = tuple(fields[key])
        spec = Spec(
            **fields,
            heads=None if heads is None else {int(k): tuple(v) for k, v in heads.items()},
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{folder / 'model.json'} is damaged: {error!r}") from None
    return spec, record


def n_layers_of(amount: float, n_layers: int, *, what: str) -> int:
    """A number of layers given as a count or as a fraction below 1 (0.75 of 12 is 9).

    Raises:
        UserError: if it is not a whole number, or the model does not have that many.
    """
    if 0 < amount < 1:
        return max(1, round(amount * n_layers))
    if amount != int(amount) or not 0 <= amount <= n_layers:
        raise UserError(
            f"{what} {amount:g}: give a whole number up to {n_layers} (the model's layers) or a "
            "fraction below 1"
        )
    return int(amount)


def read_encoder_config(folder: Path) -> dict[str, Any]:
    """The config.json of a model folder.

    Raises:
        UserError: if there is none, or it is no JSON object.
    """
    if not (folder / "config.json").is_file():
        raise UserError(
            f"{folder} is no model folder (no config.json); `./inv data.model ID` downloads one, "
            "`./inv data.scratch-bert` makes an untrained one"
        )
    config = files.read_json(folder / "config.json")
    if not isinstance(config, dict):
        raise UserError(f"{folder / 'config.json'} holds no JSON object")
    return config
