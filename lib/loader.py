"""From row indices to batches on the device, the next ones made ready while one is computed."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Protocol, Self

import numpy as np
import torch

Batch = dict[str, torch.Tensor]


class Split(Protocol):
    """What the loop asks of one split of a corpus, whatever the modality."""

    @property
    def lengths(self) -> np.ndarray:
        """(N,) cost of each row, in tokens or samples."""
        ...

    @property
    def labels(self) -> np.ndarray:
        """(N,) int64 classes."""
        ...

    @property
    def ids(self) -> np.ndarray:
        """(N,) int64 numbers that name the rows in the source."""
        ...

    @property
    def groups(self) -> np.ndarray:
        """(N,) int64 premise or speaker of each row."""
        ...

    @property
    def flags(self) -> dict[str, np.ndarray]:
        """(N,) bool columns that evaluation reports apart, such as hard_hypothesis."""
        ...

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """(N,) more columns for predictions.csv."""
        ...

    @property
    def unit(self) -> int:
        """What `lengths` counts in one of what the user counts: 1 token, or samples a second."""
        ...

    def __len__(self) -> int:
        """How many rows there are."""
        ...

    def epoch(self, *, seed: int, epoch: int) -> Self:
        """The split as training sees it in an epoch: the same rows, other variants of them."""
        ...

    def collate(self, rows: np.ndarray) -> Batch:
        """The model's inputs for these rows, padded, with `labels` (B,) int64 and `ids` (B,)."""
        ...


def batches(
    split: Split, rows: Iterable[np.ndarray], *, device: torch.device, depth: int = 4
) -> Iterator[Batch]:
    """The batches of the given rows, in order, on the device.

    On CUDA a thread collates and pins `depth` batches ahead, and copies do not block the host; on
    the CPU, where a thread would only take time from the computation, batches are made in turn.
    """
    if device.type != "cuda":
        yield from (_to(split.collate(some), device) for some in rows)
        return
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def fill() -> None:
        try:
            for some in rows:
                batch = {key: value.pin_memory() for key, value in split.collate(some).items()}
                while not stop.is_set():
                    try:
                        ready.put(batch, timeout=0.1)
                        break
                    except queue.Full:
                        continue
                if stop.is_set():
                    return
            ready.put(None)
        except BaseException as error:
            ready.put(error)

    threading.Thread(target=fill, daemon=True).start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield _to(item, device)
    finally:
        stop.set()


def _to(batch: Batch, device: torch.device) -> Batch:
    return {key: value.to(device, non_blocking=True) for key, value in batch.items()}
