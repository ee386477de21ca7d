"""Laws of `inference.power`: values by hand, published references, and studies simulated with the joint test."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import chi2

from optstudy.inference.decisions import max_t_p
from optstudy.inference.intervals import LEVEL, t_interval
from optstudy.inference.power import (
    MOST_REPLICATES,
    SIMULATED,
    Replicates,
    power,
    replicates_needed,
    replicates_needed_range,
)
from optstudy.inference.sign_flips import smallest_p


def found_share(n: int, effect: float, tests: int, studies: int) -> float:
    """Return how often the joint test and the t interval find an effect in the first of `tests` independent claims."""
    noise = np.random.default_rng([7, n]).standard_normal((studies, n, tests))
    noise[:, :, 0] += effect
    found = [max_t_p(study)[0] <= LEVEL and t_interval(study[:, 0].tolist()).low > 0 for study in noise]
    return sum(found) / len(found)


@pytest.mark.parametrize(
    ("n", "effect", "tests"),
    [
        (6, 1.5, 1),
        (6, 2.6, 12),
        (7, 1.4, 1),
        (7, 1.9, 6),
        (8, 1.2, 1),
        (8, 1.6, 6),
        (10, 1.6, 12),
        (12, 0.8, 3),
        (20, 0.8, 6),
    ],
)
def test_power_is_the_share_of_simulated_studies_that_find_the_difference(n: int, effect: float, tests: int) -> None:
    """Allowed are 3 pp, by which the coarse p of few replicates differ from t tests, and the errors of simulation."""
    studies = 1_000 if n <= 12 else 200
    forecast = power(n, 2.0, 2 * effect, tests)
    error = 2.6 * math.sqrt(forecast * (1 - forecast) * (1 / studies + (1 / 1_000 if n <= SIMULATED else 0)))
    assert found_share(n, effect, tests, studies) == pytest.approx(forecast, abs=error + 0.03)


def test_power_of_many_replicates_is_the_t_tests() -> None:
    # G*Power 3.1: one-sample t test, two-sided, d = 0.5, n = 34: 0.8077775; that the other side is found adds < 1e-5
    assert power(34, 1.0, 0.5, 1) == pytest.approx(0.80778, abs=2e-5)


@pytest.mark.parametrize("tests", [1, 12])
def test_power_is_zero_up_to_five_replicates_whatever_the_number_of_claims(tests: int) -> None:
    assert smallest_p(5) > LEVEL >= smallest_p(6)
    assert power(5, 0.0, 1.0, tests) == 0
    assert power(6, 0.0, 1.0, tests) == 1


@pytest.mark.parametrize("n", [6, SIMULATED, SIMULATED + 1, 20, 200])
def test_power_grows_with_the_difference_and_shrinks_with_the_number_of_tests(n: int) -> None:
    by_difference = [power(n, 1.0, difference, 1) for difference in (0.05, 0.2, 0.5, 1.0, 2.0, 100.0)]
    assert by_difference == sorted(by_difference)
    assert by_difference[-1] == 1
    by_tests = [power(n, 1.0, 1.2, tests) for tests in (1, 3, 6, 12)]
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


def test_replicates_needed_is_at_most_ten_thousand() -> None:
    assert replicates_needed(1e6, 1.0, 1) == MOST_REPLICATES


def test_the_range_of_replicates_needed_is_that_of_the_standard_deviation() -> None:
    low, high = (math.sqrt(7 / chi2.ppf(tail, 7)) for tail in (0.975, 0.025))
    assert (low, high) == pytest.approx((0.661, 2.035), abs=1e-3)
    needed, least, most = (replicates_needed(sd, 1.0, 6) for sd in (1.0, low, high))
    assert replicates_needed_range(8, 1.0, 1.0, 6) == Replicates(needed, least, most)
    assert least < needed < most


def test_the_true_number_of_replicates_needed_lies_in_the_range_in_95_of_100_studies() -> None:
    true, inside = replicates_needed(1.0, 1.0, 1), 0
    samples = np.random.default_rng(3).standard_normal((150, 8))
    for sample in samples:
        found = replicates_needed_range(8, float(sample.std(ddof=1)), 1.0, 1)
        inside += found.low <= true <= found.high
    assert inside / len(samples) >= 0.91  # 95% and its error, and whole numbers of replicates widen the range
