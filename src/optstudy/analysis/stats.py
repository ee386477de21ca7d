"""Pure functions over numbers: intervals, tests, power, and curves over tuning budget and learning rate.

Differences are paired, one per replicate, in the metric's own unit; positive means as claimed. Parts of scipy are
imported inside functions, so that reading a study file is not slowed down.
"""

from __future__ import annotations

import bisect
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optstudy.metrics import ROUNDING

LEVEL = 0.05  # significance level of tests; intervals are at 1 - LEVEL
EXACT = 20  # up to so many replicates all sign flips are enumerated (2**19 sums); above, RESAMPLES flips are drawn
RESAMPLES = 19_999
SIMULATED = 12  # up to so many replicates power is simulated
DRAWS = 2_000  # draws of the two-way bootstrap and of simulated power
MOST_REPLICATES = 10_000  # `replicates_needed` returns it if so many, or more, are needed


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


@dataclass(frozen=True)
class Best:
    """The expected best validation value of `trials` drawn from a pool, and the expected test value of that trial."""

    trials: int
    validation: float
    test: float


def t_interval(values: Sequence[float], level: float = 0.95) -> Estimate:
    """Return mean, sample standard deviation and Student's t interval of at least two values."""
    from scipy.special import stdtrit  # scipy.stats calls it, and takes half a second to import

    assert len(values) >= 2, "an interval needs two replicates"
    mean, sd = statistics.fmean(values), statistics.stdev(values)
    half = float(stdtrit(len(values) - 1, 0.5 + level / 2)) * sd / len(values) ** 0.5
    return Estimate(len(values), mean, sd, mean - half, mean + half)


def t_p(differences: Sequence[float]) -> float:
    """Return the two-sided p of Student's paired t test; 1 if all differences are zero."""
    from scipy.special import stdtr

    mean, sd = statistics.fmean(differences), statistics.stdev(differences)
    if mean == 0:
        return 1.0
    return 2 * float(stdtr(len(differences) - 1, -abs(mean) * len(differences) ** 0.5 / sd)) if sd else 0.0


def sign_flip_p(differences: Sequence[float]) -> float:
    """Return the two-sided p of the mean under sign flips: the share of all 2**n whose mean is as far from zero.

    The test is exact if differences are symmetric about zero, as those of two equal contenders are (Fisher 1935,
    section 21). Above `EXACT` replicates, 19,999 seeded flips are drawn, and the observed one is counted among them
    (Phipson & Smyth 2010, arXiv:1603.05766).

    `scipy.stats.permutation_test` is not used: at n = 20 it takes 6 s instead of milliseconds, and it misses ties that
    only rounding breaks. Accuracies, multiples of 1 / (test examples), have many such ties.
    """
    values = np.asarray(differences, dtype=float)
    observed = abs(values.sum()) - ROUNDING * np.abs(values).sum()
    if len(values) <= EXACT:
        return float(np.mean(np.abs(_flipped_sums(values)) >= observed))
    return float((1 + np.sum(np.abs(_signs(len(values)) @ values) >= observed)) / (1 + RESAMPLES))


@lru_cache(maxsize=1)
def _signs(n: int) -> NDArray[np.float64]:
    """Return `RESAMPLES` seeded flips of n values. They are kept: drawing them takes longer than a test."""
    return np.random.default_rng(0).choice([-1.0, 1.0], (RESAMPLES, n))


