"""Comparisons of two groups of runs that are not paired: Welch's interval, permutation tests, P(A > B) and power."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from optstudy.inference.decisions import Decision, Facts, guarded_level
from optstudy.inference.intervals import LEVEL, Probability, wilson
from optstudy.inference.power import MOST_REPLICATES, Replicates
from optstudy.inference.sign_flips import holm
from optstudy.metrics import ROUNDING

Array = NDArray[np.float64]

EXACT = 20_000  # up to so many divisions into two groups all are enumerated; above, RESAMPLES are drawn
RESAMPLES = 19_999
SPREAD = 1e-7  # of the range


@dataclass(frozen=True)
class Welch:
    """A difference of two means with its standard error, degrees of freedom and interval, in the metric's unit."""

    mean: float
    se: float
    df: float
    low: float
    high: float


def welch(first: Sequence[float], second: Sequence[float], level: float = 0.95) -> Welch:
    """Return mean(first) - mean(second) with Welch's t interval (Welch 1947); each group has at least two values."""
    from scipy.special import stdtrit

    assert min(len(first), len(second)) >= 2, "an interval needs two replicates of each group"
    mean = float(np.mean(first) - np.mean(second))
    parts = [float(np.var(own, ddof=1)) / len(own) for own in (first, second)]
    variance = sum(parts)
    if not variance:
        return Welch(mean, 0.0, float(len(first) + len(second) - 2), mean, mean)
    # Shares of the variance, because the squares of variances near 1e-200 are zero.
    shares = [part / variance for part in parts]
    df = 1 / sum(share**2 / (len(own) - 1) for share, own in zip(shares, (first, second), strict=True))
    half = float(stdtrit(df, 0.5 + level / 2)) * math.sqrt(variance)
    return Welch(mean, math.sqrt(variance), df, mean - half, mean + half)


