"""Time to a target: hand-computed targets and times, scipy's restricted mean, and what misses leave undecided."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import CensoredData, ecdf

from optstudy.inference.targets import (
    PRIMARY_SHARE,
    SHARES,
    Reached,
    at_least,
    counts_in_words,
    replicate_target,
    restricted,
    time_to_target,
    undecided,
)


def test_the_target_is_a_share_of_the_median_and_of_a_loss_as_far_above_it() -> None:
    assert replicate_target([0.9, 0.5, 0.8], 0.99, higher=True) == pytest.approx(0.792)  # .99 of .8
    assert replicate_target([0.2, 0.4, 0.3, 0.9], 0.98, higher=False) == pytest.approx(0.357)  # 1.02 times .35
    assert replicate_target([-2.0], 0.99, higher=False) == pytest.approx(-1.98)  # a negative loss has slack, too
    assert math.isnan(replicate_target([], 0.99, higher=True))
    assert PRIMARY_SHARE in SHARES


@pytest.mark.parametrize("higher", [True, False])
def test_times_do_not_change_if_all_scores_are_rescaled(higher: bool) -> None:
    rng = np.random.default_rng(0)
    curves = rng.random((5, 12))
    for scale in (1.0, 0.25, 4.0):  # powers of two, so that products are exact
        best = [float((max if higher else min)(curve)) for curve in scale * curves]
        target = replicate_target(best, 0.99, higher)
        times = [time_to_target((scale * curve).tolist(), target, higher) for curve in curves]
        assert scale != 1.0 or (expected := times)
        assert times == expected
    assert None in expected  # the worst contender misses the median of all
    assert any(expected)


def test_the_time_is_the_first_epoch_that_reaches_the_target_exactly() -> None:
    assert time_to_target([0.5, 0.9, 0.8], 0.8) == 2
    assert time_to_target([0.8, 0.7, 0.8], 0.8) == 1
    assert time_to_target([0.5, 0.9, 0.8], 0.95) is None
    assert time_to_target([], 0.5) is None
    assert time_to_target([2.0, 1.5, 1.4], 1.5, higher=False) == 2
    assert time_to_target([2.0], 1.5, higher=False) is None


def test_the_mean_of_restricted_times_is_the_area_under_the_survival_curve() -> None:
    times = [2, 5, 5, None, 9, None, 12, 3]  # the budget is 12; two trainings miss
    observed = [time for time in times if time is not None]
    survival = ecdf(CensoredData(uncensored=observed, right=[12.0, 12.0])).sf
    steps = [0.0, *(float(q) for q in survival.quantiles if q < 12), 12.0]
    heights = survival.evaluate(np.array(steps[:-1]))
    area = float(np.sum(heights * np.diff(steps)))
    assert np.mean(restricted(times, 12)) == pytest.approx(area)
    assert restricted([None, 3, 20], 12) == [12, 3, 12]


def arms(slower: tuple[int, int], faster: tuple[int, int]) -> list[Reached]:
    """Return a pair whose positive effect says that the first arm is slower."""
    return [Reached(*slower, 1.0), Reached(*faster, -1.0)]


@pytest.mark.parametrize(
    ("slower", "faster", "no_verdict", "more"),
    [
        ((2, 8), (3, 8), True, False),  # both beyond a fifth
        ((0, 8), (0, 8), True, False),
        ((2, 8), (8, 8), False, True),  # the slower one only
        ((8, 8), (2, 8), False, False),  # the faster one only: the difference is not larger than it seems
        ((8, 10), (8, 10), False, False),  # a fifth is not more than a fifth
        ((7, 10), (8, 10), False, True),
        ((8, 8), (8, 8), False, False),
    ],
)
def test_more_than_a_fifth_of_misses_on_both_sides_allow_no_verdict(
    slower: tuple[int, int], faster: tuple[int, int], no_verdict: bool, more: bool
) -> None:
    assert undecided(arms(slower, faster)) is no_verdict
    assert at_least(arms(slower, faster), 1.0) is more
    assert at_least(arms(faster, slower), -1.0) is more  # the same, seen from the other side
    assert not at_least(arms(slower, faster), 0.0)


def test_a_side_of_several_arms_is_censored_by_their_weights() -> None:
    mean = [Reached(8, 8, -1.0), Reached(0, 8, 0.5), Reached(8, 8, 0.5)]  # half of the slower side's weight is missing
    assert at_least(mean, 1.0)
    assert not undecided(mean)
    assert undecided([Reached(4, 8, -1.0), *mean[1:]])
    assert not undecided([Reached(4, 8, -1.0), Reached(0, 8, 0.1), Reached(8, 8, 0.9)])  # a tenth is missing


def test_counts_are_listed_in_the_order_of_the_arms() -> None:
    three = [Reached(2, 8, -1.0), Reached(3, 8, 0.5), Reached(8, 8, 0.5)]
    assert counts_in_words(three[:2]) == "2 of 8 and 3 of 8"
    assert counts_in_words(three) == "2 of 8, 3 of 8 and 8 of 8"
    assert (counts_in_words(three[:1]), counts_in_words([])) == ("2 of 8", "")
