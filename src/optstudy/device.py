"""Where trainings compute, and how what is made on the CPU gets there."""

from __future__ import annotations

import time

import torch
from torch import Tensor


def compute_device() -> torch.device:
    """Return where trainings compute: on the first GPU that CUDA shows, else on the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def now() -> float:
    """Return the time in seconds, once a GPU has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the CPU's on `device`, without waiting for it.

    A copy to a GPU from memory that is not pinned may wait. Source: the CUDA runtime's "API synchronization behavior".
    """
    return (tensor.pin_memory() if device.type == "cuda" else tensor).to(device, non_blocking=True)
