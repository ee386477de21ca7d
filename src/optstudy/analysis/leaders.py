"""analysis.leaders."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from optstudy.analysis.stats import LEVEL, Estimate, holm, sign_flip_p, t_interval, t_p
from optstudy.analysis.study_results import StudyResults
from optstudy.metrics import metric


@dataclass(frozen=True)
class Rival:
    """A contender that the leader is compared with; `estimate` is of the leader's paired lead over it."""

    contender: str
    estimate: Estimate
    p: float


@dataclass(frozen=True)
class Leader:
    """The contender with the best mean of a metric; `rivals` in the order of their means.

    It was picked after the fact: its leads are no claims, only what of the ranking the replicates bear out. Any
    contender could have been it, so p is corrected over all `pairs` of contenders (see `_pairwise`).
    """

    contender: str
    metric: str
    values: tuple[float, ...]
    rivals: tuple[Rival, ...]
    pairs: int

    @property
    def beaten(self) -> list[Rival]:
        """Return the rivals that it is told apart from."""
        return [rival for rival in self.rivals if rival.p < LEVEL and rival.estimate.low > 0]

    @property
    def level_with(self) -> list[Rival]:
        """Return the rivals that it is not told apart from."""
        return [rival for rival in self.rivals if rival not in self.beaten]


def leader(evidence: StudyResults, name: str, variant: str, among: Collection[str] | None = None) -> Leader | None:
    """Return who leads in a metric `among` these contenders (all), None where fewer than two of them have it."""
    known = {c: evidence.values.get((c, variant), {}).get(name) for c in evidence.contenders}
    values = {
        contender: np.asarray(own, dtype=float)
        for contender, own in known.items()
        if own is not None and (among is None or contender in among)
    }
    if len(values) < 2:
        return None
    sign = 1.0 if metric(name).higher else -1.0
    first, *others = sorted(values, key=lambda contender: -sign * float(values[contender].mean()))
    ps = _pairwise(values)
    rivals = tuple(
        Rival(other, t_interval((sign * (values[first] - values[other])).tolist()), ps[frozenset((first, other))])
        for other in others
    )
    return Leader(first, name, tuple(values[first].tolist()), rivals, len(ps))


def _pairwise(values: Mapping[str, NDArray[np.float64]]) -> dict[frozenset[str], float]:
    """Return p of each pair: the larger of the t test's, corrected over all pairs (Holm), and the exact test's own.

    Corrected over the ten pairs of five contenders, the exact test of eight replicates can show nothing (10 * 2 / 2^8),
    and the t test alone takes two that happen to agree for certain.
    """
    pairs = list(combinations(values, 2))
    differences = [(values[one] - values[other]).tolist() for one, other in pairs]
    corrected = holm([t_p(own) for own in differences])
    both = [max(p, sign_flip_p(own)) for p, own in zip(corrected, differences, strict=True)]
    return {frozenset(pair): p for pair, p in zip(pairs, both, strict=True)}
