"""Where and with which numerics trainings compute, and how what is made on the CPU gets there."""

from __future__ import annotations

import time

import torch
from torch import Tensor


def compute_device() -> torch.device:
    """Return where trainings compute: on the first GPU that CUDA shows, else on the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def set_numerics() -> None:
    """Set what all trainings of a process share.

    RMSProp's mean of squares sinks below 1e-38 where gradients vanish: numbers that small, which slow a CPU to a third,
    count as zero. cuDNN takes deterministic kernels alone; a few of torch's own for CUDA are not, see
    `torch.use_deterministic_algorithms` and docs/performance.md.
    """
    torch.set_flush_denormal(True)
    torch.backends.cudnn.deterministic = True


def now() -> float:
    """Return the time in seconds, once a GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the CPU's on `device`, without waiting for it.

    A copy to a GPU from memory that is not pinned may wait. Source: the CUDA runtime's "API synchronization behavior".
    """
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)
