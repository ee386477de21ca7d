"""Verdicts on claims: contrasts of contenders over paired replicates, judged by rule 10 of docs/protocol.md."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optstudy.inference.decisions import VERDICTS, Decision, Level, Verdict, decide, deciding_p
from optstudy.inference.intervals import (
    LEVEL,
    Estimate,
    Probability,
    probability_positive,
    t_interval,
    two_way_interval,
)
from optstudy.inference.power import Replicates, replicates_needed_range
from optstudy.inference.sign_flips import sign_flip_p
from optstudy.inference.targets import Reached, at_least, counts_in_words, undecided
from optstudy.metrics import ROUNDING, difference, metric
from optstudy.study.claim import MOST_PRIMARY, Arm, Contrast, sum_to_zero


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
class Pair:
    """The paired differences of one contrast of a claim, one per replicate; positive means as claimed.

    Attributes:
        contrast: The contrast in words.
        differences: One per replicate, in the metric's unit.
        examples: The same differences by test example (replicates, test examples); None if answers are missing.
        not_tested: Why the design cannot test the contrast; empty if it can.
        search_sd: The standard deviation of the difference over redrawn searches; nan if it is unknown.
        reached: In how many replicates each side reached what the metric counts up to; empty if it does not count up.
    """

    contrast: str
    differences: tuple[float, ...]
    examples: NDArray[np.float64] | None = None
    not_tested: str = ""
    search_sd: float = float("nan")
    reached: tuple[Reached, ...] = ()


@dataclass(frozen=True, eq=False)
class Measured:
    """A claim with its pairs: several if it is about each of several rivals, else one."""

    claim: StatedClaim
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, eq=False)
class Judged:
    """A claim with its statistics and verdict; `row` returns its object in claims.json.

    `shown` is the least favourable pair; `estimate`, `positive` and `two_way` are its own. `p` is uncorrected, of the
    pair that decides. `decision` is None for an exploratory claim, and `needed` unless the claim is inconclusive.
    `tests` is the number of claims that p is corrected over, `alpha` the level of the tests; the intervals of
    differences are at 1 - `alpha`.
    """

    claim: StatedClaim
    pairs: tuple[Pair, ...]
    shown: Pair
    p: float
    decision: Decision | None
    needed: Replicates | None
    tests: int
    alpha: float = LEVEL

    @property
    def verdict(self) -> Verdict:
        """Return the verdict that the claim's level means, unless misses leave it undecided."""
        if self.decision is None:
            return "exploratory"
        return "inconclusive" if self.missed else VERDICTS[self.decision.level][0]

    @property
    def missed(self) -> str:
        """Return why misses leave the claim undecided, in words; empty if they do not.

        One pair whose two sides both miss too often is enough, unless another pair contradicts the claim.
        """
        levels = [pair.level for pair in self.decision.pairs] if self.decision else []
        decided = [level for level, pair in zip(levels, self.pairs, strict=False) if not undecided(pair.reached)]
        censored = [pair for pair in self.pairs if undecided(pair.reached)]
        if not censored or any(VERDICTS[level][0] == "contradicted" for level in decided):
            return ""
        where = f" ({censored[0].contrast})" if len(self.pairs) > 1 else ""
        return _missed(self.claim.metric, censored[0]) + where

    @property
    def estimate(self) -> Estimate:
        """Return the mean difference of the least favourable pair, with its interval."""
        return t_interval(self.shown.differences, 1 - self.alpha)

    def row(self) -> dict[str, Any]:
        """Return the fields of the claim and its statistics as one JSON object."""
        decision, examples = self.decision, self.shown.examples
        two_way = (None, None) if examples is None else two_way_interval(examples, 1 - self.alpha)
        withheld = decision is not None and decision.withheld and not self.missed
        return {
            **asdict(self.claim),
            **_estimated(self.shown, self.alpha),
            "confidence": 1 - self.alpha,
            "search_sd": None if math.isnan(self.shown.search_sd) else self.shown.search_sd,
            "p": self.p,
            "p_corrected": decision and decision.p,
            "p_equivalent": decision and decision.p_equivalent,
            **_named("probability probability_low probability_high", probability_positive(self.shown.differences)),
            **dict(zip(("two_way_low", "two_way_high"), two_way, strict=True)),
            "verdict": self.verdict,
            "level": None if self.missed else decision and decision.level,
            "reason": "; ".join(dict.fromkeys(pair.not_tested for pair in self.pairs if pair.not_tested)),
            "withheld": withheld,
            "furthest": furthest(self.shown.differences) if withheld else [],
            "replicates_needed": self.needed and self.needed.needed,
            "replicates_needed_low": self.needed and self.needed.low,
            "replicates_needed_high": self.needed and self.needed.high,
            "tests": self.tests,
            "reached": counts_in_words(self.shown.reached),
            "missed": self.missed,
            "at_least": at_least(self.shown.reached, self.estimate.mean),
            "differences": list(self.shown.differences),
            "pairs": [self._pair(number) for number in range(len(self.pairs))],
        }

    def _pair(self, number: int) -> dict[str, Any]:
        pair, decided = self.pairs[number], self.decision and self.decision.pairs[number]
        return {
            "contrast": pair.contrast,
            **_estimated(pair, self.alpha),
            "p": sign_flip_p(pair.differences),
            "p_corrected": decided and decided.p,
            "level": None if undecided(pair.reached) else decided and decided.level,
            "reason": pair.not_tested,
            "missed": _missed(self.claim.metric, pair),
            "at_least": at_least(pair.reached, float(np.mean(pair.differences))),
            "differences": list(pair.differences),
        }


