"""What differs between encoders: where they keep their parts, and how input becomes hidden states.

A family is an entry of one table; everything else in this project treats all encoders alike.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from lib.errors import UserError

SPAN_FRAMES = 10  # of SpecAugment's masks: 0.2 s


@dataclass(frozen=True)
class Family:
    """Where an encoder keeps its parts, as dotted paths, and how it is run."""

    embed: Callable[..., Tensor]  # (encoder, features) or (encoder, **inputs) → (B, T, D)
    embeddings: tuple[str, ...]  # what lies below the first layer, without the feature encoder
    layers: str
    query_key_value: tuple[str, str, str]  # inside a layer
    attention_output: str  # inside a layer; its input is the heads' outputs, side by side
    unused_weights: tuple[str, ...]  # of a checkpoint: heads that pretraining needed
    feature_encoder: str | None = None  # speech: the convolutions below the embeddings
    final_norm: str | None = None  # pre-norm encoders: the norm above the last layer
    options: Mapping[str, Any] = field(default_factory=dict)  # for the encoder's constructor
    attention: str = "sdpa"
    gated_heads: bool = False  # WavLM: heads share a position bias and cannot be cut out
    first_position: Callable[..., Tensor] | None = None  # (layer, hidden, mask) → (B, 1, D)


def embed_text(encoder: Any, *, input_ids: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
    """(B, T) token ids → (B, T, D) hidden states."""
    return encoder.embeddings(input_ids=input_ids, token_type_ids=token_type_ids)


def first_of_text(layer: Any, hidden: Tensor, attention_mask: Tensor | None) -> Tensor:
    """What a layer of BERT makes of the first position: (B, T, D) → (B, 1, D).

    All positions are attended to, but the rest of the layer is computed for the first one alone:
    a sixth of the work in a layer whose other outputs nobody reads.

    Args:
        layer: of BERT or RoBERTa.
        hidden: what comes into it.
        attention_mask: bool, broadcasts to (B, heads, 1, T), or None.
    """
    attention, first = layer.attention.self, hidden[:, :1]
    query, key, value = (
        linear(states).unflatten(-1, (-1, attention.attention_head_size)).transpose(1, 2)
        for linear, states in (
            (attention.query, first),
            (attention.key, hidden),
            (attention.value, hidden),
        )
    )
    dropout = attention.dropout.p if attention.dropout.training else 0.0
    context = nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=attention_mask, dropout_p=dropout
    )
    attended = layer.attention.output(context.transpose(1, 2).flatten(2), first)
    return layer.feed_forward_chunk(attended)


def speech_features(
    encoder: Any, input_values: Tensor, attention_mask: Tensor | None
) -> tuple[Tensor, Tensor | None]:
    """Waveforms (B, samples) at 16 kHz → features (B, T, width) and their mask (B, T).

    The base size gives 50 features a second.

    With a mask, GroupNorm over time leaves padding out, so that a clip's features are the same
    alone and in any batch; without one, zeros count as sound, as the reference report had it.
    """
    hidden = input_values[:, None]
    n_samples = None if attention_mask is None else attention_mask.sum(1)
    n_frames = n_samples
    for layer in encoder.feature_extractor.conv_layers:
        norm = getattr(layer, "layer_norm", None)
        if n_frames is not None:
            n_frames = (n_frames - layer.conv.kernel_size[0]) // layer.conv.stride[0] + 1
        if n_frames is None or not isinstance(norm, nn.GroupNorm):
            hidden = layer(hidden)
        else:
            hidden = layer.activation(masked_group_norm(norm, layer.conv(hidden), n_frames))
    if n_frames is None:
        return hidden.transpose(1, 2), None
    position = torch.arange(hidden.shape[2], device=hidden.device)
    return hidden.transpose(1, 2), position < n_frames[:, None]


def masked_group_norm(norm: nn.GroupNorm, hidden: Tensor, n_frames: Tensor) -> Tensor:
    """GroupNorm with a group a channel, over the first n_frames (B,) of (B, C, T) only."""
    position = torch.arange(hidden.shape[2], device=hidden.device)
    real = (position < n_frames[:, None])[:, None]  # (B, 1, T)
    n = n_frames[:, None, None].clamp(min=1).float()
    wide = hidden.float().masked_fill(~real, 0)
    mean = wide.sum(2, keepdim=True) / n
    variance = (wide - mean).square().masked_fill(~real, 0).sum(2, keepdim=True) / n
    scaled = (wide - mean) * torch.rsqrt(variance + norm.eps)
    scaled = scaled * norm.weight[:, None] + norm.bias[:, None]
    return scaled.masked_fill(~real, 0).to(hidden.dtype)


def embed_speech(
    encoder: Any,
    *,
    features: Tensor,
    mask: Tensor | None,
    mask_time: float = 0.0,
    hide: Tensor | None = None,
) -> Tensor:
    """Features (B, T, width) → hidden states (B, T, D) below the first layer.

    Args:
        encoder: of the HuBERT family.
        features: from `speech_features`.
        mask: (B, T), False on padding; None without.
        mask_time: SpecAugment's share of frames to hide, 0 for none.
        hide: (B, T) bool, frames to hide, whatever the share.
    """
    hidden = encoder.feature_projection(features)
    if isinstance(hidden, tuple):  # wav2vec 2.0 gives its normalised features too
        hidden = hidden[0]
    if mask_time > 0:
        hidden = hide_spans(hidden, mask, encoder.masked_spec_embed, share=mask_time)
    if hide is not None:
        filler = encoder.masked_spec_embed.to(hidden.dtype)
        hidden = torch.where(hide[:, :, None], filler, hidden)
    if mask is not None:
        hidden = hidden.masked_fill(~mask[:, :, None], 0)
    hidden = hidden + encoder.encoder.pos_conv_embed(hidden)
    if not encoder.config.do_stable_layer_norm:
        hidden = encoder.encoder.layer_norm(hidden)
    return encoder.encoder.dropout(hidden)


def refuse_no_filler(encoder: Any) -> None:
    """Refuse to hide frames from a speech encoder that has nothing to put in their place.

    Raises:
        UserError: if so.
    """
    if getattr(encoder, "masked_spec_embed", None) is None:
        raise UserError(
            "this encoder has no masked_spec_embed to hide frames with, for its config.json has "
            "mask_time_prob 0: give --mask-time 0, or set mask_time_prob as it was trained"
        )


def hide_spans(
    hidden: Tensor, mask: Tensor | None, filler: Tensor, *, share: float, min_spans: int = 2
) -> Tensor:
    """Hidden states (B, T, D) with random spans of 10 frames replaced by `filler` (D,).

    About `share` of each clip's frames start out hidden; clips of under 10 frames stay as they
    are. Draws from torch's CPU generator, so the loop's seeding holds for it.

    Source: SpecAugment as in wav2vec 2.0's fine-tuning (Baevski et al. 2020, appendix B).
    """
    n_rows, n_all = hidden.shape[:2]
    drawn = torch.rand(n_rows, n_all + 1)
    if hidden.is_cuda:  # the host asks a GPU nothing, not even how long the clips are
        drawn = drawn.pin_memory().to(hidden.device, non_blocking=True)
    n_frames = drawn.new_full((n_rows,), n_all).long() if mask is None else mask.sum(1)
    n_spans = (share * n_frames / SPAN_FRAMES + drawn[:, -1]).long().clamp(min=min_spans)
    n_spans = n_spans.minimum(n_frames // SPAN_FRAMES)
    may_start = torch.arange(n_all, device=hidden.device) <= (n_frames - SPAN_FRAMES)[:, None]
    rank = drawn[:, :-1].masked_fill(~may_start, 2.0).argsort(1).argsort(1)
    starts = may_start & (rank < n_spans[:, None])
    spread = nn.functional.pad(starts.float(), (SPAN_FRAMES - 1, 0))
    hide = nn.functional.max_pool1d(spread, SPAN_FRAMES, stride=1) > 0
    return torch.where(hide[:, :, None], filler.to(hidden.dtype), hidden)


_BERT = Family(
    embed=embed_text,
    embeddings=("embeddings",),
    layers="encoder.layer",
    query_key_value=("attention.self.query", "attention.self.key", "attention.self.value"),
    attention_output="attention.output.dense",
    unused_weights=("cls.", "pooler.", "lm_head.", "classifier.", "qa_outputs."),
    options={"add_pooling_layer": False},
    first_position=first_of_text,
)
_HUBERT = Family(
    embed=embed_speech,
    embeddings=(
        *("feature_projection", "encoder.pos_conv_embed", "encoder.layer_norm"),
        "encoder.dropout",
    ),
    layers="encoder.layers",
    query_key_value=("attention.q_proj", "attention.k_proj", "attention.v_proj"),
    attention_output="attention.out_proj",
    unused_weights=(
        *("quantizer.", "project_hid.", "project_q.", "projector.", "classifier.", "lm_head."),
        *("masked_spec_embed", "final_proj.", "label_embs_concat", "adapter."),
    ),
    feature_encoder="feature_extractor",
)
_PRE_NORM_EMBEDDINGS = ("feature_projection", "encoder.pos_conv_embed", "encoder.dropout")
FAMILIES = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "camembert"), _BERT),
    **dict.fromkeys(("hubert", "wav2vec2"), _HUBERT),
    "wavlm": replace(_HUBERT, attention="eager", gated_heads=True),
}


def family_of(config: Mapping[str, Any]) -> Family:
    """The family of an encoder's configuration.

    Raises:
        UserError: if it is not supported.
    """
    kind = config.get("model_type")
    if kind not in FAMILIES:
        raise UserError(f"model type {kind!r} is not supported; choose of {', '.join(FAMILIES)}")
    family = FAMILIES[kind]
    for key in ("conv_pos_batch_norm", "add_adapter"):
        if config.get(key):
            raise UserError(f"this {kind} has {key}, which is not supported")
    if config.get("do_stable_layer_norm"):
        return replace(family, embeddings=_PRE_NORM_EMBEDDINGS, final_norm="encoder.layer_norm")
    return family
