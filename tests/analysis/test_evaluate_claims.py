"""Claims evaluated on tables: effects are positive as claimed, and a claim's hash depends on what it tests."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from builders import tiny
from optstudy.analysis.evaluate_claims import (
    claim_hash,
    claim_rows,
    contrasts,
    example_differences,
    in_words,
    reached_by,
    redrawn_values,
    search_sd,
    stated,
    withdrawn,
)
from optstudy.analysis.tables import Values
from optstudy.analysis.verdicts import worded_effect, worded_verdict
from optstudy.errors import StudyError
from optstudy.inference.targets import Reached
from optstudy.planning.journal import Stated
from optstudy.spec import pack
from optstudy.study.study import Study

BETTER = {"statement": "adam wins", "better": "adam", "than": "sgd"}


WEIGHTS: dict[str, object] = {"better": None, "than": []}
LOSSES = {"adam/untuned": 1.0, "adam/tuned": -1.0, "sgd/tuned": 1.0, "sgd/untuned": -1.0}


def claiming(**changes: object) -> Study:
    return tiny(claims=[{**BETTER, **changes}])


def hashed(study: Study) -> str:
    return claim_hash(study, study.claims[0])


def test_if_lower_is_better_the_effect_is_positive_if_the_side_named_better_is_lower() -> None:
    study = claiming(metric="epochs_to_target")
    assert contrasts(study, study.claims[0]) == [{("adam", "tuned"): -1.0, ("sgd", "tuned"): 1.0}]
    values = timed({"adam": ([1, 2], [1, 1]), "sgd": ([3, 5], [1, 1])})
    row = claim_rows(study, pd.DataFrame(), values, Stated())[0]
    assert row["differences"] == [2, 3]
    assert (row["effect"], row["margin"]) == (2.5, 1.0)


def timed(arms: dict[str, tuple[list[float], list[float]]], name: str = "epochs_to_target") -> Values:
    """Return the tuned values of contenders: restricted times, and which of them reached the target."""
    return {(arm, "tuned"): {name: times, "reached": reached} for arm, (times, reached) in arms.items()}


NO_ANSWERS = pd.DataFrame({"contender": [], "variant": []})
ALL, SIX, SEVEN_OF_10, NONE = ([1.0] * n + [0.0] * (10 - n) for n in (10, 6, 7, 0))
FAST, SLOW = [5.0 + k % 2 for k in range(10)], [18.0 + k % 3 for k in range(10)]


@pytest.mark.parametrize(
    ("adam", "sgd", "verdict", "missed", "at_least"),
    [
        (ALL, ALL, "supported", "", False),
        (ALL, SIX, "supported", "", True),  # only the slower one often misses
        (SIX, ALL, "supported", "", False),
        (SEVEN_OF_10, SIX, "inconclusive", "the target was reached in 7 of 10 and 6 of 10 replicates", False),
        (NONE, NONE, "inconclusive", "the target was reached in 0 of 10 and 0 of 10 replicates", False),
    ],
)
def test_misses_leave_a_claim_undecided_or_make_its_effect_a_lower_bound(
    adam: list[float], sgd: list[float], verdict: str, missed: str, at_least: bool
) -> None:
    study = claiming(metric="epochs_to_target")
    [row] = claim_rows(study, NO_ANSWERS, timed({"adam": (FAST, adam), "sgd": (SLOW, sgd)}), stated(study))
    assert (row["verdict"], row["missed"], row["at_least"]) == (verdict, missed, at_least)
    assert worded_effect(row).startswith("at least +") is at_least
    turned = claiming(better="sgd", than="adam", metric="epochs_to_target")
    values = timed({"adam": (FAST, adam), "sgd": (SLOW, sgd)})
    [mirror] = claim_rows(turned, NO_ANSWERS, values, stated(turned))
    assert worded_effect(mirror).startswith("at most −") is at_least
    assert worded_verdict(row) == (f"inconclusive: {missed}" if missed else worded_verdict(row))
    assert (row["replicates_needed"], row["level"] is None) == (None, bool(missed))  # a forecast needs the spread
    exploratory = claim_rows(study, NO_ANSWERS, timed({"adam": (FAST, adam), "sgd": (SLOW, sgd)}), Stated())[0]
    assert (exploratory["verdict"], exploratory["at_least"]) == ("exploratory", at_least)


def test_trainings_that_all_miss_are_not_equivalent_and_those_that_tie_are() -> None:
    study, ties = claiming(metric="epochs_to_target"), [20.0] * 10
    tied, missed = (
        claim_rows(study, NO_ANSWERS, timed({"adam": (ties, reached), "sgd": (ties, reached)}), stated(study))[0]
        for reached in (ALL, NONE)
    )
    assert (tied["verdict"], missed["verdict"]) == ("equivalent", "inconclusive")


def test_a_claim_about_each_rival_is_undecided_by_one_pair_and_contradicted_by_another() -> None:
    study = tiny(
        optimizers=["sgd", "adam", "rmsprop"],
        claims=[{"statement": "s", "better": "adam", "than_each": ["sgd", "rmsprop"], "metric": "epochs_to_target"}],
    )
    arms = {"adam": (FAST, SIX), "sgd": (SLOW, SIX), "rmsprop": (SLOW, ALL)}
    [row] = claim_rows(study, NO_ANSWERS, timed(arms), stated(study))
    assert row["verdict"] == "inconclusive"
    assert row["missed"] == "the target was reached in 6 of 10 and 6 of 10 replicates (adam against sgd)"
    assert [pair["missed"] != "" for pair in row["pairs"]] == [True, False]
    faster = {**arms, "rmsprop": ([1.0 + k % 2 for k in range(10)], ALL)}
    [row] = claim_rows(study, NO_ANSWERS, timed(faster), stated(study))
    assert (row["verdict"], row["missed"]) == ("contradicted", "")


def test_a_side_with_weight_zero_does_not_count_for_misses() -> None:
    values = timed({"adam": (FAST, SIX), "sgd": (SLOW, SEVEN_OF_10), "rmsprop": (SLOW, NONE)})
    sides = {("adam", "tuned"): -1.0, ("sgd", "tuned"): 1.0, ("rmsprop", "tuned"): 0.0}
    assert reached_by("epochs_to_target", sides, values) == (Reached(6, 10, -1.0), Reached(7, 10, 1.0))
    assert reached_by("test_accuracy", sides, values) == ()


def test_a_claim_on_seconds_names_the_device_and_scales_with_them() -> None:
    study = claiming(metric="seconds_to_target", margin=1.0)
    values = timed({"adam": (FAST, ALL), "sgd": (SLOW, ALL)}, "seconds_to_target")
    [row] = claim_rows(study, NO_ANSWERS, values, stated(study), device="cpu (a processor)")
    assert row["contrast"] == "adam against sgd, on cpu (a processor)"
    twice = timed({"adam": ([2 * t for t in FAST], ALL), "sgd": ([2 * t for t in SLOW], ALL)}, "seconds_to_target")
    scaled = claiming(metric="seconds_to_target", margin=2.0)
    [other] = claim_rows(scaled, NO_ANSWERS, twice, stated(scaled), device="cpu (a processor)")
    assert (other["verdict"], other["p"], other["effect"]) == (row["verdict"], row["p"], 2 * row["effect"])


def test_a_claim_on_seconds_that_are_not_known_says_why() -> None:
    study = claiming(metric="seconds_to_target", margin=1.0)
    with pytest.raises(StudyError, match="adam/tuned does not have it: its steps were not timed, and several machines"):
        claim_rows(study, NO_ANSWERS, timed({"adam": (FAST, ALL), "sgd": (SLOW, ALL)}), stated(study))


def test_the_hash_of_a_claim_depends_on_its_test_and_not_on_its_wording() -> None:
    same = [{"statement": "other words"}, {"topic": "adam-fast"}, {"margin": 0.005}]
    assert {hashed(claiming(**change)) for change in same} == {hashed(claiming())}
    other = [{"margin": 0.01}, {"metric": "val_accuracy"}, {"primary": False}, {"better": "sgd", "than": "adam"}]
    assert len({hashed(claiming()), *(hashed(claiming(**change)) for change in other)}) == 1 + len(other)
    spelled = tiny(claims=[{"statement": "s", "weights": {"sgd/tuned": -1.0, "adam/tuned": 1.0}}])
    assert hashed(spelled) == hashed(claiming())


def test_a_claim_is_post_hoc_unless_it_was_stated_at_the_first_training() -> None:
    study = claiming()
    values = {("adam", "tuned"): {"test_accuracy": [0.9, 0.8]}, ("sgd", "tuned"): {"test_accuracy": [0.7, 0.7]}}
    answers = pd.DataFrame({"contender": [], "variant": []})
    there, absent = (claim_rows(study, answers, values, first)[0] for first in (stated(study), Stated()))
    assert (there["post_hoc"], there["verdict"]) == (False, "inconclusive")
    assert (absent["post_hoc"], worded_verdict(absent)) == (True, "exploratory, post hoc")


def test_a_claim_on_a_metric_that_a_contender_lacks_is_an_input_error() -> None:
    study = claiming(metric="val_loss")
    values = {("adam", "tuned"): {"val_loss": [0.1, 0.2]}, ("sgd", "tuned"): {"test_accuracy": [0.9, 0.8]}}
    with pytest.raises(StudyError, match=r"tiny: claims\.0\.metric: 'val_loss': sgd/tuned does not have it"):
        claim_rows(study, pd.DataFrame(), values, Stated())


def test_differences_by_example_pair_the_same_replicate_and_the_same_example() -> None:
    rows = [
        ("adam", 1, [True, False, True]),
        ("adam", 0, [True, True, True]),
        ("sgd", 0, [False, True, True]),
        ("sgd", 1, [True, True, False]),
    ]
    answers = pd.DataFrame(
        [{"contender": c, "variant": "tuned", "replicate": r, "right": pack(right)} for c, r, right in rows]
    )
    sides = {("adam", "tuned"): 1.0, ("sgd", "tuned"): -1.0}
    found = example_differences(answers, sides)
    assert found is not None
    assert found.tolist() == [[1, 0, 0], [0, -1, 1]]
    assert example_differences(answers, {("adam", "tuned"): 1.0, ("sgd", "untuned"): -1.0}) is None


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        ({}, "adam against sgd"),
        ({"than": ["sgd", "adam/untuned"]}, "adam against the mean of sgd, adam/untuned"),
        ({**WEIGHTS, "weights": {"adam": 1.0, "sgd": -0.5, "sgd/untuned": -0.5}}, "adam - 1/2 sgd - 1/2 sgd/untuned"),
        # Less is better: what is claimed to be better is subtracted, as in the effect.
        (
            {**WEIGHTS, "metric": "val_loss", "weights": {"adam": 1.0, "sgd": -0.5, "sgd/untuned": -0.5}},
            "1/2 sgd + 1/2 sgd/untuned - adam",
        ),
        ({"better": None, "worse": "sgd", "than": ["adam"]}, "adam against sgd"),
        (
            {"better": None, "worse": "sgd", "than": ["adam", "adam/untuned"]},
            "the mean of adam, adam/untuned against sgd",
        ),
        ({"than": [], "than_each": ["sgd", "sgd/untuned"]}, "adam against each of sgd, sgd/untuned"),
        (
            {"better": None, "worse": "sgd", "than": [], "than_each": ["adam", "adam/untuned"]},
            "each of adam, adam/untuned against sgd",
        ),
        ({"better": None, "than": [], "loses_less": "adam"}, "what adam loses untuned against what sgd loses"),
        ({**WEIGHTS, "weights": LOSSES}, "what adam loses untuned against what sgd loses"),
        ({**WEIGHTS, "weights": LOSSES, "metric": "val_loss"}, "what adam loses untuned against what sgd loses"),
    ],
)
def test_a_contrast_is_written_in_words_or_as_a_formula(claim: dict[str, object], words: str) -> None:
    study = claiming(**claim)
    assert in_words(study, study.claims[0]) == words


def test_the_formula_of_a_contrast_has_the_sign_of_its_effect() -> None:
    study = claiming(**WEIGHTS, metric="val_loss", weights={"adam": 1.0, "sgd": -0.5, "sgd/untuned": -0.5})
    arms = {("adam", "tuned"): [0.1, 0.2], ("sgd", "tuned"): [0.3, 0.4], ("sgd", "untuned"): [0.5, 0.8]}
    values = {arm: {"val_loss": own} for arm, own in arms.items()}
    row = claim_rows(study, pd.DataFrame(), values, stated(study))[0]
    assert row["contrast"] == "1/2 sgd + 1/2 sgd/untuned - adam"
    assert row["differences"] == pytest.approx([0.15 + 0.25 - 0.1, 0.2 + 0.4 - 0.2])


def test_the_loss_without_tuning_against_the_mean_loss_of_others_is_written_in_words() -> None:
    names = ["sgd", "momentum", "rmsprop", "adamw"]
    others = {f"{name}/{variant}": sign / 4 for name in names for variant, sign in (("tuned", 1), ("untuned", -1))}
    claim = {"statement": "s", "weights": {"adam/untuned": 1.0, "adam/tuned": -1.0, **others}}
    study = tiny(optimizers=[*names, "adam"], claims=[claim])
    found = in_words(study, study.claims[0])
    assert found == "what adam loses untuned against the mean loss of sgd, momentum, rmsprop, adamw"


@pytest.mark.parametrize(("once", "expected"), [(True, "for these hyperparameters"), (False, "")])
def test_one_search_limits_every_verdict_to_its_hyperparameters(once: bool, expected: str) -> None:
    study = tiny(claims=[BETTER], tuning={"trials": 2, "once": once})
    values = {("adam", "tuned"): {"test_accuracy": [0.9, 0.8]}, ("sgd", "tuned"): {"test_accuracy": [0.7, 0.7]}}
    answers = pd.DataFrame({"contender": [], "variant": []})
    assert claim_rows(study, answers, values, Stated())[0]["qualifier"] == expected


def test_the_hash_of_a_claim_depends_on_the_settings_that_define_its_metric() -> None:
    epochs = claiming(metric="epochs_to_target")
    targets = [tiny(claims=[{**BETTER, "metric": "epochs_to_target"}], target=target) for target in (0.9, 0.95)]
    assert len({hashed(study) for study in (epochs, *targets)}) == 3
    sweeps = [
        tiny(
            claims=[{**BETTER, "metric": "learning_rate_tolerance"}],
            sweep={"contenders": ["adam", "sgd"], "points": points, "within": within},
        )
        for points, within in ((7, 0.01), (13, 0.01), (7, 0.02))
    ]
    assert len({hashed(study) for study in sweeps}) == 3
    assert hashed(tiny(claims=[BETTER], target=0.9)) == hashed(claiming())  # accuracy has no target


SEVEN = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07]  # as claimed, p = 2 / 2^7


def verdict_after(study: Study, first: Stated) -> tuple[str, float | None, int]:
    values = {("adam", "tuned"): {"test_accuracy": SEVEN}, ("sgd", "tuned"): {"test_accuracy": [0.0] * 7}}
    values["sgd", "untuned"] = {"test_accuracy": [0.5] * 7}
    row = claim_rows(study, pd.DataFrame({"contender": [], "variant": []}), values, first)[0]
    return row["verdict"], row["p_corrected"], row["tests"]


def test_withdrawing_claims_makes_no_other_claim_supported() -> None:
    """The p of the claim is 2 / 128 = 0.016; three withdrawn claims correct it to 0.0625."""
    further = [{**BETTER, "statement": str(number), "margin": 0.1 * number} for number in (1, 2, 3)]
    before, after = tiny(claims=[BETTER, *further]), tiny(claims=[BETTER])
    assert verdict_after(after, stated(after)) == ("supported", 2 / 128, 1)
    assert withdrawn(after, stated(before)) == 3
    assert verdict_after(after, stated(before)) == ("inconclusive", 8 / 128, 4)


def test_a_claim_made_exploratory_counts_as_withdrawn_and_one_made_primary_is_post_hoc() -> None:
    primary, exploratory = claiming(), claiming(primary=False)
    assert withdrawn(exploratory, stated(primary)) == 1
    assert withdrawn(primary, stated(exploratory)) == 0
    assert verdict_after(primary, stated(exploratory)) == ("exploratory", None, 0)


def test_claims_added_after_the_first_training_correct_nothing_and_get_no_verdict() -> None:
    first = claiming()
    later = tiny(claims=[BETTER, {**BETTER, "statement": "later", "than": "sgd/untuned", "better": "adam"}])
    assert verdict_after(later, stated(first)) == ("supported", 2 / 128, 1)


def test_the_stated_hashes_separate_primary_and_exploratory_claims() -> None:
    study = tiny(claims=[BETTER, {**BETTER, "statement": "other", "primary": False}], replicates=7)
    one, other = (claim_hash(study, claim) for claim in study.claims)
    assert stated(study) == Stated((one,), (other,), 7)
    assert stated(study).hashes == {one, other}


# About each of several rivals

FOUR = ["sgd", "momentum", "rmsprop", "adam"]
EMPTY = pd.DataFrame({"contender": [], "variant": []})


def study_of_four(**claim: object) -> Study:
    return tiny(optimizers=FOUR, claims=[{"statement": "s", **claim}])


def test_a_claim_about_each_rival_has_a_contrast_and_words_for_each() -> None:
    study = study_of_four(worse="sgd", than_each=["momentum", "adam"], metric="val_loss")
    assert contrasts(study, study.claims[0]) == [
        {("sgd", "tuned"): 1.0, (rival, "tuned"): -1.0} for rival in ("momentum", "adam")
    ]
    values = {
        (name, "tuned"): {"val_loss": own} for name, own in (("sgd", [3, 3]), ("momentum", [1, 2]), ("adam", [4, 4]))
    }
    (row,) = claim_rows(study, EMPTY, values, stated(study))
    assert row["contrast"] == "each of momentum, adam against sgd"
    assert [(pair["contrast"], pair["differences"]) for pair in row["pairs"]] == [
        ("momentum against sgd", [2, 1]),
        ("adam against sgd", [-1, -1]),
    ]
    assert (row["effect"], row["differences"]) == (-1, [-1, -1])  # of the least favourable rival


def test_what_a_contender_loses_untuned_is_compared_with_each_other_contender() -> None:
    study = study_of_four(loses_less="adam")
    tuned = {"sgd": [0.9, 0.8], "momentum": [0.9, 0.9], "rmsprop": [0.8, 0.7], "adam": [0.9, 0.9]}
    untuned = {"sgd": [0.2, 0.3], "momentum": [0.8, 0.7], "rmsprop": [0.8, 0.6], "adam": [0.8, 0.8]}
    values = {
        (name, variant): {"test_accuracy": own}
        for variant, table in (("tuned", tuned), ("untuned", untuned))
        for name, own in table.items()
    }
    (row,) = claim_rows(study, EMPTY, values, stated(study))
    assert row["contrast"] == "what adam loses untuned against what each of sgd, momentum, rmsprop loses"
    # Adam loses 0.1 and 0.1; SGD 0.7 and 0.5, momentum 0.1 and 0.2, RMSProp 0 and 0.1.
    differences = [pair["differences"] for pair in row["pairs"]]
    assert differences == [
        pytest.approx([0.6, 0.4]),
        pytest.approx([0, 0.1], abs=1e-12),
        pytest.approx([-0.1, 0], abs=1e-12),
    ]
    assert row["effect"] == pytest.approx(-0.05)


def test_the_hash_of_one_pair_is_that_of_its_contrast_and_the_order_of_rivals_has_no_effect() -> None:
    one = study_of_four(better="adam", than_each=["sgd"])
    assert (
        hashed(one)
        == hashed(study_of_four(better="adam", than="sgd"))
        == hashed(study_of_four(worse="sgd", than="adam"))
    )
    both, swapped, mean = (
        hashed(study_of_four(better="adam", **{key: names}))
        for key, names in (
            ("than_each", ["sgd", "momentum"]),
            ("than_each", ["momentum", "sgd"]),
            ("than", ["sgd", "momentum"]),
        )
    )
    assert both == swapped
    assert len({both, mean, hashed(one)}) == 3


def test_contenders_that_the_design_cannot_tell_apart_are_not_tested() -> None:
    study = study_of_four(better="adam", than_each=["sgd", "momentum"])
    values = {
        (name, "tuned"): {"test_accuracy": [rate, rate + 0.01]}
        for name, rate in zip(FOUR, (0.1, 0.2, 0.3, 0.4), strict=True)
    }
    reasons = {frozenset({"adam", "momentum"}): "momentum makes no difference here"}
    (row,) = claim_rows(study, EMPTY, values, stated(study), reasons)
    assert (row["verdict"], row["reason"]) == ("not tested", "momentum makes no difference here")
    assert [pair["reason"] for pair in row["pairs"]] == ["", "momentum makes no difference here"]
    mean = study_of_four(better="adam", than=["sgd", "momentum"])
    assert claim_rows(mean, EMPTY, values, stated(mean), reasons)[0]["verdict"] == "inconclusive"


def test_trainings_with_equal_values_are_not_tested_but_values_that_never_vary_are_equivalent() -> None:
    study = claiming()
    for own, expected in (([0.9, 0.8], "not tested: the same value in every replicate"), ([0.9, 0.9], "equivalent")):
        values = {(name, "tuned"): {"test_accuracy": own} for name in ("adam", "sgd")}
        assert worded_verdict(claim_rows(study, EMPTY, values, stated(study))[0]) == expected


# Redrawn searches

WIDE = {"learning_rate": {"low": 1e-4, "high": 1.0}}


def trials(scores: list[list[float]]) -> pd.DataFrame:
    """Return a table of trials (replicates, trials) whose test accuracy is half of the validation accuracy."""
    rates = [0.001, 0.1]
    rows = [
        {
            "replicate": r,
            "trial": t,
            "learning_rate": rates[t],
            "val_accuracy": score,
            "val_loss": 1 - score,
            "test_accuracy": score / 2,
        }
        for r, own in enumerate(scores)
        for t, score in enumerate(own)
    ]
    return pd.DataFrame(rows)


def test_a_redrawn_search_selects_by_validation_and_varies_as_computed_by_hand() -> None:
    """Two parts of the space with two trials each: the better part's 0.8 and 0.9 are selected, each by half."""
    study = tiny(optimizers=[{"name": name, "search": WIDE} for name in ("sgd", "adam")], claims=[BETTER])
    tables = {"adam": trials([[0.1, 0.8], [0.2, 0.9]]), "sgd": trials([[0.1, 0.5], [0.2, 0.5]])}
    redrawn = redrawn_values(study, tables)
    assert set(redrawn["adam"]["val_accuracy"]) == {0.8, 0.9}
    sides = {("adam", "tuned"): 1.0, ("sgd", "tuned"): -1.0}
    assert search_sd(sides, "test_accuracy", redrawn, {}) == pytest.approx(0.025, rel=0.05)  # half of 0.45 - 0.40
    assert math.isnan(search_sd(sides, "epochs_to_target", redrawn, {}))  # trials have no curves
    untuned = {("adam", "untuned"): {"test_accuracy": [0.1, 0.3]}}
    losses = {("adam", "tuned"): 1.0, ("adam", "untuned"): -1.0}
    assert search_sd(losses, "test_accuracy", redrawn, untuned) == pytest.approx(math.hypot(0.025, 0.1), rel=0.05)


