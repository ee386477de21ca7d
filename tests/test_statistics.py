"""Statistics meet numbers computed by hand."""

from __future__ import annotations

import pytest

from optstudy.statistics import epochs_to_target, t_interval


def test_t_interval_by_hand() -> None:
    # mean 3, sd sqrt(2.5), t(0.975, 4) = 2.776445; half = 2.776445 * 1.581139 / sqrt(5)
    estimate = t_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert (estimate.n, estimate.mean, estimate.sd) == (5, 3.0, pytest.approx(1.5811388))
    assert (estimate.low, estimate.high) == pytest.approx((3 - 1.9632432, 3 + 1.9632432))


def test_epochs_to_target_counts_from_one_and_a_miss_is_one_more_than_the_budget() -> None:
    assert epochs_to_target([0.5, 0.9, 0.8], 0.8, 3) == 2
    assert epochs_to_target([0.5, 0.9, 0.8], 0.95, 3) == 4
    assert epochs_to_target([], 0.5, 3) == 4
