"""Untrained speech encoders of any size, as model folders that every script takes."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lib import files, made_model
from lib.errors import UserError

MADE_BY = "scratch-hubert"
VERSION = 2  # of the encoders; another one makes other files of the same options
# The convolutional encoder, and what goes with its size. `base`: 50 frames/s at 16 kHz, each of 400
# samples. `tiny` is for a CPU: 25 frames/s, which halves the cost of what follows, each of 1690
# samples, so that few layers hold several periods of a low voice. Its first stride stays fine:
# with 20 samples, half as dear, it recognised unheard speakers worse. It has no dropout, the
# drawing of which would take a third of a training step.
# Source of `base`: Baevski et al. 2020 (arXiv 2006.11477), 4.2.
CONV: dict[str, dict[str, Any]] = {
    "base": {
        "conv_dim": [512] * 7,
        "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
        "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    },
    "tiny": {
        "conv_dim": [32, 32, 64, 64],
        "conv_kernel": [20, 16, 8, 4],
        "conv_stride": [10, 8, 4, 2],
        "num_conv_pos_embeddings": 32,  # frames
        "hidden_dropout": 0.0,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "feat_proj_dropout": 0.0,
    },
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What makes one untrained encoder differ from another.

    Attributes:
        kind: model type. The two have the same parts.
        layers: transformer layers.
        width: of the hidden states; the feed-forward part is four times as wide.
        heads: of attention; None takes 64 units a head, but four heads at least.
        conv: convolutional encoder, see CONV.
        pre_norm: the large family, with layer norm before each block and in every convolution.
        seed: equal options and seeds give equal bytes.
    """

    kind: Literal["hubert", "wav2vec2"] = "hubert"
    layers: int = 4
    width: int = 64
    heads: int | None = None
    conv: Literal["tiny", "base"] = "tiny"
    pre_norm: bool = False
    seed: int = 0


def configuration(options: Options) -> dict[str, Any]:
    """The fields of config.json in which the encoder differs from the library's defaults.

    Source: the configurations of hubert-base-ls960 and hubert-large-ll60k, for which the defaults
    stand. Linear weights keep the variance of their products at any width: 0.02 is for 768.

    Raises:
        UserError: if no encoder can have these sizes.
    """
    heads = max(4, options.width // 64) if options.heads is None else options.heads
    if options.layers < 1 or options.width < 1 or heads < 1 or options.width % heads:
        raise UserError(
            f"{options.layers} layers, width {options.width}, {heads} heads: give at least one "
            "layer, and a width that is a multiple of the heads"
        )
    return {
        "hidden_size": options.width,
        "num_hidden_layers": options.layers,
        "num_attention_heads": heads,
        "intermediate_size": 4 * options.width,
        "initializer_range": round(0.02 * math.sqrt(768 / options.width), 4),
        "num_conv_pos_embedding_groups": math.gcd(16, options.width),
        "do_stable_layer_norm": options.pre_norm,
        "feat_extract_norm": "layer" if options.pre_norm else "group",
        "conv_bias": options.pre_norm,
        **CONV[options.conv],
    }


def encoder(options: Options) -> Any:
    """The encoder with fresh weights; under `torch.device("meta")` it takes no memory.

    The global random state of torch is left as it was.

    Raises:
        UserError: if no encoder can have these sizes.
    """
    import torch
    from transformers import AutoConfig, AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    fields = configuration(options)
    config = AutoConfig.for_model(options.kind, **fields)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        return AutoModel.from_config(config, dtype=torch.float32)


def make(folder: Path, *, options: Options, force: bool = False) -> tuple[dict[str, Any], bool]:
    """What `folder`/source.json says, and whether the folder was there already, unchanged.

    The folder holds config.json, model.safetensors and preprocessor_config.json (16 kHz).

    Args:
        folder: the folder to make, whole or not at all.
        options: the encoder.
        force: replace a folder that holds another untrained model.

    Raises:
        UserError: if no encoder can have these sizes, or the folder holds something else.
    """
    configuration(options)

    def write(stage: Path) -> None:
        encoder(options).save_pretrained(stage)
        files.write_json(stage / "preprocessor_config.json", _preprocessor(options))

    made_of = asdict(options) | {"version": VERSION}
    return made_model.make(folder, write, made_by=MADE_BY, options=made_of, force=force)


def _preprocessor(options: Options) -> dict[str, Any]:
    """Each clip with zero mean and unit variance; only the large family asks for a mask."""
    return {
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "do_normalize": True,
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": options.pre_norm,
        "sampling_rate": 16000,
    }
