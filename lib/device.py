"""The device of a run; a GPU that torch cannot use is an error, not a slow surprise."""

import contextlib
import ctypes
import os
from pathlib import Path

import torch

from lib import launch
from lib.errors import UserError

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # Source: malloc.h of glibc


def place(name: str) -> torch.device:
    """The device of this process, of several on this machine perhaps: GPU after GPU.

    Raises:
        UserError: as `pick` does; if there are more processes than GPUs, or one GPU is named.
    """
    device = pick(name)
    if launch.n_launched() == 1 or device.type == "cpu":
        return device
    if ":" in name:
        raise UserError(f"--device {name}: each of several processes has a GPU; give cuda")
    return pick(f"cuda:{launch.local_rank()}")


def refuse_processes(n: int, name: str) -> None:
    """Check that `n` processes of this machine can train together on a device so named.

    Raises:
        UserError: if not.
    """
    device = pick(name)
    if device.type == "cpu" and name != "cpu":
        raise UserError(f"--gpus {n}: there is no GPU; --device cpu takes {n} processes on the CPU")
    if device.type == "cuda" and ":" in name:
        raise UserError(f"--device {name}: each of {n} processes has a GPU; give cuda")
    if device.type == "cuda" and torch.cuda.device_count() < n:
        raise UserError(f"--gpus {n}: there are {torch.cuda.device_count()} GPUs")


def deterministic() -> None:
    """Have torch compute the same bits each time, or refuse; attention in its plain form."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False
    # Source: torch's notes on reproducibility; the backward pass of the fused kernels adds up in
    # any order.
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)


def keep_freed_memory() -> None:
    """Have the C library keep freed memory for the next tensor; nothing where it is not glibc.

    What is above a threshold it would give back to the system and ask for again in every pass, and
    the system clears each page: a tenth of a training step of the base size (docs/speed.md).
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        allocator = ctypes.CDLL(None)
        allocator.mallopt(M_MMAP_MAX, 0)
        allocator.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def pick(name: str) -> torch.device:
    """The device for `auto`, `cpu`, `cuda` or `cuda:N`; of the CPU, freed memory is kept from here.

    Raises:
        UserError: if the name is none of these, if that GPU is not there, or if the machine has an
            NVIDIA GPU that this torch cannot use (`cpu` overrides that).
    """
    if name == "cpu":
        keep_freed_memory()
        return torch.device("cpu")
    kind, _, index = name.partition(":")
    if name != "auto" and (kind != "cuda" or (index and not index.isdigit())):
        raise UserError(f"--device {name}: choose auto, cpu, cuda or cuda:N")
    if not torch.cuda.is_available():
        if name != "auto":
            raise UserError(f"--device {name}: torch finds no GPU here ({_why_no_gpu()})")
        if nvidia_gpu_present():
            raise UserError(
                f"this machine has an NVIDIA GPU that torch cannot use ({_why_no_gpu()}); mend "
                "that, or say --device cpu if days on the CPU are meant"
            )
        return pick("cpu")
    n_gpus = torch.cuda.device_count()
    if index and int(index) >= n_gpus:
        raise UserError(f"--device {name}: there are {n_gpus} GPUs, numbered from 0")
    return torch.device("cuda", int(index or 0))


def nvidia_gpu_present(root: Path = Path("/")) -> bool:
    """Whether the machine shows an NVIDIA GPU, asked without torch."""
    return any((root / "dev").glob("nvidia[0-9]*")) or (root / "proc/driver/nvidia/gpus").is_dir()


def _why_no_gpu() -> str:
    if torch.version.cuda is None:
        return "this is a CPU build of torch: install the CUDA build, as environment.yml does"
    return (
        f"torch is built for CUDA {torch.version.cuda}: see what `nvidia-smi` says; update the "
        "driver, or check CUDA_VISIBLE_DEVICES and the job's GPU request"
    )
