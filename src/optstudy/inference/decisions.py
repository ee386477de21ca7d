"""Decides a study's claims together: joint sign flips, two one-sided tests, a guard against skew, and a level for each.

A claim has one or more columns of paired differences (replicates, columns); with several, it says "than each". Positive
differences are as claimed. The rules are explained in docs/protocol.md, rule 10.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
Verdict = Literal["supported", "equivalent", "contradicted", "not tested", "inconclusive", "exploratory"]

# What each level says of a claim: the verdict, and the words after it; the reason stands after "not tested".
VERDICTS: Mapping[Level, tuple[Verdict, str]] = {
    "ahead by more than the margin": ("supported", "ahead by more than the margin"),
    "ahead": ("supported", "ahead, within reach of the margin"),
    "ahead, but equivalent": ("equivalent", "ahead, but within the margin"),
    "equivalent": ("equivalent", ""),
    "behind, but equivalent": ("equivalent", "behind, but within the margin"),
    "behind": ("contradicted", "behind, within reach of the margin"),
    "behind by more than the margin": ("contradicted", "behind by more than the margin"),
    "not tested": ("not tested", ""),
    "too noisy": ("inconclusive", "too noisy"),
    "probably small": ("inconclusive", "probably small"),
}
Numbers = NDArray[np.float64]
Interval = tuple[Numbers, Numbers]  # the lower and upper ends, by column


@dataclass(frozen=True)
class PairDecision:
    """What is decided about one pair of a claim: its level, and its corrected two-sided p of the joint test."""

    level: Level
    p: float


@dataclass(frozen=True)
class Decision:
    """What is decided about one claim.

    Attributes:
        level: What the data show, in words.
        p: The corrected two-sided p of the joint test; of several pairs the largest.
        p_equivalent: The corrected p of the two one-sided tests at the margin; of several pairs the largest.
        column: The least favourable pair: the column with the smallest mean.
        withheld: Whether skewed differences withhold a verdict that the t interval alone would have given.
        pairs: What is decided about each pair, in the claim's order.
    """

    level: Level
    p: float
    p_equivalent: float
    column: int
    withheld: bool
    pairs: tuple[PairDecision, ...] = ()


@dataclass(frozen=True, eq=False)
class Facts:
    """What is known of each column: its margin, the intervals, and the corrected p at zero and at either margin."""

    margins: Numbers
    by_t: Interval
    guarded: Interval
    p: Numbers
    above: Numbers
    below: Numbers
    alpha: float


def decide(
    differences: Numbers,
    margins: Numbers,
    claims: Sequence[Sequence[int]],
    untestable: Collection[int] = (),
    alpha: float = LEVEL,
    withdrawn: int = 0,
    search_sd: Numbers | None = None,
) -> list[Decision]:
    """Return what is decided about each claim of one study.

    `differences` has the shape (replicates, columns), `margins` (columns,), in the same unit and above zero; `claims`
    has the columns of each claim. `untestable` columns, which the design cannot tell apart, are no part of the family.
    Tests are at the level `alpha`, intervals at 1 - `alpha`; two one-sided tests are at `alpha` / 2 each, so that they
    agree with these intervals.

    Each of the `withdrawn` claims, whose differences are no longer known, counts as one more test (Bonferroni): with w
    of them p is multiplied by 1 + w, so that keeping the claims that look best gains nothing.

    `search_sd` (columns,) is the standard deviation of the difference over searches redrawn from the study's trials,
    nan where it is unknown. A verdict is withheld unless it also follows from the t interval with `search_sd`, where
    that is larger than the replicates' own; where it is unknown, from the bootstrap-t interval. The differences alone
    are not enough: if one search in fifteen misses, half of all studies of eight replicates show no miss, and these
    look symmetric.
    """
    count = differences.shape[1]
    tested = [column for column in range(count) if column not in set(untestable)]
    p, above, below, equal = (np.ones(count) for _ in range(4))
    if tested:
        own, own_margins = differences[:, tested], margins[tested]
        p[tested], above[tested], below[tested] = (
            np.minimum(1.0, (1 + withdrawn) * max_t_p(shifted))
            for shifted in (own, own - own_margins, own + own_margins)
        )
        equal[tested] = equivalence_p(own, own_margins)
    by_t = t_intervals(differences, alpha)
    guarded = guarded_intervals(differences, alpha, np.full(count, np.nan) if search_sd is None else search_sd)
    facts = Facts(margins, by_t, guarded, p, above, below, alpha)
    of_claims = _corrected_equivalence(equal, claims, set(untestable), withdrawn)
    of_pairs = np.minimum(1.0, (sum(one is not None for one in of_claims) + withdrawn) * equal)
    means, decisions = differences.mean(axis=0), []
    for columns, p_equivalent in zip(claims, of_claims, strict=True):
        level, withheld = guarded_level(columns, tested, facts, p_equivalent)
        each = [guarded_level([column], tested, facts, float(of_pairs[column]))[0] for column in columns]
        least = min(columns, key=lambda column: float(means[column]))
        pairs = tuple(PairDecision(own, float(p[column])) for own, column in zip(each, columns, strict=True))
        equivalence = 1.0 if p_equivalent is None else p_equivalent
        decisions.append(Decision(level, float(max(p[columns])), equivalence, least, withheld, pairs))
    return decisions


UNDECIDED: frozenset[Verdict] = frozenset({"not tested", "inconclusive"})


def guarded_level(
    columns: Sequence[int], tested: Collection[int], facts: Facts, p_equivalent: float | None
) -> tuple[Level, bool]:
    """Return the level of a claim, and whether its verdict is withheld because the intervals disagree about it.

    A pair that cannot be tested leaves the claim not tested, unless another pair contradicts it.
    """
    own = [column for column in columns if column in tested]
    equivalent = p_equivalent is not None and p_equivalent <= facts.alpha / 2
    level, sure = (
        _level(own, facts, interval, len(own) == len(columns), equivalent) for interval in (facts.by_t, facts.guarded)
    )
    if VERDICTS[level][0] in UNDECIDED:
        return level, False
    return ("too noisy", True) if VERDICTS[sure][0] in UNDECIDED else (sure, False)


def _level(columns: Sequence[int], facts: Facts, interval: Interval, whole: bool, equivalent: bool) -> Level:
    """Return the level of a claim's testable `columns` by one kind of interval; `whole` if they are all its columns."""
    low, high, margins = interval[0][columns], interval[1][columns], facts.margins[columns]
    p, above, below = (values[columns] <= facts.alpha for values in (facts.p, facts.above, facts.below))
    within = whole and equivalent and bool(np.all((-margins < low) & (high < margins)))
    behind = p & (high < 0)
    if behind.any():
        if np.any(behind & below & (high < -margins)):
            return "behind by more than the margin"
        return "behind, but equivalent" if within else "behind"
    if not whole:
        return "not tested"
    if np.all(p & (low > 0)):
        if np.all(above & (low > margins)):
            return "ahead by more than the margin"
        return "ahead, but equivalent" if within else "ahead"
    if within:
        return "equivalent"
    # Beside zero, an effect need not be small: the replicates are too few for the joint test to reach its level.
    too_few = ~p & ((low > 0) | (high < 0))
    return "too noisy" if np.any(too_few | (high - low > 2 * margins)) else "probably small"


