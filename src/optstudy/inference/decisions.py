"""Decides a study's claims together: joint sign flips, two one-sided tests, a guard against skew, and a level for each.

A claim has one or more columns of paired differences (replicates, columns); with several, it says "than each". Positive
differences are as claimed. The rules are explained in docs/protocol.md, rule 10.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from optstudy.inference.intervals import LEVEL
from optstudy.inference.sign_flips import holm
from optstudy.metrics import ROUNDING

EXACT_JOINT = 14  # up to so many replicates all sign flips are enumerated; above, FLIPS are drawn
FLIPS = 20_000
RESAMPLES = 2_000  # of the bootstrap-t interval

Level = Literal[
    "ahead by more than the margin",
    "ahead",
    "ahead, but equivalent",
    "equivalent",
    "behind, but equivalent",
    "behind",
    "behind by more than the margin",
    "not tested",
    "too noisy",
    "probably small",
]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Decision:
    """What is decided about one claim.

    Attributes:
        level: What the data show, in words.
        p: The corrected two-sided p of the joint test; of several pairs the largest.
        p_equivalent: The corrected p of the two one-sided tests at the margin; of several pairs the largest.
        column: The least favourable pair: the column with the smallest mean.
        withheld: Whether skewed differences withhold a verdict that the t interval alone would have given.
    """

    level: Level
    p: float
    p_equivalent: float
    column: int
    withheld: bool


def decide(
    differences: Numbers,
    margins: Numbers,
    claims: Sequence[Sequence[int]],
    untestable: Collection[int] = (),
    alpha: float = LEVEL,
) -> list[Decision]:
    """Return what is decided about each claim of one study.

    `differences` has the shape (replicates, columns), `margins` (columns,), in the same unit and above zero; `claims`
    has the columns of each claim. `untestable` columns, which the design cannot tell apart, are no part of the family.
    Tests are at the level `alpha`, intervals at 1 - `alpha`.
    """
    tested = [column for column in range(differences.shape[1]) if column not in set(untestable)]
    p, above, below, equal = (np.ones(differences.shape[1]) for _ in range(4))
    if tested:
        own, own_margins = differences[:, tested], margins[tested]
        p[tested] = max_t_p(own)
        above[tested], below[tested] = max_t_p(own - own_margins), max_t_p(own + own_margins)
        equal[tested] = equivalence_p(own, own_margins)
    intervals = t_intervals(differences, alpha), bootstrap_t_intervals(differences, alpha)
    of_claims = holm([max(equal[column] for column in columns) for columns in claims])
    means = differences.mean(axis=0)
    decisions = []
    for columns, p_equivalent in zip(claims, of_claims, strict=True):
        levels = [
            _level(low[columns], high[columns], margins[columns], p[columns], above[columns], below[columns], alpha)
            if not set(columns) & set(untestable)
            else _untested(high[columns], p[columns], alpha)
            for low, high in intervals
        ]
        if p_equivalent <= alpha:
            levels = [
                _equivalent(level, low[columns], high[columns], margins[columns])
                for level, (low, high) in zip(levels, intervals, strict=True)
            ]
        by_t, by_bootstrap = levels
        withheld = by_t not in UNDECIDED and by_t != by_bootstrap
        least = min(columns, key=lambda column: float(means[column]))
        decisions.append(
            Decision("too noisy" if withheld else by_t, float(max(p[columns])), p_equivalent, least, withheld)
        )
    return decisions


UNDECIDED: frozenset[Level] = frozenset({"not tested", "too noisy", "probably small"})


def _level(
    low: Numbers, high: Numbers, margins: Numbers, p: Numbers, above: Numbers, below: Numbers, alpha: float
) -> Level:
    """Return the level of a claim from its pairs' intervals and corrected p, equivalence aside."""
    behind = (high < 0) & (p <= alpha)
    if behind.any():
        far = behind & (high < -margins) & (below <= alpha)
        return "behind by more than the margin" if far.any() else "behind"
    if np.all((low > 0) & (p <= alpha)):
        far = (low > margins) & (above <= alpha)
        return "ahead by more than the margin" if far.all() else "ahead"
    return "too noisy" if np.any(high - low > 2 * margins) else "probably small"


def _untested(high: Numbers, p: Numbers, alpha: float) -> Level:
    """Return the level of a claim with a pair that cannot be tested: another pair may contradict it."""
    return "behind" if np.any((high < 0) & (p <= alpha)) else "not tested"


