"""Devices: what each name gives, and that a GPU which torch cannot use stops the run."""

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lib import device
from lib.errors import UserError

SHOWN: dict[str, Any] = {"capture_output": True, "text": True, "check": True}


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Two GPUs that torch can use."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    return monkeypatch


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No GPU, neither in the machine nor for torch."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device, "nvidia_gpu_present", lambda: False)
    return monkeypatch


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize(
    ("name", "expected"),
    [("auto", "cuda:0"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1"), ("cpu", "cpu")],
)
def test_a_name_gives_its_device(name: str, expected: str) -> None:
    assert device.pick(name) == torch.device(expected)


@pytest.mark.usefixtures("gpus")
@pytest.mark.parametrize("name", ["", "gpu", "CUDA", "cuda:x", "cuda:-1", "cpu:0", "mps", "auto:1"])
def test_any_other_name_is_refused_with_the_choices(name: str) -> None:
    with pytest.raises(UserError, match="choose auto, cpu, cuda or cuda:N"):
        device.pick(name)


@pytest.mark.usefixtures("gpus")
def test_a_gpu_beyond_the_last_is_refused_with_their_number() -> None:
    with pytest.raises(UserError, match="--device cuda:2: there are 2 GPUs, numbered from 0"):
        device.pick("cuda:2")


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_auto_is_the_cpu_and_a_named_one_an_error() -> None:
    assert device.pick("auto") == torch.device("cpu")
    for name in ("cuda", "cuda:0"):
        with pytest.raises(UserError, match=f"--device {name}: torch finds no GPU here"):
            device.pick(name)


@pytest.mark.parametrize(
    ("cuda", "remedy"),
    [(None, "install the CUDA build"), ("13.0", "nvidia-smi.*update the driver")],
)
def test_a_gpu_that_torch_cannot_use_stops_with_the_remedy_unless_the_cpu_is_meant(
    no_gpu: pytest.MonkeyPatch, cuda: str | None, remedy: str
) -> None:
    no_gpu.setattr(device, "nvidia_gpu_present", lambda: True)
    no_gpu.setattr(torch.version, "cuda", cuda)
    with pytest.raises(UserError, match=f"(?s)NVIDIA GPU that torch cannot use.*{remedy}") as told:
        device.pick("auto")
    assert "\n" not in str(told.value)
    assert "--device cpu" in str(told.value)
    assert device.pick("cpu") == torch.device("cpu")


def test_an_nvidia_gpu_is_seen_by_its_device_file_or_its_driver(tmp_path: Path) -> None:
    for node in ("dev/nvidiactl", "dev/nvidia-uvm", "dev/dri", "proc/driver"):
        (tmp_path / node).mkdir(parents=True)
    assert not device.nvidia_gpu_present(tmp_path), "a driver without a GPU"
    (tmp_path / "proc/driver/nvidia/gpus/0000:01:00.0").mkdir(parents=True)
    assert device.nvidia_gpu_present(tmp_path)
    (tmp_path / "other/dev").mkdir(parents=True)
    (tmp_path / "other/dev/nvidia0").touch()
    assert device.nvidia_gpu_present(tmp_path / "other")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's allocator")
def test_on_the_cpu_freed_memory_is_not_given_back_to_the_system() -> None:
    code = (
        "import resource, torch; from lib import device; device.pick('cpu') if {0} else None\n"
        "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "for _ in range(40): torch.ones(2**24)\n"
        "before = faults()\n"
        "for _ in range(20): torch.ones(2**24)\n"
        "print(faults() - before)"
    )
    n_faults = [
        int(subprocess.run([sys.executable, "-c", code.format(on)], **SHOWN).stdout)
        for on in (False, True)
    ]
    assert 100 * n_faults[1] < n_faults[0]  # 64 MB have 16,384 pages