def _corrected_equivalence(
    equal: Numbers, claims: Sequence[Sequence[int]], untestable: Collection[int], withdrawn: int
) -> list[float | None]:
    """Return the p of equivalence of each claim, its largest over pairs, corrected (Holm); None if it is not tested."""
    testable = [number for number, columns in enumerate(claims) if not set(columns) & set(untestable)]
    largest = [float(max(equal[column] for column in claims[number])) for number in testable]
    corrected = dict(zip(testable, holm([*largest, *[1.0] * withdrawn]), strict=False))
    return [corrected.get(number) for number in range(len(claims))]


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
    flipped = np.abs(scaled[:, order].T @ _signs(n))  # (columns, flips)
    for column in reversed(range(len(order) - 1)):  # the largest over the columns not yet rejected
        np.maximum(flipped[column], flipped[column + 1], out=flipped[column])
    as_far = np.count_nonzero(flipped >= observed[order][:, None], axis=1)
    shares = as_far / flipped.shape[1] if n <= EXACT_JOINT else (1 + as_far) / (1 + FLIPS)
    p = np.empty(len(order))
    p[order] = np.maximum.accumulate(shares)
    return p


@lru_cache(maxsize=4)
def _signs(n: int) -> Numbers:
    """Return flips (n, flips): FLIPS drawn ones, or all that leave the first row's sign; the others mirror them."""
    if n > EXACT_JOINT:
        return np.random.default_rng(0).choice([-1.0, 1.0], (n, FLIPS))
    bits = (np.arange(2 ** (n - 1)) >> np.arange(n)[:, None]) & 1
    return 1.0 - 2.0 * np.roll(bits, 1, axis=0)


