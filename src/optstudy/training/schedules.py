"""Learning-rate schedules: the functions behind `catalogue.SCHEDULES`, warm-up, and torch's form of them.

Each returns the multiple of the base rate after `step` of `steps` steps; its further arguments are those of its row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from optstudy.catalogue import SCHEDULES
from optstudy.user_code import import_class

if TYPE_CHECKING:
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

OWN_KEYS = frozenset({"name", "interval", "warmup"})  # of a schedule; its others are arguments of its function


def cosine(step: int, steps: int, end: float) -> float:
    """Fall from 1 to `end` like half a cosine, as `CosineAnnealingLR` (Loshchilov & Hutter 2017, arXiv:1608.03983)."""
    return end + (1.0 - end) * 0.5 * (1.0 + math.cos(math.pi * step / max(1, steps)))


def constant(step: int, steps: int) -> float:  # noqa: ARG001  # the signature of all schedules
    """Stay at 1."""
    return 1.0


def linear(step: int, steps: int, end: float) -> float:
    """Fall from 1 to `end` by equal amounts, as `LinearLR`."""
    return 1.0 + (end - 1.0) * step / max(1, steps)


def step_down(step: int, steps: int, at: Sequence[float], factor: float) -> float:
    """Multiply by `factor` at each of the shares `at`, as `MultiStepLR`.

    The defaults, a tenth after half and three quarters, are those of He et al. 2016 (arXiv:1512.03385, section 4.2).
    """
    return float(factor ** sum(step >= round(share * steps) for share in at))


def exponential(step: int, steps: int, end: float) -> float:
    """Fall from 1 to `end` by equal factors, as `ExponentialLR`."""
    return float(end ** (step / max(1, steps)))


def polynomial(step: int, steps: int, power: float, end: float) -> float:
    """Fall from 1 to `end` like a power of the share that is left, as `PolynomialLR`.

    The default power is that of Chen et al. 2017 (DeepLab, arXiv:1606.00915).
    """
    return end + (1.0 - end) * float((1.0 - step / max(1, steps)) ** power)


def inverse_square_root(step: int, steps: int, timescale: float) -> float:
    """Fall like 1 / sqrt(1 + step / time), where time is the share `timescale` of the steps.

    With as long a warm-up before it, it is the schedule of Vaswani et al. 2017 (arXiv:1706.03762, section 5.3).
    """
    return 1.0 / math.sqrt(1.0 + step / max(1.0, timescale * steps))


def one_cycle(step: int, steps: int, rise: float, start: float, end: float) -> float:
    """Rise from `start` to 1 over the share `rise`, then fall to `end`, both like half a cosine, as `OneCycleLR`.

    The base rate is its largest. Momentum stays as it is, unlike in Smith & Topin 2018 (arXiv:1708.07120).
    """
    step, peak, last = min(step, steps - 1), rise * steps - 1, steps - 1
    if step <= peak:
        return 1.0 + (start - 1.0) * 0.5 * (1.0 + math.cos(math.pi * step / peak)) if peak else 1.0
    return end + (1.0 - end) * 0.5 * (1.0 + math.cos(math.pi * (step - peak) / (last - peak)))


def warmup_stable_decay(step: int, steps: int, decay: float, end: float) -> float:
    """Stay at 1, and fall to `end` by equal amounts over the last share `decay` (Hu et al. 2024, arXiv:2404.06395)."""
    left = (steps - step) / max(decay * steps, 1.0)
    return end + (1.0 - end) * min(1.0, left)


@cache
def _function(name: str) -> Callable[..., float]:
    """Return the function of a row, or of the user by its path."""
    function: Callable[..., float] = import_class(SCHEDULES[name].function if name in SCHEDULES else name)
    return function


def arguments_of(schedule: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a schedule's function: those given, and its row's defaults."""
    defaults = SCHEDULES[schedule["name"]].arguments if schedule["name"] in SCHEDULES else {}
    return {**defaults, **{key: value for key, value in schedule.items() if key not in OWN_KEYS}}


def schedule_factor(schedule: Mapping[str, Any], step: int, steps: int) -> float:
    """Return the multiple of the base rate after `step` of `steps` steps.

    It rises linearly over the first `warmup` share of the steps; the schedule of that name has the rest.
    """
    warmup: int = round(schedule["warmup"] * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return _function(schedule["name"])(step - warmup, steps - warmup, **arguments_of(schedule))


def build_schedule(optimizer: Optimizer, schedule: Mapping[str, Any], steps: int) -> LRScheduler:
    """Return the schedule as torch has it, to be stepped `steps` times over the whole training."""
    from torch.optim.lr_scheduler import LambdaLR

    return LambdaLR(optimizer, lambda step: schedule_factor(schedule, step, steps))
