"""Comparisons of unpaired groups equal those of scipy, and are right in simulated studies."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from optstudy.inference.decisions import decide
from optstudy.inference.unpaired import (
    decide_unpaired,
    equivalence_p,
    permutation_p,
    power_unpaired,
    probability_greater,
    runs_needed,
    welch,
)

RNG = np.random.default_rng(4)
SAMPLES = [
    (RNG.normal(0.3, 1.0, n).tolist(), RNG.normal(0.0, sd, m).tolist())
    for n, m, sd in [(5, 5, 1), (4, 7, 3), (8, 3, 0.1)]
]


@pytest.mark.parametrize("sample", SAMPLES)
def test_welch_equals_scipy(sample: tuple[list[float], list[float]]) -> None:
    own, theirs = welch(*sample), stats.ttest_ind(*sample, equal_var=False)
    assert own.df == pytest.approx(theirs.df)
    assert (own.low, own.high) == pytest.approx(tuple(theirs.confidence_interval()))


def _abs_welch_t(one: np.ndarray, other: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.abs(stats.ttest_ind(one, other, equal_var=False, axis=axis).statistic)


@pytest.mark.parametrize("sample", SAMPLES)
def test_permutation_p_equals_that_of_scipy(sample: tuple[list[float], list[float]]) -> None:
    theirs = stats.permutation_test(
        sample, _abs_welch_t, vectorized=True, alternative="greater", n_resamples=np.inf
    ).pvalue
    assert permutation_p(*sample) == pytest.approx(theirs)


def test_permutation_p_of_two_separate_groups_is_two_of_all_divisions() -> None:
    assert permutation_p([1.0, 2.0, 3.0], [11.0, 12.0, 13.0]) == 2 / 20


def test_permutation_p_does_not_depend_on_the_unit_or_the_order_and_is_1_for_equal_values() -> None:
    one, other = SAMPLES[1]
    p = permutation_p(one, other)
    assert permutation_p([7 + 1e-6 * value for value in one], [7 + 1e-6 * value for value in other]) == p
    assert permutation_p(other[::-1], one[::-1]) == p
    assert permutation_p([0.5] * 4, [0.5] * 5) == 1.0


def test_drawn_permutations_agree_with_the_enumerated_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = permutation_p(*SAMPLES[1])
    monkeypatch.setattr("optstudy.inference.unpaired.EXACT", 10)
    assert permutation_p(*SAMPLES[1]) == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 20_000) ** 0.5)


@pytest.mark.parametrize("sample", SAMPLES)
def test_equivalence_p_is_the_larger_of_two_one_sided_tests_of_scipy(sample: tuple[list[float], list[float]]) -> None:
    one, other = sample
    margin = 0.8
    above = stats.ttest_ind([value + margin for value in one], other, equal_var=False, alternative="greater").pvalue
    below = stats.ttest_ind([value - margin for value in one], other, equal_var=False, alternative="less").pvalue
    assert equivalence_p(one, other, margin) == pytest.approx(max(above, below))


def test_probability_greater_is_the_share_of_pairs_with_wilsons_interval_for_the_smaller_group() -> None:
    one, other = [1.0, 4.0, 6.0, 6.0], [2.0, 3.0, 5.0, 6.0, 0.0]
    own = probability_greater(one, other)
    assert own.value == pytest.approx(stats.mannwhitneyu(one, other).statistic / 20)
    mirrored = probability_greater(other, one)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((own.low, own.high))
    half = probability_greater([1.0, 3.0], [0.0, 2.0, 2.0, 4.0])  # 1 and 3 of 4
    wilson = stats.binomtest(1, 2).proportion_ci(method="wilson")
    assert (half.value, half.low, half.high) == pytest.approx((0.5, wilson.low, wilson.high))


def test_the_interval_of_probability_greater_covers_the_truth() -> None:
    rng, n, shift = np.random.default_rng(0), 8, 0.8
    truth = stats.norm.cdf(shift / 2**0.5)
    found = [
        probability_greater(one.tolist(), other.tolist())
        for one, other in zip(rng.normal(shift, 1, (1000, n)), rng.normal(0, 1, (1000, n)), strict=True)
    ]
    assert np.mean([own.low <= truth <= own.high for own in found]) >= 0.95


@pytest.mark.parametrize(
    ("n", "sds", "difference", "error"),
    [(5, (1.0, 1.0), 2.0, 0.06), (12, (0.5, 1.5), 1.2, 0.02), (20, (1, 1), 1, 0.01)],
)
def test_power_is_the_share_of_simulated_studies_that_find_the_difference(
    n: int, sds: tuple[float, float], difference: float, error: float
) -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(difference, sds[0], (20_000, n)), rng.normal(0, sds[1], (20_000, n))
    found = stats.ttest_ind(one, other, equal_var=False, axis=1)
    share = np.mean((found.pvalue < 0.05 / 3) & (found.statistic > 0))
    assert power_unpaired(n, sds, difference, tests=3) == pytest.approx(share, abs=error)


def test_runs_needed_is_the_first_number_with_the_power_and_ranges_with_the_standard_deviation() -> None:
    own = runs_needed(8, (1.0, 2.0), 1.5, tests=3)
    assert power_unpaired(own.needed, (1.0, 2.0), 1.5, 3) >= 0.8 > power_unpaired(own.needed - 1, (1.0, 2.0), 1.5, 3)
    factor = (14 / stats.chi2.ppf(0.025, 14)) ** 0.5
    wider = (factor, 2 * factor)
    assert power_unpaired(own.high, wider, 1.5, 3) >= 0.8 > power_unpaired(own.high - 1, wider, 1.5, 3)
    assert own.low < own.needed


def test_equal_groups_are_seldom_told_apart() -> None:
    """Three groups of five: the share of studies with any pair ahead or behind is at most 5%."""
    rng, studies = np.random.default_rng(2), 400
    wrong = 0
    for values in rng.normal(size=(studies, 3, 5)).tolist():
        one, two, three = values
        decided = decide_unpaired([(one, two), (one, three), (two, three)], margin=0.01)
        wrong += any(own.level.startswith(("ahead", "behind")) for own in decided)
    assert wrong / studies <= 0.05 + 3 * (0.05 * 0.95 / studies) ** 0.5


def test_groups_a_margin_apart_are_seldom_called_equivalent() -> None:
    """Six runs of each group with a standard deviation of half a margin: at most 2.5%."""
    rng, studies = np.random.default_rng(3), 400
    one, other = rng.normal(1.0, 0.5, (studies, 6)).tolist(), rng.normal(0.0, 0.5, (studies, 6)).tolist()
    levels = [decide_unpaired([pair], margin=1.0)[0].level for pair in zip(one, other, strict=True)]
    wrong = sum("equivalent" in level for level in levels)
    assert wrong / studies <= 0.025 + 3 * (0.025 * 0.975 / studies) ** 0.5
    apart = [[value + 1.0 for value in row] for row in other]
    same = [decide_unpaired([pair], margin=1.0)[0].level for pair in zip(one, apart, strict=True)]
    assert sum("equivalent" in level for level in same) / studies > 0.5  # or saying nothing would pass


@pytest.mark.parametrize(
    ("shift", "margin", "level"),
    [
        (5.0, 1.0, "ahead by more than the margin"),
        (1.2, 1.19, "ahead"),
        (-5.0, 1.0, "behind by more than the margin"),
        (0.0, 1.0, "equivalent"),
        (0.3, 1.0, "ahead, but equivalent"),
    ],
)
def test_levels_are_those_of_paired_differences_with_the_same_spread(shift: float, margin: float, level: str) -> None:
    other = np.linspace(-0.2, 0.2, 8)
    differences = shift + np.array([0.05, -0.05, 0.1, -0.1, 0.02, -0.02, 0.07, -0.07])
    [unpaired] = decide_unpaired([((other[::-1] + shift).tolist(), other.tolist())], margin)
    [paired] = decide(differences[:, None], np.array([margin]), [[0]])
    assert unpaired.level == paired.level == level
