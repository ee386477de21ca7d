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
    Pair,
    StatedClaim,
    contrast,
    furthest,
    judge,
    readable,
    worded_verdict,
)
from optstudy.inference.decisions import VERDICTS, Level, decide
from optstudy.inference.intervals import probability_positive, t_interval, two_way_interval
from optstudy.inference.power import replicates_needed, replicates_needed_range
from optstudy.inference.sign_flips import sign_flip_p
from optstudy.study.claim import MOST_PRIMARY, Arm

SGD, MOMENTUM, ADAM = ("sgd", "tuned"), ("momentum", "tuned"), ("adam", "tuned")
UNTUNED: Arm = ("adam", "untuned")

# Paired differences of eight replicates, by the level they get alone at a margin of 0.5.
DIFFERENCES: dict[Level, list[float]] = {
    "ahead by more than the margin": [1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7],
    "behind by more than the margin": [-1.0, -1.1, -1.2, -1.3, -1.4, -1.5, -1.6, -1.7],
    "ahead, but equivalent": [0.1, 0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 0.2],
    "too noisy": [3.0, -3.0, 3.0, -3.0, 3.0, -3.0, 3.0, -3.0],
}


def claim(name: str = "a", margin: float = 0.5, primary: bool = True) -> StatedClaim:
    return StatedClaim(name, "adamw-better", "A beats B", "a - b", "test_accuracy", margin, primary)


def measured(*differences: Sequence[float], name: str = "a", margin: float = 0.5, primary: bool = True) -> Measured:
    pairs = tuple(Pair(f"pair {number}", tuple(own)) for number, own in enumerate(differences))
    return Measured(claim(name, margin, primary), pairs)


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


def study() -> list[Measured]:
    """Return one claim of each level, a claim about two rivals, and an exploratory claim."""
    several = measured(DIFFERENCES["ahead by more than the margin"], DIFFERENCES["too noisy"], name="several")
    beside = measured(DIFFERENCES["ahead by more than the margin"], name="beside", primary=False)
    return [*(measured(own, name=level) for level, own in DIFFERENCES.items()), several, beside]


def rows(judged: Sequence[Judged]) -> list[str]:
    return [json.dumps(one.row(), allow_nan=False, sort_keys=True) for one in judged]


def test_each_claim_gets_the_verdict_of_its_level() -> None:
    for one in judge(study())[:-2]:
        assert one.decision is not None
        assert (one.decision.level, one.verdict) == (one.claim.id, VERDICTS[one.decision.level][0])


def test_claims_are_decided_jointly_by_the_columns_of_their_pairs() -> None:
    family = study()[:-1]
    columns = np.array([pair.differences for one in family for pair in one.pairs]).T
    expected = decide(columns, np.full(6, 0.5), [[0], [1], [2], [3], [4, 5]], search_sd=np.full(6, np.nan))
    assert [one.decision for one in judge(family)] == expected


def test_exploratory_and_post_hoc_claims_get_p_and_no_verdict() -> None:
    later = replace(claim(), post_hoc=True)
    for one in (study()[-1], Measured(later, study()[0].pairs)):
        (judged,) = judge([one])
        assert (judged.verdict, judged.decision, judged.needed) == ("exploratory", None, None)
        assert judged.p == sign_flip_p(one.pairs[0].differences) == 2 / 2**8


def test_the_effect_shown_is_that_of_the_least_favourable_pair() -> None:
    far, near = DIFFERENCES["ahead by more than the margin"], DIFFERENCES["ahead, but equivalent"]
    (one,) = judge([measured(far, near)])
    row = one.row()
    assert (row["effect"], row["differences"]) == (pytest.approx(0.15), near)
    assert [(pair["contrast"], pair["effect"]) for pair in row["pairs"]] == [
        ("pair 0", pytest.approx(1.35)),
        ("pair 1", pytest.approx(0.15)),
    ]
    assert row["p"] == max(pair["p"] for pair in row["pairs"])
    assert [pair["level"] for pair in row["pairs"]] == ["ahead by more than the margin", "ahead, but equivalent"]
    assert (row["level"], row["verdict"]) == ("ahead", "supported")


def test_a_pair_that_cannot_be_tested_gives_its_reason() -> None:
    pairs = (Pair("a", tuple(DIFFERENCES["ahead by more than the margin"])), Pair("b", (0.0,) * 8, not_tested="equal"))
    (one,) = judge([Measured(claim(), pairs)])
    row = one.row()
    assert (row["verdict"], row["reason"], row["replicates_needed"]) == ("not tested", "equal", None)
    assert worded_verdict(row) == "not tested: equal"
    assert [pair["reason"] for pair in row["pairs"]] == ["", "equal"]


def test_a_withheld_verdict_names_the_replicates_that_lie_furthest_out() -> None:
    skewed = (-1.2, -1.1, -1.0, -0.9, -1.1, -1.0, -0.9, 0.9)
    (one,) = judge([Measured(claim(), (Pair("a", skewed),))])
    row = one.row()
    assert (row["withheld"], row["verdict"], row["level"], row["furthest"]) == (True, "inconclusive", "too noisy", [7])


