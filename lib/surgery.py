"""Changes to a classifier before it trains: fewer layers, fewer heads, frozen parts; and its files.

Every caller goes through `build`: load strictly → truncate → remove heads → freeze. Device,
compilation, DDP and the optimizer come after it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from lib import encoders, files, models
from lib.errors import UserError
from lib.models import Classifier
from lib.spec import Spec, read_spec


def build(spec: Spec, *, model: Path | None = None, best: Path | None = None) -> Classifier:
    """The classifier that `spec` describes, on the CPU, with weights from one of two places.

    Args:
        spec: what to build.
        model: a folder with the pretrained encoder; the head gets fresh weights from torch's
            generator, so seed it before.
        best: a run's `best/` folder, whose classifier `spec` equals or narrows (fewer layers,
            fewer heads); its weights, the head's too, are taken.

    Raises:
        UserError: if weights are missing or misshapen, or the spec asks for what is not there.
    """
    if (model is None) == (best is None):
        raise ValueError("weights come from `model` or from `best`")
    if model is not None:
        classifier = _classifier(spec, encoders.load_encoder(model))
    else:
        assert best is not None
        classifier = _load(best)
    truncate(classifier, spec.n_layers)
    keep_heads(classifier, spec.kept_heads())
    classifier.read_layers = spec.read_layers or spec.n_layers
    freeze(
        classifier,
        embeddings=spec.frozen_embeddings,
        layers=spec.frozen_layers,
        feature_encoder=spec.frozen_features,
    )
    return classifier


def save(folder: Path, classifier: Classifier, spec: Spec, *, record: Mapping[str, Any]) -> None:
    """Write `model.safetensors` and the `model.json` that rebuilds the classifier, whole or not.

    Args:
        folder: `best/` of a run; replaced if it exists.
        classifier: what `build` made of `spec`, trained.
        spec: how to rebuild it.
        record: what else to write down: step, validation metric, seed.
    """
    with files.staged_folder(folder) as staged:
        weights = {key: value.contiguous() for key, value in classifier.state_dict().items()}
        save_file(weights, staged / "model.safetensors")
        sha256 = files.sha256(staged / "model.safetensors")
        files.write_json(staged / "model.json", {"spec": asdict(spec), "sha256": sha256, **record})


def truncate(classifier: Classifier, n_layers: int) -> None:
    """Keep the first `n_layers` layers of the encoder.

    Raises:
        UserError: if the encoder has fewer.
    """
    have = len(classifier.layers)
    if not 1 <= n_layers <= have:
        raise UserError(f"cannot keep {n_layers} layers: the encoder has {have}")
    del classifier.layers[n_layers:]
    del classifier.kept_heads[n_layers:]
    classifier.encoder.config.num_hidden_layers = n_layers
    classifier.read_layers = n_layers
    if classifier.pooling == "weighted":
        weights = classifier.layer_weights.detach()[: n_layers + 1]
        classifier.layer_weights = nn.Parameter(weights.clone())


def remove_heads(classifier: Classifier, heads: Iterable[tuple[int, int]]) -> None:
    """Remove heads physically: rows of query, key and value, columns of the output projection.

    The result equals the whole model with those heads' outputs set to zero; a layer may lose all.

    Args:
        classifier: changed in place.
        heads: (layer, head) pairs, 0-based, heads by their original index.

    Raises:
        UserError: if there is no such head any more.
    """
    kept = [list(heads_of) for heads_of in classifier.kept_heads]
    for layer, head in sorted(set(heads)):
        if not 0 <= layer < len(kept) or head not in kept[layer]:
            raise UserError(f"there is no head {layer}:{head} to remove")
        kept[layer].remove(head)
    keep_heads(classifier, kept)


def keep_heads(classifier: Classifier, kept: Sequence[Collection[int]]) -> None:
    """Remove every head that is not in `kept` (for each layer, original indices).

    Raises:
        UserError: if a head to keep is not there.
    """
    if classifier.family.gated_heads and any(
        len(keep) < len(have) for have, keep in zip(classifier.kept_heads, kept, strict=True)
    ):
        raise UserError("WavLM's heads share one position bias and cannot be removed; use HuBERT")
    config = classifier.encoder.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    for layer, (have, keep) in enumerate(zip(classifier.kept_heads, kept, strict=True)):
        if not set(keep) <= set(have):
            raise UserError(f"layer {layer} has heads {have}; cannot keep {sorted(keep)}")
        if len(keep) == len(have):
            continue
        order = [head for head in have if head in keep]
        starts = torch.tensor([have.index(head) * width for head in order], dtype=torch.long)
        rows = (starts[:, None] + torch.arange(width)).flatten()
        for linear in classifier.query_key_value(layer):
            _slice(linear, rows, dim=0)
        _slice(classifier.attention_output(layer), rows, dim=1)
        classifier.kept_heads[layer] = order


def freeze(
    classifier: Classifier,
    *,
    embeddings: bool,
    layers: Iterable[int],
    feature_encoder: bool = False,
) -> None:
    """Freeze parts: no gradients, and eval mode also while the rest trains, so no dropout there.

    Layers above the last one that is computed get no gradients either: nothing reaches them.

    Args:
        classifier: changed in place; what was frozen before is unfrozen first.
        embeddings: whether to freeze what lies below the first layer, convolutions included.
        layers: 0-based layers to freeze.
        feature_encoder: whether to freeze the convolutions of a speech encoder.

    Raises:
        UserError: if there is no such layer.
    """
    chosen = set(layers)
    n_layers = len(classifier.layers)
    if not chosen <= set(range(n_layers)):
        raise UserError(f"cannot freeze layers {sorted(chosen)}: the encoder has {n_layers}")
    classifier.requires_grad_(True)
    classifier.features_frozen = bool(classifier.feature_encoder) and (
        feature_encoder or embeddings
    )
    frozen = list(classifier.embeddings) if embeddings else []
    frozen += classifier.feature_encoder if classifier.features_frozen else []
    frozen += [classifier.layers[i] for i in sorted(chosen)]
    frozen += list(classifier.layers[classifier.read_layers :])
    for parameter in models.parameters(frozen):
        parameter.requires_grad_(False)
    filler = getattr(classifier.encoder, "masked_spec_embed", None)
    if filler is not None and (embeddings or classifier.mask_time == 0):
        filler.requires_grad_(False)
    classifier.frozen = frozen
    classifier.prefix_layers = _prefix_layers(classifier, chosen) if embeddings else None
    classifier.train(classifier.training)


def _prefix_layers(classifier: Classifier, frozen: Collection[int]) -> int | None:
    """How many layers can be computed ahead once the embeddings are frozen; None for none."""
    whole = classifier.pooling == "weighted" or classifier.family.gated_heads
    if whole or classifier.mask_time > 0:  # every state, the bias or fresh masks are needed
        return None
    ahead = 0
    while ahead in frozen:
        ahead += 1
    return min(ahead, classifier.read_layers)


def count_parameters(classifier: Classifier) -> tuple[int, int]:
    """(all parameters, those that learn)."""
    every = list(classifier.parameters())
    return sum(p.numel() for p in every), sum(p.numel() for p in every if p.requires_grad)


def _classifier(spec: Spec, encoder: Any) -> Classifier:
    return Classifier(
        encoder,
        n_classes=len(spec.labels),
        pooling=spec.pooling,
        head=spec.head,
        dropout=spec.dropout,
        layerdrop=spec.layerdrop,
        mask_time=spec.mask_time,
    )


def _load(best: Path) -> Classifier:
    spec, record = read_spec(best)
    weights = best / "model.safetensors"
    if not weights.is_file():
        raise UserError(f"{weights} does not exist; train the run again with --force")
    if files.sha256(weights) != record.get("sha256"):
        raise UserError(f"{weights} is damaged (its SHA-256 is not the one in model.json)")
    whole = replace(spec, frozen_embeddings=False, frozen_layers=())
    classifier = _classifier(whole, encoders.empty_encoder(spec.encoder))
    truncate(classifier, whole.n_layers)
    keep_heads(classifier, whole.kept_heads())
    try:
        classifier.load_state_dict(load_file(weights), strict=True)
    except (RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{weights} does not fit its model.json: {reason}") from None
    return classifier


def _slice(linear: nn.Linear, index: torch.Tensor, *, dim: int) -> None:
    """Keep the given rows (dim 0) or columns (dim 1) of a linear layer, in place."""
    learns = linear.weight.requires_grad
    linear.weight = nn.Parameter(linear.weight.detach().index_select(dim, index).clone(), learns)
    if dim == 0:
        linear.out_features = len(index)
        if linear.bias is not None:
            linear.bias = nn.Parameter(linear.bias.detach()[index].clone(), learns)
    else:
        linear.in_features = len(index)
