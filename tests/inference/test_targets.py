"""Laws of `inference.targets`: values by hand, brute force over all outcomes, published references."""

from __future__ import annotations

from optstudy.inference.targets import epochs_to_target


def test_epochs_to_target_counts_from_one_and_a_miss_is_one_more_than_the_budget() -> None:
    assert epochs_to_target([0.5, 0.9, 0.8], 0.8, 3) == 2
    assert epochs_to_target([0.5, 0.9, 0.8], 0.95, 3) == 4
    assert epochs_to_target([], 0.5, 3) == 4


def test_epochs_to_target_is_the_first_epoch_that_reaches_it_exactly() -> None:
    assert epochs_to_target([0.8, 0.7, 0.8], 0.8, 3) == 1


def test_a_curve_that_ended_early_misses_the_target_by_the_whole_budget() -> None:
    assert epochs_to_target([0.1, 0.1], 0.5, 30) == 31
