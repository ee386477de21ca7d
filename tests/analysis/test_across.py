"""Conclusions over studies: which claims are pooled, what their interval says, and which contenders are ranked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from across_studies import STUDIES, claim, results
from optstudy.analysis.across import Across, _roster, across
from optstudy.inference.meta_analysis import random_effects


def of(*claims: list[dict[str, Any]]) -> Across:
    return across([results(f"study{number}", own, {}) for number, own in enumerate(claims)])


def test_effects_are_pooled_in_margins() -> None:
    [question] = of([claim(2.0)], [claim(3.0, sd=0.6)], [claim(1.0)]).questions
    assert [own.effect for own in question.effects] == pytest.approx([1.0, 1.5, 0.5])
    assert [own.error for own in question.effects] == pytest.approx([1 / 6, 0.1, 1 / 6])
    assert question.pooled == random_effects([1.0, 1.5, 0.5], [1 / 6, 0.2 / 2, 1 / 6])


def test_the_unit_of_a_study_has_no_effect() -> None:
    [percent] = of([claim(200.0, sd=100.0, margin=200.0)], [claim(3.0)]).questions
    [share] = of([claim(2.0)], [claim(3.0)]).questions
    assert percent.pooled.mean == pytest.approx(share.pooled.mean)


@pytest.mark.parametrize(
    "other",
    [
        {"primary": False},
        {"topic": ""},
        {"topic": "adam-robust"},
        {"contrast": "adam against momentum"},
        {"metric": "val_loss"},
        {"verdict": "not tested"},
        {"sd": 0.0},
    ],
)
def test_claims_that_do_not_ask_the_same_or_show_nothing_are_not_pooled(other: dict[str, object]) -> None:
    assert of([claim(2.0)], [claim(3.0) | other]).questions == ()


def test_questions_of_one_study_are_counted_and_studies_that_are_left_out_are_named() -> None:
    found = of([claim(2.0), claim(1.0, contrast="other")], [claim(3.0)], [claim(0.0, sd=0.0)])
    assert found.single == 1
    assert found.questions[0].left_out == ("study2: no spread over replicates",)
    assert found.questions[0].pooled.k == 2


def test_of_one_study_the_first_claim_counts_and_later_ones_are_named() -> None:
    [question] = of([claim(2.0), claim(8.0)], [claim(2.0, post_hoc=True)]).questions
    assert [own.effect for own in question.effects] == [1.0, 1.0]
    assert question.row()["post_hoc"] == 1


def test_a_claim_about_each_rival_asks_a_question_about_each() -> None:
    """A pair that its study cannot test is left out, and the others are not."""
    pairs = [
        {"contrast": "adam against sgd", "effect": 4.0, "sd": 1.0, "n": 9, "reason": ""},
        {"contrast": "adam against adamw", "effect": 0.0, "sd": 1.0, "n": 9, "reason": "decay has no effect"},
    ]
    each = claim(0.0, contrast="adam against each of sgd, adamw", verdict="not tested", reason="decay", pairs=pairs)
    [question] = of([each], [each]).questions
    assert question.contrast == "adam against sgd"
    assert [own.effect for own in question.effects] == [2.0, 2.0]


@pytest.mark.parametrize(
    ("effect", "sd", "verdict"),
    [
        (8.0, 0.03, "ahead by more than the margin"),
        (2.0, 0.3, "ahead"),
        (1.0, 0.03, "ahead, but equivalent"),
        (0.0, 0.03, "equivalent"),
        (-1.0, 0.03, "behind, but equivalent"),
        (-2.0, 0.3, "behind"),
        (-8.0, 0.03, "behind by more than the margin"),
        (0.0, 3.0, "not settled"),
    ],
)
def test_the_verdict_is_read_from_the_interval(effect: float, sd: float, verdict: str) -> None:
    assert [own.verdict for own in of([claim(effect, sd)], [claim(effect, sd)]).questions] == [verdict]


def test_the_shipped_studies_share_questions_and_five_optimizers() -> None:
    found = across(STUDIES)
    by_words = {question.contrast: question for question in found.questions}
    adamw = by_words["adamw against adam"]
    assert {own.study for own in adamw.effects} == {"digits", "digits_lstm", "digits_transfer"}
    assert adamw.verdict == "equivalent"
    assert found.ranking is not None
    assert set(found.ranking.contenders) == {"sgd", "momentum", "rmsprop", "adam", "adamw"}
    assert found.ranking.tasks == ("digits", "digits_lstm", "digits_transfer")
    assert found.ranking.friedman is None
    place = found.ranking.contenders.index("adam")
    means = {name: np.mean(own["test_accuracy"]) for (name, _), own in STUDIES[0].values.items()}
    assert means["adam"] == max(means.values())
    assert found.ranking.resampled.ranks[place] == found.ranking.resampled.ranks.min()


@pytest.mark.parametrize(
    ("tasks", "roster"),
    [
        ({"a": "xyz", "b": "xyz", "c": "xy"}, "xyz"),  # 3 x 2 is as much as 2 x 3: more contenders
        ({"a": "xyz", "b": "xy", "c": "xy", "d": "xy"}, "xy"),
        ({"a": "xy", "b": "zw"}, "xyzw"),  # no task has all, so nothing is ranked
    ],
)
def test_the_ranked_contenders_are_those_with_most_results(tasks: dict[str, str], roster: str) -> None:
    assert "".join(_roster({task: dict.fromkeys(names) for task, names in tasks.items()})) == roster


def test_from_eight_tasks_on_ranks_are_tested() -> None:
    rng = np.random.default_rng(0)
    many = [
        results(f"task{task}", [], {"one": (0.9 + rng.normal(0, 0.01, 6)).tolist(), "two": [0.7] * 5 + [0.71]})
        for task in range(8)
    ]
    ranking = across(many).ranking
    assert ranking is not None
    assert ranking.resampled.ranks.tolist() == [1.0, 2.0]
    assert ranking.friedman is not None
    assert ranking.friedman.distance == pytest.approx(1.960 * (2 * 3 / (6 * 8)) ** 0.5, abs=1e-3)  # Demsar's table 5
    fewer = across(many[:7]).ranking
    assert fewer is not None
    assert fewer.friedman is None


def test_studies_without_shared_contenders_are_not_ranked() -> None:
    one, other = results("a", [], {"x": [0.1, 0.2], "y": [0.1, 0.3]}), results("b", [], {"z": [0.1, 0.2]})
    assert across([one, other]).ranking is None
