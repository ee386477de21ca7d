"""Learning-rate schedules: the functions behind `catalogue.SCHEDULES`, warm-up, and torch's form of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from optstudy.catalogue import SCHEDULES
from optstudy.user_code import import_class

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

Schedule = Callable[[int, int], float]


def cosine(step: int, steps: int) -> float:
    """Fall from 1 to 0 like half a cosine, as `CosineAnnealingLR` with eta_min 0 (Loshchilov & Hutter 2017)."""
    return 0.5 * (1.0 + math.cos(math.pi * step / max(1, steps)))


def constant(step: int, steps: int) -> float:  # noqa: ARG001  # the signature of all schedules
    """Stay at 1."""
    return 1.0


@cache
def _schedule(name: str) -> Schedule:
    function: Schedule = import_class(SCHEDULES[name])
    return function


def schedule_factor(schedule: Mapping[str, Any], step: int, steps: int) -> float:
    """Return the multiple of the base rate after `step` of `steps` steps.

    It rises linearly over the first `warmup` share of the steps; the schedule of that name has the rest.
    """
    warmup: int = round(schedule["warmup"] * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return _schedule(schedule["name"])(step - warmup, steps - warmup)


def build_schedule(optimizer: Optimizer, schedule: Mapping[str, Any], steps: int) -> LRScheduler:
    """Return the schedule as torch has it, to be stepped `steps` times over the whole training."""
    from torch.optim.lr_scheduler import LambdaLR

    return LambdaLR(optimizer, lambda step: schedule_factor(schedule, step, steps))
