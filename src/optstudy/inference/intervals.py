"""Means, probabilities and their intervals. Differences are paired, one per replicate, in the metric's unit."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

LEVEL = 0.05  # significance level of tests; intervals are at 1 - LEVEL
BOOTSTRAP_DRAWS = 2_000  # of the two-way bootstrap


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
    """Return P(difference > 0), in which ties count half, with a 95% interval.

    The interval is a percentile bootstrap (Bouthillier et al. 2021, arXiv:2103.03098). If all replicates agree (all
    won, lost or tied), resampling shows no spread; the share of that outcome is then at least (2.5%)^(1/n) with 97.5%
    confidence (Clopper & Pearson 1934), and nothing is known about the rest.
    """
    from scipy.stats import bootstrap

    wins = (1 + np.sign(np.asarray(differences, dtype=float))) / 2
    if np.ptp(wins) == 0:
        value, share = float(wins[0]), (LEVEL / 2) ** (1 / len(wins))
        return Probability(value, value * share, 1 - (1 - value) * share)
    interval = bootstrap((wins,), np.mean, method="percentile", rng=np.random.default_rng(0)).confidence_interval
    return Probability(float(wins.mean()), float(interval.low), float(interval.high))


def two_way_bootstrap(differences: ArrayLike) -> tuple[float, float]:
    """Return the 95% percentile interval of the mean of an array (replicates, test examples).

    Replicates and examples are resampled independently (the pigeonhole bootstrap, Owen 2007, arXiv:0712.1111; mildly
    conservative), so the interval also covers the choice of the test set. Examples with equal columns, which most
    examples have, are drawn together for speed.
    """
    values = np.asarray(differences, dtype=float)
    replicates, examples = values.shape
    columns, counts = np.unique(values, axis=1, return_counts=True)
    rng = np.random.default_rng(0)
    rows = rng.multinomial(replicates, np.full(replicates, 1 / replicates), size=BOOTSTRAP_DRAWS) / replicates
    weights = rng.multinomial(examples, counts / examples, size=BOOTSTRAP_DRAWS) / examples
    low, high = np.quantile(((rows @ columns) * weights).sum(axis=1), [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)