def _missed(name: str, pair: Pair) -> str:
    """Return why misses leave a pair undecided, in words; empty if they do not."""
    if not undecided(pair.reached):
        return ""
    return f"the {metric(name).goal} was reached in {counts_in_words(pair.reached)} replicates"


def _estimated(pair: Pair, alpha: float) -> dict[str, Any]:
    return _named("n effect sd ci_low ci_high", t_interval(pair.differences, 1 - alpha))


def _named(names: str, values: Estimate | Probability) -> dict[str, Any]:
    return dict(zip(names.split(), astuple(values), strict=True))


def furthest(differences: Sequence[float]) -> list[int]:
    """Return the replicates, counted from 0, whose differences lie furthest out: over 3 robust deviations, or the one.

    The robust deviation is 1.4826 times the median distance from the median, the standard deviation of a normal.
    """
    distances = np.abs(np.asarray(differences, dtype=float) - np.median(differences))
    bound = 3 * 1.4826 * float(np.median(distances))
    far = np.flatnonzero(distances > bound) if bound > 0 else np.array([], dtype=int)
    return [int(index) for index in far] or [int(np.argmax(distances))]


def worded_verdict(claim: Mapping[str, Any]) -> str:
    """Return the verdict of an object of claims.json, with its level, and with everything that limits it."""
    words = claim["reason"] if claim["verdict"] == "not tested" else level_words(claim["level"])
    words = claim["missed"] or words
    verdict = f"{claim['verdict']}: {words}" if words else claim["verdict"]
    limits = ["post hoc" if claim["post_hoc"] else "", claim["qualifier"]]
    return ", ".join(part for part in (verdict, *limits) if part)


def confidence(claims: Sequence[Mapping[str, Any]]) -> str:
    """Return the confidence of the intervals of a study's claims, such as `95%`; it is higher if there are looks."""
    return f"{100 * claims[0].get('confidence', 1 - LEVEL):.4g}%"


def worded_effect(claim: Mapping[str, Any]) -> str:
    """Return the effect of an object of claims.json with its interval and unit; a bound is called one."""
    effect = difference(claim["metric"], claim["effect"], claim["ci_low"], claim["ci_high"])
    bound = "at least" if claim["effect"] > 0 else "at most"  # the slower side is slower than that
    return f"{bound} {effect}" if claim["at_least"] else effect


