"""How a score responds to the learning rate, fitted to all trials of a contender: rising to a maximum, then falling.

Scores are higher for the better (negate a loss). Learning rates are positions in their space, 0 at the low end and 1 at
the high end, on the space's scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PER_DECADE = 4  # bins: a quarter of a decade each
PER_BIN = 6  # trials of a bin on average, at least; with fewer trials, bins are wider
FEWEST_BINS = 4  # with fewer there is no shape to see
RESAMPLES = 200  # of the bootstrap over replicates

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Response:
    """A fitted response.

    Attributes:
        edges: Positions of the ends of the bins that have trials: (bins, 2), from low to high.
        fitted: The fitted score of each bin.
        error_low: Standard error of the difference between the maximum and the fitted score at the low end.
        error_high: The same at the high end.
    """

    edges: tuple[tuple[float, float], ...]
    fitted: tuple[float, ...]
    error_low: float
    error_high: float

    @property
    def cut_off(self) -> tuple[str, ...]:
        """Return the ends, `low` and `high`, at which the response is within one standard error of its maximum."""
        best = max(self.fitted)
        ends = (("low", self.fitted[0], self.error_low), ("high", self.fitted[-1], self.error_high))
        return tuple(name for name, score, error in ends if best - score <= error)

    def at(self, positions: Numbers) -> Numbers:
        """Return the fitted score at positions; between two bins with trials, that of the bin below."""
        lows = np.array([low for low, _ in self.edges])
        return np.asarray(self.fitted)[np.maximum(np.searchsorted(lows, positions, side="right") - 1, 0)]

    def good(self, margin: float) -> tuple[float, float]:
        """Return the region, as two positions, whose fitted score is at most one `margin` below the maximum."""
        best = max(self.fitted)
        inside = [edges for edges, score in zip(self.edges, self.fitted, strict=True) if score >= best - margin]
        return inside[0][0], inside[-1][1]


def trend_p(fitted: Response, positions: Numbers, scores: Numbers, others: Numbers, ordered: bool = True) -> float:
    """Return the p of the rank correlation of another hyperparameter with what the learning rate leaves unexplained.

    All are arrays over trials; `others` are values of the other hyperparameter, on any scale. Only the half of the
    trials with the better fitted scores counts (Spearman's test). Values that are not `ordered` are groups, which the
    test of Kruskal and Wallis compares.
    """
    from scipy.stats import kruskal, spearmanr

    expected = fitted.at(positions)
    good = expected >= np.median(expected)
    left = (scores - expected)[good]
    if np.ptp(left) == 0 or np.ptp(others[good]) == 0:
        return 1.0
    if not ordered:
        return float(kruskal(*(left[others[good] == one] for one in np.unique(others[good]))).pvalue)
    return float(spearmanr(others[good], left).pvalue)


def response(positions: Numbers, scores: Numbers, replicates: NDArray[np.int64], decades: float) -> Response | None:
    """Return the response fitted to trials, arrays of equal length; None if there are too few trials.

    Means of the scores in bins of a quarter of a decade are fitted by least squares with the best sequence that rises
    and then falls (isotonic regression on both sides of each split; Stout 2008, doi:10.1016/j.csda.2008.08.005).
    Single trials are not fitted: the largest of many noisy scores would be a spike. The standard errors come from a
    bootstrap over whole replicates, which share a split. `decades` is the width of the space.
    """
    count = min(round(PER_DECADE * decades), len(scores) // PER_BIN)
    names = np.unique(replicates)
    if count < FEWEST_BINS or len(names) < 2:
        return None
    bins = np.clip((positions * count).astype(np.int64), 0, count - 1)
    table = np.zeros((2, len(names), count))  # sums and numbers of scores by replicate and bin
    place = np.searchsorted(names, replicates)
    np.add.at(table[0], (place, bins), scores)
    np.add.at(table[1], (place, bins), 1.0)
    used = table[1].sum(axis=0) > 0
    if used.sum() < FEWEST_BINS:
        return None
    sums, numbers = table.sum(axis=1)[:, used]
    fitted = unimodal(sums / numbers, numbers)
    low, high = _errors(table[..., used], fitted)
    edges = [(float(place) / count, float(place + 1) / count) for place in np.flatnonzero(used)]
    return Response(tuple(edges), tuple(fitted.tolist()), low, high)


def _errors(table: Numbers, fitted: Numbers) -> tuple[float, float]:
    """Return the standard errors of the maximum less the score at the low end, and less that at the high end.

    `table` (2, replicates, bins) has sums and numbers of scores. Bins that the fit has given the same value are one:
    what is resampled is the mean over them, because the maximum of a new fit would be another bin's noise.
    """
    replicates = table.shape[1]
    level = np.cumsum(np.concatenate([[0], np.diff(fitted) != 0]))
    sums = np.stack([table[..., level == own].sum(axis=-1) for own in range(level[-1] + 1)], axis=-1)
    drawn = sums[:, np.random.default_rng(0).integers(replicates, size=(RESAMPLES, replicates))].sum(axis=2)
    with np.errstate(invalid="ignore"):
        means = drawn[0] / drawn[1]  # a resample may lack all trials of a level
    best = means[:, level[fitted.argmax()]]
    unbiased = (replicates / (replicates - 1)) ** 0.5
    low, high = (unbiased * float(np.nan_to_num(np.nanstd(best - means[:, end]))) for end in (0, -1))
    return low, high


def unimodal(values: Numbers, weights: Numbers) -> Numbers:
    """Return the sequence that rises and then falls and is nearest to `values` by weighted least squares."""
    from scipy.optimize import isotonic_regression

    def up(part: slice) -> Numbers:
        if values[part].size == 0:
            return np.empty(0)
        return np.asarray(isotonic_regression(values[part], weights=weights[part]).x)

    def down(part: slice) -> Numbers:
        if values[part].size == 0:
            return np.empty(0)
        return np.asarray(isotonic_regression(values[part], weights=weights[part], increasing=False).x)

    fits = [np.concatenate([up(slice(0, k)), down(slice(k, None))]) for k in range(1, len(values) + 1)]
    errors = [float(weights @ (fit - values) ** 2) for fit in fits]
    return fits[int(np.argmin(errors))]
