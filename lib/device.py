"""The device of a run; a GPU that torch cannot use is an error, not a slow surprise."""

from pathlib import Path

import torch

from lib.errors import UserError


def pick(name: str) -> torch.device:
    """The device for `auto`, `cpu`, `cuda` or `cuda:N`.

    Raises:
        UserError: if the name is none of these, if that GPU is not there, or if the machine has an
            NVIDIA GPU that this torch cannot use (`cpu` overrides that).
    """
    if name == "cpu":
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
        return torch.device("cpu")
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