def test_what_redrawn_searches_vary_by_withholds_a_verdict() -> None:
    values = tuple(DIFFERENCES["ahead by more than the margin"])
    row = judge([Measured(claim(), (Pair("a", values, search_sd=9.0),))])[0].row()
    assert (row["withheld"], row["search_sd"], row["replicates_needed"]) == (True, 9.0, replicates_needed(9.0, 1.0, 1))


def test_the_furthest_differences_are_those_beyond_three_robust_deviations() -> None:
    assert furthest([0.1, 0.2, 0.15, 0.1, 5.0, 0.2, -4.0, 0.15]) == [4, 6]
    assert furthest([0.1, 0.2, 0.3, 0.5]) == [3]  # none is: the one that lies furthest
    assert furthest([0.0, 0.0, 0.0, 1.0]) == [3]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "supported: ahead, within reach of the margin"),
        ({"level": "ahead by more than the margin"}, "supported: ahead by more than the margin"),
        ({"verdict": "equivalent", "level": "equivalent"}, "equivalent"),
        ({"verdict": "inconclusive", "level": "probably small"}, "inconclusive: probably small"),
        ({"verdict": "not tested", "level": "not tested", "reason": "why"}, "not tested: why"),
        (
            {"verdict": "inconclusive", "level": "too noisy", "qualifier": "for these hyperparameters"},
            "inconclusive: too noisy, for these hyperparameters",
        ),
        (
            {"verdict": "exploratory", "level": None, "post_hoc": True, "qualifier": "for these hyperparameters"},
            "exploratory, post hoc, for these hyperparameters",
        ),
    ],
)
def test_a_verdict_is_worded_with_its_level_and_all_its_limits(changes: dict[str, object], words: str) -> None:
    plain = {"verdict": "supported", "level": "ahead", "reason": "", "missed": "", "post_hoc": False, "qualifier": ""}
    assert worded_verdict({**plain, **changes}) == words


def test_exploratory_claims_do_not_affect_primary_claims() -> None:
    primary = [one for one in study() if one.claim.primary]
    assert rows([one for one in judge(study()) if one.claim.primary]) == rows(judge(primary))


def test_judged_claims_keep_their_order_and_order_has_no_effect() -> None:
    assert [one.claim.id for one in judge(study())] == [one.claim.id for one in study()]
    assert rows(judge(study()[::-1])) == rows(judge(study()))[::-1]


def test_a_study_without_claims_has_no_verdicts() -> None:
    assert judge([]) == []


def test_replicates_needed_are_given_for_inconclusive_claims_and_twice_the_margin() -> None:
    for one in judge(study()):
        sd = t_interval(one.shown.differences).sd
        undecided = one.verdict == "inconclusive"
        needed = replicates_needed_range(8, sd, 2 * one.claim.margin, one.tests) if undecided else None
        assert one.needed == needed
    assert {one.claim.id for one in judge(study()) if one.needed} == {"too noisy", "several"}


def test_a_study_has_at_most_twelve_primary_claims() -> None:
    own = DIFFERENCES["ahead by more than the margin"]
    most = [measured(own, name=str(number)) for number in range(MOST_PRIMARY)]
    assert len(judge([*most, measured(own, name="more", primary=False)])) == 13
    with pytest.raises(AssertionError, match="no more primary claims"):
        judge([*most, measured(own, name="more")])


def test_a_row_of_claims_json_holds_the_claim_and_its_statistics() -> None:
    examples = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], (8, 40))
    own = Pair("a - b", tuple(DIFFERENCES["ahead by more than the margin"]), examples)
    for one in [*study(), Measured(claim(), (own,))]:
        (judged,) = judge([one])
        row, shown, decision = judged.row(), judged.shown, judged.decision
        estimate, positive = t_interval(shown.differences), probability_positive(shown.differences)
        two_way = two_way_interval(shown.examples) if shown.examples is not None else (None, None)
        assert json.loads(json.dumps(row, allow_nan=False)) == row
        assert row == {
            **asdict(one.claim),
            "n": 8,
            "effect": estimate.mean,
            "sd": estimate.sd,
            "ci_low": estimate.low,
            "ci_high": estimate.high,
            "confidence": 0.95,
            "search_sd": None,
            "p": judged.p,
            "p_corrected": decision.p if decision else None,
            "p_equivalent": decision.p_equivalent if decision else None,
            "probability": positive.value,
            "probability_low": positive.low,
            "probability_high": positive.high,
            "two_way_low": two_way[0],
            "two_way_high": two_way[1],
            "verdict": judged.verdict,
            "level": decision.level if decision else None,
            "reason": "",
            "withheld": False,
            "furthest": [],
            "replicates_needed": judged.needed.needed if judged.needed else None,
            "replicates_needed_low": judged.needed.low if judged.needed else None,
            "replicates_needed_high": judged.needed.high if judged.needed else None,
            "tests": judged.tests,
            "reached": "",
            "missed": "",
            "at_least": False,
            "differences": list(shown.differences),
            "pairs": row["pairs"],
        }
