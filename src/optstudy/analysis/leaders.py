"""The contender with the best mean of a metric, and how far it is ahead of each other one."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from optstudy.analysis.study_results import StudyResults
from optstudy.inference.decisions import guarded_intervals, max_t_p
from optstudy.inference.intervals import Estimate, t_interval
from optstudy.inference.looks import level_of
from optstudy.inference.targets import Reached, at_least, undecided
from optstudy.metrics import metric


@dataclass(frozen=True)
class Rival:
    """A contender that the leader is compared with.

    Attributes:
        contender: Its name.
        estimate: The leader's paired lead over it; the interval is at 1 - the level of the study's looks.
        p: The corrected p of the lead.
        ahead: Whether the leader is significantly ahead, also by the interval that allows for searches that miss.
        at_least: Whether the lead is a lower bound, because the contender often misses what the metric counts up to.
    """

    contender: str
    estimate: Estimate
    p: float
    ahead: bool
    at_least: bool = False


@dataclass(frozen=True)
class Leader:
    """The contender with the best mean of a metric; `rivals` are in the order of their means.

    The leader is picked after the fact, so its leads are no claims: they only show which part of the ranking the
    replicates support. Any contender could have led, so p is corrected over all `pairs` of contenders (see
    `_pairwise_p`).
    """

    contender: str
    metric: str
    values: tuple[float, ...]
    rivals: tuple[Rival, ...]
    pairs: int

    @property
    def beaten(self) -> list[Rival]:
        """Return the rivals that the leader is significantly ahead of."""
        return [rival for rival in self.rivals if rival.ahead]

    @property
    def tied(self) -> list[Rival]:
        """Return the rivals without a significant difference from the leader."""
        return [rival for rival in self.rivals if rival not in self.beaten]

    @property
    def best(self) -> tuple[str, ...]:
        """Return the leader and the contenders without a significant difference from it."""
        return (self.contender, *(rival.contender for rival in self.tied))


def leader(results: StudyResults, name: str, variant: str, among: Collection[str] | None = None) -> Leader | None:
    """Return the leader in a metric `among` these contenders (None: all); None if fewer than two have the metric.

    It is held to what claims are held to: the level of each look, and the guard against searches that sometimes miss.
    """
    logged = {c: results.values.get((c, variant), {}).get(name) for c in results.contenders}
    values = {
        contender: np.asarray(own, dtype=float)
        for contender, own in logged.items()
        if own is not None and (among is None or contender in among)
    }
    if len(values) < 2:
        return None
    sign = metric(name).sign
    first, *others = sorted(values, key=lambda contender: -sign * float(values[contender].mean()))
    ps, level = _pairwise_p(values), level_of(len(results.study.get("looks", [1])))
    sds = results.search_sd if variant == "tuned" else {}
    rivals = []
    for other in others:
        differences = sign * (values[first] - values[other])
        lead = t_interval(differences.tolist(), 1 - level)
        sd = sds.get((name, frozenset((first, other))), np.nan)
        guarded_low = float(guarded_intervals(differences[:, None], level, np.array([sd]))[0][0])
        reached = _reached(results, name, variant, {other: 1.0, first: -1.0})
        p = 1.0 if undecided(reached) else ps[frozenset((first, other))]
        ahead = p <= level and guarded_low > 0  # nowhere above the lower end of the t interval
        rivals.append(Rival(other, lead, p, ahead, at_least(reached, lead.mean)))
    return Leader(first, name, tuple(values[first].tolist()), tuple(rivals), len(ps))


def _reached(results: StudyResults, name: str, variant: str, weights: Mapping[str, float]) -> list[Reached]:
    """Return in how many replicates contenders reached what a metric counts up to; empty if it counts up to nothing."""
    if not metric(name).goal:
        return []
    reached = {contender: results.values[contender, variant]["reached"] for contender in weights}
    return [Reached(int(sum(own)), len(own), weights[contender]) for contender, own in reached.items()]


def _pairwise_p(values: Mapping[str, NDArray[np.float64]]) -> dict[frozenset[str], float]:
    """Return p of each pair: the joint sign-flip test, which corrects for their number."""
    pairs = list(combinations(values, 2))
    ps = max_t_p(np.stack([values[one] - values[other] for one, other in pairs], axis=1))
    return {frozenset(pair): p for pair, p in zip(pairs, ps.tolist(), strict=True)}
