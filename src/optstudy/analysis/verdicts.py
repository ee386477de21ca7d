"""Verdicts on claims: contrasts of contenders over paired replicates, judged by rule 10 of docs/protocol.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optstudy.inference.intervals import (
    LEVEL,
    Estimate,
    Probability,
    probability_positive,
    t_interval,
    two_way_bootstrap,
)
from optstudy.inference.power import replicates_needed
from optstudy.inference.sign_flips import holm, sign_flip_p
from optstudy.inference.targets import Reached, at_least, counts_in_words, undecided
from optstudy.metrics import ROUNDING, difference, metric
from optstudy.study.claim import MOST_PRIMARY, Arm, sum_to_zero

Verdict = Literal["equivalent", "supported", "contradicted", "inconclusive", "exploratory"]


@dataclass(frozen=True)
class StatedClaim:
    """A claim as stated: `margin` is in the unit of `metric`, `contrast` is in words, `topic` may be empty."""

    id: str
    topic: str
    statement: str
    contrast: str
    metric: str
    margin: float
    primary: bool = True
    post_hoc: bool = False
    qualifier: str = ""

    @property
    def confirmatory(self) -> bool:
        """Return whether the claim gets a verdict: a claim made after the first training is only exploratory."""
        return self.primary and not self.post_hoc


@dataclass(frozen=True, eq=False)
class Measured:
    """A claim with its paired differences, one per replicate; positive means as claimed.

    `examples` (replicates, test examples) has the same differences by test example, None if answers are missing.
    `reached` says in how many replicates each side reached what the metric counts up to; empty if it does not count up.
    """

    claim: StatedClaim
    differences: tuple[float, ...]
    examples: NDArray[np.float64] | None = None
    reached: tuple[Reached, ...] = ()


@dataclass(frozen=True)
class Judged:
    """A claim with its statistics and verdict; `row` returns its object in claims.json.

    `p_corrected` is None for an exploratory claim. `replicates_needed` is None unless the claim is inconclusive, and
    for a claim that misses leave undecided, whose spread is unknown. `tests` is the number of claims that p is
    corrected over.
    """

    claim: StatedClaim
    differences: tuple[float, ...]
    estimate: Estimate
    p: float
    p_corrected: float | None
    positive: Probability
    two_way: tuple[float, float] | None
    verdict: Verdict
    replicates_needed: int | None
    tests: int
    reached: tuple[Reached, ...] = ()

    def row(self) -> dict[str, Any]:
        """Return the fields of the claim and its statistics as one JSON object."""
        return {
            **asdict(self.claim),
            **dict(zip(("n", "effect", "sd", "ci_low", "ci_high"), astuple(self.estimate), strict=True)),
            "p": self.p,
            "p_corrected": self.p_corrected,
            **dict(zip(("probability", "probability_low", "probability_high"), astuple(self.positive), strict=True)),
            **dict(zip(("two_way_low", "two_way_high"), self.two_way or (None, None), strict=True)),
            "verdict": self.verdict,
            "replicates_needed": self.replicates_needed,
            "tests": self.tests,
            "reached": counts_in_words(self.reached),
            "undecided": undecided(self.reached),
            "at_least": at_least(self.reached, self.estimate.mean),
            "differences": list(self.differences),
        }


def worded_verdict(claim: Mapping[str, Any]) -> str:
    """Return the verdict of an object of claims.json with everything that limits it."""
    limits = (
        worded_misses(claim) if claim["undecided"] else "",
        "post hoc" if claim["post_hoc"] else "",
        claim["qualifier"],
    )
    return ", ".join(words for words in (claim["verdict"], *limits) if words)


def worded_misses(claim: Mapping[str, Any]) -> str:
    """Return in how many replicates the sides of an object of claims.json reached what its metric counts up to."""
    return f"the {metric(claim['metric']).goal} was reached in {claim['reached']} replicates"


def worded_effect(claim: Mapping[str, Any]) -> str:
    """Return the effect of an object of claims.json with its interval and unit; a lower bound is called one."""
    effect = difference(claim["metric"], claim["effect"], claim["ci_low"], claim["ci_high"])
    return f"at least {effect}" if claim["at_least"] else effect


def contrast(values: Mapping[Arm, ArrayLike], weights: Mapping[Arm, float]) -> NDArray[np.float64]:
    """Return the weighted sum of the arms' values, replicate by replicate.

    An arm's values have the shape (replicates,), or (replicates, test examples) for right and wrong answers. The
    weights sum to zero. Results that differ from zero only by rounding are set to zero, so that ties count as ties.
    """
    assert sum_to_zero(weights.values()), "the weights of a contrast sum to zero"
    parts = [weight * np.asarray(values[arm], dtype=float) for arm, weight in weights.items()]
    assert len({part.shape for part in parts}) == 1, "arms are paired by replicate"
    total = np.sum(parts, axis=0)
    return np.where(np.abs(total) <= ROUNDING * np.sum(np.abs(parts), axis=0), 0.0, total)


def readable(weights: Mapping[Arm, float]) -> str:
    """Return a contrast as a formula that starts with what is added: `adam - 1/2 sgd - 1/2 momentum/untuned`.

    An empty variant is left out, and so is the variant `sweep`, which follows from the claim's metric.
    """
    words = ""
    for (contender, variant), weight in sorted(weights.items(), key=lambda item: item[1] < 0):
        share = Fraction(abs(weight)).limit_denominator(100)
        name = f"{contender}/{variant}" if variant not in {"", "sweep"} else contender
        sign = " - " if weight < 0 else " + "
        words += sign + (name if share == 1 else f"{share} {name}")
    return words.removeprefix(" + ")


def verdict(estimate: Estimate, p_corrected: float, margin: float) -> Verdict:
    """Return the verdict on a primary claim: the first whose condition holds.

    An interval that touches zero or ± margin is neither within nor beyond it.
    """
    if -margin < estimate.low and estimate.high < margin:
        return "equivalent"
    if p_corrected < LEVEL and estimate.low > 0:
        return "supported"
    if p_corrected < LEVEL and estimate.high < 0:
        return "contradicted"
    return "inconclusive"


def judge(measured: Sequence[Measured], withdrawn: int = 0) -> list[Judged]:
    """Return every claim of one study with its statistics and verdict, in the order given.

    p is corrected over the primary claims registered before the first training. The `withdrawn` ones count with p = 1,
    which corrects the others most. Exploratory and post hoc claims get their p and no verdict; a claim whose
    two sides both miss too often is inconclusive.
    """
    ps = [sign_flip_p(one.differences) for one in measured]
    primary = [p for one, p in zip(measured, ps, strict=True) if one.claim.confirmatory]
    assert len(primary) <= MOST_PRIMARY, "a study file has no more primary claims"
    family = primary + [1.0] * withdrawn
    corrected = iter(holm(family))
    return [
        _judged(one, p, next(corrected) if one.claim.confirmatory else None, len(family))
        for one, p in zip(measured, ps, strict=True)
    ]


def _judged(measured: Measured, p: float, p_corrected: float | None, tests: int) -> Judged:
    claim, estimate = measured.claim, t_interval(measured.differences)
    decision = _decision(measured, estimate, p_corrected)
    forecast = decision == "inconclusive" and not undecided(measured.reached)
    return Judged(
        claim=claim,
        differences=measured.differences,
        estimate=estimate,
        p=p,
        p_corrected=p_corrected,
        positive=probability_positive(measured.differences),
        two_way=None if measured.examples is None else two_way_bootstrap(measured.examples),
        verdict=decision,
        replicates_needed=replicates_needed(estimate.sd, 2 * claim.margin, tests) if forecast else None,
        tests=tests,
        reached=measured.reached,
    )


def _decision(measured: Measured, estimate: Estimate, p_corrected: float | None) -> Verdict:
    if p_corrected is None:
        return "exploratory"
    return "inconclusive" if undecided(measured.reached) else verdict(estimate, p_corrected, measured.claim.margin)
