"""A study's claims, put to its tables: the sign is always "better"; the hash tells claims apart by what they test."""

from __future__ import annotations

import pandas as pd
import pytest

from conftest import tiny
from optstudy.answer import claim_hash, claim_rows, example_differences, in_words, weights
from optstudy.runs import pack
from optstudy.study import Study

BETTER = {"statement": "adam wins", "better": "adam", "than": "sgd"}


def claiming(**changes: object) -> Study:
    return tiny(claims=[{**BETTER, **changes}])


def hashed(study: Study) -> str:
    return claim_hash(study, study.claims[0])


def test_of_a_metric_of_which_less_is_better_the_side_named_better_has_less() -> None:
    study = claiming(metric="epochs_to_target")
    assert weights(study, study.claims[0]) == {("adam", "tuned"): -1.0, ("sgd", "tuned"): 1.0}
    values = {("adam", "tuned"): {"epochs_to_target": [1, 2]}, ("sgd", "tuned"): {"epochs_to_target": [3, 5]}}
    row = claim_rows(study, pd.DataFrame(), values, set())[0]
    assert row["differences"] == [2, 3]
    assert (row["effect"], row["margin"]) == (2.5, 1.0)


def test_the_hash_is_of_what_is_tested_and_not_of_the_words() -> None:
    same = [{"statement": "other words"}, {"topic": "adam-fast"}, {"margin": 0.005}]
    assert {hashed(claiming(**change)) for change in same} == {hashed(claiming())}
    other = [{"margin": 0.01}, {"metric": "val_accuracy"}, {"primary": False}, {"better": "sgd", "than": "adam"}]
    assert len({hashed(claiming()), *(hashed(claiming(**change)) for change in other)}) == 1 + len(other)
    spelled = tiny(claims=[{"statement": "s", "weights": {"sgd/tuned": -1.0, "adam/tuned": 1.0}}])
    assert hashed(spelled) == hashed(claiming())


def test_a_claim_is_post_hoc_unless_it_stood_there_at_the_first_training() -> None:
    study = claiming()
    values = {("adam", "tuned"): {"test_accuracy": [0.9, 0.8]}, ("sgd", "tuned"): {"test_accuracy": [0.7, 0.7]}}
    answers = pd.DataFrame({"contender": [], "variant": []})
    post_hoc = [claim_rows(study, answers, values, known)[0]["post_hoc"] for known in (set(), {hashed(study)})]
    assert post_hoc == [True, False]


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
        (
            {"better": None, "than": [], "weights": {"adam": 1.0, "sgd": -0.5, "sgd/untuned": -0.5}},
            "adam - 1/2 sgd - 1/2 sgd/untuned",
        ),
    ],
)
def test_a_contrast_in_words(claim: dict[str, object], words: str) -> None:
    assert in_words(claiming(**claim).claims[0]) == words


@pytest.mark.parametrize(("once", "expected"), [(True, "for these hyperparameters"), (False, "")])
def test_one_search_limits_every_verdict_to_its_hyperparameters(once: bool, expected: str) -> None:
    study = tiny(claims=[BETTER], tuning={"trials": 2, "once": once})
    values = {("adam", "tuned"): {"test_accuracy": [0.9, 0.8]}, ("sgd", "tuned"): {"test_accuracy": [0.7, 0.7]}}
    answers = pd.DataFrame({"contender": [], "variant": []})
    assert claim_rows(study, answers, values, set())[0]["qualifier"] == expected
