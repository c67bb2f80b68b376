"""A split that reads what a frozen prefix makes of its rows instead of the rows themselves."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch

from lib.cache_store import Store
from lib.loader import Batch, Split


class Rows(Split, Protocol):
    """A split whose rows can be computed ahead."""

    @property
    def fixed_rows(self) -> bool:
        """Whether padding never changes what a row becomes."""
        ...

    @property
    def places(self) -> np.ndarray:
        """(N, 2): where each row comes from in this epoch: origin, and row of it."""
        ...

    def origins(self) -> list[tuple[dict[str, Any], Any, np.ndarray]]:
        """For each origin: its content, a source that holds at least its rows, and which these are.

        The last is -1 for rows that no epoch reads.
        """
        ...


@dataclass(kw_only=True)
class CachedSplit:
    """A split whose batches hold, instead of inputs, what the frozen prefix makes of them.

    All but the inputs is as in `split`, the lengths too, so that the plan of batches is the same.

    Attributes:
        split: the original.
        gives: `features` or `hidden`, as the classifier wants it.
        stores: of each origin; None where no epoch reads any of it.
        slots: for each origin, the place in its store of each row, -1 if it has none.
    """

    split: Rows
    gives: str
    stores: Sequence[Store | None]
    slots: Sequence[np.ndarray]
    lengths: np.ndarray = field(init=False)
    labels: np.ndarray = field(init=False)
    ids: np.ndarray = field(init=False)
    groups: np.ndarray = field(init=False)
    flags: dict[str, np.ndarray] = field(init=False)
    columns: dict[str, np.ndarray] = field(init=False)
    unit: int = field(init=False)

    def __post_init__(self) -> None:
        """Take over what stays as it is."""
        for name in ("lengths", "labels", "ids", "groups", "flags", "columns", "unit"):
            setattr(self, name, getattr(self.split, name))
        self._places = self.split.places

    def __len__(self) -> int:
        """The number of rows."""
        return len(self.split)

    def epoch(self, *, seed: int, epoch: int) -> "CachedSplit":
        """The split with the variants that the original reads in an epoch."""
        return replace(self, split=self.split.epoch(seed=seed, epoch=epoch))

    def collate(self, rows: np.ndarray) -> Batch:
        """A batch of the given rows, in their order, padded with zeros to the longest of them.

        Returns:
            features or hidden (B, T, width); labels (B,) and ids (B,) int64; attention_mask (B, T)
            bool, False on padding, only where there is padding.
        """
        found: list[np.ndarray] = []
        dtype = torch.float32
        for origin, row in self._places[rows].tolist():
            store, slot = self.stores[origin], int(self.slots[origin][row])
            if store is None or slot < 0:
                raise ValueError(f"row {row} of origin {origin} was not stored")
            found.append(store.read(slot))
            dtype = store.dtype
        lengths = np.array([len(values) for values in found])
        padded = np.zeros((len(found), lengths.max(), found[0].shape[1]), found[0].dtype)
        for line, values in zip(padded, found, strict=True):
            line[: len(values)] = values
        batch = {self.gives: torch.from_numpy(padded).view(dtype)}
        if lengths.min() < lengths.max():
            real = np.arange(lengths.max()) < lengths[:, None]
            batch["attention_mask"] = torch.from_numpy(real)
        numbers = {"labels": self.labels, "ids": self.ids}
        return batch | {k: torch.from_numpy(of[rows].astype(np.int64)) for k, of in numbers.items()}