def _flipped_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the 2**(n-1) sums in which the first value keeps its sign; all other sums are their negatives."""
    sums = values[:1]
    for value in values[1:]:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def smallest_p(n: int, claims: int) -> float:
    """Return the smallest corrected p that the sign-flip test of `n` replicates can reach among `claims` claims."""
    return min(1.0, 2 * claims * 2.0**-n)


def holm(ps: Sequence[float]) -> list[float]:
    """Return p values adjusted for their number, in the order given (Holm 1979).

    The family-wise error is controlled under any dependence between the tests.
    """
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = largest
    return adjusted


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


def power(n: int, sd: float, difference: float, tests: int, level: float = LEVEL) -> float:
    """Return the probability that a study of `n` replicates finds a true `difference` > 0.

    A study finds it if the t interval lies above zero and the sign-flip p, multiplied by the number of `tests`, is
    below `level`. This is Holm's correction if no other claim is found, so the result is a lower bound if some are.
    Differences are assumed to be normal with standard deviation `sd` (same unit as `difference`; 0 is allowed).
    """
    rank = _rank(n, level / tests)
    if rank == 0:
        return 0.0  # no p of so few replicates is small enough
    effect = difference / sd if sd else math.inf
    if n <= SIMULATED:
        return float(np.mean(_critical_effects(n, rank, level) < effect))
    from scipy.stats import nct, t

    attained = level / tests if n > EXACT else rank / 2 ** (n - 1)
    noncentrality = min(effect * n**0.5, 40.0)  # power is 1 beyond 40
    return float(nct.sf(t.isf(attained / 2, n - 1), n - 1, noncentrality))


def _rank(n: int, level: float) -> int:
    """Return the largest k for which the k most extreme pairs of opposite flips have p = k / 2**(n-1) < level."""
    return math.ceil(level * 2.0 ** (min(n, 1 + EXACT) - 1)) - 1


@lru_cache(maxsize=256)
def _critical_effects(n: int, rank: int, level: float) -> NDArray[np.float64]:
    """Return, for `DRAWS` simulated studies, the true effect (in standard deviations) above which each finds it.

    With few replicates the sign-flip test has fewer and coarser p values than the t test, whose power would be up to
    15 pp too high. Flipping the signs of a subset A of x = z + effect makes the sum larger if the sum of z over A plus
    |A| effect is negative. So a study finds any effect above the `rank`-th largest -mean(z over A).
    """
    from scipy.stats import t

    z = np.random.default_rng(0).standard_normal((DRAWS, SIMULATED))[:, :n]
    sums, sizes = np.zeros((DRAWS, 1)), np.zeros(1)
    for column in z.T:
        sums = np.concatenate([sums, sums + column[:, None]], axis=1)
        sizes = np.concatenate([sizes, sizes + 1])
    means = sums[:, 1:] / sizes[1:]
    flips = -np.partition(means, rank - 1, axis=1)[:, rank - 1]
    halves = t.isf(level / 2, n - 1) * z.std(axis=1, ddof=1) / n**0.5
    critical: NDArray[np.float64] = np.maximum(flips, halves - z.mean(axis=1))
    return critical


def replicates_needed(sd: float, difference: float, tests: int, target: float = 0.8, level: float = LEVEL) -> int:
    """Return the smallest n whose `power` reaches `target`; `MOST_REPLICATES` means that many or more."""
    candidates = range(2, MOST_REPLICATES)
    return 2 + bisect.bisect_left(candidates, target, key=lambda n: power(n, sd, difference, tests, level))


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
    rows = rng.multinomial(replicates, np.full(replicates, 1 / replicates), size=DRAWS) / replicates
    weights = rng.multinomial(examples, counts / examples, size=DRAWS) / examples
    low, high = np.quantile(((rows @ columns) * weights).sum(axis=1), [LEVEL / 2, 1 - LEVEL / 2])
    return float(low), float(high)


def expected_best(validation: Sequence[float], test: Sequence[float], ks: Sequence[int]) -> list[Best]:
    """Return, for each k, the expected best of k trials drawn from a pool and selected by their validation value.

    Higher is better: negate a loss, and the result. The expectation is exact: of N trials, the i-th best is the best of
    k draws without replacement with probability C(N-i, k-1) / C(N, k). (Dodge et al. 2019, arXiv:1909.03004, drew with
    replacement, which is biased: Tang et al. 2020, arXiv:2004.13705.) Trials with equal validation values count with
    the mean of their test values.
    """
    assert len(validation) == len(test) >= max(ks)
    levels, place, counts = np.unique(np.asarray(validation, dtype=float), return_inverse=True, return_counts=True)
    averages = np.bincount(place, weights=np.asarray(test, dtype=float)) / counts
    best_first = np.sort(place)[::-1]
    chances = [_chances_of_best(len(validation), k) for k in ks]
    return [
        Best(k, float(p @ levels[best_first]), float(p @ averages[best_first]))
        for k, p in zip(ks, chances, strict=True)
    ]


def _chances_of_best(pool: int, k: int) -> NDArray[np.float64]:
    """Return the probability that the i-th best of the pool, i = 1 ... pool, is the best of k drawn from it."""
    i = np.arange(1, pool)
    ratios = np.maximum(pool - i - k + 1, 0) / (pool - i)
    return k / pool * np.concatenate([[1.0], np.cumprod(ratios)])


def learning_rate_tolerance(rates: Sequence[float], scores: Sequence[float], within: float) -> float:
    """Return for how many decades of learning rate the score stays at most `within` below the sweep's best.

    The score is interpolated linearly in log10(rate), and all stretches count, so that one noisy point costs only its
    neighbourhood. Higher scores are better: negate a loss. The result is a lower bound if the score at an end of the
    sweep is still within.
    """
    order = np.argsort(rates)
    decades = np.diff(np.log10(np.asarray(rates, dtype=float)[order]))
    above = np.asarray(scores, dtype=float)[order] - (max(scores) - within * (1 + 1e-9))
    inside, total = np.maximum(above, 0), np.abs(above)
    totals = np.maximum(total[:-1] + total[1:], np.finfo(float).tiny)
    shares = (inside[:-1] + inside[1:]) / totals  # of each stretch between two rates, the part within
    return float(shares @ decades)


def reaches_an_end(rates: Sequence[float], scores: Sequence[float], within: float) -> bool:
    """Return whether the score at an end of a sweep is at most `within` below the best: the tolerance may be larger."""
    first, *_, last = np.asarray(scores, dtype=float)[np.argsort(rates)]
    return bool(max(first, last) >= max(scores) - within * (1 + 1e-9))


def epochs_to_target(curve: Sequence[float], target: float, epochs: int) -> int:
    """Return the first epoch, counted from 1, whose value reaches `target`; a miss counts as `epochs` + 1."""
    return next((epoch for epoch, value in enumerate(curve, start=1) if value >= target), epochs + 1)
