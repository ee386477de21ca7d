"""What a search of k trials is expected to find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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


def _chances_of_best(pool: int, k: int) -> NDArray[np.float64]:
    """Return the probability that the i-th best of the pool, i = 1 ... pool, is the best of k drawn from it."""
    i = np.arange(1, pool)
    ratios = np.maximum(pool - i - k + 1, 0) / (pool - i)
    return k / pool * np.concatenate([[1.0], np.cumprod(ratios)])
