"""Claims: contrasts of contenders."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from builders import tiny


def test_weights_sum_to_zero_up_to_the_rounding_of_the_largest() -> None:
    weights = {"adam": 1e5, "sgd": 2e5, "adam/untuned": -3e5 - 1e-5}
    assert tiny(claims=[{"statement": "s", "weights": weights}]).claims[0].weights == weights
    weights["adam/untuned"] = -3e5 - 1e-3
    with pytest.raises(ValidationError, match="must sum to zero"):
        tiny(claims=[{"statement": "s", "weights": weights}])


def test_a_claim_is_a_contrast_in_the_first_variant_of_the_study() -> None:
    claim = {"statement": "s", "better": "adam", "than": ["sgd", "adam/untuned"]}
    study = tiny(claims=[claim])
    weights = {("adam", "tuned"): 1.0, ("sgd", "tuned"): -0.5, ("adam", "untuned"): -0.5}
    assert study.claims[0].contrasts(study.variants[0]) == (weights,)
    alone = tiny(tuning={"trials": 0}, claims=[{**claim, "than": "sgd"}])
    assert alone.claims[0].contrasts(alone.variants[0]) == ({("adam", "untuned"): 1.0, ("sgd", "untuned"): -1.0},)


def contrasts(**claim: object) -> tuple[dict[tuple[str, str], float], ...]:
    study = tiny(optimizers=["sgd", "momentum", "adam"], claims=[{"statement": "s", **claim}])
    return study.claims[0].contrasts("tuned", [contender.name for contender in study.optimizers])


def test_worse_is_better_with_the_signs_exchanged() -> None:
    rivals = ["momentum", "adam"]
    for key in ("than", "than_each"):
        better, worse = (contrasts(**{side: "sgd", key: rivals}) for side in ("better", "worse"))
        assert worse == tuple({arm: -weight for arm, weight in contrast.items()} for contrast in better)


def test_a_claim_about_each_has_the_contrasts_of_one_claim_for_each() -> None:
    each = contrasts(better="sgd", than_each=["momentum", "adam/untuned"])
    assert each == (*contrasts(better="sgd", than="momentum"), *contrasts(better="sgd", than="adam/untuned"))


def test_what_a_contender_loses_untuned_is_tuned_minus_untuned() -> None:
    (one,) = contrasts(loses_less="adam", than_each="sgd")
    by_hand = {("sgd", "tuned"): 1.0, ("sgd", "untuned"): -1.0, ("adam", "tuned"): -1.0, ("adam", "untuned"): 1.0}
    assert one == by_hand
    assert contrasts(loses_less="adam") == (one, *contrasts(loses_less="adam", than_each="momentum"))
