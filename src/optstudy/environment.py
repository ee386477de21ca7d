"""The machine and the versions that trainings run with. torch is imported only where nothing else can answer."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path

from optstudy.keys import TRAINING_VERSION

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
MAX_WORKERS_PER_GPU = 4


def default_workers() -> int:
    """Return one worker per core that this process may use, and at most `MAX_WORKERS_PER_GPU` with a GPU.

    All workers share the GPU, and each holds a CUDA context and the data set on it.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MAX_WORKERS_PER_GPU) if _may_have_gpu() else cores


def _may_have_gpu() -> bool:
    """Return whether there is an NVIDIA driver and CUDA_VISIBLE_DEVICES does not hide its devices.

    torch.cuda.device_count reads an empty CUDA_VISIBLE_DEVICES, or one that begins with a negative number, as "none".
    """
    return NVIDIA_DRIVER.exists() and os.environ.get("CUDA_VISIBLE_DEVICES", "0")[:1] not in ("", "-")


@cache
def device_kind() -> str:
    """Return the kind of device that networks are trained on: "cuda" or "cpu"."""
    if platform.system() == "Linux" and not _may_have_gpu():
        return "cpu"  # importing torch takes seconds
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@cache
def minor_version(package: str) -> str:
    """Return the major and minor version of an installed package, such as "2.15"."""
    return ".".join(version(package).split(".")[:2])


def torch_minor() -> str:
    """Return torch's major and minor version."""
    return minor_version("torch")


@cache
def training_facts(device: str) -> Mapping[str, str | int]:
    """Return what the journal records of the machine and versions that trained on `device` ("cpu" or "cuda").

    It is called by workers, which have imported torch. `cpu_capability` names the vector instructions that torch uses.
    """
    import torch

    return {
        "training_version": TRAINING_VERSION,
        "torch": version("torch"),
        "scikit-learn": version("scikit-learn"),
        "python": platform.python_version(),
        "device": device,
        "cpu": f"{_cpu_model()}, {torch.backends.cpu.get_cpu_capability()}",
        "gpu": torch.cuda.get_device_name() if device == "cuda" else "",
    }


def _cpu_model() -> str:
    """Return the processor's name as Linux gives it, else the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
