"""Verdicts: contrasts computed by hand, and verdicts in the order of rule 10 of the protocol."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np
import pytest

from optstudy.analysis.verdicts import (
    Judged,
    Measured,
    StatedClaim,
    Verdict,
    contrast,
    judge,
    readable,
    verdict,
    worded_verdict,
)
from optstudy.inference.intervals import LEVEL, Estimate, probability_positive, t_interval, two_way_bootstrap
from optstudy.inference.power import replicates_needed
from optstudy.inference.sign_flips import holm, sign_flip_p
from optstudy.study.claim import MOST_PRIMARY, Arm

SGD, MOMENTUM, ADAM = ("sgd", "tuned"), ("momentum", "tuned"), ("adam", "tuned")
UNTUNED: Arm = ("adam", "untuned")

# Paired differences of eight replicates, by the verdict they get alone at a margin of 0.5; p by hand: how many of the
# 256 flips are as far from zero.
DIFFERENCES: dict[Verdict, list[float]] = {
    "supported": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7],  # 2 / 256
    "contradicted": [-1.0, -1.1, -1.2, -1.3, -1.4, -1.5, -1.6, -1.7],  # 2 / 256
    "equivalent": [0.1, 0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 0.2],  # 2 / 256, and beyond zero all the same
    "inconclusive": [3.0, -3.0, 3.0, -3.0, 3.0, -3.0, 3.0, -3.0],  # 1
}
WEAKER = [-0.2, -0.1, 2, 2, 2, 3, 3, 3]  # flipping either, both or none of the first two: 8 / 256


def claim(name: str = "a", margin: float = 0.5, primary: bool = True) -> StatedClaim:
    return StatedClaim(name, "adamw-better", "A beats B", "a - b", "test_accuracy", margin, primary)


def measured(differences: Sequence[float], name: str = "a", margin: float = 0.5, primary: bool = True) -> Measured:
    return Measured(claim(name, margin, primary), tuple(differences))


# Contrasts


def test_a_contrast_is_the_weighted_sum_computed_by_hand() -> None:
    values = {SGD: [1.0, 2.0], MOMENTUM: [3.0, 6.0], ADAM: [5.0, 5.0]}
    assert contrast(values, {ADAM: 1, SGD: -1}).tolist() == [4, 3]
    assert contrast(values, {ADAM: 1, SGD: -0.5, MOMENTUM: -0.5}).tolist() == [3, 1]
    assert contrast(values, {SGD: 2, MOMENTUM: -1, ADAM: -1}).tolist() == [-6, -7]


def test_a_contrast_of_losses_without_tuning_is_as_computed_by_hand() -> None:
    values = {UNTUNED: [0.7], ADAM: [0.9], ("sgd", "untuned"): [0.1], SGD: [0.8]}
    weights: dict[Arm, float] = {UNTUNED: 1, ADAM: -1, ("sgd", "untuned"): -1, SGD: 1}  # -0.2 against -0.7
    assert contrast(values, weights) == pytest.approx([0.5])


def test_contrast_of_answers_is_the_contrast_of_accuracies_example_by_example() -> None:
    rng = np.random.default_rng(0)
    answers = {arm: rng.random((4, 25)) < 0.9 for arm in (SGD, MOMENTUM, ADAM)}
    weights = {ADAM: 1, SGD: -0.5, MOMENTUM: -0.5}
    accuracies = {arm: right.mean(axis=1) for arm, right in answers.items()}
    assert contrast(answers, weights).shape == (4, 25)
    assert contrast(answers, weights).mean(axis=1) == pytest.approx(contrast(accuracies, weights))


def test_negated_weights_negate_the_contrast() -> None:
    values = {SGD: np.random.default_rng(0).random(6), ADAM: np.random.default_rng(1).random(6)}
    there, back = contrast(values, {ADAM: 1, SGD: -1}), contrast(values, {ADAM: -1, SGD: 1})
    assert there.tolist() == (-back).tolist()


def test_a_tie_stays_a_tie_despite_rounding() -> None:
    thirds = {("rmsprop", "tuned"): -1 / 3, SGD: -1 / 3, MOMENTUM: -1 / 3}
    accuracies = np.arange(1, 360) / 360
    values = dict.fromkeys((ADAM, *thirds), accuracies)
    plain = np.sum([weight * accuracies for weight in [1, *thirds.values()]], axis=0)
    assert np.any(plain != 0)  # without the care taken
    assert np.all(contrast(values, {ADAM: 1, **thirds}) == 0)


def test_a_difference_of_one_answer_in_a_million_is_no_tie() -> None:
    values = {ADAM: [0.9], SGD: [0.9 - 1e-6]}  # one answer in a million
    assert contrast(values, {ADAM: 1, SGD: -1}) == pytest.approx([1e-6])


@pytest.mark.parametrize("weights", [{ADAM: 1.0}, {ADAM: 1.0, SGD: -0.5}, {ADAM: 1.0, SGD: 1.0}])
def test_weights_of_a_contrast_sum_to_zero(weights: dict[Arm, float]) -> None:
    with pytest.raises(AssertionError, match="sum to zero"):
        contrast({ADAM: [1.0], SGD: [1.0]}, weights)


def test_arms_of_a_contrast_are_paired() -> None:
    with pytest.raises(AssertionError, match="paired by replicate"):
        contrast({ADAM: [1.0, 2.0], SGD: [1.0]}, {ADAM: 1, SGD: -1})


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({("adam", ""): 1, ("sgd", ""): -1}, "adam - sgd"),
        ({ADAM: 1, SGD: -0.5, MOMENTUM: -0.5}, "adam/tuned - 1/2 sgd/tuned - 1/2 momentum/tuned"),
        ({("adam", ""): 1, ("sgd", ""): -1 / 3, UNTUNED: -2 / 3}, "adam - 1/3 sgd - 2/3 adam/untuned"),
        ({("sgd", ""): -1, ("adam", ""): 1}, "adam - sgd"),  # what is added comes first
        ({("adam", "sweep"): 1, ("sgd", "sweep"): -1}, "adam - sgd"),  # the metric says that
        ({("adam", ""): 2, ("sgd", ""): -1, ("momentum", ""): -1}, "2 adam - sgd - momentum"),
    ],
)
def test_a_contrast_is_written_as_a_formula(weights: dict[Arm, float], words: str) -> None:
    assert readable(weights) == words


# Verdicts


@pytest.mark.parametrize(
    ("low", "high", "p", "expected"),
    [
        (-0.4, 0.4, 1.0, "equivalent"),
        (0.1, 0.4, 0.001, "equivalent"),  # before supported: a difference beyond zero that does not matter
        (-0.4, -0.1, 0.001, "equivalent"),  # before contradicted
        (0.1, 0.9, 0.001, "supported"),
        (0.6, 0.9, 0.001, "supported"),
        (-0.9, -0.1, 0.001, "contradicted"),
        (-0.9, -0.6, 0.001, "contradicted"),
        (0.1, 0.9, 0.2, "inconclusive"),  # beyond zero, but not after correction
        (-0.9, -0.1, 0.2, "inconclusive"),
        (-0.1, 0.9, 0.001, "inconclusive"),  # the test found it, the interval did not
        (-0.9, 0.1, 0.001, "inconclusive"),
        (-0.9, 0.9, 1.0, "inconclusive"),
    ],
)
def test_the_verdict_is_the_first_whose_condition_holds(low: float, high: float, p: float, expected: Verdict) -> None:
    assert verdict(Estimate(8, (low + high) / 2, 1.0, low, high), p, 0.5) == expected


@pytest.mark.parametrize(
    ("low", "high", "p"),
    [(-0.5, 0.4, 1.0), (-0.4, 0.5, 1.0), (0.0, 0.9, 0.001), (-0.9, 0.0, 0.001), (0.1, 0.9, LEVEL), (0.0, 0.0, 1.0)],
)
def test_an_interval_that_touches_a_bound_is_inconclusive(low: float, high: float, p: float) -> None:
    margin = 0.5 if low != high else 0.0
    assert verdict(Estimate(8, (low + high) / 2, 1.0, low, high), p, margin) == "inconclusive"


def test_mirrored_evidence_mirrors_the_verdict() -> None:
    turned = {"supported": "contradicted", "contradicted": "supported"}
    rng = np.random.default_rng(0)
    for _ in range(200):
        low, high, p = *sorted(rng.uniform(-1, 1, 2).tolist()), rng.choice([0.01, 0.5])
        there = verdict(Estimate(8, 0, 1, low, high), p, 0.5)
        assert verdict(Estimate(8, 0, 1, -high, -low), p, 0.5) == turned.get(there, there)


# Judging a study


@pytest.mark.parametrize("expected", DIFFERENCES)
def test_a_single_claim_gets_the_expected_verdict_and_p(expected: Verdict) -> None:
    (judged,) = judge([measured(DIFFERENCES[expected])])
    assert judged.verdict == expected
    assert judged.p == judged.p_corrected == (1 if expected == "inconclusive" else 2 / 256)


def test_a_judged_claim_holds_the_results_of_the_statistics() -> None:
    examples = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], (8, 40))
    differences = tuple(examples.mean(axis=1).tolist())
    (judged,) = judge([Measured(claim(), differences, examples)])
    assert judged.claim == claim()
    assert judged.differences == differences
    assert judged.estimate == t_interval(differences)
    assert judged.p == sign_flip_p(differences)
    assert judged.positive == probability_positive(differences)
    assert judged.two_way == two_way_bootstrap(examples)


def test_without_answers_there_is_no_two_way_interval() -> None:
    (judged,) = judge([measured(DIFFERENCES["supported"])])
    assert judged.two_way is None


def study() -> list[Measured]:
    """Return claims with p of 2/256, 8/256 and 1, and between them two exploratory ones with a p of 2/256."""
    return [
        measured(DIFFERENCES["inconclusive"], "undecided"),
        measured(DIFFERENCES["supported"], "other", primary=False),
        measured(WEAKER, "weaker"),
        measured(DIFFERENCES["equivalent"], "another", primary=False),
        measured(DIFFERENCES["contradicted"], "strong"),
    ]


def by_name(judged: Sequence[Judged]) -> dict[str, Judged]:
    return {one.claim.id: one for one in judged}


def test_p_is_corrected_over_the_primary_claims_alone() -> None:
    judged = by_name(judge(study()))
    assert {name: one.p for name, one in judged.items() if one.claim.primary} == {
        "undecided": 1,
        "weaker": 8 / 256,
        "strong": 2 / 256,
    }
    assert judged["strong"].p_corrected == 3 * 2 / 256
    assert judged["weaker"].p_corrected == 2 * 8 / 256
    assert judged["undecided"].p_corrected == 1


def test_correction_over_many_claims_can_cost_a_verdict() -> None:
    alone = judge([measured(WEAKER, "weaker")])[0]
    among = by_name(judge(study()))["weaker"]
    assert (alone.verdict, among.verdict) == ("supported", "inconclusive")
    assert alone.p == among.p
    assert alone.estimate == among.estimate


def test_an_exploratory_claim_gets_its_p_and_no_verdict() -> None:
    for name in ("other", "another"):
        exploratory = by_name(judge(study()))[name]
        assert exploratory.p == 2 / 256
        assert exploratory.verdict == "exploratory"
        assert exploratory.p_corrected is None
        assert exploratory.replicates_needed is None


def test_a_post_hoc_claim_is_exploratory_and_not_counted_in_the_correction() -> None:
    *others, last = study()
    later = replace(last, claim=replace(last.claim, post_hoc=True))
    judged = judge([*others, later])
    assert judged[-1].verdict == "exploratory"
    assert judged[-1].p_corrected is None
    assert [one.p_corrected for one in judged[:-1]] == [one.p_corrected for one in judge(others)]
    assert worded_verdict(judged[-1].row()) == "exploratory, post hoc"


def test_withdrawn_claims_stay_in_the_correction_and_never_help() -> None:
    judged = by_name(judge(study(), withdrawn=2))
    assert judged["strong"].p_corrected == 5 * 2 / 256  # three that stand, two that do not
    assert judged["weaker"].p_corrected == 4 * 8 / 256
    assert {one.tests for one in judged.values()} == {5}
    for name, one in by_name(judge(study())).items():
        assert (one.p_corrected or 0) <= (judged[name].p_corrected or 0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "supported"),
        ({"qualifier": "from weights pretrained by adam"}, "supported, from weights pretrained by adam"),
        ({"verdict": "exploratory", "post_hoc": True}, "exploratory, post hoc"),
        (
            {"verdict": "exploratory", "post_hoc": True, "qualifier": "for these hyperparameters"},
            "exploratory, post hoc, for these hyperparameters",
        ),
    ],
)
def test_a_verdict_is_worded_with_all_its_limits(changes: dict[str, object], words: str) -> None:
    assert worded_verdict({"verdict": "supported", "post_hoc": False, "qualifier": "", **changes}) == words


def test_exploratory_claims_do_not_affect_primary_claims() -> None:
    primary = [one for one in study() if one.claim.primary]
    assert [one for one in judge(study()) if one.claim.primary] == judge(primary)


def test_judged_claims_keep_their_order_and_order_has_no_effect() -> None:
    assert [one.claim.id for one in judge(study())] == [one.claim.id for one in study()]
    assert judge(study()[::-1]) == judge(study())[::-1]


def test_a_study_without_claims_has_no_verdicts() -> None:
    assert judge([]) == []


def test_replicates_needed_are_given_for_inconclusive_claims_and_twice_the_margin() -> None:
    for one in judge(study()):
        undecided = one.verdict == "inconclusive"
        needed = replicates_needed(one.estimate.sd, 2 * one.claim.margin, 3) if undecided else None
        assert one.replicates_needed == needed
    assert {one.claim.id for one in judge(study()) if one.replicates_needed} == {"undecided", "weaker"}


def test_a_study_has_at_most_twelve_primary_claims() -> None:
    most = [measured(DIFFERENCES["supported"], str(number)) for number in range(MOST_PRIMARY)]
    assert len(judge([*most, measured(DIFFERENCES["supported"], "more", primary=False)])) == 13
    with pytest.raises(AssertionError, match="no more primary claims"):
        judge([*most, measured(DIFFERENCES["supported"], "more")])


def test_twelve_claims_are_corrected_by_holm() -> None:
    rng = np.random.default_rng(0)
    judged = judge([measured(rng.normal(number / 4, 1, 10).tolist(), str(number)) for number in range(MOST_PRIMARY)])
    assert [one.p_corrected for one in judged] == holm([one.p for one in judged])


def test_a_row_of_claims_json_holds_the_claim_and_its_statistics() -> None:
    examples = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], (8, 40))
    for one in [*study(), Measured(claim(), tuple(DIFFERENCES["supported"]), examples)]:
        (judged,) = judge([one])
        row = judged.row()
        assert json.loads(json.dumps(row, allow_nan=False)) == row
        assert row == {
            **asdict(one.claim),
            "n": 8,
            "effect": judged.estimate.mean,
            "sd": judged.estimate.sd,
            "ci_low": judged.estimate.low,
            "ci_high": judged.estimate.high,
            "p": judged.p,
            "p_corrected": judged.p_corrected,
            "probability": judged.positive.value,
            "probability_low": judged.positive.low,
            "probability_high": judged.positive.high,
            "two_way_low": judged.two_way[0] if judged.two_way else None,
            "two_way_high": judged.two_way[1] if judged.two_way else None,
            "verdict": judged.verdict,
            "replicates_needed": judged.replicates_needed,
            "tests": judged.tests,
            "differences": list(one.differences),
        }
