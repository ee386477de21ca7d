"""Time to a target: the target of a replicate, the time that a training takes to it, and what misses leave undecided.

A training that misses its target is censored: it would have taken longer than its budget, nobody knows how much longer.
So times are restricted to the budget (Royston & Parmar 2013, doi:10.1186/1471-2288-13-152), and the share of trainings
that reached the target stands beside them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from optstudy.metrics import ROUNDING

SHARES = (0.98, 0.99, 0.995)  # of the median best score, at which targets are set
PRIMARY_SHARE = 0.99  # the one that claims and the comparison use
MOST_CENSORED = 0.2  # of the trainings of a side; beyond it, the restricted time says little about the time


def replicate_target(best: Sequence[float], share: float, higher: bool) -> float:
    """Return the target of one replicate: `share` of the median of its contenders' `best` scores.

    Where lower is better (`higher` is False, as for losses) the target is as far above the median: for 0.99 it is 1.01
    times the median. nan if `best` is empty.
    """
    if not best:
        return math.nan
    middle = median(best)
    slack = (1 - share) * abs(middle)
    return middle - slack if higher else middle + slack


def time_to_target(curve: Sequence[float], target: float, higher: bool = True) -> int | None:
    """Return the first epoch, counted from 1, whose value reaches `target` exactly or passes it; None for a miss."""
    sign = 1 if higher else -1
    return next((epoch for epoch, value in enumerate(curve, start=1) if sign * value >= sign * target), None)


def restricted(times: Sequence[float | None], budget: float) -> list[float]:
    """Return min(time, budget) of each training; a miss (None) counts as the budget.

    Their mean is the restricted mean time: the area under the share of trainings that have not reached the target yet,
    from 0 to the budget.
    """
    return [float(budget if time is None else min(time, budget)) for time in times]


def share_reached(times: Sequence[float], reached: Sequence[float], budget: float) -> tuple[list[float], list[float]]:
    """Return the steps of the share of trainings that reached their target by a time, from 0 to the budget.

    `times` are restricted to the budget, and `reached` is 0 for each miss. From the i-th time returned on, the i-th
    share holds; it is the distribution function of the times, in which a miss never comes.
    """
    ends = sorted(time for time, hit in zip(times, reached, strict=True) if hit)
    steps = [0.0, *dict.fromkeys(ends), budget]
    return steps, [sum(end <= step for end in ends) / len(times) for step in steps]


@dataclass(frozen=True)
class Reached:
    """How many of `n` trainings reached their target; `weight` is that of their arm in a contrast of times.

    A positive effect says that the arms with positive weights are slower than the others.
    """

    reached: int
    n: int
    weight: float


def undecided(arms: Sequence[Reached]) -> bool:
    """Return whether both sides of a contrast are censored beyond `MOST_CENSORED`: no verdict can be reached."""
    return _beyond(arms, 1) and _beyond(arms, -1)


def at_least(arms: Sequence[Reached], effect: float) -> bool:
    """Return whether only the slower side is censored beyond `MOST_CENSORED`: the true difference is then larger."""
    slower = 1 if effect > 0 else -1
    return effect != 0 and _beyond(arms, slower) and not _beyond(arms, -slower)


def _beyond(arms: Sequence[Reached], sign: int) -> bool:
    """Return whether the side with this sign is censored beyond `MOST_CENSORED`, each arm by its weight."""
    side = [arm for arm in arms if sign * arm.weight > ROUNDING]
    missed = sum(abs(arm.weight) * (1 - arm.reached / arm.n) for arm in side)
    return missed > MOST_CENSORED * sum(abs(arm.weight) for arm in side) + ROUNDING


def counts_in_words(arms: Sequence[Reached]) -> str:
    """Return how many trainings of each arm reached their target: "2 of 8 and 3 of 8"; empty without arms."""
    *others, last = [f"{arm.reached} of {arm.n}" for arm in arms] or [""]
    return f"{', '.join(others)} and {last}" if others else last
