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
    assert study.claims[0].contrast(study.variants[0]) == weights
    alone = tiny(tuning={"trials": 0}, claims=[{**claim, "than": "sgd"}])
    assert alone.claims[0].contrast(alone.variants[0]) == {("adam", "untuned"): 1.0, ("sgd", "untuned"): -1.0}
