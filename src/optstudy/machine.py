"""How many workers a machine gets where nobody says."""

import os
from pathlib import Path

NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
MOST_ON_A_GPU = 4


def default_workers() -> int:
    """Return one worker for each core that this process may use; no more than `MOST_ON_A_GPU` where there is one.

    They share it, and each has a CUDA context and the data set there. The driver's folder is asked instead of torch,
    whose import takes seconds. "No GPU" is a CUDA_VISIBLE_DEVICES that is empty or begins with a number below zero
    (as torch.cuda.device_count reads it).
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    has_gpu = NVIDIA_DRIVER.exists() and os.environ.get("CUDA_VISIBLE_DEVICES", "0")[:1] not in ("", "-")
    return min(cores, MOST_ON_A_GPU) if has_gpu else cores
