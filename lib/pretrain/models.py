"""Encoders that tell what was hidden from them: a unit of each frame, a token of each place.

Both take `positions` (M,), flat places in the batch's (B, T), and give logits (M, K), so that
the loop, which counts labels, has a hidden place for its example.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from lib import surgery
from lib.families import refuse_no_filler
from lib.models import Classifier
from lib.spec import Spec

TEMPERATURE = 0.1
WIDTH = 256  # of the space in which frames and units are compared, at the most
# Where checkpoints of masked language models keep their heads; the decoder is tied.
TEXT_HEADS = {
    "dense.weight": ("cls.predictions.transform.dense.weight", "lm_head.dense.weight"),
    "dense.bias": ("cls.predictions.transform.dense.bias", "lm_head.dense.bias"),
    "norm.weight": ("cls.predictions.transform.LayerNorm.weight", "lm_head.layer_norm.weight"),
    "norm.bias": ("cls.predictions.transform.LayerNorm.bias", "lm_head.layer_norm.bias"),
    "bias": ("cls.predictions.bias", "lm_head.bias"),
}


class Masked(nn.Module):
    """An encoder that tells what was hidden from it.

    Attributes:
        body: the encoder; its head is none.
    """

    body: Classifier

    @property
    def width(self) -> int:
        """Numbers at a place, see Classifier."""
        return self.body.width

    @property
    def skips_parts(self) -> bool:
        """Whether a training step may leave out parameters that learn."""
        return self.body.layerdrop > 0


class MaskedSpeech(Masked):
    """Tells units of frames, by the cosine between what it makes of a frame and each unit.

    Source: Hsu et al. 2021, HuBERT (arXiv 2106.07447), equation 3; a projection for each set of
    units as in 3.C.

    Attributes:
        projections: D → P, one for each set of units.
        embeddings: (K, P) of the units, one for each set.
    """

    def __init__(
        self, body: Classifier, *, n_units: Sequence[int], temperature: float = TEMPERATURE
    ) -> None:
        """Put fresh projections on an encoder.

        Args:
            body: its head is taken away.
            n_units: K of each set.
            temperature: that cosines are divided by.

        Raises:
            UserError: if the encoder has nothing to put in the place of hidden frames.
        """
        super().__init__()
        width = body.encoder.config.hidden_size
        refuse_no_filler(body.encoder)
        body.encoder.masked_spec_embed.requires_grad_(True)
        self.body, self.temperature = _headless(body), temperature
        narrow = min(WIDTH, width)
        self.projections = nn.ModuleList(nn.Linear(width, narrow) for _ in n_units)
        self.embeddings = nn.ParameterList(torch.rand(n, narrow) for n in n_units)

    def forward(self, *, positions: Tensor, **batch: Tensor) -> Tensor:
        """Logits (S x M, K) of the units at M places, of S sets one after another.

        K is that of the largest set; a smaller one never takes the rest.
        """
        states, _ = self.body.states(**batch)
        hidden = states[-1].flatten(0, 1)[positions]
        widest = max(len(units) for units in self.embeddings)
        found = []
        for project, units in zip(self.projections, self.embeddings, strict=True):
            logits = cosines(project(hidden), units) / self.temperature
            rest = widest - len(units)
            found.append(nn.functional.pad(logits, (0, rest), value=torch.finfo(logits.dtype).min))
        return torch.cat(found)

    def head(self) -> dict[str, Tensor]:
        """The weights beside the encoder's, by the names that loading it passes over."""
        found = {f"label_embs_concat.{i}": units for i, units in enumerate(self.embeddings)}
        for i, project in enumerate(self.projections):
            found |= {f"final_proj.{i}.{k}": value for k, value in project.state_dict().items()}
        return {name: value.detach() for name, value in found.items()}


class MaskedText(Masked):
    """Tells tokens of a text; what reads them and what tells them share their embeddings.

    Source: Devlin et al. 2019 and its code (transform, tied decoder, a bias of its own).
    """

    def __init__(self, body: Classifier, *, head: Mapping[str, Tensor] | None = None) -> None:
        """Put a head on an encoder: that of its checkpoint, or a fresh one.

        Args:
            body: its head is taken away.
            head: from `text_head`.
        """
        super().__init__()
        self.body = _headless(body)
        config = body.encoder.config
        words = body.encoder.get_input_embeddings().weight
        width = words.shape[1]
        self.dense = nn.Linear(width, width)
        nn.init.normal_(self.dense.weight, std=config.initializer_range)
        nn.init.zeros_(self.dense.bias)
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.bias = nn.Parameter(torch.zeros(len(words)))
        if head is not None:
            own = {name: value for name, value in self.named_parameters() if name in TEXT_HEADS}
            for name, value in own.items():
                value.data.copy_(head[name])

    def forward(self, *, positions: Tensor, **batch: Tensor) -> Tensor:
        """Logits (M, V) of the tokens at M places."""
        states, _ = self.body.states(**batch)
        hidden = states[-1].flatten(0, 1)[positions]
        hidden = self.norm(nn.functional.gelu(self.dense(hidden)))
        words = self.body.encoder.get_input_embeddings().weight
        return nn.functional.linear(hidden, words, self.bias)

    def head(self) -> dict[str, Tensor]:
        """The weights beside the encoder's, by their names in a checkpoint of BERT."""
        own = dict(self.named_parameters())
        return {names[0]: own[name].detach() for name, names in TEXT_HEADS.items()}


def cosines(hidden: Tensor, units: Tensor) -> Tensor:
    """(M, K): the cosine of each of hidden (M, P) with each of units (K, P)."""
    normalize = nn.functional.normalize
    return normalize(hidden.float(), dim=-1) @ normalize(units.float(), dim=-1).T


def body_of(
    folder: Path, encoder: dict[str, Any], *, frozen_features: bool = False, layerdrop: float = 0.0
) -> Classifier:
    """The encoder in a model folder, to be put into one of the above.

    Args:
        folder: of the model.
        encoder: its config.json.
        frozen_features: whether a speech encoder's convolutions stay as they are.
        layerdrop: probability that a layer is left out of a training step.

    Raises:
        UserError: if it cannot be loaded.
    """
    spec = Spec(
        encoder=encoder,
        labels=("none",),
        pooling="mean",
        layerdrop=layerdrop,
        frozen_features=frozen_features,
    )
    return surgery.build(spec, model=folder)


def text_head(folder: Path, *, width: int, n_tokens: int) -> dict[str, Tensor] | None:
    """The head of a masked language model beside its encoder in a checkpoint; None if none fits."""
    found: dict[str, Tensor] = {}
    with safe_open(folder / "model.safetensors", "pt") as weights:
        there = set(weights.keys())
        for name, names in TEXT_HEADS.items():
            for key in there.intersection(names):
                found[name] = weights.get_tensor(key)
    shapes = {"dense.weight": (width, width), "bias": (n_tokens,)}
    whole = len(found) == len(TEXT_HEADS)
    return found if whole and all(found[k].shape == v for k, v in shapes.items()) else None


def _headless(body: Classifier) -> Classifier:
    body.head = nn.Sequential()
    return body
