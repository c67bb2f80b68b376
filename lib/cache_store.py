"""A store of the cache on disk: rows of unequal length, one after another, read without copying.

It is a folder with rows.bin, index.npy and meta.json, whole or absent.
"""

import shutil
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib import files
from lib.errors import UserError

KEEP_FREE = 3_000_000_000  # bytes of the disk that no store may take
DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": np.int16}  # numpy has no bf16
CLEAR = "`./inv data.clean --delete cache` clears it, and the next run makes it again"


@dataclass(frozen=True, kw_only=True)
class Store:
    """The M rows of a store, memory-mapped.

    Attributes:
        rows: (M,) int64: which row of its source each stored row is.
        starts, lengths: (M,) int64: where it begins and how long it is, in positions.
        sums: (M,) int64: the CRC-32 of each row's bytes.
        values: (positions, width), read-only; bfloat16 as int16 of the same bits.
        dtype: torch's, of the values.
    """

    rows: np.ndarray
    starts: np.ndarray
    lengths: np.ndarray
    sums: np.ndarray
    values: np.ndarray
    dtype: torch.dtype
    path: Path
    _sound: set[int] = field(default_factory=set, repr=False)

    def read(self, slot: int) -> np.ndarray:
        """(length, width): the slot-th stored row, 0-based, a read-only view of the file.

        Raises:
            UserError: if its bytes are not those that were written; looked at when first read.
        """
        start = self.starts[slot]
        row = self.values[start : start + self.lengths[slot]]
        if slot not in self._sound:
            if zlib.crc32(row) != self.sums[slot]:
                raise UserError(f"{self.path} is damaged (a row's CRC-32 is another); {CLEAR}")
            self._sound.add(slot)
        return row


def write(
    folder: Path,
    batches: Iterable[tuple[np.ndarray, Tensor, list[int]]],
    *,
    about: Mapping[str, Any],
) -> None:
    """Write a store in the place of `folder`, a batch at a time; nothing if that fails.

    Args:
        folder: that is to be.
        batches: numbers of the rows (B,), their values (B, T, width) on any device, and how many
            of the T positions each fills.
        about: what meta.json tells beside this.
    """
    with files.staged_folder(folder) as staged:
        found: list[np.ndarray] = []
        lengths: list[int] = []
        sums: list[int] = []
        width, dtype = 0, torch.float32
        with (staged / "rows.bin").open("wb") as file:
            for rows, values, n_of in batches:
                width, dtype = values.shape[2], values.dtype
                raw = values.cpu().contiguous().view(torch.uint8).numpy()
                for row, n in zip(raw, n_of, strict=True):
                    data = row[:n].tobytes()
                    file.write(data)
                    sums.append(zlib.crc32(data))
                found.append(rows)
                lengths += n_of
        index = np.stack([np.concatenate(found), np.array(lengths), np.array(sums)])
        files.write_array(staged / "index.npy", index)
        meta = {
            "n_rows": len(lengths),
            "n_positions": sum(lengths),
            "width": width,
            "dtype": str(dtype).removeprefix("torch."),
            "sha256": {"index.npy": files.sha256(staged / "index.npy")},
        }
        files.write_json(staged / "meta.json", meta | dict(about))


def read(folder: Path) -> Store:
    """The store in a folder; its length and its index are checked.

    Raises:
        UserError: if it is not whole.
    """
    try:
        meta = files.read_json(folder / "meta.json")
        kind = np.dtype(DTYPES[meta["dtype"]])
        shape = (meta["n_positions"], meta["width"])
        rows, index = folder / "rows.bin", folder / "index.npy"
        n_bytes, expected = rows.stat().st_size, shape[0] * shape[1] * kind.itemsize
        if n_bytes != expected:
            raise ValueError(f"rows.bin has {n_bytes} bytes, not {expected}")
        if files.sha256(index) != meta["sha256"]["index.npy"]:
            raise ValueError("the SHA-256 of index.npy is not the one in meta.json")
        which, lengths, sums = np.load(index)
    except (UserError, KeyError, TypeError, ValueError, OSError) as error:
        raise UserError(f"{folder} is damaged ({error}); {CLEAR}") from None
    return Store(
        rows=which,
        starts=np.cumsum(lengths) - lengths,
        lengths=lengths,
        sums=sums,
        path=rows,
        values=np.memmap(rows, kind, mode="r", shape=shape).view(np.ndarray),
        dtype=getattr(torch, meta["dtype"]),
    )


def check_room(n_bytes: int, root: Path) -> None:
    """Refuse to fill the disk.

    Raises:
        UserError: if it would have too little room left.
    """
    there = next(folder for folder in (root, *root.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    if n_bytes + KEEP_FREE > free:
        raise UserError(
            f"{root}: the cache needs {n_bytes / 1e9:.1f} GB and is to leave "
            f"{KEEP_FREE / 1e9:.0f} GB free, but the disk has {free / 1e9:.1f} GB; choose another "
            "--cache-folder, or --cache off"
        )
