"""Pure functions over numbers: intervals, tests, power, and curves over tuning budget and learning rate.

Differences are paired, one per replicate, in the metric's own unit, and signed so that positive is as claimed.
scipy is imported where it is used, so that reading a study file does not wait for it.
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

LEVEL = 0.05  # of tests; intervals are at 1 - LEVEL
EXACT = 20  # replicates up to which all sign flips are enumerated (2**19 sums), beyond which RESAMPLES are drawn
RESAMPLES = 19_999
SIMULATED = 12  # replicates up to which power is simulated
DRAWS = 2_000  # of a bootstrap over replicates and examples, and of simulated power
MOST_REPLICATES = 10_000  # what `replicates_needed` returns where so many, or more, are needed


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
    """What `trials` draws from a pool lead to: expected best validation value, and that trial's expected test value."""

    trials: int
    validation: float
    test: float


def t_interval(values: Sequence[float], level: float = 0.95) -> Estimate:
    """Return mean, sample standard deviation and Student's t interval of at least two values."""
    from scipy.special import stdtrit  # what scipy.stats calls, without the half second that importing that takes

    assert len(values) >= 2, "an interval needs two replicates"
    mean, sd = statistics.fmean(values), statistics.stdev(values)
    half = float(stdtrit(len(values) - 1, 0.5 + level / 2)) * sd / len(values) ** 0.5
    return Estimate(len(values), mean, sd, mean - half, mean + half)


def t_p(differences: Sequence[float]) -> float:
    """Return the two-sided p of Student's paired t test; 1 where all differences are zero."""
    from scipy.special import stdtr

    mean, sd = statistics.fmean(differences), statistics.stdev(differences)
    if mean == 0:
        return 1.0
    return 2 * float(stdtr(len(differences) - 1, -abs(mean) * len(differences) ** 0.5 / sd)) if sd else 0.0


def sign_flip_p(differences: Sequence[float]) -> float:
    """Return the two-sided p of the mean under sign flips: how many of all 2**n give a mean as far from zero.

    Exact where differences are symmetric about zero, as those of two equal contenders are (Fisher 1935, section 21).
    Above `EXACT` replicates 19,999 seeded flips are drawn and the observed one is counted among them (Phipson & Smyth
    2010, arXiv:1603.05766).

    Not `scipy.stats.permutation_test`: at n = 20 that takes 6 s instead of milliseconds, and it misses ties that only
    rounding breaks, which accuracies, multiples of 1 / (test examples), have many of.
    """
    values = np.asarray(differences, dtype=float)
    observed = abs(values.sum()) - ROUNDING * np.abs(values).sum()
    if len(values) <= EXACT:
        return float(np.mean(np.abs(_flipped_sums(values)) >= observed))
    return float((1 + np.sum(np.abs(_signs(len(values)) @ values) >= observed)) / (1 + RESAMPLES))


@lru_cache(maxsize=1)
def _signs(n: int) -> NDArray[np.float64]:
    """Return `RESAMPLES` seeded flips of n values: drawing them takes longer than a test does."""
    return np.random.default_rng(0).choice([-1.0, 1.0], (RESAMPLES, n))


def _flipped_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the 2**(n-1) sums in which the first value keeps its sign; the others are their negatives."""
    sums = values[:1]
    for value in values[1:]:
        sums = np.concatenate([sums + value, sums - value])
    return sums


def smallest_p(n: int, claims: int) -> float:
    """Return the smallest corrected p that the sign-flip test of `n` replicates can reach among `claims` claims."""
    return min(1.0, 2 * claims * 2.0**-n)


def holm(ps: Sequence[float]) -> list[float]:
    """Return p values adjusted for their number, in the order given (Holm 1979): the family-wise error is controlled
    whatever the dependence between the tests.
    """
    adjusted, largest = [0.0] * len(ps), 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = largest
    return adjusted


def probability_positive(differences: Sequence[float]) -> Probability:
    """Return P(difference > 0), ties half, with a 95% percentile bootstrap interval (Bouthillier et al. 2021,
    arXiv:2103.03098).

    Where all replicates agree, resampling shows nothing else: they are all of one kind (won, lost or tied) whose share
    is at least (2.5%)^(1/n) with 97.5% confidence (Clopper & Pearson 1934), and of the rest nothing is known.
    """
    from scipy.stats import bootstrap

    wins = (1 + np.sign(np.asarray(differences, dtype=float))) / 2
    if np.ptp(wins) == 0:
        value, share = float(wins[0]), (LEVEL / 2) ** (1 / len(wins))
        return Probability(value, value * share, 1 - (1 - value) * share)
    found = bootstrap((wins,), np.mean, method="percentile", rng=np.random.default_rng(0)).confidence_interval
    return Probability(float(wins.mean()), float(found.low), float(found.high))


def power(n: int, sd: float, difference: float, tests: int, level: float = LEVEL) -> float:
    """Return the probability that `n` replicates find a true `difference` > 0, the planner's forecast.

    Found means: the t interval lies above zero and the sign-flip p, multiplied by the number of `tests`, is below
    `level`. That is Holm's correction where the other claims are not found, so a lower bound where they are. The
    differences are taken as normal with standard deviation `sd` (same unit as `difference`; 0 is allowed).
    """
    rank = _rank(n, level / tests)
    if rank == 0:
        return 0.0  # too few replicates for any p so small
    effect = difference / sd if sd else math.inf
    if n <= SIMULATED:
        return float(np.mean(_critical_effects(n, rank, level) < effect))
    from scipy.stats import nct, t

    attained = level / tests if n > EXACT else rank / 2 ** (n - 1)
    noncentrality = min(effect * n**0.5, 40.0)  # beyond which power is 1
    return float(nct.sf(t.isf(attained / 2, n - 1), n - 1, noncentrality))


def _rank(n: int, level: float) -> int:
    """Return the largest k for which the k most extreme pairs of opposite flips have p = k / 2**(n-1) < level."""
    return math.ceil(level * 2.0 ** (min(n, 1 + EXACT) - 1)) - 1


@lru_cache(maxsize=256)
def _critical_effects(n: int, rank: int, level: float) -> NDArray[np.float64]:
    """Return, for `DRAWS` simulated studies, the true effect (in standard deviations) above which each finds it.

    With few replicates the sign-flip test has fewer and coarser p values than the t test, whose power would be up to
    15 pp too high. Flipping the subset A of x = z + effect takes the sum to the other side of the observed one where
    the sum of z over A plus |A| effect is negative: so a study is found from the `rank`-th largest -mean(z over A) on.
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
    """Return the smallest n whose `power` reaches `target`; `MOST_REPLICATES` stands for that many or more."""
    candidates = range(2, MOST_REPLICATES)
    return 2 + bisect.bisect_left(candidates, target, key=lambda n: power(n, sd, difference, tests, level))


