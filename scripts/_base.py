"""The base run of a study: what it was told, and the weights that others start from."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lib import runs
from lib.errors import UserError
from scripts import train_bert, train_hubert


def trained_base(folder: Path) -> dict[str, Any]:
    """The config of a run that a study starts from.

    Raises:
        UserError: if it is no run, or its training has not ended.
    """
    config = runs.read_config(folder)
    if not runs.is_trained(folder):
        raise UserError(f"{folder} is not trained to its end; --resume its training first")
    _check_options(folder / "config.json", config["options"])
    return config


def _check_options(path: Path, options: Mapping[str, Any]) -> None:
    """Refuse a config whose options are not those of its training script."""
    script = train_hubert if "split" in options else train_bert
    for field in dataclasses.fields(script.Config):
        if field.name in runs.TRANSIENT:
            continue
        if field.name not in options:
            raise UserError(f"{path} has no option {field.name!r}: train that run again")
        value, usual = options[field.name], field.default
        kinds = (int, float) if field.type is float else (type(usual),)
        if usual is not None and type(value) not in kinds:
            raise UserError(f"{path}: option {field.name!r} cannot be {value!r}")


def first_weights(init: str, base: Path, options: Mapping[str, Any]) -> dict[str, Path]:
    """Where a study's run takes its first weights from, as `make_run` wants it."""
    return {"best": base / "best"} if init == "base" else {"model": Path(options["model"])}
