"""Claims -> verdicts: contrasts of contenders over paired replicates, judged as rule 10 of the protocol says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optstudy import metrics
from optstudy.analysis.stats import (
    LEVEL,
    Estimate,
    Probability,
    holm,
    probability_positive,
    replicates_needed,
    sign_flip_p,
    t_interval,
    two_way_bootstrap,
)
from optstudy.metrics import ROUNDING
from optstudy.study.claim import MOST_PRIMARY, Arm, sum_to_zero

Verdict = Literal["equivalent", "supported", "contradicted", "inconclusive", "exploratory"]


@dataclass(frozen=True)
class StatedClaim:
    """What was claimed: `metric` and `margin` in the metric's own unit, `contrast` in words; `topic` may be ""."""

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
        """Return whether it gets a verdict: what was claimed after the first training is explored, not confirmed."""
        return self.primary and not self.post_hoc


@dataclass(frozen=True, eq=False)
class Measured:
    """A claim with its paired differences, one per replicate, positive as claimed.

    `examples` (replicates, test examples) are the same differences by test example, where answers are there.
    `missed` says that every value behind them is a miss: all differences are then zero, and nothing has been compared.
    """

    claim: StatedClaim
    differences: tuple[float, ...]
    examples: NDArray[np.float64] | None = None
    missed: bool = False


@dataclass(frozen=True)
class Judged:
    """A claim with its evidence and verdict; `row` gives the object of claims.json.

    `p_corrected` is None for an exploratory claim, `replicates_needed` for any but an inconclusive one, and for one of
    misses alone, whose spread is not known. `tests` is the number of claims that p is corrected over.
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

    def row(self) -> dict[str, Any]:
        """Return the claim's fields and the evidence's, side by side, as JSON takes them."""
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
            "differences": list(self.differences),
        }


def worded_verdict(claim: Mapping[str, Any]) -> str:
    """Return the verdict of a claim of claims.json with all that limits it, as every output has it."""
    limits = ("post hoc" if claim["post_hoc"] else "", claim["qualifier"])
    return ", ".join(words for words in (claim["verdict"], *limits) if words)


def direction(name: str) -> Literal[1, -1]:
    """Return what to multiply a contrast of the metric by, so that positive is better."""
    return 1 if metrics.metric(name).higher else -1


def contrast(values: Mapping[Arm, ArrayLike], weights: Mapping[Arm, float]) -> NDArray[np.float64]:
    """Return the weighted sum of the arms' values, replicate by replicate.

    An arm's values have the shape (replicates,), or (replicates, test examples) of right and wrong answers. The weights
    sum to zero. What rounding leaves of a zero is made zero: a tie is a tie.
    """
    assert sum_to_zero(weights.values()), "the weights of a contrast sum to zero"
    parts = [weight * np.asarray(values[arm], dtype=float) for arm, weight in weights.items()]
    assert len({part.shape for part in parts}) == 1, "arms are paired by replicate"
    total = np.sum(parts, axis=0)
    return np.where(np.abs(total) <= ROUNDING * np.sum(np.abs(parts), axis=0), 0.0, total)


def readable(weights: Mapping[Arm, float]) -> str:
    """Return a contrast in words, what is added first: `adam - 1/2 sgd - 1/2 momentum/untuned`.

    An empty variant goes unsaid, and so does that of a sweep, which its metric says.
    """
    words = ""
    for (contender, variant), weight in sorted(weights.items(), key=lambda item: item[1] < 0):
        share = Fraction(abs(weight)).limit_denominator(100)
        name = f"{contender}/{variant}" if variant not in {"", "sweep"} else contender
        sign = " - " if weight < 0 else " + "
        words += sign + (name if share == 1 else f"{share} {name}")
    return words.removeprefix(" + ")


def verdict(estimate: Estimate, p_corrected: float, margin: float) -> Verdict:
    """Return the verdict on a primary claim whose differences are positive as claimed; the first that holds.

    An interval that touches ± margin or zero is neither within nor beyond.
    """
    if -margin < estimate.low and estimate.high < margin:
        return "equivalent"
    if p_corrected < LEVEL and estimate.low > 0:
        return "supported"
    if p_corrected < LEVEL and estimate.high < 0:
        return "contradicted"
    return "inconclusive"


def judge(measured: Sequence[Measured], withdrawn: int = 0) -> list[Judged]:
    """Return every claim of one study with its evidence and verdict, in the order given.

    p values are corrected over the primary claims that stood at the first training, the `withdrawn` among them: what
    was not shown is taken as not found, which corrects the others most. An exploratory claim, and one made post hoc,
    gets its p and no verdict; one that rests on misses alone is inconclusive.
    """
    ps = [sign_flip_p(one.differences) for one in measured]
    own = [p for one, p in zip(measured, ps, strict=True) if one.claim.confirmatory]
    assert len(own) <= MOST_PRIMARY, "study.py allows no more primary claims"
    family = own + [1.0] * withdrawn
    corrected = iter(holm(family))
    return [
        _judged(one, p, next(corrected) if one.claim.confirmatory else None, len(family))
        for one, p in zip(measured, ps, strict=True)
    ]


def _judged(measured: Measured, p: float, p_corrected: float | None, tests: int) -> Judged:
    claim, estimate = measured.claim, t_interval(measured.differences)
    found = _found(measured, estimate, p_corrected)
    forecast = found == "inconclusive" and not measured.missed
    return Judged(
        claim=claim,
        differences=measured.differences,
        estimate=estimate,
        p=p,
        p_corrected=p_corrected,
        positive=probability_positive(measured.differences),
        two_way=None if measured.examples is None else two_way_bootstrap(measured.examples),
        verdict=found,
        replicates_needed=replicates_needed(estimate.sd, 2 * claim.margin, tests) if forecast else None,
        tests=tests,
    )


def _found(measured: Measured, estimate: Estimate, p_corrected: float | None) -> Verdict:
    if p_corrected is None:
        return "exploratory"
    return "inconclusive" if measured.missed else verdict(estimate, p_corrected, measured.claim.margin)
