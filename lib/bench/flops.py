"""Arithmetic of an encoder by its configuration, on real lengths: what padding adds is not in it.

Counted by formula, as torch's FlopCounterMode counts the weight gradient of a grouped convolution
as often as there are groups. Products of matrices and convolutions count, two operations a
multiplication; norms, activations and the softmax do not.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np


def layers(
    config: Mapping[str, Any], lengths: np.ndarray, *, n_layers: int, heads: float = 1.0
) -> float:
    """Operations of a forward pass through some transformer layers.

    Args:
        config: of the encoder, as in config.json.
        lengths: (N,) positions of each row.
        n_layers: how many layers.
        heads: share of the attention heads that is there.
    """
    width, inner = config["hidden_size"], config["intermediate_size"]
    t = np.asarray(lengths, np.float64)
    projections = 4 * 2 * t * width * (heads * width)
    attention = 2 * 2 * t * t * (heads * width)
    feed_forward = 2 * 2 * t * width * inner
    return float(n_layers * (projections + attention + feed_forward).sum())


def unread(config: Mapping[str, Any], lengths: np.ndarray, *, heads: float = 1.0) -> float:
    """Operations of the last layer that only positions need which nobody reads: all but the first.

    Keys and values are needed of all; query, output projection and the feed-forward part of one.
    """
    width, inner = config["hidden_size"], config["intermediate_size"]
    rest = np.asarray(lengths, np.float64) - 1
    each = 2 * 2 * width * (heads * width) + 2 * 2 * width * inner
    return float((rest * (each + 2 * 2 * (rest + 1) * (heads * width))).sum())


def frames(config: Mapping[str, Any], samples: np.ndarray) -> np.ndarray:
    """(N,) positions that a speech encoder's convolutions make of waveforms of (N,) samples."""
    n = np.asarray(samples, np.int64)
    for kernel, stride in zip(config["conv_kernel"], config["conv_stride"], strict=True):
        n = (n - kernel) // stride + 1
    return n


def convolutions(config: Mapping[str, Any], samples: np.ndarray) -> float:
    """Operations of a forward pass through a speech encoder's convolutions."""
    n, n_in, total = np.asarray(samples, np.int64), 1, 0.0
    sizes = zip(config["conv_dim"], config["conv_kernel"], config["conv_stride"], strict=True)
    for n_out, kernel, stride in sizes:
        n = (n - kernel) // stride + 1
        total += 2.0 * n_in * kernel * n_out * float(n.sum())
        n_in = n_out
    return total


def projection(config: Mapping[str, Any], positions: np.ndarray) -> float:
    """Operations from convolutional features to the first layer: linear, and position's grouped."""
    width, n = config["hidden_size"], float(np.sum(positions))
    groups, kernel = config["num_conv_pos_embedding_groups"], config["num_conv_pos_embeddings"]
    return n * (2 * config["conv_dim"][-1] * width + 2 * (width // groups) * kernel * width)


def training(
    config: Mapping[str, Any],
    train: np.ndarray,
    validation: np.ndarray,
    *,
    epochs: int,
    n_frozen: int = 0,
    ahead: bool = False,
    first: bool = False,
) -> float:
    """Operations of a training: a backward pass costs twice the forward pass of what learns.

    Args:
        config: of the encoder; its num_hidden_layers are all computed.
        train, validation: (N,) tokens, or samples of speech, of each row.
        epochs: each with one pass over the validation rows.
        n_frozen: layers that are frozen with what is below them; in speech the convolutions are
            frozen in any case.
        ahead: what is frozen is computed once for each row instead of in every epoch.
        first: of the last layer only the first position is computed.
    """
    speech = "conv_kernel" in config
    total = 0.0
    for raw, passes in ((train, 3), (validation, 1)):  # forward and backward, or forward alone
        positions = frames(config, raw) if speech else raw
        below = projection(config, positions) if speech else 0.0
        frozen = layers(config, positions, n_layers=n_frozen)
        frozen += convolutions(config, raw) if speech else 0.0
        learnt = layers(config, positions, n_layers=config["num_hidden_layers"] - n_frozen)
        less = unread(config, positions) if first else 0.0
        if n_frozen == config["num_hidden_layers"]:
            frozen -= less
        else:
            learnt -= less
        if n_frozen:
            frozen += below
        else:
            learnt += below
        total += (1 if ahead else epochs) * frozen + epochs * passes * learnt
    return total
