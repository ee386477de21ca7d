"""Laws of `inference.tuning_curves`: values by hand, brute force over all outcomes, published references."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from optstudy.inference.tuning_curves import expected_best

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
