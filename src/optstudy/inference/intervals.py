"""Means, probabilities and their intervals. Differences are paired, one per replicate, in the metric's unit."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

LEVEL = 0.05  # significance level of tests; intervals are at 1 - LEVEL


@dataclass(frozen=True)
class Estimate:
    """A mean over replicates with its standard deviation and confidence interval, in the metric's own unit."""

    n: int
    mean: float
    sd: float
    low: float
    high: float


@dataclass(frozen=True)
class Probability:
    """A probability with its confidence interval, all in [0, 1]."""

    value: float
    low: float
    high: float


def t_interval(values: Sequence[float], level: float = 0.95) -> Estimate:
    """Return mean, sample standard deviation and Student's t interval of at least two values."""
    from scipy.special import stdtrit  # scipy.stats calls it, and takes half a second to import

    assert len(values) >= 2, "an interval needs two replicates"
    mean, sd = statistics.fmean(values), statistics.stdev(values)
    half = float(stdtrit(len(values) - 1, 0.5 + level / 2)) * sd / len(values) ** 0.5
    return Estimate(len(values), mean, sd, mean - half, mean + half)


def probability_positive(differences: Sequence[float]) -> Probability:
    """Return P(difference > 0), in which ties count half, with a 95% Wilson interval."""
    return wilson(float(np.mean((1 + np.sign(np.asarray(differences, dtype=float))) / 2)), len(differences))


def wilson(share: float, n: int) -> Probability:
    """Return a share of `n` trials with its 95% Wilson interval (Wilson 1927, eq. 5).

    It is never a point, not even if all trials agree, where the usual p ± 1.96 se fails (Brown, Cai & DasGupta 2001,
    doi:10.1214/ss/1009213286).
    """
    z = 1.959963984540054  # the normal's 97.5% quantile
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    return Probability(share, max(0.0, centre - half), min(1.0, centre + half))


def two_way_interval(differences: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of the mean of an array (replicates, test examples) that covers the choice of both.

    Replicates and examples are crossed random effects. From the mean squares of replicates, examples and the rest,
    the variance of the mean is (MS_R + MS_E - MS_RE) / (R E), with the degrees of freedom of Satterthwaite 1946
    (doi:10.2307/3002019). The interval is never narrower than the t interval over replicates alone, whose variance is
    MS_R / (R E): the choice of examples can only add to it.
    """
    values = np.asarray(differences, dtype=float)
    replicates, examples = values.shape
    assert min(values.shape) >= 2, "an interval needs two replicates and two test examples"
    rows, columns, mean = values.mean(axis=1), values.mean(axis=0), float(values.mean())
    rest = values - rows[:, None] - columns + mean
    freedoms = np.array([replicates - 1, examples - 1, (replicates - 1) * (examples - 1)])
    sums = np.array([examples * np.sum((rows - mean) ** 2), replicates * np.sum((columns - mean) ** 2)])
    squares = np.append(sums, np.sum(rest**2)) / freedoms
    combined = float(squares @ [1, 1, -1])
    uncertain = float(np.sum(squares**2 / freedoms))
    halves = [_half(float(squares[0]), replicates - 1, values.size, level)]
    if combined > 0 and uncertain > 0:
        halves.append(_half(combined, combined**2 / uncertain, values.size, level))
    return mean - max(halves), mean + max(halves)


def _half(square: float, freedom: float, size: int, level: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + level / 2)) * math.sqrt(square / size)