def test_a_metric_that_a_trial_did_not_log_leaves_the_spread_of_searches_unknown() -> None:
    """An empty cell of a table is an empty text."""
    tables = {"adam": trials([[0.1, 0.8]]), "sgd": trials([[0.1, 0.5]])}
    tables["sgd"]["test_accuracy"] = ["", "0.4"]
    tables["sgd"]["val_loss"] = ["", ""]
    sides = {("adam", "tuned"): 1.0, ("sgd", "tuned"): -1.0}
    optimizers = [{"name": name, "search": WIDE} for name in ("sgd", "adam")]
    redrawn = redrawn_values(tiny(optimizers=optimizers, tuning={"trials": 2, "sampler": "random"}), tables)
    assert math.isnan(search_sd(sides, "test_accuracy", redrawn, {}))
    assert search_sd(sides, "val_accuracy", redrawn, {}) > 0


def test_searches_that_depend_on_each_other_or_are_one_are_not_redrawn() -> None:
    tables = {"adam": trials([[0.1, 0.8]]), "sgd": trials([[0.1, 0.5]])}
    for tuning in ({"trials": 2, "once": True}, {"trials": 2, "sampler": "tpe"}):
        assert redrawn_values(tiny(tuning=tuning), tables) == {}
    assert redrawn_values(tiny(), {}) == {}
    assert math.isnan(search_sd({("adam", "tuned"): 1.0, ("sgd", "tuned"): -1.0}, "test_accuracy", {}, {}))
