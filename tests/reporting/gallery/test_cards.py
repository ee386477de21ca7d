"""A card's answer follows the rule of significance, has at most twelve words, and its picture the order of means."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pandas as pd
import pytest

from across_studies import results
from optstudy.analysis.study_results import StudyResults
from optstudy.reporting.gallery.cards import MOST_WORDS, bars, card, short_answer
from optstudy.reporting.style import DISPLAY_NAMES

NOISE = [0.001, -0.002, 0.003, 0.0, -0.001, 0.002, -0.003, 0.001]  # of eight replicates, the same for all


def accuracies(**means: float) -> dict[str, list[float]]:
    """Contenders whose differences are their means' in each replicate, but for noise a tenth as large."""
    return {name: [mean + (1 + place) * x for x in NOISE] for place, (name, mean) in enumerate(means.items())}


def study(tuned: dict[str, list[float]], untuned: dict[str, list[float]] | None = None) -> StudyResults:
    """A finished study with these test accuracies; `results` has tuned ones alone."""
    made = results("made", [], tuned)
    variants = {"tuned": tuned, **({"untuned": untuned} if untuned else {})}
    rows = [
        {"contender": name, "variant": variant, "test_accuracy_mean": 0.5}
        for variant, own in variants.items()
        for name in own
    ]
    values = {
        (name, variant): {"test_accuracy": own} for variant, found in variants.items() for name, own in found.items()
    }
    facts = {"question": "Which?", "trials": 4, "replicates": 8, "pretrained_by": "", "model": "cnn", "data": "digits"}
    return replace(made, study={**made.study, **facts}, comparison=pd.DataFrame(rows), values=values)


SAME = {"sgd": [0.9 + x for x in NOISE], "adam": [0.9 - x for x in NOISE]}
ADAM = accuracies(sgd=0.8, momentum=0.85, adam=0.95)


@pytest.mark.parametrize(
    ("tuned", "untuned", "words"),
    [
        (ADAM, None, "Tuned, use Adam."),
        (ADAM, ADAM, "Tuned, use Adam. Untuned, use Adam."),
        (SAME, None, "No clear winner once tuned."),
        (SAME, SAME, "No clear winner once tuned."),
        (SAME, accuracies(sgd=0.4, adam=0.9), "No clear winner once tuned. Untuned, use Adam."),
        ({**SAME, "rmsprop": [0.7 + x / 2 for x in NOISE]}, None, "Tuned, use SGD or Adam."),
        ({"adam": [0.9] * 8}, None, "A single contender: there is nothing to compare."),
    ],
)
def test_the_answer_names_who_is_significantly_ahead(
    tuned: dict[str, list[float]], untuned: dict[str, list[float]] | None, words: str
) -> None:
    """Of eight replicates, the least p of the joint sign-flip test is 2 / 2^8, whatever the number of pairs."""
    assert short_answer(study(tuned, untuned)) == words


def test_it_does_not_depend_on_the_order_of_the_contenders() -> None:
    orders = [{name: ADAM[name] for name in order} for order in permutations(ADAM)]
    assert {short_answer(study(order)) for order in orders} == {"Tuned, use Adam."}
    assert len({tuple(bar.name for bar in bars(study(order))) for order in orders}) == 1


@pytest.mark.parametrize("best", [*DISPLAY_NAMES])
def test_it_has_at_most_twelve_words(best: str) -> None:
    own = {"other": [0.5 + x for x in NOISE], best: [0.9 + 2 * x for x in NOISE]}
    assert len(short_answer(study(own, own)).split()) <= MOST_WORDS


def test_the_picture_has_the_best_first_and_fills_its_width() -> None:
    shown = bars(study(ADAM))
    assert [bar.name for bar in shown] == ["Adam", "SGD with momentum", "SGD"]
    assert [bar.mean for bar in shown] == sorted((bar.mean for bar in shown), reverse=True)
    assert min(bar.low for bar in shown) == pytest.approx(0)
    assert max(bar.high for bar in shown) == pytest.approx(100)
    assert card(study(ADAM)).facts == "cnn on digits; 8 replicates, 4 trials each"
