"""How likely a study of n replicates finds a true difference, and how many replicates are needed to find it."""

from __future__ import annotations

import bisect
import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from optstudy.inference.intervals import LEVEL
from optstudy.inference.sign_flips import EXACT

SIMULATED = 12  # up to so many replicates power is simulated
DRAWS = 2_000  # of simulated power
MOST_REPLICATES = 10_000  # `replicates_needed` returns it if so many, or more, are needed


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
