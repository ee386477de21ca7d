"""Statistics agree with numbers computed by hand, with brute force over all outcomes, and with published references."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, binomtest, norm, permutation_test, ttest_1samp

from optstudy.analysis.stats import (
    DRAWS,
    EXACT,
    LEVEL,
    MOST_REPLICATES,
    RESAMPLES,
    SIMULATED,
    epochs_to_target,
    expected_best,
    holm,
    learning_rate_tolerance,
    power,
    probability_positive,
    reaches_an_end,
    replicates_needed,
    sign_flip_p,
    smallest_p,
    t_interval,
    t_p,
    two_way_bootstrap,
)

DEEPOBS = Path(__file__).parents[3] / "shared" / "reference" / "deepobs_fmnist_2c2d_runs.csv"

# Darwin's maize, in eighths of an inch, crossed less self-fertilised: the data of Fisher 1935, section 21.
DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


def normal(size: int | tuple[int, ...], seed: int = 1) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(size)


# t intervals


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


# The sign-flip test


def share_as_far(whole: Sequence[int]) -> float:
    """Return the p value by writing out all flips; in whole numbers, so that ties are ties."""
    sums = [abs(sum(s * w for s, w in zip(signs, whole, strict=True))) for signs in product([1, -1], repeat=len(whole))]
    return sum(one >= abs(sum(whole)) for one in sums) / len(sums)


def test_sign_flip_p_is_as_counted_by_hand() -> None:
    assert sign_flip_p([1, 1, 1]) == 2 / 8  # +++ and ---
    assert sign_flip_p([-1, 2, 4]) == 4 / 8  # of the sums 7, 5, 3, 1 and their negatives, 7 and 5
    assert sign_flip_p([3, 2, 1, -1]) == 6 / 16  # 7 once and 5 twice, on either side


@pytest.mark.parametrize("n", range(1, 11))
@pytest.mark.parametrize("largest", [1, 3, 50])
def test_sign_flip_p_counts_all_flips(n: int, largest: int) -> None:
    whole = np.random.default_rng(n).integers(-largest, largest + 1, n).tolist()
    assert sign_flip_p(whole) == share_as_far(whole)


@pytest.mark.parametrize("examples", [360, 872, 10_000, 60_000])
def test_sign_flip_p_counts_ties_that_rounding_breaks(examples: int) -> None:
    for seed in range(50):
        right, *others = np.random.default_rng(seed).integers(0, 3, (4, 9)) + 9 * examples // 10
        pairs = right / examples - others[0] / examples
        assert sign_flip_p(pairs.tolist()) == share_as_far((right - others[0]).tolist())
        from_mean = right / examples - sum(1 / 3 * (other / examples) for other in others)
        assert sign_flip_p(from_mean.tolist()) == share_as_far((3 * right - sum(others)).tolist())


def test_sign_flip_p_is_fishers_count() -> None:
    # Fisher counted 863 of 2**15 sums at 314 or above; as many lie at -314 or below.
    assert sign_flip_p(DARWIN) == 2 * 863 / 2**15


def test_sign_flip_p_is_scipys() -> None:
    values = normal(8) + 0.5
    reference = permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf, vectorized=True)
    assert sign_flip_p(values.tolist()) == pytest.approx(reference.pvalue)


@pytest.mark.parametrize("n", [6, 15, EXACT + 1])
def test_sign_flip_p_depends_on_neither_sign_nor_unit_nor_order(n: int) -> None:
    values = normal(n) + 0.5
    p = sign_flip_p(values.tolist())
    assert sign_flip_p((-values).tolist()) == p
    assert sign_flip_p((100 * values).tolist()) == p
    if n <= EXACT:  # beyond, other flips are drawn
        assert sign_flip_p(values[::-1].tolist()) == p


@pytest.mark.parametrize("n", [2, 10, EXACT + 1])
def test_sign_flip_p_of_ties_is_one(n: int) -> None:
    assert sign_flip_p([0.0] * n) == 1


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.5])
def test_drawn_flips_are_close_to_all_flips(shift: float) -> None:
    values = normal(EXACT + 1, seed=3) + shift
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    exact = float(np.mean(np.abs(sums) >= abs(values.sum()) - 1e-9))
    drawn = sign_flip_p(values.tolist())
    assert drawn == pytest.approx(exact, abs=1 / RESAMPLES + 2.6 * math.sqrt(exact * (1 - exact) / RESAMPLES))


def test_drawn_flips_never_make_p_zero() -> None:
    assert sign_flip_p([1.0] * 60) == 1 / (1 + RESAMPLES)


def test_smallest_p_is_as_computed_by_hand() -> None:
    assert smallest_p(6, 1) == 0.03125
    assert smallest_p(10, 12) == 24 / 1024
    assert smallest_p(3, 12) == 1


@pytest.mark.parametrize("n", range(1, 13))
@pytest.mark.parametrize("claims", [1, 5, 12])
def test_smallest_p_is_reached_if_all_replicates_of_one_claim_agree(n: int, claims: int) -> None:
    ps = [sign_flip_p([1.0] * n), *[1.0] * (claims - 1)]
    assert smallest_p(n, claims) == holm(ps)[0]


def test_six_replicates_are_the_fewest_that_reach_significance() -> None:
    assert smallest_p(5, 1) > LEVEL > smallest_p(6, 1)


# Holm's correction


def test_holm_is_as_computed_by_hand() -> None:
    # sorted .005, .01, .03, .04, times 4, 3, 2, 1: .02, .03, .06, .04; the last is raised to .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.04, 0.04]) == pytest.approx([0.08, 0.08])
    assert holm([0.5, 0.9, 0.7]) == [1, 1, 1]
    assert holm([0.3]) == [0.3]
    assert holm([]) == []


def test_holm_does_not_depend_on_the_order_of_p_values() -> None:
    rng = np.random.default_rng(0)
    for ps in (rng.random(7), rng.random(12) ** 4, rng.choice([0.001, 0.01, 0.02], 8)):
        order = rng.permutation(len(ps))
        assert holm(ps[order].tolist()) == np.array(holm(ps.tolist()))[order].tolist()


def test_holm_lies_between_no_correction_and_bonferronis() -> None:
    ps = (np.random.default_rng(0).random(12) ** 3).tolist()
    for p, adjusted in zip(ps, holm(ps), strict=True):
        assert p <= adjusted <= min(1, 12 * p)
    assert min(holm(ps)) == min(1, 12 * min(ps))


# P(A > B)


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


def test_t_p_is_scipys() -> None:
    for differences in normal((20, 8), seed=3).tolist():
        assert t_p(differences) == pytest.approx(ttest_1samp(differences, 0).pvalue)
    assert (t_p([0.0, 0.0, 0.0]), t_p([1.0, 1.0, 1.0]), t_p([1.0, -1.0])) == (1, 0, 1)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([0.5, 0.9, 0.5], False), ([0.5, 0.9, 0.89], True), ([0.9, 0.9, 0.5], True), ([0.88, 0.9, 0.5], False)],
)
def test_a_sweep_reaches_an_end_if_the_score_there_is_within(scores: list[float], expected: bool) -> None:
    assert reaches_an_end([1e-3, 1e-2, 1e-1], scores, 0.01) is expected
    assert reaches_an_end([1e-1, 1e-2, 1e-3], scores[::-1], 0.01) is expected  # rates come in any order


# Power


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


# The bootstrap over replicates and examples


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


@pytest.mark.parametrize(
    "values",
    [additive(1, 0, 0), additive(0, 1, 0), additive(0, 0, 1), additive(0.2, 1, 2), right_or_wrong()],
    ids=["replicates", "examples", "noise", "all", "answers"],
)
def test_two_way_interval_has_the_analytic_variance(values: NDArray[np.float64]) -> None:
    # A quantile of DRAWS resamples has the standard error sqrt(q (1 - q) / DRAWS) / density(q), 0.06 sd at q = 2.5%;
    # the same again for what 20 replicates are off the normal (skewness 1 would move the quantile by 0.1 sd).
    z = float(norm.ppf(0.975))
    error = 2.6 * math.sqrt(0.025 * 0.975 / DRAWS) / float(norm.pdf(z)) * two_way_sd(values)
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


# Expected best of k trials


@pytest.mark.parametrize("pool", [[0.3, 0.1, 0.2, 0.5, 0.4, 0.6], [0.1, 0.9, 0.9, 0.1, 0.9, 0.5], [0.2] * 5])
def test_expected_best_is_the_mean_over_all_draws(pool: list[float]) -> None:
    test = [0.9 - 0.1 * index for index in range(len(pool))]
    level = {v: np.mean([t for u, t in zip(pool, test, strict=True) if u == v]) for v in pool}  # of tied trials
    ks = range(1, len(pool) + 1)
    for k, found in zip(ks, expected_best(pool, test, ks), strict=True):
        best = [max(draw) for draw in combinations(pool, k)]
        assert found.trials == k
        assert found.validation == pytest.approx(np.mean(best))
        assert found.test == pytest.approx(np.mean([level[b] for b in best]))


def test_expected_best_is_as_computed_by_hand() -> None:
    # pairs of 1, 2, 4: best 2, 4, 4; selected on validation, so the best trial's test value may be the worst
    found = expected_best([1, 2, 4], [0.9, 0.8, 0.1], [3, 1, 2])
    assert [best.trials for best in found] == [3, 1, 2]
    assert [best.validation for best in found] == pytest.approx([4, 7 / 3, 10 / 3])
    assert [best.test for best in found] == pytest.approx([0.1, 1.8 / 3, 1.0 / 3])


def test_expected_best_does_not_depend_on_the_order_of_trials() -> None:
    rng = np.random.default_rng(0)
    validation, test, order = rng.integers(0, 8, 30) / 8, rng.random(30), rng.permutation(30)
    there = expected_best(validation.tolist(), test.tolist(), [1, 7, 15])
    shuffled = expected_best(validation[order].tolist(), test[order].tolist(), [1, 7, 15])
    for one, other in zip(there, shuffled, strict=True):
        assert (one.validation, one.test) == pytest.approx((other.validation, other.test))


def test_expected_best_of_more_draws_than_trials_is_an_error() -> None:
    with pytest.raises(AssertionError):
        expected_best([0.1, 0.2], [0.1, 0.2], [3])


@pytest.mark.skipif(not DEEPOBS.exists(), reason="DeepOBS's published runs are not beside this checkout")
@pytest.mark.parametrize(
    ("optimizer", "published"),
    [("sgd", [0.605, 0.868, 0.908, 0.919, 0.921]), ("adam", [0.501, 0.817, 0.896, 0.921, 0.926])],
)
def test_expected_best_of_deepobs_grid_flips_the_ranking_with_the_budget(
    optimizer: str, published: list[float]
) -> None:
    runs = pd.read_csv(DEEPOBS)
    pool = runs[(runs["optimizer"] == optimizer) & (runs["seed"] == 42)]["final_test_accuracy"].tolist()
    assert len(pool) == 36
    found = expected_best(pool, pool, [1, 3, 5, 10, 20])
    assert [best.validation for best in found] == pytest.approx(published, abs=0.001)
    assert [best.test for best in found] == pytest.approx(published, abs=0.001)


# Tolerance of the learning rate


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


# Epochs to a target


def test_epochs_to_target_counts_from_one_and_a_miss_is_one_more_than_the_budget() -> None:
    assert epochs_to_target([0.5, 0.9, 0.8], 0.8, 3) == 2
    assert epochs_to_target([0.5, 0.9, 0.8], 0.95, 3) == 4
    assert epochs_to_target([], 0.5, 3) == 4


def test_epochs_to_target_is_the_first_epoch_that_reaches_it_exactly() -> None:
    assert epochs_to_target([0.8, 0.7, 0.8], 0.8, 3) == 1


def test_a_curve_that_ended_early_misses_the_target_by_the_whole_budget() -> None:
    assert epochs_to_target([0.1, 0.1], 0.5, 30) == 31