def _equivalent(level: Level, low: Numbers, high: Numbers, margins: Numbers) -> Level:
    """Return the level of a claim whose pairs pass both one-sided tests, by an interval."""
    if level == "not tested" or not np.all((-margins < low) & (high < margins)):
        return level
    if level in ("ahead", "behind"):
        return "ahead, but equivalent" if level == "ahead" else "behind, but equivalent"
    return "equivalent"


def max_t_p(differences: Numbers) -> Numbers:
    """Return the step-down two-sided p of each column's mean under joint sign flips of whole rows.

    The statistic is |mean| / se, recomputed for each flip. Exact if the rows are jointly symmetric about zero; the
    family-wise error is controlled under any dependence of the columns (Westfall & Young 1993, Romano & Wolf 2005,
    doi:10.1198/016214504000000539). The smallest possible p is 2 / 2**n, whatever the number of columns. A flip leaves
    the squares as they are, so |sum| / sqrt(n sum of squares), which grows with |mean| / se, is compared in its place:
    it is finite where all differences agree.
    """
    n = len(differences)
    scale = np.sqrt(n * np.sum(differences**2, axis=0))
    scale[scale == 0] = 1.0
    scaled = differences / scale
    observed = np.abs(scaled.sum(axis=0)) - ROUNDING
    order = np.argsort(-observed, kind="stable")
    flipped = np.abs(_signs(n) @ scaled[:, order])
    largest = np.maximum.accumulate(flipped[:, ::-1], axis=1)[:, ::-1]  # over the columns not yet rejected
    as_far = np.sum(largest >= observed[order], axis=0)
    shares = as_far / len(flipped) if n <= EXACT_JOINT else (1 + as_far) / (1 + FLIPS)
    p = np.empty(len(order))
    p[order] = np.maximum.accumulate(shares)
    return p


@lru_cache(maxsize=4)
def _signs(n: int) -> Numbers:
    """Return flips of n rows: all in which the first keeps its sign (the others mirror them), or FLIPS drawn ones."""
    if n > EXACT_JOINT:
        return np.random.default_rng(0).choice([-1.0, 1.0], (FLIPS, n))
    bits = (np.arange(2 ** (n - 1))[:, None] >> np.arange(n)) & 1
    return 1.0 - 2.0 * np.roll(bits, 1, axis=1)


def equivalence_p(differences: Numbers, margins: Numbers) -> Numbers:
    """Return, for each column, the larger p of the two one-sided t tests at ± its margin (Schuirmann 1987)."""
    from scipy.special import stdtr

    n, means = len(differences), differences.mean(axis=0)
    errors = differences.std(axis=0, ddof=1) / n**0.5
    with np.errstate(divide="ignore", invalid="ignore"):
        p: Numbers = stdtr(n - 1, (np.abs(means) - margins) / errors)
    return np.where(errors == 0, np.where(np.abs(means) < margins, 0.0, 1.0), p)


def t_intervals(differences: Numbers, alpha: float) -> tuple[Numbers, Numbers]:
    """Return the ends of each column's Student's t interval at 1 - `alpha`."""
    from scipy.special import stdtrit

    n, means = len(differences), differences.mean(axis=0)
    half = float(stdtrit(n - 1, 1 - alpha / 2)) * differences.std(axis=0, ddof=1) / n**0.5
    return means - half, means + half


def bootstrap_t_intervals(differences: Numbers, alpha: float) -> tuple[Numbers, Numbers]:
    """Return the ends of each column's studentised bootstrap interval at 1 - `alpha` (Efron & Tibshirani 1993, ch. 12).

    It follows skew, which the t interval ignores. Resamples without spread make the interval infinite on their side.
    """
    n, means = len(differences), differences.mean(axis=0)
    errors = differences.std(axis=0, ddof=1) / n**0.5
    drawn = differences[_resamples(n)]  # (resamples, n, columns)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = (drawn.mean(axis=1) - means) / (drawn.std(axis=1, ddof=1) / n**0.5)
    t = np.sort(np.where(np.isnan(t), 0.0, t), axis=0)
    low, high = t[int(alpha / 2 * RESAMPLES)], t[-1 - int(alpha / 2 * RESAMPLES)]
    flat = errors == 0
    with np.errstate(invalid="ignore"):
        return np.where(flat, means, means - high * errors), np.where(flat, means, means - low * errors)


@lru_cache(maxsize=4)
def _resamples(n: int) -> NDArray[np.int64]:
    return np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