def equivalence_p(differences: Numbers, margins: Numbers) -> Numbers:
    """Return, for each column, the larger p of the two one-sided t tests at ± its margin (Schuirmann 1987)."""
    from scipy.special import stdtr

    n, means = len(differences), differences.mean(axis=0)
    errors = differences.std(axis=0, ddof=1) / n**0.5
    with np.errstate(divide="ignore", invalid="ignore"):
        p: Numbers = stdtr(n - 1, (np.abs(means) - margins) / errors)
    return np.where(errors == 0, np.where(np.abs(means) < margins, 0.0, 1.0), p)


def t_intervals(differences: Numbers, alpha: float, sd: Numbers | None = None) -> Interval:
    """Return the ends of each column's Student's t interval at 1 - `alpha`, by its own or a given `sd`."""
    from scipy.special import stdtrit

    n, means = len(differences), differences.mean(axis=0)
    own = differences.std(axis=0, ddof=1) if sd is None else sd
    half = float(stdtrit(n - 1, 1 - alpha / 2)) * own / n**0.5
    return means - half, means + half


def guarded_intervals(differences: Numbers, alpha: float, search_sd: Numbers) -> Interval:
    """Return intervals, nowhere narrower than the t intervals, that allow for searches that sometimes miss.

    They are t intervals with the larger of two standard deviations, the replicates' own and `search_sd`; where the
    latter is nan, the smallest intervals that contain the t and the bootstrap-t interval.
    """
    low, high = t_intervals(differences, alpha, np.fmax(differences.std(axis=0, ddof=1), search_sd))
    unknown = np.isnan(search_sd)
    if unknown.any():
        skewed_low, skewed_high = bootstrap_t_intervals(differences[:, unknown], alpha)
        low[unknown], high[unknown] = np.minimum(low[unknown], skewed_low), np.maximum(high[unknown], skewed_high)
    return low, high


def bootstrap_t_intervals(differences: Numbers, alpha: float) -> Interval:
    """Return the ends of each column's studentised bootstrap interval at 1 - `alpha` (Efron & Tibshirani 1993, ch. 12).

    It follows skew, which the t interval ignores. Resamples without spread make the interval infinite on their side.
    Differences are sorted by magnitude, so the interval does not depend on the order of the replicates, and mirrors
    that of the opposite claim.
    """
    n, means = len(differences), differences.mean(axis=0)
    errors = differences.std(axis=0, ddof=1) / n**0.5
    order = np.argsort(np.abs(differences), axis=0, kind="stable")
    centred = np.take_along_axis(differences, order, axis=0) - means
    shares = _resamples(n)
    resampled = shares @ centred
    variances = np.maximum(shares @ centred**2 - resampled**2, 0.0)
    flat = variances <= ROUNDING * np.max(centred**2, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = resampled / np.where(flat, 0.0, np.sqrt(variances / (n - 1)))
    tail = int(alpha / 2 * RESAMPLES)
    t = np.partition(np.where(np.isnan(t), 0.0, t).T, (tail, RESAMPLES - 1 - tail))
    low, high = t[:, tail], t[:, RESAMPLES - 1 - tail]
    with np.errstate(invalid="ignore"):
        same = errors <= ROUNDING * np.max(np.abs(differences), axis=0)
        return np.where(same, means, means - high * errors), np.where(same, means, means - low * errors)


@lru_cache(maxsize=4)
def _resamples(n: int) -> Numbers:
    """Return, for RESAMPLES resamples of n replicates, the share of each replicate: an array (resamples, n)."""
    drawn = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    return np.stack([np.sum(drawn == replicate, axis=1) for replicate in range(n)], axis=1) / n
