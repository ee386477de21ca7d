"""Pure functions over numbers: means with intervals, epochs to a target."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Estimate:
    """A mean over replicates with its standard deviation and confidence interval, in the metric's own unit."""

    n: int
    mean: float
    sd: float
    low: float
    high: float


def t_interval(values: Sequence[float], level: float = 0.95) -> Estimate:
    """Return mean, sample standard deviation and Student's t interval of at least two values."""
    from scipy.stats import t

    assert len(values) >= 2, "an interval needs two replicates"
    mean, sd = statistics.fmean(values), statistics.stdev(values)
    half = float(t.ppf(0.5 + level / 2, len(values) - 1)) * sd / len(values) ** 0.5
    return Estimate(len(values), mean, sd, mean - half, mean + half)


def epochs_to_target(curve: Sequence[float], target: float, epochs: int) -> int:
    """Return the first epoch, counted from 1, whose value reaches `target`; a miss counts as `epochs` + 1."""
    return next((epoch for epoch, value in enumerate(curve, start=1) if value >= target), epochs + 1)
