"""A run made from another one: where it goes, with which options, and without which heads."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lib import runs
from lib.errors import UserError
from lib.spec import Spec


def derived(
    base: Path, options: Mapping[str, Any], *, name: str | None, variant: str, **changes: Any
) -> tuple[dict[str, Any], Path]:
    """The options of a run that differs from its base run in a few things, and its folder.

    Args:
        base: folder of the base run, runs/<bert|hubert>/<study>/<run>.
        options: of the base run.
        name: study that the run goes to, beside that of the base run; None: the same.
        variant: of the new run.
        changes: options that differ.

    Raises:
        UserError: if that would be the base run itself, or a name is none for a folder.
    """
    study = base.parent
    if name is not None:
        kind = base.parent.parent
        study = runs.study_folder(kind.parent, kind.name, name)
        changes["name"] = name
    new = {**options, **changes, "variant": variant}
    folder = runs.run_folder(study, new)
    if folder == base:
        raise UserError(f"{folder} is the base run itself; give another --variant")
    return new, folder


def with_heads(spec: Spec, kept: Sequence[Sequence[int]]) -> Spec:
    """The spec with only these heads: for each layer, original 0-based indices."""
    n_heads = spec.encoder["num_attention_heads"]
    some = {i: tuple(heads) for i, heads in enumerate(kept) if len(heads) < n_heads}
    return replace(spec, heads=some or None)


def named_heads(texts: Sequence[str]) -> list[tuple[int, int]]:
    """(layer, head) pairs, 0-based, from texts such as 0:3.

    Raises:
        UserError: naming a text that is no such pair.
    """
    found = []
    for text in texts:
        layer, colon, head = text.partition(":")
        if not (colon and layer.isdigit() and head.isdigit()):
            raise UserError(f"--heads {text}: give layer:head, counted from 0, such as 0:3")
        found.append((int(layer), int(head)))
    return found
