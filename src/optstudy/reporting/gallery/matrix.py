"""Questions by studies: a glyph and an effect for each claim, and the same as one line of words per question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optstudy.analysis.study_results import StudyResults
from optstudy.analysis.verdicts import worded_effect, worded_verdict
from optstudy.metrics import metric
from optstudy.reporting.style import DISPLAY_NAMES, with_display_names
from optstudy.study.claim import TOPICS

# Verdicts differ by shape, not by colour alone.
GLYPHS: Mapping[str, str] = {
    "supported": "●",
    "contradicted": "▼",
    "equivalent": "=",
    "inconclusive": "○",
    "not tested": "∅",
    "exploratory": "·",
}


@dataclass(frozen=True)
class Mark:
    """A claim in a cell: its place on the study's page, its effect without the interval, and all of it in words."""

    place: str
    verdict: str
    effect: str
    words: str

    @property
    def glyph(self) -> str:
        """Return the glyph of the verdict."""
        return GLYPHS[self.verdict]

    @property
    def style(self) -> str:
        """Return the verdict's class in the page's style sheet."""
        return self.verdict.replace(" ", "-")


def mark(claim: Mapping[str, Any]) -> Mark:
    """Return what a cell shows of an object of claims.json."""
    label, effect = metric(claim["metric"]).label, worded_effect(claim)
    contrast = with_display_names(claim["contrast"], DISPLAY_NAMES)
    words = f"{worded_verdict(claim)}; {contrast}; {label}: {effect}"
    return Mark(f"claim-{claim['id']}", claim["verdict"], effect.partition(" (")[0], words)


def about(topic: str, results: StudyResults) -> list[Mapping[str, Any]]:
    """Return a study's claims on a question of the protocol, or with an empty topic its claims on none."""
    return [claim for claim in results.claims if claim["topic"] == topic]


@dataclass(frozen=True)
class Row:
    """A question and the marks of each study, in the order of the studies."""

    question: str
    cells: tuple[tuple[Mark, ...], ...]


def rows(studies: Sequence[StudyResults]) -> tuple[list[Row], list[str]]:
    """Return a row for each question that a study asks, and the questions that none asks."""
    every = [
        Row(words, tuple(tuple(map(mark, about(topic, results))) for results in studies))
        for topic, words in TOPICS.items()
    ]
    return [row for row in every if any(row.cells)], [row.question for row in every if not any(row.cells)]


def further(studies: Sequence[StudyResults]) -> list[tuple[str, list[tuple[str, Mark]]]]:
    """Return the studies with claims on no question of the protocol, each with their statements and marks."""
    own = [(results.name, [(claim["statement"], mark(claim)) for claim in about("", results)]) for results in studies]
    return [(name, marks) for name, marks in own if marks]


def answers(studies: Sequence[StudyResults]) -> Iterator[tuple[str, str]]:
    """Yield each question that a study asks, with the studies' effects by verdict: decided ones first.

    Exploratory claims are left out where the study also has a primary one on the question.
    """
    for topic, question in TOPICS.items():
        found: dict[tuple[int, str], list[str]] = {}
        for results in studies:
            claims = about(topic, results)
            primary = [claim for claim in claims if claim["verdict"] != "exploratory"]
            for claim in primary or claims:
                place = (list(GLYPHS).index(claim["verdict"]), worded_verdict(claim))
                found.setdefault(place, []).append(f"{results.name} {worded_effect(claim)}")
        if found:
            yield question, "; ".join(f"{words}: {', '.join(found[place, words])}" for place, words in sorted(found))
