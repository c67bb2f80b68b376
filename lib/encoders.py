"""Encoders from a model folder or a configuration, every weight of them accounted for."""

from pathlib import Path
from typing import Any

import torch

from lib.errors import UserError
from lib.families import Family, family_of
from lib.spec import read_encoder_config


def load_encoder(folder: Path) -> Any:
    """The pretrained encoder in a folder, float32, every weight accounted for.

    Raises:
        UserError: if the folder is no model of a supported family, or lacks or misshapes a weight.
    """
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    family = family_of(read_encoder_config(folder))
    try:
        encoder, seen = AutoModel.from_pretrained(
            folder,
            dtype=torch.float32,
            attn_implementation=family.attention,
            trust_remote_code=False,
            weights_only=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # only to name them below, never to go on
            **family.options,
        )
    except Exception as error:  # a damaged file or field can raise anything
        raise UserError(f"{folder} cannot be loaded as a model: {_reason(error)}") from None
    extra = [key for key in seen["unexpected_keys"] if not _is_unused(key, family)]
    missing = [key for key in seen["missing_keys"] if key != "masked_spec_embed"]
    for what, keys in {
        "lacks weights": missing,
        "has weights of other shapes than its config.json says": seen["mismatched_keys"],
        "has weights that its config.json does not explain": extra,
    }.items():
        if keys:
            names = ", ".join(sorted(str(key) for key in keys)[:3])
            raise UserError(f"{folder} {what}: {names}{' ...' if len(keys) > 3 else ''}")
    return encoder


def empty_encoder(config: dict[str, Any]) -> Any:
    """An encoder of this configuration whose weights are yet to be loaded.

    Raises:
        UserError: if no encoder can be made of it.
    """
    from transformers import AutoConfig, AutoModel

    family = family_of(config)
    fields = {key: value for key, value in config.items() if key != "model_type"}
    try:
        return AutoModel.from_config(
            AutoConfig.for_model(config["model_type"], **fields),
            attn_implementation=family.attention,
            dtype=torch.float32,
            **family.options,
        )
    except Exception as error:  # each field has its own ways to be wrong
        raise UserError(f"no encoder can be made of its configuration: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """What an error of the library says, on one line, with its type where that says as much."""
    said = " ".join(str(error).split())[:200]
    return f"it knows no {said}" if isinstance(error, KeyError) else said or type(error).__name__


def _is_unused(key: str, family: Family) -> bool:
    return key.endswith("position_ids") or any(
        key.startswith(prefix) or f".{prefix}" in key for prefix in family.unused_weights
    )