def permutation_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the two-sided p of Welch's t under all divisions of the values into two groups of these sizes.

    Exact if the two groups have one distribution, and right for large groups with equal means and unequal variances
    (Janssen 1997; Chung & Romano 2013, doi:10.1214/13-AOS1090). Above 20,000 divisions 19,999 seeded ones are drawn,
    and the observed one is counted among them (Phipson & Smyth 2010, arXiv:1603.05766).
    """
    values = np.concatenate([np.asarray(first, dtype=float), np.asarray(second, dtype=float)])
    observed = np.zeros((1, len(values)))
    observed[0, : len(first)] = 1.0
    limit = float(_welch_ts(values, observed)[0]) * (1 - ROUNDING)
    exact = (count := math.comb(len(values), len(first))) <= EXACT
    as_far = int(np.sum(_welch_ts(values, _divisions(len(values), len(first), exact)) >= limit))
    return as_far / count if exact else (1 + as_far) / (1 + RESAMPLES)


@lru_cache(maxsize=4)
def _divisions(n: int, size: int, exact: bool) -> Array:
    """Return all divisions of n places into a first group of `size` and the rest, or RESAMPLES drawn ones.

    Each row has 1 for the places of the first group and 0 for the others.
    They are kept: drawing them takes longer than a test.
    """
    if exact:
        chosen = np.array(list(combinations(range(n), size)))
    else:
        chosen = np.argsort(np.random.default_rng(0).random((RESAMPLES, n)), axis=1)[:, :size]
    inside = np.zeros((len(chosen), n))
    np.put_along_axis(inside, chosen, 1.0, axis=1)
    return inside


def _welch_ts(values: Array, inside: Array) -> Array:
    """Return |t| of each division (divisions, values), with 1 for the values of the first group.

    A division without spread has an infinite t, or 0 if its means are equal, too. Squares carry rounding, so a spread
    below 1e-7 of the range is none.
    """
    centred = values - values.mean()
    n, total, squares = inside.sum(axis=1), centred.sum(), (centred**2).sum()
    sums, inner = inside @ centred, inside @ centred**2
    means = sums / n, (total - sums) / (len(values) - n)
    sides = (inner, means[0], n), (squares - inner, means[1], len(values) - n)
    variances = [np.maximum(square / m - mean**2, 0.0) / (m - 1) for square, mean, m in sides]
    distance, se = np.abs(means[0] - means[1]), np.sqrt(variances[0] + variances[1])
    distance[distance <= ROUNDING * np.abs(values).max()] = 0.0
    se[se <= SPREAD * np.ptp(values)] = 0.0
    ts: Array = np.divide(distance, se, out=np.where(distance > 0, np.inf, 0.0), where=se > 0)
    return ts


def equivalence_p(first: Sequence[float], second: Sequence[float], margin: float) -> float:
    """Return the larger p of the two one-sided Welch t tests against -margin and +margin (Schuirmann 1987)."""
    from scipy.special import stdtr

    own = welch(first, second)
    if own.se == 0:
        return 0.0 if abs(own.mean) < margin else 1.0
    return float(stdtr(own.df, (abs(own.mean) - margin) / own.se))


def probability_greater(first: Sequence[float], second: Sequence[float]) -> Probability:
    """Return P(a value of `first` exceeds one of `second`), ties counting half, with a conservative 95% interval.

    The variance of this share of pairs is at most p(1 - p) / m, m being the smaller group's size (van Dantzig 1951;
    Birnbaum & Klose 1957), so the interval is Wilson's (1927) for m trials.
    """
    a, b = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    return wilson(float(np.mean((1 + np.sign(a[:, None] - b[None, :])) / 2)), min(len(a), len(b)))


def power_unpaired(n: int, sds: tuple[float, float], difference: float, tests: int, level: float = LEVEL) -> float:
    """Return the probability that n runs of each group find a true `difference` with p below `level` / `tests`.

    By the noncentral t distribution, with the degrees of freedom that Welch's t has for these standard deviations.
    Estimated ones have fewer: with five runs the result is up to 5 pp too high.
    """
    from scipy.stats import nct, t

    first, second = (sd**2 / n for sd in sds)
    if not first + second:
        return 1.0
    df = (n - 1) * (first + second) ** 2 / (first**2 + second**2)
    noncentrality = min(difference / math.sqrt(first + second), 40.0)  # power is 1 beyond 40
    return float(nct.sf(t.isf(level / tests / 2, df), df, noncentrality))


def runs_needed(
    n: int, sds: tuple[float, float], difference: float, tests: int, target: float = 0.8, level: float = LEVEL
) -> Replicates:
    """Return the smallest number of runs of each group whose power reaches `target`, at most `MOST_REPLICATES`.

    Its range is over the 95% of values that the standard deviations, measured on `n` runs of each group, may have.
    """
    from scipy.special import chdtri

    def needed(factor: float) -> int:
        own = sds[0] * factor, sds[1] * factor
        candidates = range(2, MOST_REPLICATES)
        return 2 + bisect.bisect_left(
            candidates, target, key=lambda runs: power_unpaired(runs, own, difference, tests, level)
        )

    freedom = 2 * (n - 1)
    low, high = ((freedom / chdtri(freedom, tail)) ** 0.5 for tail in (LEVEL / 2, 1 - LEVEL / 2))
    return Replicates(needed(1.0), needed(low), needed(high))


def decide_unpaired(
    samples: Sequence[tuple[Sequence[float], Sequence[float]]], margin: float, alpha: float = LEVEL
) -> list[Decision]:
    """Return what is decided about each pair of groups, by the rules of `decisions.decide` for paired differences.

    Intervals are Welch's; p comes from permutation tests, corrected over all pairs (Holm). Nothing is withheld.
    """
    p = holm([permutation_p(one, other) for one, other in samples])
    above = holm([permutation_p([value - margin for value in one], other) for one, other in samples])
    below = holm([permutation_p([value + margin for value in one], other) for one, other in samples])
    equal = holm([equivalence_p(one, other, margin) for one, other in samples])
    intervals = [welch(one, other, 1 - alpha) for one, other in samples]
    by_t = np.array([own.low for own in intervals]), np.array([own.high for own in intervals])
    facts = Facts(np.full(len(samples), margin), by_t, by_t, np.array(p), np.array(above), np.array(below), alpha)
    columns = range(len(samples))
    levels = [guarded_level([column], columns, facts, equal[column])[0] for column in columns]
    return [Decision(levels[column], p[column], equal[column], column, withheld=False) for column in columns]
