"""Classifiers over pretrained encoders: prefix → suffix → head, in the same few lines for each.

The loop never sees a library's output object: a batch goes in by keyword, logits (B, C) come out.
What differs between encoders stands in lib.families.
"""

import functools
from collections.abc import Iterable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lib.errors import UserError
from lib.families import family_of, refuse_no_filler, speech_features

POOLINGS = ("cls", "mean", "max", "weighted")
HEADS = ("linear", "mlp")


class Classifier(nn.Module):
    """An encoder, a pooling over time and a head; `forward` gives logits (B, C).

    Attributes:
        kept_heads: for each layer, the original 0-based indices of the heads it still has.
        read_layers: how many layers are computed; those above it are kept but not used.
        frozen: the parts that stay in eval mode and do not learn.
        prefix_layers: layers that are frozen with everything below them, or None where the
            embeddings learn: then no hidden state can be computed ahead.
        features_frozen: whether the convolutions of a speech encoder are frozen, so that at
            least their features can be computed ahead.
        recompute: whether a training step computes a layer's activations again in the backward
            pass instead of keeping them: less memory, the same numbers, about a third more time.
    """

    def __init__(
        self,
        encoder: Any,
        *,
        n_classes: int,
        pooling: str = "cls",
        head: str = "linear",
        dropout: float = 0.1,
        layerdrop: float = 0.0,
        mask_time: float = 0.0,
    ) -> None:
        """Put a head with fresh weights on an encoder.

        Args:
            encoder: a bare encoder of a model type in lib.families.
            n_classes: C.
            pooling: `cls` (the first token), `mean` or `max` over time, padding left out, or
                `weighted`: the mean of a learned weighted sum of all layers' outputs.
            head: `linear`, or `mlp`: D → 4 D → C with GELU.
            dropout: before the head's last layer.
            layerdrop: probability that a layer which learns is left out of a training step.
            mask_time: share of a clip's frames that SpecAugment hides in training.

        Raises:
            UserError: for a pooling or a head that does not exist, or does not fit the rest; for an
                encoder that has nothing to hide frames with.
        """
        super().__init__()
        if pooling not in POOLINGS or head not in HEADS:
            raise UserError(
                f"pooling {pooling!r}, head {head!r}: choose of {POOLINGS} and of {HEADS}"
            )
        if pooling == "weighted" and layerdrop > 0:
            raise UserError("pooling weighted needs every layer: turn --layerdrop off")
        if mask_time > 0:
            refuse_no_filler(encoder)
        config = encoder.config
        self.family = family_of(config.to_dict())
        self.encoder: Any = encoder
        self.pooling, self.layerdrop, self.mask_time = pooling, layerdrop, mask_time
        self.head = _head(head, config.hidden_size, n_classes, dropout)
        self.kept_heads = [list(range(config.num_attention_heads)) for _ in self.layers]
        self.read_layers = len(self.layers)
        if pooling == "weighted":
            self.layer_weights = nn.Parameter(torch.zeros(len(self.layers) + 1))
        self.frozen: list[nn.Module] = []
        self.prefix_layers: int | None = None
        self.features_frozen = False
        self.recompute = False

    @property
    def skips_parts(self) -> bool:
        """Whether a training step may leave out parameters that learn."""
        return self.layerdrop > 0 or self.mask_time > 0

    @property
    def width(self) -> int:
        """Numbers at a place: of hidden states or, if these are wider, of the convolutions."""
        config = self.encoder.config
        convolutions = config.conv_dim if self.family.feature_encoder else ()
        return max([config.hidden_size, *convolutions])

    @property
    def reads_first(self) -> bool:
        """Whether of the last computed layer only the first position is read, and so computed."""
        return self.pooling == "cls" and self.family.first_position is not None

    @property
    def layers(self) -> nn.ModuleList:
        """The encoder's layers, in order."""
        return self.encoder.get_submodule(self.family.layers)

    @property
    def embeddings(self) -> list[nn.Module]:
        """The parts below the first layer, without the feature encoder."""
        return [self.encoder.get_submodule(path) for path in self.family.embeddings]

    @property
    def feature_encoder(self) -> list[nn.Module]:
        """The convolutions of a speech encoder; empty for text."""
        path = self.family.feature_encoder
        return [self.encoder.get_submodule(path)] if path else []

    def query_key_value(self, layer: int) -> list[nn.Linear]:
        """A layer's three projections (D → H x head width)."""
        block = self.layers[layer]
        return [cast(nn.Linear, block.get_submodule(path)) for path in self.family.query_key_value]

    def attention_output(self, layer: int) -> nn.Linear:
        """The projection (H x head width → D) that follows a layer's heads."""
        return cast(nn.Linear, self.layers[layer].get_submodule(self.family.attention_output))

    def prefix(self, **batch: Tensor) -> dict[str, Tensor]:
        """What `forward` takes instead of these inputs, as far as frozen parts can compute it.

        Returns:
            `hidden` (B, T, D) after the frozen layers, (B, 1, D) if no other position is read, or
            `features` (B, T, width) of frozen convolutions; and `attention_mask` (B, T) where
            there is padding.

        Raises:
            ValueError: if nothing that comes first is frozen.
        """
        if self.prefix_layers is None and not self.features_frozen:
            raise ValueError("what comes first learns: there is no frozen prefix")
        with torch.no_grad():
            if self.prefix_layers is None:
                name = "features"
                ahead, mask = speech_features(
                    self.encoder, batch["input_values"], batch.get("attention_mask")
                )
            else:
                name = "hidden"
                ahead, mask = self._embed(**batch)
                ahead = self._run(ahead, mask, 0, self.prefix_layers, first=self.reads_first)[-1]
                mask = mask if ahead.shape[1] > 1 else None
        return {name: ahead} | ({} if mask is None else {"attention_mask": mask})

    def forward(self, hidden: Tensor | None = None, **batch: Tensor) -> Tensor:
        """Logits (B, C) from the family's inputs, or from what `prefix` gives."""
        states, mask = self._states(hidden, first=self.reads_first, **batch)
        if self.pooling != "weighted":
            return self.head(pool(states[-1], mask, self.pooling))
        weights = self.layer_weights[: len(states)].softmax(0)
        mixed = sum(weight * state for weight, state in zip(weights, states, strict=True))
        return self.head(pool(cast(Tensor, mixed), mask, "mean"))

    def states(
        self, hidden: Tensor | None = None, **batch: Tensor
    ) -> tuple[list[Tensor], Tensor | None]:
        """Hidden states (B, T, D) before the first computed layer and after each, final norm done.

        Args:
            hidden: from `prefix`, instead of the inputs.
            batch: the family's inputs, or `features` from `prefix`; of speech also `hide` (B, T)
                bool, frames to hide.

        Returns:
            The states, and the mask (B, T), False on padding; None where there is none.
        """
        return self._states(hidden, first=False, **batch)

    def _states(
        self, hidden: Tensor | None, *, first: bool, **batch: Tensor
    ) -> tuple[list[Tensor], Tensor | None]:
        """As `states`; with `first` of the last state only the first position: (B, 1, D)."""
        start = 0
        if hidden is None:
            hidden, mask = self._embed(**batch)
        else:
            start, mask = self.prefix_layers or 0, batch.get("attention_mask")
        states = self._run(hidden, mask, start, self.read_layers, first=first)
        if self.family.final_norm:
            states[-1] = self.encoder.get_submodule(self.family.final_norm)(states[-1])
        return states, mask

    def _embed(self, **batch: Tensor) -> tuple[Tensor, Tensor | None]:
        """Hidden states (B, T, D) below the first layer, and the mask (B, T) or None."""
        mask = batch.pop("attention_mask", None)
        if self.family.feature_encoder is None:
            return self.family.embed(self.encoder, **batch), mask
        features = batch.get("features")
        if features is None:
            features, mask = speech_features(self.encoder, batch["input_values"], mask)
        hidden = self.family.embed(
            self.encoder,
            features=features,
            mask=mask,
            mask_time=self.mask_time if self.training else 0.0,
            hide=batch.get("hide"),
        )
        return hidden, mask

    def _run(
        self, hidden: Tensor, mask: Tensor | None, start: int, stop: int, *, first: bool = False
    ) -> list[Tensor]:
        """The hidden states before layer `start` and after each layer up to `stop`.

        With `first`, of the last layer that is computed at all only the first position.
        """
        # A boolean mask that broadcasts over heads and queries; None where nothing is padded,
        # which lets attention take its fastest kernel and asks the device nothing.
        keys = None if mask is None else mask[:, None, None, :].bool()
        bias, states = None, [hidden]
        again = self.recompute and torch.is_grad_enabled()
        for number, layer in enumerate(self.layers[start:stop], start):
            compute: Any = layer
            if first and number == self.read_layers - 1:
                compute = functools.partial(cast(Any, self.family.first_position), layer)
            needed = self.family.gated_heads and bias is None  # the layer that holds the bias
            droppable = layer.training and self.layerdrop > 0 and not needed
            if droppable and float(torch.rand(())) < self.layerdrop:
                continue
            run = functools.partial(checkpoint, compute, use_reentrant=False) if again else compute
            if self.family.gated_heads:  # WavLM hands its position bias from layer to layer
                hidden, bias = run(hidden, attention_mask=mask, position_bias=bias)
            else:
                hidden = run(hidden, attention_mask=keys)
            states.append(hidden)
        return states

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
