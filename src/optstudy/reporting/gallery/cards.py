"""A card for each study: its question, its answer in at most twelve words, and a picture of the ranking."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from optstudy.analysis.leaders import Leader, leader
from optstudy.analysis.study_results import StudyResults
from optstudy.inference.intervals import Estimate, t_interval
from optstudy.metrics import counted, metric, number
from optstudy.reporting.gallery.matrix import GLYPHS
from optstudy.reporting.style import displayed, styles_of

MOST_WORDS = 12
MOST_NAMES = 2  # of contenders that lead together; more of them are no answer


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
    study = results.study
    trials = f", {counted(study['trials'], 'trial')} each" if study["trials"] else ""
    pretrained = f"; from weights pretrained by {study['pretrained_by']}" if study["pretrained_by"] else ""
    facts = f"{study['model']} on {study['data']}; {counted(study['replicates'], 'replicate')}{trials}{pretrained}"
    counts = Counter(claim["verdict"] for claim in results.claims)
    verdicts = tuple((glyph, verdict, counts[verdict]) for verdict, glyph in GLYPHS.items() if counts[verdict])
    name = main_metric(results)
    label = metric(name).label if name else ""
    return Card(results.name, study["question"], short_answer(results), facts, label, bars(results), verdicts)


def main_metric(results: StudyResults) -> str:
    """Return the metric that the answer is about: the first that at least two contenders have; else empty."""
    return next((name for name in results.metrics if leader(results, name, results.variant)), "")


def short_answer(results: StudyResults) -> str:
    """Return the answer in at most twelve words: who is significantly ahead once tuned, and untuned."""
    name = main_metric(results)
    first = leader(results, name, results.variant) if name else None
    if first is None:
        return "A single contender: there is nothing to compare."
    if results.variant != "tuned":
        return _who(first, "With fixed hyperparameters") or "No clear winner with fixed hyperparameters."
    tuned = _who(first, "Tuned") or "No clear winner once tuned."
    plain = leader(results, name, "untuned") if "untuned" in results.variants else None
    untuned = _who(plain, "Untuned") if plain else ""
    both = f"{tuned} {untuned}".strip()
    return both if len(both.split()) <= MOST_WORDS else tuned


def _who(first: Leader, when: str) -> str:
    """Return who to use, the leader and those tied with it; empty if it beats nobody or too many are tied."""
    if not first.beaten or len(first.best) > MOST_NAMES:
        return ""
    return f"{when}, use {' or '.join(displayed(name) for name in first.best)}."


def bars(results: StudyResults) -> tuple[Bar, ...]:
    """Return the contenders by mean, the best first, with the best to the right of the picture."""
    main = main_metric(results)
    if not main:
        return ()
    found = {
        name: t_interval([metric(main).sign * value for value in own[main]])
        for name in results.contenders
        if main in (own := results.values.get((name, results.variant), {}))
    }
    low, high = min(one.low for one in found.values()), max(one.high for one in found.values())
    width, narrowest = (high - low) or 1.0, min(one.high - one.low for one in found.values()) / 2
    looks = styles_of(results)
    return tuple(
        Bar(
            displayed(name),
            looks[name].colour,
            _value(main, one, narrowest),
            *(100 * (x - low) / width for x in (one.mean, one.low, one.high)),
        )
        for name, one in sorted(found.items(), key=lambda pair: -pair[1].mean)
    )


def _value(name: str, signed: Estimate, narrowest: float) -> str:
    """Return a mean for people: 97.6%. All values of a picture have the same digits."""
    row = metric(name)
    mean = row.scale * row.sign * signed.mean
    return f"{mean:.1f}%" if row.share else number(mean, row.scale * narrowest)