def two_way_bootstrap(differences: ArrayLike) -> tuple[float, float]:
    """Return the 95% percentile interval of the mean of an array (replicates, test examples).

    Replicates and examples are resampled independently (Owen 2007, the pigeonhole bootstrap, arXiv:0712.1111; mildly
    conservative), so it also covers what another test set would have shown. Examples with equal columns are drawn
    together, which for answers that are right or wrong are most.
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
    """Return what selecting on validation among k draws without replacement from a pool of trials leads to.

    Higher is better: negate a loss, and the result. Exact: of N trials the i-th best is the best of k draws with
    probability C(N-i, k-1) / C(N, k) (Dodge et al. 2019, arXiv:1909.03004, drew with replacement, which is biased:
    Tang et al. 2020, arXiv:2004.13705). Trials of equal validation value count with the mean of their test values.
    """
    assert len(validation) == len(test) >= max(ks)
    levels, place, counts = np.unique(np.asarray(validation, dtype=float), return_inverse=True, return_counts=True)
    averages = np.bincount(place, weights=np.asarray(test, dtype=float)) / counts
    best_first = np.sort(place)[::-1]
    found = []
    for k in ks:
        chances = _chances_of_best(len(validation), k)
        found.append(Best(k, float(chances @ levels[best_first]), float(chances @ averages[best_first])))
    return found


def _chances_of_best(pool: int, k: int) -> NDArray[np.float64]:
    """Return the probability that the i-th best of the pool, i = 1 ... pool, is the best of k drawn from it."""
    i = np.arange(1, pool)
    ratios = np.maximum(pool - i - k + 1, 0) / (pool - i)
    return k / pool * np.concatenate([[1.0], np.cumprod(ratios)])


def learning_rate_tolerance(rates: Sequence[float], scores: Sequence[float], within: float) -> float:
    """Return over how many decades of learning rate the score stays at most `within` below the sweep's best.

    Between neighbouring rates the score is taken as linear in log10(rate), and all stretches count, so that one noisy
    point costs its neighbourhood and not everything beyond it. Higher scores are better: negate a loss. What lies
    outside the sweep does not count: a lower bound where an end of the sweep is within.
    """
    order = np.argsort(rates)
    decades = np.diff(np.log10(np.asarray(rates, dtype=float)[order]))
    above = np.asarray(scores, dtype=float)[order] - (max(scores) - within * (1 + 1e-9))
    inside, total = np.maximum(above, 0), np.abs(above)
    totals = np.maximum(total[:-1] + total[1:], np.finfo(float).tiny)
    shares = (inside[:-1] + inside[1:]) / totals  # of each stretch between two rates
    return float(shares @ decades)


def reaches_an_end(rates: Sequence[float], scores: Sequence[float], within: float) -> bool:
    """Return whether the score at an end of a sweep is at most `within` below its best: the tolerance goes on there."""
    first, *_, last = np.asarray(scores, dtype=float)[np.argsort(rates)]
    return bool(max(first, last) >= max(scores) - within * (1 + 1e-9))


def epochs_to_target(curve: Sequence[float], target: float, epochs: int) -> int:
    """Return the first epoch, counted from 1, whose value reaches `target`; a miss counts as `epochs` + 1."""
    return next((epoch for epoch, value in enumerate(curve, start=1) if value >= target), epochs + 1)