def about_a_mean(claim: Mapping[str, Any]) -> bool:
    """Return whether an object of claims.json compares with the mean of several, which one of them may carry."""
    return "the mean" in claim["contrast"]


def level_words(level: Level | None) -> str:
    """Return what a level adds to its verdict; nothing for an exploratory claim."""
    return VERDICTS[level][1] if level else ""


def contrast(values: Mapping[Arm, ArrayLike], weights: Contrast) -> NDArray[np.float64]:
    """Return the weighted sum of the arms' values, replicate by replicate.

    An arm's values have the shape (replicates,), or (replicates, test examples) for right and wrong answers. The
    weights sum to zero. Results that differ from zero only by rounding are set to zero, so that ties count as ties.
    """
    assert sum_to_zero(weights.values()), "the weights of a contrast sum to zero"
    parts = [weight * np.asarray(values[arm], dtype=float) for arm, weight in weights.items()]
    assert len({part.shape for part in parts}) == 1, "arms are paired by replicate"
    total = np.sum(parts, axis=0)
    return np.where(np.abs(total) <= ROUNDING * np.sum(np.abs(parts), axis=0), 0.0, total)


def readable(weights: Contrast) -> str:
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


def judge(measured: Sequence[Measured], withdrawn: int = 0, alpha: float = LEVEL) -> list[Judged]:
    """Return every claim of one study with its statistics and verdict, in the order given.

    Tests are at the level `alpha`, which is smaller for each of several looks; intervals are at 1 - `alpha`.

    The primary claims registered before the first training are decided together, by `decisions.decide`; each of the
    `withdrawn` ones counts as one more test. Exploratory and post hoc claims get their p and no verdict.
    """
    family = [one for one in measured if one.claim.confirmatory]
    assert len(family) <= MOST_PRIMARY, "a study file has no more primary claims"
    decisions = iter(_decisions(family, withdrawn, alpha))
    tests = len(family) + withdrawn
    return [_judged(one, next(decisions) if one.claim.confirmatory else None, tests, alpha) for one in measured]


def _decisions(family: Sequence[Measured], withdrawn: int, alpha: float) -> list[Decision]:
    """Return what is decided about each claim; the columns are their pairs, one after another."""
    pairs = [pair for one in family for pair in one.pairs]
    if not pairs:
        return []
    assert len({len(pair.differences) for pair in pairs}) == 1, "the claims of a study have the same replicates"
    ends = np.cumsum([len(one.pairs) for one in family])
    return decide(
        np.array([pair.differences for pair in pairs]).T,
        np.array([one.claim.margin for one in family for _ in one.pairs]),
        [list(range(end - len(one.pairs), end)) for one, end in zip(family, ends.tolist(), strict=True)],
        untestable=[column for column, pair in enumerate(pairs) if pair.not_tested],
        alpha=alpha,
        withdrawn=withdrawn,
        search_sd=np.array([pair.search_sd for pair in pairs]),
    )


def _judged(measured: Measured, decision: Decision | None, tests: int, alpha: float) -> Judged:
    shown = min(measured.pairs, key=lambda pair: float(np.mean(pair.differences)))
    needed, margin = None, measured.claim.margin
    ps = [sign_flip_p(pair.differences) for pair in measured.pairs]
    means = [float(np.mean(pair.differences)) for pair in measured.pairs]
    if decision and VERDICTS[decision.level][0] == "inconclusive" and not undecided(shown.reached):
        sd = float(np.fmax(np.std(shown.differences, ddof=1), shown.search_sd))
        needed = replicates_needed_range(len(shown.differences), sd, 2 * margin, tests)
    return Judged(
        claim=measured.claim,
        pairs=measured.pairs,
        shown=shown,
        p=max(ps) if decision is None else deciding_p(decision.level, ps, means),
        decision=decision,
        needed=needed,
        tests=tests,
        alpha=alpha,
    )
