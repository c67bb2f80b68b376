"""Classifiers over pretrained encoders: prefix → suffix → head, in the same few lines for each.

The loop never sees a library's output object: a batch goes in by keyword, logits (B, C) come out.
What differs between encoders stands in one table, FAMILIES.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from lib.errors import UserError
from lib.spec import read_encoder_config

POOLINGS = ("cls", "mean", "max")
HEADS = ("linear", "mlp")


@dataclass(frozen=True)
class Family:
    """Where an encoder keeps its parts (dotted paths), and how input becomes hidden states."""

    embed: Callable[..., tuple[Tensor, Tensor | None]]
    embeddings: tuple[str, ...]  # everything below the first layer
    layers: str
    query_key_value: tuple[str, str, str]  # inside a layer
    attention_output: str  # inside a layer; its input is the heads' outputs, side by side
    options: dict[str, Any]  # for the encoder's constructor
    unused_weights: tuple[str, ...]  # of a checkpoint: heads that pretraining needed


def _embed_text(
    encoder: Any,
    input_ids: Tensor,
    *,
    token_type_ids: Tensor | None = None,
    attention_mask: Tensor | None = None,
) -> tuple[Tensor, Tensor | None]:
    """(B, T) token ids → (B, T, D) hidden states and the (B, T) mask, None without padding."""
    hidden = encoder.embeddings(input_ids=input_ids, token_type_ids=token_type_ids)
    return hidden, attention_mask


_BERT = Family(
    embed=_embed_text,
    embeddings=("embeddings",),
    layers="encoder.layer",
    query_key_value=("attention.self.query", "attention.self.key", "attention.self.value"),
    attention_output="attention.output.dense",
    options={"add_pooling_layer": False},
    unused_weights=("cls.", "pooler.", "lm_head.", "classifier.", "qa_outputs."),
)
FAMILIES = {"bert": _BERT, "roberta": _BERT, "xlm-roberta": _BERT, "camembert": _BERT}


class Classifier(nn.Module):
    """An encoder, a pooling over time and a head; `forward` gives logits (B, C).

    Attributes:
        kept_heads: for each layer, the original 0-based indices of the heads it still has.
        read_layers: how many layers are computed; those above it are kept but not used.
        frozen: the parts that stay in eval mode and do not learn.
        prefix_layers: layers that are frozen with everything below them, or None where the
            embeddings learn: then nothing can be computed ahead.
    """

    def __init__(
        self,
        encoder: Any,
        *,
        n_classes: int,
        pooling: str = "cls",
        head: str = "linear",
        dropout: float = 0.1,
    ) -> None:
        """Put a head with fresh weights on an encoder.

        Args:
            encoder: a bare encoder of a model type in FAMILIES.
            n_classes: C.
            pooling: `cls` (the first token), `mean` or `max` over time, padding left out.
            head: `linear`, or `mlp`: D → 4 D → C with GELU.
            dropout: before the head's last layer.

        Raises:
            UserError: for a pooling or a head that does not exist.
        """
        super().__init__()
        if pooling not in POOLINGS or head not in HEADS:
            raise UserError(
                f"pooling {pooling!r}, head {head!r}: choose of {POOLINGS} and of {HEADS}"
            )
        config = encoder.config
        self.family = family_of(config.model_type)
        self.encoder: Any = encoder
        self.pooling = pooling
        self.head = _head(head, config.hidden_size, n_classes, dropout)
        self.kept_heads = [list(range(config.num_attention_heads)) for _ in self.layers]
        self.read_layers = len(self.layers)
        self.frozen: list[nn.Module] = []
        self.prefix_layers: int | None = None

    @property
    def layers(self) -> nn.ModuleList:
        """The encoder's layers, in order."""
        return self.encoder.get_submodule(self.family.layers)

    @property
    def embeddings(self) -> list[nn.Module]:
        """The parts below the first layer."""
        return [self.encoder.get_submodule(path) for path in self.family.embeddings]

    def query_key_value(self, layer: int) -> list[nn.Linear]:
        """A layer's three projections (D → H x head width)."""
        block = self.layers[layer]
        return [cast(nn.Linear, block.get_submodule(path)) for path in self.family.query_key_value]

    def attention_output(self, layer: int) -> nn.Linear:
        """The projection (H x head width → D) that follows a layer's heads."""
        return cast(nn.Linear, self.layers[layer].get_submodule(self.family.attention_output))

    def prefix(self, **batch: Tensor) -> tuple[Tensor, Tensor | None]:
        """Hidden states (B, T, D) after the frozen prefix, and the mask (B, T) or None.

        Passed to `forward` as `hidden` and `attention_mask`, they give the same logits. The frozen
        prefix draws nothing, so it may be computed once.
        """
        if self.prefix_layers is None:
            raise ValueError("the embeddings learn: there is no frozen prefix")
        hidden, mask = self.family.embed(self.encoder, **batch)
        return self._run(hidden, mask, 0, self.prefix_layers), mask

    def forward(self, hidden: Tensor | None = None, **batch: Tensor) -> Tensor:
        """Logits (B, C) from the family's inputs, or from cached `hidden` with `attention_mask`."""
        if hidden is None:
            start = 0
            hidden, mask = self.family.embed(self.encoder, **batch)
        else:
            start, mask = self.prefix_layers or 0, batch.get("attention_mask")
        hidden = self._run(hidden, mask, start, self.read_layers)
        return self.head(pool(hidden, mask, self.pooling))

    def _run(self, hidden: Tensor, mask: Tensor | None, start: int, stop: int) -> Tensor:
        # A boolean mask that broadcasts over heads and queries; None where nothing is padded,
        # which lets attention take its fastest kernel and asks the device nothing.
        keys = None if mask is None else mask[:, None, None, :].bool()
        for layer in self.layers[start:stop]:
            hidden = layer(hidden, attention_mask=keys)
        return hidden

    def train(self, mode: bool = True) -> "Classifier":
        """Set training mode, but leave what is frozen in eval mode: it draws no dropout."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self


def pool(hidden: Tensor, mask: Tensor | None, pooling: str) -> Tensor:
    """(B, T, D) → (B, D); padded positions, where mask (B, T) is 0, do not count."""
    if pooling == "cls":
        return hidden[:, 0]
    if mask is None:
        return hidden.mean(1) if pooling == "mean" else hidden.amax(1)
    seen = mask[:, :, None].bool()
    if pooling == "mean":
        return hidden.masked_fill(~seen, 0).sum(1) / seen.sum(1)
    return hidden.masked_fill(~seen, -torch.inf).amax(1)


def load_encoder(folder: Path) -> Any:
    """The pretrained encoder in a folder, float32, every weight accounted for.

    Raises:
        UserError: if the folder is no model of a supported family, or lacks or misshapes a weight.
    """
    from safetensors import SafetensorError
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # what it would warn of is checked below
    family = family_of(read_encoder_config(folder).get("model_type", "?"))
    try:
        encoder, seen = AutoModel.from_pretrained(
            folder,
            dtype=torch.float32,
            attn_implementation="sdpa",
            trust_remote_code=False,
            weights_only=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # only to name them below, never to go on
            **family.options,
        )
    except (OSError, ValueError, SafetensorError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{folder} cannot be loaded as a model: {reason}") from None
    extra = [key for key in seen["unexpected_keys"] if not _is_unused(key, family)]
    for what, keys in {
        "lacks weights": seen["missing_keys"],
        "has weights of other shapes than its config.json says": seen["mismatched_keys"],
        "has weights that its config.json does not explain": extra,
    }.items():
        if keys:
            names = ", ".join(sorted(str(key) for key in keys)[:3])
            raise UserError(f"{folder} {what}: {names}{' ...' if len(keys) > 3 else ''}")
    return encoder


def empty_encoder(config: dict[str, Any]) -> Any:
    """An encoder of this configuration whose weights are yet to be loaded."""
    from transformers import AutoConfig, AutoModel

    family = family_of(config.get("model_type", "?"))
    fields = {key: value for key, value in config.items() if key != "model_type"}
    return AutoModel.from_config(
        AutoConfig.for_model(config["model_type"], **fields),
        attn_implementation="sdpa",
        dtype=torch.float32,
        **family.options,
    )


def family_of(model_type: str) -> Family:
    """The family of a Hugging Face model type.

    Raises:
        UserError: if it is not supported.
    """
    if model_type not in FAMILIES:
        raise UserError(f"model type {model_type!r} is not supported; choose of {[*FAMILIES]}")
    return FAMILIES[model_type]


def parameters(modules: Iterable[nn.Module]) -> list[nn.Parameter]:
    """All parameters of some modules, in order."""
    return [parameter for module in modules for parameter in module.parameters()]


def _head(kind: str, width: int, n_classes: int, dropout: float) -> nn.Sequential:
    if kind == "linear":
        layers: list[nn.Module] = [nn.Dropout(dropout), nn.Linear(width, n_classes)]
    else:
        layers = [nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout)]
        layers.append(nn.Linear(4 * width, n_classes))
    for layer in layers:
        if isinstance(layer, nn.Linear):  # as the encoders initialise theirs
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


def _is_unused(key: str, family: Family) -> bool:
    return key.endswith("position_ids") or any(
        key.startswith(prefix) or f".{prefix}" in key for prefix in family.unused_weights
    )
