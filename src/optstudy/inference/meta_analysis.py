"""Several studies together: a random-effects mean of their effects, performance profiles and mean ranks over tasks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

DRAWS = 2_000  # of the bootstrap over tasks and replicates
FEWEST_TASKS = 8  # for a critical-difference diagram: with fewer, Nemenyi's distance is as wide as the scale of ranks


@dataclass(frozen=True)
class Pooled:
    """The mean of the studies' true effects, in the unit of the effects.

    Attributes:
        k: Number of studies.
        mean: The random-effects mean.
        low: Lower end of its 95% Hartung-Knapp interval.
        high: Upper end.
        tau: Standard deviation of the true effects between studies (REML).
        new_low: Lower end of the 95% prediction interval for the true effect in a new study; None for two studies.
        new_high: Upper end.
    """

    k: int
    mean: float
    low: float
    high: float
    tau: float
    new_low: float | None
    new_high: float | None


def random_effects(effects: Sequence[float], errors: Sequence[float]) -> Pooled:
    """Pool at least two effects with their standard errors, which are above zero.

    The variance between studies is the REML estimate (Viechtbauer 2005, doi:10.3102/10769986030003261). The interval is
    Hartung and Knapp's (2001, doi:10.1002/sim.1009; IntHout et al. 2014, doi:10.1186/1471-2288-14-25): t with k - 1
    degrees of freedom. Its variance is never below that of the usual interval (Roever et al. 2015,
    doi:10.1186/s12874-015-0091-1): two studies that happen to agree would otherwise give an interval of no width. The
    prediction interval is that of Higgins et al. 2009 (doi:10.1111/j.1467-985X.2008.00552.x), t with k - 2.
    """
    from scipy.special import stdtrit

    y, variances = np.asarray(effects, dtype=float), np.asarray(errors, dtype=float) ** 2
    k = len(y)
    assert k >= 2, "one study is no sample of studies"
    tau2 = _reml(y, variances)
    weights = 1 / (variances + tau2)
    mean = float(weights @ y / weights.sum())
    factor = max(1.0, float(weights @ (y - mean) ** 2) / (k - 1))
    variance = factor / float(weights.sum())
    half = float(stdtrit(k - 1, 0.975)) * math.sqrt(variance)
    reach = float(stdtrit(k - 2, 0.975)) * math.sqrt(tau2 + variance) if k > 2 else None
    new = (None, None) if reach is None else (mean - reach, mean + reach)
    return Pooled(k, mean, mean - half, mean + half, math.sqrt(tau2), *new)


def _reml(y: Array, variances: Array) -> float:
    """Return the between-study variance that maximises the restricted likelihood; it is at least zero.

    The likelihood may have several maxima, so it is first searched on a grid.
    """
    from scipy.optimize import minimize_scalar

    scale = float(np.var(y, ddof=1) + variances.max())
    grid = scale * np.concatenate([[0.0], np.geomspace(1e-6, 10.0, 200)])
    losses = [-restricted_likelihood(tau2, y, variances) for tau2 in grid]
    best = int(np.argmin(losses))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = minimize_scalar(
        lambda tau2: -restricted_likelihood(tau2, y, variances),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-10 * scale},
    )
    return float(found.x) if found.fun < losses[0] else 0.0


def restricted_likelihood(tau2: float, y: Array, variances: Array) -> float:
    """Return the restricted log-likelihood of a between-study variance, up to a constant (Viechtbauer 2005, eq. 5)."""
    total = variances + tau2
    weights = 1 / total
    residuals = y - weights @ y / weights.sum()
    return -0.5 * float(np.log(total).sum() + math.log(weights.sum()) + weights @ residuals**2)


def performance_profile(errors: ArrayLike, taus: ArrayLike) -> Array:
    """Return rho (contenders, taus): the share of tasks in which a contender's error is at most tau times the least.

    `errors` has the shape (tasks, contenders), at least 0. (Dolan & More 2002, doi:10.1007/s101070100263.)
    """
    ratios = _ratios(np.asarray(errors, dtype=float))
    reached = ratios[:, :, None] <= np.asarray(taus, dtype=float)[None, None, :] * (1 + 1e-9)
    return np.asarray(reached.mean(axis=0))


def _ratios(errors: Array) -> Array:
    """Return errors over the least error of their task (the last axis); 0 over 0 is 1."""
    least = errors.min(axis=-1, keepdims=True)
    ratios: Array = np.divide(errors, least, out=np.where(errors > 0, np.inf, 1.0), where=least > 0)
    return ratios


def ranks(errors: ArrayLike) -> Array:
    """Return the rank of each contender in each task, 1 for the least error; equal errors share their mean rank."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(np.asarray(errors, dtype=float), axis=-1))


@dataclass(frozen=True, eq=False)
class Resampled:
    """Performance profiles and mean ranks with pointwise 95% intervals.

    `profile`, `low` and `high` have the shape (contenders, taus), the ranks (contenders,).
    """

    taus: Array
    profile: Array
    low: Array
    high: Array
    ranks: Array
    ranks_low: Array
    ranks_high: Array


def profiles(tasks: Sequence[ArrayLike], taus: ArrayLike, seed: int = 0) -> Resampled:
    """Return profiles and mean ranks of contenders over tasks, each an array of errors (replicates, contenders).

    The interval is a percentile bootstrap: tasks are drawn with replacement, then replicates within each drawn task,
    the same for all contenders (as in Agarwal et al. 2021, arXiv:2108.13264, who draw within tasks alone).
    """
    arrays = [np.asarray(task, dtype=float) for task in tasks]
    means = np.stack([task.mean(axis=0) for task in arrays])
    points = np.asarray(taus, dtype=float)
    rng = np.random.default_rng(seed)
    chosen = rng.integers(len(arrays), size=(DRAWS, len(arrays)))
    drawn = np.empty((DRAWS, *means.shape))
    for task, values in enumerate(arrays):
        places = np.argwhere(chosen == task)
        rows = rng.integers(len(values), size=(len(places), len(values)))
        drawn[places[:, 0], places[:, 1]] = values[rows].mean(axis=1)
    reached = _ratios(drawn)[..., None] <= points * (1 + 1e-9)
    shares, mean_ranks = reached.mean(axis=1), ranks(drawn).mean(axis=1)
    low, high = np.quantile(shares, [0.025, 0.975], axis=0)
    ranks_low, ranks_high = np.quantile(mean_ranks, [0.025, 0.975], axis=0)
    observed = ranks(means).mean(axis=0)
    return Resampled(points, performance_profile(means, points), low, high, observed, ranks_low, ranks_high)


@dataclass(frozen=True)
class Friedman:
    """Friedman's test of equal mean ranks, and the distance of mean ranks beyond which two differ significantly."""

    statistic: float
    p: float
    distance: float


def friedman(mean_ranks: Sequence[float], tasks: int, level: float = 0.05) -> Friedman:
    """Return Friedman's test and Nemenyi's critical difference for mean ranks over `tasks` (Demsar 2006, JMLR 7).

    The statistic has no correction for ties. Two contenders differ significantly if their mean ranks differ by at least
    the distance.
    """
    from scipy.special import chdtrc
    from scipy.stats import studentized_range

    k = len(mean_ranks)
    squares = float(np.sum(np.square(mean_ranks)))
    statistic = 12 * tasks / (k * (k + 1)) * (squares - k * (k + 1) ** 2 / 4)
    quantile = float(studentized_range.isf(level, k, np.inf)) / math.sqrt(2)
    return Friedman(statistic, float(chdtrc(k - 1, statistic)), quantile * math.sqrt(k * (k + 1) / (6 * tasks)))
