"""Several processes that train one model together, as torchrun starts them; one is the usual case.

Every function here does the obvious for a process that is alone, so that callers need no branches.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from lib.errors import OtherFailed, UserError
from lib.launch import n_launched

PATIENCE = timedelta(hours=12)  # others wait as long while the first one scores heads


def join(device: torch.device) -> None:
    """Meet the processes that torchrun started with this one; nothing for one that is alone."""
    if n_launched() > 1 and not dist.is_initialized():
        if device.type == "cuda":
            torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=PATIENCE)


def leave() -> None:
    """Part from the others."""
    if dist.is_initialized():
        dist.destroy_process_group()


def size() -> int:
    """How many processes have joined."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """The number of this process among all, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def replica(model: nn.Module, device: torch.device) -> nn.Module:
    """The model, or what runs it here and averages its gradients over all processes.

    `model.skips_parts` says whether a training step may leave out parameters that learn.
    """
    if size() == 1:
        return model
    for parameter in model.parameters():
        if parameter.numel() == 0:  # of a layer without heads: there is nothing to average
            parameter.requires_grad_(False)
    known = inspect.signature(DistributedDataParallel).parameters
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    never: dict[str, Any] = {buffers: False}  # they are constants; its name changed in torch 2.14
    return DistributedDataParallel(
        model,
        device_ids=[device] if device.type == "cuda" else None,
        **never,
        find_unused_parameters=bool(getattr(model, "skips_parts", False)),
    )


def averaged(model: nn.Module, *, last: bool) -> contextlib.AbstractContextManager[Any]:
    """Where the backward pass of a micro-batch goes: gradients are averaged after the last one."""
    if isinstance(model, DistributedDataParallel) and not last:
        return model.no_sync()
    return contextlib.nullcontext()


def total(values: Tensor) -> Tensor:
    """The sum of a tensor over all processes, on its device."""
    if size() > 1:
        dist.all_reduce(values)
    return values


def total_count(n: int) -> int:
    """The sum of a number over all processes; asks nothing of a GPU."""
    return n if size() == 1 else int(total(torch.tensor(n)))


def gathered(value: Any) -> list[Any]:
    """What each process has, by rank."""
    if size() == 1:
        return [value]
    found: list[Any] = [None] * size()
    dist.all_gather_object(found, value)
    return found


def by_first[T](work: Callable[[], T]) -> T:
    """What the first process finds, in all of them; an error of its stops them all.

    Raises:
        OtherFailed: in the others, if the first one met an error.
    """
    if size() == 1:
        return work()
    told: list[Any] = [None]
    try:
        if rank() == 0:
            told = [(True, work())]
    except BaseException:
        told = [(False, None)]
        raise
    finally:
        dist.broadcast_object_list(told)
    is_well, value = told[0]
    if not is_well:
        raise OtherFailed
    return value


def failure(message: str) -> Exception:
    """What each process raises, when all of them know of an error: the first one tells it."""
    return UserError(message) if rank() == 0 else OtherFailed()


@contextlib.contextmanager
def parting() -> Iterator[None]:
    """Part from the others in the end; one that ends early is not for its partners to explain.

    Raises:
        OtherFailed: if another process has gone.
    """
    try:
        yield
    except (RuntimeError, dist.DistError) as error:
        gone = ("closed by peer", "reset by peer", "Broken pipe", "Connection refused")
        if size() > 1 and any(sign in str(error) for sign in gone):
            raise OtherFailed from None
        raise
    finally:
        leave()


def wait_for_all() -> None:
    """Go on when every process has come here."""
    total_count(0)


def any_of(asked: bool) -> bool:
    """Whether any process asks for something."""
    return bool(total_count(int(asked)))


def take_turns(order: list[np.ndarray]) -> list[np.ndarray]:
    """The batches of this process, of a pass over all rows that the processes share."""
    return order[rank() :: size()]


def refuse_unequal(what: str, value: Any) -> None:
    """Check that all processes were told the same.

    Raises:
        UserError: if not.
    """
    found = gathered(value)
    if any(other != found[0] for other in found):
        raise UserError(f"the processes differ in {what}; give all machines the same command line")
