"""Which rows a model learns from without labels, and which it is held against."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from lib import files
from lib.errors import UserError

if TYPE_CHECKING:
    from lib.loader import Split

STREAM = 8  # of the generators
FIXED = (2**31, 0)  # seed and epoch of the masks of what is held out: the same at every validation
SHARE, MOST = 0.05, 1000  # of the groups


@dataclass(kw_only=True)
class MaskedRows:
    """Rows of which parts are to be told: what the loop asks of a split, but for the batches.

    Attributes:
        source: the rows.
        drawn: seed and epoch of the masks.
    """

    source: "Split"
    drawn: tuple[int, int] = (0, 0)

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.source)

    @property
    def lengths(self) -> np.ndarray:
        """(N,) cost of each row, in tokens or samples."""
        return self.source.lengths

    @property
    def unit(self) -> int:
        """What `lengths` counts: 1 token, or samples a second."""
        return self.source.unit

    @property
    def labels(self) -> np.ndarray:
        """(N,) zeros; the examples of a batch are its places, not its rows."""
        return np.zeros(len(self), np.int64)

    @property
    def ids(self) -> np.ndarray:
        """(N,) int64: row of the source file, or clip in the manifest."""
        return self.source.ids

    @property
    def groups(self) -> np.ndarray:
        """(N,) int64, what stays together."""
        return self.source.groups

    @property
    def flags(self) -> dict[str, np.ndarray]:
        """None."""
        return {}

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """None."""
        return {}

    def epoch(self, *, seed: int, epoch: int) -> Self:
        """The same rows under other masks."""
        return replace(self, drawn=(seed, epoch))


def hold_out(groups: np.ndarray, *, limit: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The rows to learn from, and those held out, a twentieth of the groups; the seed is fixed.

    Args:
        groups: (N,) what stays together, such as the premise of each row.
        limit: rows at the most, for a quick look.

    Returns:
        Two arrays of row indices, ascending; together each of the first `limit` rows once.

    Raises:
        UserError: if there are fewer than two groups.
    """
    groups = groups[: None if limit is None else max(2, limit)]
    distinct = np.unique(groups)
    if len(distinct) < 2:
        raise UserError("there is nothing to hold out: two different rows to learn from are needed")
    n = min(MOST, max(1, round(SHARE * len(distinct))))
    held = np.random.default_rng(STREAM).choice(distinct, size=n, replace=False)
    is_held = np.isin(groups, held)
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)


def heard(model: Path, fingerprint: str, options: Mapping[str, Any]) -> str | None:
    """What to tell of a model that has learnt from clips that this run does not train on.

    Args:
        model: its folder.
        fingerprint: of the run's prepared speech.
        options: labels, split, fold and emobox of the run.
    """
    path = model / "source.json"
    source = files.read_json(path) if path.is_file() else {}
    told = source.get("options", {}) if isinstance(source, dict) else {}
    parts = told.get("parts") if isinstance(told, dict) else None
    if not isinstance(parts, dict) or told.get("data") != fingerprint:
        return None
    if all(parts.get(name) == options.get(name) for name in parts):
        return None
    differ = ", ".join(f"{name} {parts[name]}" for name in parts if parts[name] is not None)
    return (
        f"{model} has learnt, without labels, from the training clips of {differ}, not of this run"
    )
