"""How likely a study of n replicates finds a true difference, and how many replicates are needed to find it."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from optstudy.inference.intervals import LEVEL
from optstudy.inference.sign_flips import smallest_p

SIMULATED = 7  # up to so many replicates power is simulated
DRAWS = 1_000  # of simulated power
MOST_REPLICATES = 10_000  # `replicates_needed` returns it if so many, or more, are needed


@dataclass(frozen=True)
class Replicates:
    """A number of replicates, and its range over what the standard deviation may be (95%)."""

    needed: int
    low: int
    high: int


def power(n: int, sd: float, difference: float, tests: int, level: float = LEVEL) -> float:
    """Return the probability that a study of `n` replicates finds a true `difference` > 0 in one of `tests` claims.

    A study finds it if the t interval lies above zero and the joint sign-flip p (`decisions.max_t_p`) is at most
    `level`. The other claims are taken for independent ones without a difference; if some of them are found, or are
    correlated, power is higher. Differences are assumed to be normal with standard deviation `sd` (same unit as
    `difference`; 0 is allowed).

    The joint test has about the power of t tests at Šidák's level 1 - (1 - `level`)**(1 / `tests`); up to `SIMULATED`
    replicates its p values are so coarse that studies are simulated.
    """
    if smallest_p(n) > level:
        return 0.0  # no p of so few replicates is small enough
    effect = min(difference / sd if sd else math.inf, 40.0)
    if n <= SIMULATED:
        return float(np.mean(_found(n, tests, level) < effect))
    from scipy.stats import nct, t

    each = 1 - (1 - level) ** (1 / tests)
    return float(nct.sf(t.isf(each / 2, n - 1), n - 1, min(effect * n**0.5, 40.0)))  # power is 1 beyond 40


@lru_cache(maxsize=64)
def _found(n: int, tests: int, level: float) -> NDArray[np.float64]:
    """Return, for `DRAWS` simulated studies, the true effect (in standard deviations) above which each finds it.

    The larger the effect, the smaller p: 14 halvings of [0, 40] find the effect to 0.003.
    """
    noise = np.random.default_rng(0).standard_normal((DRAWS, n, tests))
    low, high = np.zeros(DRAWS), np.full(DRAWS, 40.0)
    for _ in range(14):
        middle = (low + high) / 2
        found = _finds(noise, middle, level)
        low, high = np.where(found, low, middle), np.where(found, middle, high)
    return high


def _finds(noise: NDArray[np.float64], effect: NDArray[np.float64], level: float) -> NDArray[np.bool_]:
    """Return which studies (studies, replicates, claims) find the effect that is added to the first claim."""
    from scipy.stats import t

    n = noise.shape[1]
    signs = 1.0 - 2.0 * ((np.arange(2 ** (n - 1))[:, None] >> np.arange(n)) & 1)
    studies = noise.copy()
    studies[:, :, 0] += effect[:, None]
    scale = np.sqrt(n * np.sum(studies**2, axis=1))
    flipped = np.max(np.abs(signs @ studies) / scale[:, None], axis=2)
    sums = studies[:, :, 0].sum(axis=1)
    p = np.mean(flipped >= (np.abs(sums) / scale[:, 0] - 1e-9)[:, None], axis=1)
    halves = t.isf(level / 2, n - 1) * studies[:, :, 0].std(axis=1, ddof=1) / n**0.5
    found: NDArray[np.bool_] = (p <= level) & (sums / n > halves)
    return found


def replicates_needed(sd: float, difference: float, tests: int, target: float = 0.8, level: float = LEVEL) -> int:
    """Return the smallest n whose `power` reaches `target`; `MOST_REPLICATES` means that many or more."""
    candidates = range(2, MOST_REPLICATES)
    return 2 + bisect.bisect_left(candidates, target, key=lambda n: power(n, sd, difference, tests, level))


def replicates_needed_range(n: int, sd: float, difference: float, tests: int) -> Replicates:
    """Return the replicates needed, with their range over the 95% of values that the true `sd` may have.

    `sd` was measured on `n` replicates. (n - 1) sd² / σ² is χ² distributed with n - 1 degrees of freedom, which for
    eight replicates makes σ 0.66 to 2.04 times sd.
    """
    from scipy.special import chdtri

    factors = ((n - 1) / chdtri(n - 1, tail) for tail in (LEVEL / 2, 1 - LEVEL / 2))
    low, high = (replicates_needed(sd * factor**0.5, difference, tests) for factor in factors)
    return Replicates(replicates_needed(sd, difference, tests), low, high)
