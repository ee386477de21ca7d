"""Conclusions over several studies: each question that two of them ask, and the contenders ranked over tasks."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optstudy.analysis.study_results import StudyResults
from optstudy.inference.meta_analysis import (
    FEWEST_TASKS,
    Friedman,
    Pooled,
    Resampled,
    friedman,
    profiles,
    random_effects,
)
from optstudy.metrics import find_metric, main_first
from optstudy.study.claim import TOPICS

TAUS = np.round(np.geomspace(1.0, 8.0, 85), 6)  # of profiles: up to eight times the least error


@dataclass(frozen=True)
class Effect:
    """A study's effect with its standard error, both in margins; positive means as claimed."""

    study: str
    effect: float
    error: float
    post_hoc: bool


@dataclass(frozen=True)
class Question:
    """A primary claim that at least two studies make: the same topic, contrast and metric.

    `left_out` names studies whose effect cannot be pooled, with the reason.
    """

    topic: str
    contrast: str
    metric: str
    effects: tuple[Effect, ...]
    pooled: Pooled
    left_out: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """Return what the interval shows, in words; a margin is 1."""
        low, high = self.pooled.low, self.pooled.high
        within = low > -1 and high < 1
        if low > 0 or high < 0:
            side = "ahead" if low > 0 else "behind"
            if within:
                return f"{side}, but equivalent"
            return f"{side} by more than the margin" if low > 1 or high < -1 else side
        return "equivalent" if within else "not settled"

    def row(self) -> dict[str, Any]:
        """Return the question's row in across.csv; effects are in margins."""
        effects = "; ".join(f"{own.study} {own.effect:.6g} (se {own.error:.6g})" for own in self.effects)
        return {
            "question": TOPICS[self.topic],
            "contrast": self.contrast,
            "metric": self.metric,
            "studies": self.pooled.k,
            "mean": self.pooled.mean,
            "ci_low": self.pooled.low,
            "ci_high": self.pooled.high,
            "tau": self.pooled.tau,
            "new_low": self.pooled.new_low,
            "new_high": self.pooled.new_high,
            "verdict": self.verdict,
            "post_hoc": sum(own.post_hoc for own in self.effects),
            "effects": effects,
            "left_out": "; ".join(self.left_out),
        }


COLUMNS = (
    *("question", "contrast", "metric", "studies", "mean", "ci_low", "ci_high", "tau", "new_low", "new_high"),
    *("verdict", "post_hoc", "effects", "left_out"),
)


@dataclass(frozen=True, eq=False)
class Ranking:
    """The contenders that several tasks share; `friedman` is None for fewer than eight tasks."""

    contenders: tuple[str, ...]
    tasks: tuple[str, ...]
    resampled: Resampled
    friedman: Friedman | None


@dataclass(frozen=True, eq=False)
class Across:
    """All that is concluded over several studies; `single` counts the questions that only one of them asks."""

    questions: tuple[Question, ...]
    single: int
    ranking: Ranking | None


def across(studies: Sequence[StudyResults]) -> Across:
    """Return the conclusions over finished studies."""
    asked = _asked(studies)
    shared = [question for key, claims in asked.items() if (question := _question(key, claims)) is not None]
    order = list(TOPICS)
    shared.sort(key=lambda question: order.index(question.topic))
    return Across(tuple(shared), sum(len(claims) == 1 for claims in asked.values()), _ranking(studies))


Key = tuple[str, str, str]  # topic, contrast and metric
Claims = list[tuple[str, Mapping[str, Any]]]  # the study's name and the claim


def _asked(studies: Sequence[StudyResults]) -> dict[Key, Claims]:
    """Return the primary claims on the protocol's topics, by what they ask; of one study the first.

    A claim about each of several rivals asks one question about each.
    """
    asked: dict[Key, Claims] = {}
    for results in studies:
        for claim in (claim for claim in results.claims if claim["primary"] and claim["topic"] in TOPICS):
            for pair in claim.get("pairs") or [claim]:
                claims = asked.setdefault((claim["topic"], pair["contrast"], claim["metric"]), [])
                if results.name not in dict(claims):
                    claims.append((results.name, {**claim, **pair}))
    return asked


def _question(key: Key, claims: Claims) -> Question | None:
    """Return the pooled effect of claims that ask the same; None if fewer than two can be pooled."""
    reasons = {name: _not_pooled(claim) for name, claim in claims}
    effects = tuple(_effect(name, claim) for name, claim in claims if not reasons[name])
    if len(effects) < 2:
        return None
    pooled = random_effects([own.effect for own in effects], [own.error for own in effects])
    left_out = tuple(f"{name}: {reason}" for name, reason in reasons.items() if reason)
    return Question(*key, effects, pooled, left_out)


def _not_pooled(claim: Mapping[str, Any]) -> str:
    """Return why a claim's effect cannot be pooled; empty if it can."""
    if claim["verdict"] == "not tested" and claim.get("reason", True):
        return "the study could not test it"
    return "" if claim["sd"] else "no spread over replicates"


def _effect(study: str, claim: Mapping[str, Any]) -> Effect:
    margin = claim["margin"]
    error = claim["sd"] / math.sqrt(claim["n"]) / margin
    return Effect(study, claim["effect"] / margin, error, bool(claim["post_hoc"]))


def _ranking(studies: Sequence[StudyResults]) -> Ranking | None:
    """Return the profiles of the contenders that tasks share; None if no two contenders share two tasks."""
    errors = {results.name: own for results in studies if len(own := _errors(results)) > 1}
    contenders = _roster(errors)
    tasks = [name for name, own in errors.items() if set(contenders) <= own.keys()]
    if len(contenders) < 2 or len(tasks) < 2:
        return None
    arrays = [np.stack([errors[name][contender] for contender in contenders], axis=1) for name in tasks]
    resampled = profiles(arrays, TAUS)
    test = friedman(resampled.ranks.tolist(), len(tasks)) if len(tasks) >= FEWEST_TASKS else None
    return Ranking(contenders, tuple(tasks), resampled, test)


def _errors(results: StudyResults) -> dict[str, NDArray[np.float64]]:
    """Return the errors of a study's contenders by replicate, in the variant that the study compares.

    The error is 1 minus the score that the answer is about, if that is a fraction and higher is better, or the
    score itself if lower is better. Other scores, and those of a validation part, are no errors: there are none.
    """
    own = {contender: results.values.get((contender, results.variant), {}) for contender in results.contenders}
    names = main_first(
        dict.fromkeys(name for values in own.values() for name in values), results.study.get("objective") or ""
    )
    row = find_metric(names[0]) if names and names[0].startswith("test_") else None
    if row is None or not (row.share or not row.higher):
        return {}
    logged = {contender: values.get(names[0]) for contender, values in own.items()}
    return {
        contender: 1 - np.asarray(values, dtype=float) if row.higher else np.asarray(values, dtype=float)
        for contender, values in logged.items()
        if values is not None
    }


def _roster(errors: Mapping[str, Mapping[str, object]]) -> tuple[str, ...]:
    """Return the contenders to rank: those that are in at least m tasks, for the m with most pairs of both.

    With every contender of any task hardly a task would have all; with those of all tasks hardly a contender is left.
    """
    counts = Counter(name for own in errors.values() for name in own)
    candidates = [tuple(name for name, count in counts.items() if count >= least) for least in set(counts.values())]
    sizes = {roster: len(roster) * sum(set(roster) <= own.keys() for own in errors.values()) for roster in candidates}
    return max(candidates, key=lambda roster: (sizes[roster], len(roster)), default=())
