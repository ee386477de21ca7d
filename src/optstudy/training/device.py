"""The device and numerics of trainings, and copying tensors to that device."""

from __future__ import annotations

import time

import torch
from torch import Tensor


def compute_device() -> torch.device:
    """Return the device of trainings: the first GPU that CUDA shows, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def set_numerics() -> None:
    """Set the numerics that all trainings of a process share.

    Denormal numbers count as zero: RMSProp's mean of squares becomes that small if gradients vanish, and then a CPU
    takes three times as long. cuDNN uses only deterministic kernels. A few kernels of torch for CUDA are not, see
    `torch.use_deterministic_algorithms` and docs/performance.md.
    """
    torch.set_flush_denormal(True)
    torch.backends.cudnn.deterministic = True


def now() -> float:
    """Return the time in seconds, once the GPU has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a copy of a CPU tensor on `device`, without waiting for it.

    A copy from memory that is not pinned may wait (CUDA runtime documentation, "API synchronization behavior").
    """
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)
