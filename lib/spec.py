"""What a classifier is made of, but for its weights; torch-free, as JSON in model.json."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from lib import files
from lib.errors import UserError

# Largest sizes of an encoder; those of the largest published ones are a tenth or less.
SIZES = {
    "hidden_size": 2**14,
    "num_hidden_layers": 512,
    "num_attention_heads": 512,
    "intermediate_size": 2**17,
    "vocab_size": 2**22,
    "max_position_embeddings": 2**20,
    "type_vocab_size": 1024,
}
# The types of Spec's fields, as they are written there
KINDS: dict[str, Any] = {"str": str, "bool": bool, "int | None": int, "float": (int, float)}


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
    path = folder / "model.json"
    record = files.read_json(path)
    try:
        found: dict[str, Any] = dict(record["spec"])
        heads = found.pop("heads")
        for key in ("labels", "frozen_layers"):
            found[key] = tuple(found[key])
        spec = Spec(
            **found,
            heads=None if heads is None else {int(k): tuple(v) for k, v in heads.items()},
        )
        if not isinstance(record["sha256"], str):
            raise ValueError("its sha256 is no text")
        _check(spec)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {error!r:.200}") from None
    check_encoder(spec.encoder, path)
    _refuse_larger(spec.encoder, spec.n_layers, folder / "model.safetensors", path, n_bytes=4)
    return spec, record


def _check(spec: Spec) -> None:
    """Raise ValueError where a field is of another type, or names what is not there."""
    for one in fields(spec):
        value = getattr(spec, one.name)
        if value is not None and not isinstance(value, KINDS.get(str(one.type), object)):
            raise ValueError(f"{one.name} is {value!r:.40}")
    if not spec.labels or not all(isinstance(label, str) and label for label in spec.labels):
        raise ValueError("its labels are no names")
    for name in ("dropout", "layerdrop", "mask_time"):
        if not 0 <= getattr(spec, name) < 1:
            raise ValueError(f"{name} is {getattr(spec, name)!r:.40}")
    for name, most in (("keep_layers", spec.encoder["num_hidden_layers"]), ("read_layers", None)):
        value, most = getattr(spec, name), most or spec.n_layers
        if value is not None and not 1 <= value <= most:
            raise ValueError(f"{name} is {value!r:.40} of {most} layers")
    layers, every = range(spec.n_layers), set(range(spec.encoder["num_attention_heads"]))
    if not set(spec.frozen_layers) <= set(layers):
        raise ValueError(f"it freezes layers {spec.frozen_layers!r:.40} of {spec.n_layers}")
    for layer, kept in (spec.heads or {}).items():
        if layer not in layers or not set(kept) <= every or len(set(kept)) != len(kept):
            raise ValueError(f"of layer {layer} it keeps heads {kept!r:.40}")


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
    path, weights = folder / "config.json", folder / "model.safetensors"
    config = files.read_json(path)
    check_encoder(config, path)
    _refuse_larger(config, config["num_hidden_layers"], weights, path, n_bytes=1)
    return config


def check_encoder(config: Any, path: Path) -> None:
    """Refuse an encoder's configuration that no model can have, before anything is made of it.

    Args:
        config: what `path` holds.
        path: for the error.

    Raises:
        UserError: if it is no JSON object, its model type is not supported, a size is absent,
            wrong or absurd, or a field is not what the library takes.
    """
    if not isinstance(config, dict):
        raise UserError(f"{path} holds no JSON object")
    from lib.families import FAMILIES, family_of

    if not isinstance(config.get("model_type"), str):
        known = ", ".join(FAMILIES)
        raise UserError(f"{path} names no model_type; supported are {known}")
    family = family_of(config)
    needed = ("hidden_size", "num_hidden_layers", "num_attention_heads")
    for name, most in SIZES.items():
        value = config.get(name)
        if name not in config and name not in needed:  # the library's default
            continue
        if type(value) is not int or not 1 <= value <= most:
            said = f"its {name} is {value!r:.40}" if name in config else f"it has no {name}"
            raise UserError(f"{path} is of no model: {said}; give a number from 1 to {most}")
    width, n_heads = config["hidden_size"], config["num_attention_heads"]
    if width % n_heads:
        raise UserError(f"{path} is of no model: {n_heads} heads do not part a width of {width}")
    if family.feature_encoder:
        _check_convolutions(config, path)
    for name, value in config.items():
        low, high = (0, 1) if name.endswith(("dropout", "_prob")) else (-math.inf, math.inf)
        is_number = isinstance(value, int | float)
        if is_number and not (low <= value <= high and abs(value) < math.inf):
            raise UserError(f"{path} is of no model: its {name} is {value!r:.40}")
    padding = None if family.feature_encoder else config.get("pad_token_id")
    if padding is not None and (
        type(padding) is not int or not 0 <= padding < config.get("vocab_size", SIZES["vocab_size"])
    ):
        raise UserError(f"{path} is of no model: its pad_token_id is {padding!r:.40}")
    for name in ("quantization_config", "auto_map"):
        if config.get(name):
            raise UserError(f"{path} has {name}, which is not supported; take another model")
    from transformers import CONFIG_MAPPING
    from transformers.utils import logging

    logging.set_verbosity_error()  # what it would warn of is refused here or at loading
    try:
        CONFIG_MAPPING[config["model_type"]].from_dict(dict(config))
    except Exception as error:  # each field has its own checks, with errors of their own
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        raise UserError(f"{path} is of no model: {reason}") from None


def _check_convolutions(config: dict[str, Any], path: Path) -> None:
    """Refuse lists that do not describe the convolutions of a speech encoder."""
    names = {"conv_dim": 2**13, "conv_kernel": 1000, "conv_stride": 1000}
    for name, most in names.items():
        values = config.get(name)
        if (
            not isinstance(values, list)
            or not 1 <= len(values) <= 32
            or any(type(value) is not int or not 1 <= value <= most for value in values)
        ):
            raise UserError(
                f"{path} is of no model: its {name} is {values!r:.40}; give a list of numbers from "
                f"1 to {most}"
            )
    if len({len(config[name]) for name in names}) > 1:
        raise UserError(f"{path} is of no model: {', '.join(names)} are not of one length")
    groups = config.get("num_conv_pos_embedding_groups", 16)
    kernel = config.get("num_conv_pos_embeddings", 128)
    for name, value, most in (("groups", groups, config["hidden_size"]), ("width", kernel, 4096)):
        if type(value) is not int or not 1 <= value <= most:
            raise UserError(
                f"{path} is of no model: the position convolution's {name} {value!r:.40}"
            )
    if config["hidden_size"] % groups:
        problem = f"{groups} groups do not part a width of {config['hidden_size']}"
        raise UserError(f"{path} is of no model: {problem}")


def _refuse_larger(
    config: Mapping[str, Any], n_layers: int, weights: Path, path: Path, *, n_bytes: int
) -> None:
    """Refuse sizes that the file of the weights cannot hold: memory is taken by what they say.

    Args:
        config: of the encoder, checked.
        n_layers: whose feed-forward parts must be there; heads may have been removed.
        weights: the file, if it is there.
        path: for the error.
        n_bytes: of a number in it at the least.
    """
    if not weights.is_file():
        return
    width = config["hidden_size"]
    n_numbers = n_layers * 2 * width * config.get("intermediate_size", 0)
    n_numbers += 0 if "conv_kernel" in config else width * config.get("vocab_size", 0)
    size = weights.stat().st_size
    if n_numbers * n_bytes > size:
        raise UserError(
            f"{path} tells of {n_numbers} numbers or more, but {weights.name} has {size} bytes; "
            "they are not of one model"
        )
