"""A card for each study: its question, its answer in at most twelve words, and a picture of the ranking."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from optstudy.analysis.study_results import StudyResults
from optstudy.inference.intervals import t_interval
from optstudy.metrics import counted, decimals_of, metric, value_of
from optstudy.reporting.gallery.matrix import GLYPHS
from optstudy.reporting.style import displayed, styles_of
from optstudy.reporting.summary import leading, short_answer


@dataclass(frozen=True)
class Bar:
    """A contender in the picture: its colour, and its mean with its interval in percent of the picture's width."""

    name: str
    colour: str
    value: str
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Card:
    """What the index shows of a study."""

    name: str
    question: str
    answer: str
    facts: str
    metric: str
    bars: tuple[Bar, ...]
    verdicts: tuple[tuple[str, str, int], ...]


def card(results: StudyResults) -> Card:
    """Return the card of a study."""
    study, first = results.study, leading(results)
    trials = f", {counted(study['trials'], 'trial')} each" if study["trials"] else ""
    by = displayed(study["pretrained_by"])
    pretrained = f"; from weights pretrained by {by}" if by else ""
    facts = f"{study['model']} on {study['data']}; {counted(study['replicates'], 'replicate')}{trials}{pretrained}"
    counts = Counter(claim["verdict"] for claim in results.claims)
    verdicts = tuple((glyph, verdict, counts[verdict]) for verdict, glyph in GLYPHS.items() if counts[verdict])
    label = metric(first.metric).label if first else ""
    shown = bars(results, first.metric) if first else ()
    return Card(results.name, study["question"], short_answer(results), facts, label, shown, verdicts)


def bars(results: StudyResults, name: str) -> tuple[Bar, ...]:
    """Return the contenders that have a metric by their means: the best first, and to the right of the picture."""
    values = {one: results.values.get((one, results.variant), {}).get(name) for one in results.contenders}
    sign = metric(name).sign
    found = {one: t_interval([sign * value for value in own]) for one, own in values.items() if own is not None}
    low, high = min(one.low for one in found.values()), max(one.high for one in found.values())
    width = (high - low) or 1.0
    decimals, looks = decimals_of(name, [(one.high - one.low) / 2 for one in found.values()]), styles_of(results)
    return tuple(
        Bar(
            displayed(contender),
            looks[contender].colour,
            value_of(name, sign * one.mean, decimals),
            *(100 * (x - low) / width for x in (one.mean, one.low, one.high)),
        )
        for contender, one in sorted(found.items(), key=lambda pair: -pair[1].mean)
    )
