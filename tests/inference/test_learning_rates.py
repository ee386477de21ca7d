"""Laws of `inference.learning_rates`: values by hand, brute force over all outcomes, published references."""

from __future__ import annotations

import numpy as np
import pytest

from optstudy.inference.learning_rates import learning_rate_tolerance, reaches_an_end


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([0.5, 0.9, 0.5], False), ([0.5, 0.9, 0.89], True), ([0.9, 0.9, 0.5], True), ([0.88, 0.9, 0.5], False)],
)
def test_a_sweep_reaches_an_end_if_the_score_there_is_within(scores: list[float], expected: bool) -> None:
    assert reaches_an_end([1e-3, 1e-2, 1e-1], scores, 0.01) is expected
    assert reaches_an_end([1e-1, 1e-2, 1e-3], scores[::-1], 0.01) is expected  # rates come in any order


@pytest.mark.parametrize(
    ("scores", "decades"),
    [
        ([0.5, 0.9, 0.9, 0.5], 0.25 + 1 + 0.25),  # from 0.8 on: a quarter of each flank
        ([0.9, 0.9, 0.9, 0.5], 2.25),  # an end within: what lies beyond it does not count
        ([0.9, 0.9, 0.9, 0.9], 3),
        ([0.1, 0.1, 0.9, 0.1], 2 / 8),  # diverged on both sides: 0.1 of a fall of 0.8, twice
        ([0.9, 0.8, 0.8, 0.1], 2),  # exactly at the limit is within
        ([0.9, 0.5, 0.9, 0.5], 0.75),  # a noisy point costs its neighbourhood alone
        ([0.9, 0.1, 0.1, 0.1], 1 / 8),
    ],
)
def test_learning_rate_tolerance_is_as_computed_by_hand(scores: list[float], decades: float) -> None:
    rates = [1e-3, 1e-2, 1e-1, 1.0]
    assert learning_rate_tolerance(rates, scores, 0.1) == pytest.approx(decades, abs=1e-8)


def test_learning_rate_tolerance_depends_on_neither_order_nor_unit_nor_level() -> None:
    rng = np.random.default_rng(0)
    rates, scores, order = 10 ** rng.uniform(-4, 0, 9), rng.random(9), rng.permutation(9)
    expected = pytest.approx(learning_rate_tolerance(rates.tolist(), scores.tolist(), 0.2))
    assert learning_rate_tolerance(rates[order].tolist(), scores[order].tolist(), 0.2) == expected
    assert learning_rate_tolerance((7 * rates).tolist(), scores.tolist(), 0.2) == expected
    assert learning_rate_tolerance(rates.tolist(), (100 * scores - 50).tolist(), 20) == expected


@pytest.mark.parametrize(
    "scores", [[0.1, 0.7, 0.6, 0.9, 0.1], [-2.3, -0.4, -0.5, -0.1, -9.0]], ids=["accuracy", "loss"]
)
def test_learning_rate_tolerance_grows_with_what_is_tolerated(scores: list[float]) -> None:
    rates = [1e-4, 1e-3, 1e-2, 1e-1, 1.0]
    found = [learning_rate_tolerance(rates, scores, within) for within in (0.01, 0.1, 0.5, 1.0, 10.0)]
    assert found == sorted(found)
    assert found[-1] == pytest.approx(4)
