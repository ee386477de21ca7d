"""Laws of `inference.redraws`: hand-computed values, arms that dominate or can be exchanged, the shipped trials."""

from __future__ import annotations

import numpy as np
import pytest

from optstudy.inference.redraws import Pool, leads, ranks, redraw, sobol_strata


def test_a_rule_ranks_by_score_then_by_ties_then_by_index() -> None:
    assert ranks([0.5, 0.9, 0.9, 0.9], [0.1, 0.3, 0.2, 0.3]).tolist() == [3, 1, 0, 2]


@pytest.mark.parametrize(("trials", "parts"), [(1, 1), (2, 2), (3, 4), (4, 4), (6, 8), (8, 8), (24, 8)])
def test_a_sobol_search_spreads_its_trials_over_the_next_power_of_two(trials: int, parts: int) -> None:
    assert sobol_strata(trials) == parts


def test_a_search_of_as_many_trials_as_parts_has_one_of_each_and_selects_the_best() -> None:
    """Two parts of two trials: the second part is better, so each of its trials is selected in half of the searches."""
    pool = Pool(np.array([0.1, 0.2, 0.8, 0.9]), ranks([0.1, 0.2, 0.3, 0.4], [0.0] * 4))
    chosen = redraw({"a": pool}, replicates=5, trials=2, draws=2_000, seed=0, strata=2)["a"]
    assert chosen.shape == (2_000, 5)
    assert set(chosen.ravel().tolist()) == {2, 3}
    assert np.mean(chosen == 3) == pytest.approx(0.5, abs=3 * (0.25 / 10_000) ** 0.5)


def test_independent_draws_find_the_best_trial_as_often_as_the_formula_says() -> None:
    """k draws with replacement from N trials miss the best with probability (1 - 1/N)**k."""
    scores = np.random.default_rng(0).random(10)
    pool = Pool(np.linspace(0, 1, 10), ranks(scores.tolist(), [0.0] * 10))
    chosen = redraw({"a": pool}, replicates=10, trials=4, draws=2_000, seed=1)["a"]
    expected = 1 - 0.9**4
    assert np.mean(chosen == scores.argmax()) == pytest.approx(expected, abs=3 * (expected * 0.66 / 20_000) ** 0.5)


def test_what_is_cut_off_is_never_selected_and_an_empty_part_has_its_nearest_trial() -> None:
    positions = np.array([0.05, 0.3, 0.35, 0.95])
    pool = Pool(positions, ranks([0.9, 0.2, 0.1, 0.8], [0.0] * 4))
    chosen = redraw({"a": pool}, 4, 3, 200, seed=0, strata=4, low=0.2, high=0.8)["a"]
    assert set(chosen.ravel().tolist()) == {1, 2}


def test_contenders_that_tried_the_same_points_get_the_same_trials() -> None:
    rng = np.random.default_rng(0)
    pool = Pool(rng.random(48), ranks(rng.random(48).tolist(), [0.0] * 48))
    first, second = redraw({"a": pool, "b": pool}, 8, 6, 100, seed=3, strata=8).values()
    assert np.array_equal(first, second)


def test_an_arm_that_is_better_in_every_trial_is_always_ahead_and_exchangeable_arms_in_half_of_the_redraws() -> None:
    """The trials of the second arm are those of the first with the halves of the pool exchanged, at the same rates."""
    rng = np.random.default_rng(0)
    positions, scores = np.tile(rng.random(24), 2), rng.random(48)
    exchanged = np.roll(scores, 24)
    pools = {name: Pool(positions, ranks(own.tolist(), [0.0] * 48)) for name, own in (("a", scores), ("b", exchanged))}
    chosen = redraw(pools, 8, 6, 2_000, seed=0, strata=8)
    a, b = scores[chosen["a"]].mean(axis=1), exchanged[chosen["b"]].mean(axis=1)
    ahead = np.mean(a > b) + np.mean(a == b) / 2
    assert ahead == pytest.approx(0.5, abs=3 * (0.25 / 2_000) ** 0.5)
    better = scores + 0.001
    pools["b"] = Pool(positions, ranks(better.tolist(), [0.0] * 48))
    chosen = redraw(pools, 8, 6, 2_000, seed=0, strata=8)
    assert np.all(better[chosen["b"]].mean(axis=1) > scores[chosen["a"]].mean(axis=1))


def test_redraws_led_by_several_count_for_each_with_an_equal_share() -> None:
    means = np.array([[0.9, 0.9, 0.1], [0.2, 0.3, 0.1], [0.5, 0.5, 0.5], [0.1, 0.2, 0.3]])
    assert leads(means, [[0], [1], [2]]) == pytest.approx([(1 / 2 + 1 / 3) / 4, (1 / 2 + 1 + 1 / 3) / 4, (4 / 3) / 4])
    assert leads(means, [[0, 1], [2]]) == pytest.approx([(8 / 3) / 4, (4 / 3) / 4])
