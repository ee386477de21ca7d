"""What the first screen of a study's page says: cards for three situations, the strip of verdicts, a line of origin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optstudy.analysis.leaders import Leader
from optstudy.analysis.study_results import StudyResults
from optstudy.inference.intervals import t_interval
from optstudy.metrics import amount, counted, decimals_of, difference, metric, value_of
from optstudy.reporting.style import displayed
from optstudy.reporting.summary import Situation, decided
from optstudy.study.claim import SWEPT

# The situations that have a card if the study has them; others fill up to three.
FIRST = ("You can tune", "You will not tune", "You do not know the learning rate")


@dataclass(frozen=True)
class Card:
    """One card: a situation, whom to take, the number that says so, and why."""

    when: str
    name: str
    number: str
    reason: str


def cards(results: StudyResults) -> list[Card]:
    """Return the cards of three of the study's situations."""
    rows = decided(results)
    rows.sort(key=lambda row: FIRST.index(row[0].when) if row[0].when in FIRST else len(FIRST))
    return [_card(results, *row) for row in rows[: len(FIRST)]]


def _card(results: StudyResults, situation: Situation, first: Leader, fewer: bool) -> Card:
    mean, row = t_interval(first.values), metric(first.metric)
    value = value_of(first.metric, mean.mean, decimals_of(first.metric, [(mean.high - mean.low) / 2]))
    shown = f"{value} {row.unit if first.metric == SWEPT else row.label}"
    reached = results.values[first.contender, situation.variant or results.variant].get("reached", ())
    if row.goal and not all(reached):
        shown = f"{row.goal} reached in {int(sum(reached))} of {len(reached)} replicates"
    name = _names(first) if first.beaten else "No clear winner"
    about = shown if name == displayed(first.contender) else f"{shown}, {displayed(first.contender)}"
    reason = _reason(first)
    if first.metric == SWEPT:
        within = amount(results.score, results.study["within"])
        reason = f"Learning rates within {within} of the best {metric(results.score).label}. {reason}"
    if fewer:
        reason += f" Measured for {len(first.rivals) + 1} of {len(results.contenders)}." if not situation.among else ""
    return Card(situation.when, name, about, reason)


def _names(first: Leader) -> str:
    """Return the leader and those that cannot be told apart from it; of many, those that can."""
    names = [displayed(contender) for contender in first.best]
    if len(names) > 3:
        return f"Any but {' and '.join(displayed(rival.contender) for rival in first.beaten)}"
    return " or ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


def _reason(first: Leader) -> str:
    """Return how far the leader is ahead of the nearest one that is significantly behind, or that none is."""
    if not first.beaten:
        others = "the other" if len(first.rivals) == 1 else f"any of the other {len(first.rivals)}"
        return f"Best mean, not significantly ahead of {others}."
    nearest = first.beaten[0]
    lead = nearest.estimate
    ahead = difference(first.metric, lead.mean, lead.low, lead.high).lstrip("+")
    least = "at least " if nearest.at_least else ""
    more = f", and of {counted(len(first.beaten) - 1, 'other')}" if first.beaten[1:] else ""
    who = "" if len(first.best) == 1 else f"{displayed(first.contender)} is "
    words = f"{who}ahead of {displayed(nearest.contender)} by {least}{ahead}{more}."
    return words[0].upper() + words[1:]


@dataclass(frozen=True)
class Group:
    """The claims with one verdict: its glyph, how many, and where each is on the page."""

    verdict: str
    style: str
    glyph: str
    claims: tuple[tuple[str, str], ...]  # id and statement


GLYPHS = {"supported": "●", "contradicted": "●", "equivalent": "●", "inconclusive": "○", "not tested": "○"}


def strip(claims: Sequence[Mapping[str, Any]]) -> list[Group]:
    """Return the groups of claims by verdict, decided ones first."""
    counts = Counter(claim["verdict"] for claim in claims)
    groups = []
    for verdict in [*GLYPHS, *(own for own in counts if own not in GLYPHS)]:
        own = tuple((claim["id"], claim["statement"]) for claim in claims if claim["verdict"] == verdict)
        if own:
            groups.append(Group(verdict, verdict.replace(" ", "-"), GLYPHS.get(verdict, "·"), own))
    return groups


def findings(results: StudyResults) -> list[dict[str, Any]]:
    """Return the fairness notes; those that several contenders share are one note about all of them."""
    found: dict[tuple[str, ...], list[str]] = {}
    for one in results.findings:
        key = (str(one["finding"]), str(one["rule"]), str(one["source"]))
        found.setdefault(key, []).append(displayed(one["contender"]) if one["contender"] else "study")
    return [
        {"finding": words, "rule": rule, "source": source, "contender": ", ".join(names)}
        for (words, rule, source), names in found.items()
    ]


def origin(results: StudyResults) -> str:
    """Return model, data, date, commit and hardware in one line."""
    study, facts = results.study, results.provenance
    days = [str(facts.get(name, ""))[:10] for name in ("first_training", "last_training")]
    date = " to ".join(dict.fromkeys(day for day in days if day))
    commit = str(facts.get("git_commit", "unknown"))
    machines = [str(one.get("gpu") or one.get("cpu") or "") for one in facts.get("trained_by") or ()]
    hardware = "; ".join(dict.fromkeys(name for name in machines if name))
    trained = f"trained {date}" if date else ""
    code = f"commit {commit[:8]}{'-dirty' if commit.endswith('-dirty') else ''}" if commit != "unknown" else ""
    budget = counted(study["epochs"], results.epoch)
    parts = (f"{study['model']} on {study['data']}", budget, trained, code, hardware)
    return " · ".join(words for words in parts if words)
