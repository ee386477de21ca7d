"""Laws of `inference.power`: values by hand, brute force over all outcomes, published references."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from optstudy.inference.intervals import LEVEL, t_interval
from optstudy.inference.power import DRAWS, MOST_REPLICATES, SIMULATED, power, replicates_needed
from optstudy.inference.sign_flips import EXACT, sign_flip_p, smallest_p


def normal(size: int | tuple[int, ...], seed: int = 1) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(size)


def found_share(noise: NDArray[np.float64], effect: float, tests: int) -> float:
    """Return how often studies (studies, replicates) find the effect, by the functions that judge them."""
    studies = (noise + effect).tolist()
    found = [tests * sign_flip_p(study) < LEVEL and t_interval(study).low > 0 for study in studies]
    return sum(found) / len(found)


@pytest.mark.parametrize(("n", "effect", "tests"), [(7, 0.8, 1), (8, 1.2, 6), (10, 1.0, 12), (SIMULATED, 0.5, 1)])
def test_power_of_few_replicates_is_exactly_what_its_own_draws_find(n: int, effect: float, tests: int) -> None:
    draws = normal((DRAWS, SIMULATED), seed=0)[:, :n]
    assert power(n, 2.0, 2 * effect, tests) == found_share(draws, effect, tests)


@pytest.mark.parametrize(
    ("n", "effect", "tests"),
    [(6, 1.5, 1), (7, 2.0, 2), (10, 1.0, 1), (SIMULATED, 1.2, 12), (SIMULATED + 1, 1.2, 12), (15, 0.8, 1)],
)
def test_power_is_the_share_of_simulated_studies_that_find_the_difference(n: int, effect: float, tests: int) -> None:
    # Standard errors of 2,000 studies here and as many within `power`, and 1 pp for what a t test is off beyond 12.
    forecast = power(n, 2.0, 2 * effect, tests)
    error = 2.6 * math.sqrt(forecast * (1 - forecast) * (1 / 2_000 + 1 / DRAWS)) + (0.01 if n > SIMULATED else 0)
    assert found_share(normal((2_000, n), seed=7), effect, tests) == pytest.approx(forecast, abs=error)


def test_power_of_many_replicates_is_the_t_tests() -> None:
    # G*Power 3.1: one-sample t test, two-sided, d = 0.5, n = 34: 0.8077775; that the other side is found adds < 1e-5
    assert power(34, 1.0, 0.5, 1) == pytest.approx(0.80778, abs=2e-5)


@pytest.mark.parametrize(("n", "tests"), [(5, 1), (6, 2), (8, 12)])
def test_power_is_zero_if_no_p_is_small_enough(n: int, tests: int) -> None:
    assert smallest_p(n, tests) >= LEVEL
    assert power(n, 0.0, 1.0, tests) == 0
    assert power(n + 1, 0.0, 1.0, tests) == (1 if smallest_p(n + 1, tests) < LEVEL else 0)


@pytest.mark.parametrize("n", [6, SIMULATED, SIMULATED + 1, EXACT, EXACT + 1, 200])
def test_power_grows_with_the_difference_and_shrinks_with_the_number_of_tests(n: int) -> None:
    by_difference = [power(n, 1.0, difference, 1) for difference in (0.05, 0.2, 0.5, 1.0, 2.0, 100.0)]
    assert by_difference == sorted(by_difference)
    assert by_difference[-1] == 1
    by_tests = [power(n, 1.0, 0.5, tests) for tests in range(1, 13)]
    assert by_tests == sorted(by_tests, reverse=True)


@pytest.mark.parametrize(("effect", "n"), [(0.2, 199), (0.5, 34)])
def test_replicates_needed_are_those_of_the_t_test(effect: float, n: int) -> None:
    # G*Power 3.1: one-sample t test, two-sided, 80% power.
    assert replicates_needed(1.0, effect, 1) == n


@pytest.mark.parametrize("tests", [1, 6, 12])
@pytest.mark.parametrize("sd", [0.0, 0.3, 0.7, 1.0, 1.5, 4.0])
def test_replicates_needed_is_the_smallest_number_with_the_power(sd: float, tests: int) -> None:
    smallest = next(n for n in range(2, MOST_REPLICATES) if power(n, sd, 1.0, tests) >= 0.8)
    assert replicates_needed(sd, 1.0, tests) == smallest


@pytest.mark.parametrize(("effect", "tests"), [(1.1, 1), (1.2, 6)])
def test_replicates_needed_find_the_difference_in_four_of_five_simulated_studies(effect: float, tests: int) -> None:
    n = replicates_needed(1.0, effect, tests)
    error = 2.6 * math.sqrt(0.8 * 0.2 * (1 / 2_000 + 1 / DRAWS)) + 0.01
    assert found_share(normal((2_000, n), seed=7), effect, tests) >= 0.8 - error
    assert found_share(normal((2_000, n - 1), seed=7), effect, tests) < 0.8 + error


def test_replicates_needed_is_at_most_ten_thousand() -> None:
    assert replicates_needed(1e6, 1.0, 1) == MOST_REPLICATES
