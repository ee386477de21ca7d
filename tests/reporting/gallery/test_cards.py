"""A card has the study's answer in twelve words, and its picture the order of the means."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pandas as pd
import pytest

from across_studies import results
from optstudy.analysis.study_results import StudyResults
from optstudy.reporting.gallery.cards import card

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


ADAM = accuracies(sgd=0.8, momentum=0.85, adam=0.95)


def test_it_does_not_depend_on_the_order_of_the_contenders() -> None:
    cards = [card(study({name: ADAM[name] for name in order})) for order in permutations(ADAM)]
    assert {(one.answer, tuple(bar.name for bar in one.bars)) for one in cards} == {
        ("Adam wins once tuned.", ("Adam", "SGD with momentum", "SGD"))
    }


def test_the_picture_has_the_best_first_and_fills_its_width() -> None:
    shown = card(study(ADAM)).bars
    assert [(bar.name, bar.value) for bar in shown] == [
        ("Adam", "95.0%"),
        ("SGD with momentum", "85.0%"),
        ("SGD", "80.0%"),
    ]
    assert [bar.mean for bar in shown] == sorted((bar.mean for bar in shown), reverse=True)
    assert min(bar.low for bar in shown) == pytest.approx(0)
    assert max(bar.high for bar in shown) == pytest.approx(100)
    assert card(study(ADAM)).facts == "cnn on digits; 8 replicates, 4 trials each"


def test_a_study_with_a_single_contender_has_no_picture() -> None:
    shown = card(study({"adam": [0.9] * 8}))
    assert shown.bars == ()
    assert "nothing to compare" in shown.answer


def test_less_is_better_of_a_loss_and_still_to_the_right() -> None:
    made = study(accuracies(sgd=0.3, adam=0.1))
    values = {arm: {"test_loss": own["test_accuracy"]} for arm, own in made.values.items()}
    frame = made.comparison.rename(columns={"test_accuracy_mean": "test_loss_mean"})
    shown = card(replace(made, values=values, comparison=frame)).bars
    assert [bar.name for bar in shown] == ["Adam", "SGD"]
    assert shown[0].mean > shown[1].mean
