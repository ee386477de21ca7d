"""What a search of k trials is expected to find."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from optstudy.inference.intervals import LEVEL
from optstudy.metrics import ROUNDING


@dataclass(frozen=True)
class Best:
    """The expected best validation value of `trials` drawn from a pool, and the expected test value of that trial."""

    trials: int
    validation: float
    test: float


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


@dataclass(frozen=True)
class Band:
    """The median best of `trials` draws, with a 95% band that holds for all numbers of trials at once."""

    trials: int
    median: float
    low: float
    high: float


def median_best(values: Sequence[float], ks: Sequence[int], most: float = math.inf) -> list[Band]:
    """Return, for each k, the median best of k independent draws from what `values` are drawn from, with its band.

    Higher is better: negate a loss, and the result. The best of k is at most x with probability F(x)**k, so its median
    is the 0.5**(1/k) quantile of F. The band of the empirical F, ± sqrt(log(2 / 0.05) / 2n) everywhere (Dvoretzky,
    Kiefer & Wolfowitz 1956; Massart 1990), gives one for all k (Lourie et al. 2024, arXiv:2311.09480). It takes the
    values as independent. No value is above `most`, which is the upper end where the values are too few to tell.
    """
    ordered = np.sort(np.asarray(values, dtype=float))
    n = len(ordered)
    off = math.sqrt(math.log(2 / LEVEL) / (2 * n))

    def quantile(share: float) -> float:
        if share > 1:
            return most
        return float(ordered[max(0, math.ceil(share * n - ROUNDING) - 1)]) if share > 0 else float(ordered[0])

    shares = [0.5 ** (1 / k) for k in ks]
    return [
        Band(k, quantile(share), quantile(share - off), quantile(share + off))
        for k, share in zip(ks, shares, strict=True)
    ]


def chance_ahead(
    one: tuple[Sequence[float], Sequence[float]], other: tuple[Sequence[float], Sequence[float]], k: int
) -> float:
    """Return the probability that a search of k trials ends with a better test value than another; ties count half.

    Each contender's trials are (validation values, test values), higher is better. Both searches draw without
    replacement from their pools, independently of each other; the probability is exact.
    """
    tests, chances = zip(*(_test_of_best(*pool, k) for pool in (one, other)), strict=True)
    wins = (1 + np.sign(np.subtract.outer(*tests))) / 2
    return float(chances[0] @ wins @ chances[1])


def _test_of_best(
    validation: Sequence[float], test: Sequence[float], k: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the test values of a pool, best validation value first, and the chance of each to be the best of k.

    Trials with equal validation values have equal chances.
    """
    order = np.argsort(-np.asarray(validation, dtype=float), kind="stable")
    _, place = np.unique(-np.asarray(validation, dtype=float)[order], return_inverse=True)
    chances = _chances_of_best(len(order), k)
    shared = np.bincount(place, weights=chances) / np.bincount(place)
    return np.asarray(test, dtype=float)[order], shared[place]


def tunability(expected: Sequence[float]) -> float:
    """Return Sivaprasad et al.'s tunability of expected best values of 1 ... K trials, which are above zero.

    It is the mean of each value over the last one, with weights that fall linearly from K to 1 (arXiv:1910.11758,
    "cumulative performance-early"): 1 if the first trial is as good as any search, less if tuning is needed.
    """
    weights = np.arange(len(expected), 0, -1.0)
    return float(weights @ np.asarray(expected) / weights.sum() / expected[-1])


@dataclass(frozen=True)
class Lead:
    """Who leads from `first` to `last` trials."""

    first: int
    last: int
    leader: str


def crossings(expected: Mapping[str, Sequence[float]]) -> list[Lead]:
    """Return who has the best expected value, by number of trials 1, 2, ...; higher is better.

    Of equal ones the former leader stays, or the first leads.
    """
    leads: list[Lead] = []
    for k, column in enumerate(zip(*expected.values(), strict=True), start=1):
        best = [name for name, value in zip(expected, column, strict=True) if value >= max(column) - 1e-12]
        if leads and leads[-1].leader in best:
            leads[-1] = Lead(leads[-1].first, k, leads[-1].leader)
        else:
            leads.append(Lead(k, k, best[0]))
    return leads


def _chances_of_best(pool: int, k: int) -> NDArray[np.float64]:
    """Return the probability that the i-th best of the pool, i = 1 ... pool, is the best of k drawn from it."""
    i = np.arange(1, pool)
    ratios = np.maximum(pool - i - k + 1, 0) / (pool - i)
    return k / pool * np.concatenate([[1.0], np.cumprod(ratios)])
