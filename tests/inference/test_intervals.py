"""Laws of `inference.intervals`: values by hand, brute force over all outcomes, published references."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, binomtest, norm, ttest_1samp

from optstudy.inference.intervals import BOOTSTRAP_DRAWS, probability_positive, t_interval, two_way_bootstrap


def normal(size: int | tuple[int, ...], seed: int = 1) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(size)


def two_way_sd(values: NDArray[np.float64]) -> float:
    """Return the standard deviation of the pigeonhole bootstrap's mean (Owen 2007): replicates, examples, both."""
    replicates, examples = values.shape
    rows, columns = values.mean(axis=1, keepdims=True), values.mean(axis=0, keepdims=True)
    rest = values - rows - columns + values.mean()
    return math.sqrt(rows.var() / replicates + columns.var() / examples + rest.var() / values.size)


def additive(replicates: float, examples: float, noise: float) -> NDArray[np.float64]:
    """Return a (20, 500) array of independent normal effects with these standard deviations."""
    rng = np.random.default_rng(5)
    rows, columns = rng.normal(0.1, replicates, (20, 1)), rng.normal(0, examples, (1, 500))
    return np.asarray(rows + columns + rng.normal(0, noise, (20, 500)))


def right_or_wrong() -> NDArray[np.float64]:
    """Return differences of answers: -1, 0 and 1, where both contenders are mostly right."""
    rng = np.random.default_rng(6)
    hard = rng.random((1, 500)) < 0.1
    return np.asarray(hard * rng.choice([-1.0, 0.0, 1.0], (10, 500), p=[0.2, 0.4, 0.4]))


def test_t_interval_is_as_computed_by_hand() -> None:
    # mean 3, sd sqrt(2.5), t(0.975, 4) = 2.776445; half = 2.776445 * 1.581139 / sqrt(5)
    estimate = t_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (estimate.n, estimate.mean) == (5, 3.0)
    assert estimate.sd == pytest.approx(1.5811388)
    assert (estimate.low, estimate.high) == pytest.approx((3 - 1.9632432, 3 + 1.9632432))


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_t_interval_is_scipys(level: float) -> None:
    values = normal(10).tolist()
    reference = ttest_1samp(values, 0).confidence_interval(level)
    estimate = t_interval(values, level)
    assert (estimate.low, estimate.high) == pytest.approx((reference.low, reference.high))


def test_t_interval_of_equal_values_is_a_point() -> None:
    estimate = t_interval([0.25] * 4)
    assert (estimate.mean, estimate.sd, estimate.low, estimate.high) == (0.25, 0, 0.25, 0.25)


def test_one_value_has_no_interval() -> None:
    with pytest.raises(AssertionError, match="two replicates"):
        t_interval([1.0])


def test_probability_positive_counts_ties_half() -> None:
    assert probability_positive([1, 0, -1, 2]).value == 0.625
    assert probability_positive([0.0] * 6).value == 0.5


@pytest.mark.parametrize(("wins", "n"), [(8, 10), (5, 10), (7, 20)])
def test_interval_of_the_probability_is_the_binomials_quantiles(wins: int, n: int) -> None:
    # Resampled with replacement, the number of wins is binomial.
    found = probability_positive([1.0] * wins + [-1.0] * (n - wins))
    assert found.value == wins / n
    assert (found.low, found.high) == pytest.approx(binom.ppf([0.025, 0.975], n, wins / n) / n)


def test_probability_positive_depends_on_signs_alone() -> None:
    values = normal(10)
    found = probability_positive(values.tolist())
    assert probability_positive(np.sign(values).tolist()) == found
    assert probability_positive((-values).tolist()).value == pytest.approx(1 - found.value)


@pytest.mark.parametrize("n", [3, 8, 30])
def test_interval_of_a_unanimous_probability_is_clopper_and_pearsons(n: int) -> None:
    exact = binomtest(n, n).proportion_ci(0.95, "exact")
    won, lost, tied = (probability_positive([difference] * n) for difference in (0.1, -0.1, 0.0))
    assert (won.value, won.low, won.high) == (1, pytest.approx(exact.low), 1)
    assert (lost.value, lost.low, lost.high) == (0, 0, pytest.approx(1 - exact.low))
    # All tied: of what may not be, either all is won or all is lost.
    assert (tied.value, tied.low, tied.high) == (0.5, pytest.approx(exact.low / 2), pytest.approx(1 - exact.low / 2))


@pytest.mark.parametrize(
    "values",
    [additive(1, 0, 0), additive(0, 1, 0), additive(0, 0, 1), additive(0.2, 1, 2), right_or_wrong()],
    ids=["replicates", "examples", "noise", "all", "answers"],
)
def test_two_way_interval_has_the_analytic_variance(values: NDArray[np.float64]) -> None:
    # A quantile of n resamples has the standard error sqrt(q (1 - q) / n) / density(q), 0.06 sd at q = 2.5%;
    # the same again for what 20 replicates are off the normal (skewness 1 would move the quantile by 0.1 sd).
    z = float(norm.ppf(0.975))
    error = 2.6 * math.sqrt(0.025 * 0.975 / BOOTSTRAP_DRAWS) / float(norm.pdf(z)) * two_way_sd(values)
    low, high = two_way_bootstrap(values)
    assert low == pytest.approx(values.mean() - z * two_way_sd(values), abs=2 * error)
    assert high == pytest.approx(values.mean() + z * two_way_sd(values), abs=2 * error)
    assert high - low == pytest.approx(2 * z * two_way_sd(values), abs=math.sqrt(2) * error)


def test_two_way_interval_does_not_depend_on_the_order_of_examples() -> None:
    values = right_or_wrong()
    assert two_way_bootstrap(values[:, ::-1]) == pytest.approx(two_way_bootstrap(values))


def test_two_way_interval_moves_and_grows_with_the_values() -> None:
    values = additive(0.2, 1, 2)
    low, high = two_way_bootstrap(values)
    assert two_way_bootstrap(100 * values + 7) == pytest.approx((100 * low + 7, 100 * high + 7))


def test_two_way_interval_of_equal_values_is_a_point() -> None:
    assert two_way_bootstrap(np.full((4, 9), 0.5)) == pytest.approx((0.5, 0.5))
