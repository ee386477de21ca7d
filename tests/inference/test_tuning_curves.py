"""Laws of `inference.tuning_curves`: values by hand, brute force over all outcomes, published references."""

from __future__ import annotations

import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from optstudy.inference.tuning_curves import (
    Lead,
    chance_ahead,
    crossings,
    expected_best,
    median_best,
    tunability,
)

DEEPOBS = Path(__file__).parents[3] / "shared" / "reference" / "deepobs_fmnist_2c2d_runs.csv"


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


def test_the_median_best_and_its_band_are_quantiles_of_the_empirical_distribution() -> None:
    """Of 100 values: half of single draws are above 50, of two draws above the 0.707 quantile; the band is +- 0.136."""
    values = [float(value) for value in range(1, 101)]
    assert (math.log(2 / 0.05) / 200) ** 0.5 == pytest.approx(0.1358, abs=1e-4)
    one, two, many = median_best(values, [1, 2, 40], most=200.0)
    assert (one.median, one.low, one.high) == (50, 37, 64)
    assert (two.median, two.low, two.high) == (71, 58, 85)
    assert (many.median, many.high) == (99, 200)  # too few values to tell: the largest possible one
    assert median_best(values, [40])[0].high == math.inf


def test_bands_contain_the_true_median_of_all_budgets_at_once_in_95_percent_of_pools() -> None:
    """Uniform values: the best of k has the median 0.5**(1/k). The bound is conservative: 0.95 or more."""
    rng, ks = np.random.default_rng(0), range(1, 25)
    truth = [0.5 ** (1 / k) for k in ks]
    inside = [
        all(band.low <= true <= band.high for band, true in zip(median_best(pool, ks, 1.0), truth, strict=True))
        for pool in rng.random((400, 48)).tolist()
    ]
    assert np.mean(inside) >= 0.95


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_chance_to_be_ahead_is_that_over_all_pairs_of_draws(k: int) -> None:
    rng = np.random.default_rng(k)
    pools = [(rng.random(5).tolist(), (rng.integers(0, 4, 5) / 4).tolist()) for _ in range(2)]
    ends = [
        [test[max(draw, key=lambda index: validation[index])] for draw in combinations(range(5), k)]
        for validation, test in pools
    ]
    wins = [(a > b) + (a == b) / 2 for a in ends[0] for b in ends[1]]
    assert chance_ahead(pools[0], pools[1], k) == pytest.approx(np.mean(wins))
    assert chance_ahead(pools[1], pools[0], k) == pytest.approx(1 - np.mean(wins))
    assert chance_ahead(pools[0], pools[0], k) == pytest.approx(0.5)


def test_trials_with_equal_validation_values_have_equal_chances_whatever_their_order() -> None:
    pool, other = ([0.5, 0.9, 0.9], [0.1, 0.2, 0.8]), ([0.5], [0.5])
    turned = ([0.9, 0.9, 0.5], [0.8, 0.2, 0.1])
    # of three draws of one: 0.1, 0.2, 0.8 against 0.5
    assert chance_ahead(pool, other, 1) == pytest.approx(1 / 3)
    assert chance_ahead((pool[0] * 2, pool[1] * 2), (other[0] * 6, other[1] * 6), 6) == pytest.approx(1 / 2)
    assert chance_ahead(pool, other, 1) == pytest.approx(chance_ahead(turned, other, 1))


def test_tunability_is_the_weighted_mean_over_the_last_value() -> None:
    """Weights 3, 2, 1: (3 * 0.4 + 2 * 0.6 + 1 * 0.8) / 6 / 0.8."""
    assert tunability([0.4, 0.6, 0.8]) == pytest.approx(3.2 / 6 / 0.8)
    assert tunability([0.7] * 5) == pytest.approx(1)


def test_crossings_say_who_leads_with_how_many_trials() -> None:
    expected = {"a": [0.5, 0.6, 0.7, 0.7], "b": [0.4, 0.6, 0.8, 0.9], "c": [0.1, 0.1, 0.1, 0.1]}
    assert crossings(expected) == [Lead(1, 2, "a"), Lead(3, 4, "b")]
    assert crossings({"a": [0.5]}) == [Lead(1, 1, "a")]
