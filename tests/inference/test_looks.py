"""The levels of looks: simulated again, they are those of the table, and together they err as one test does."""

from __future__ import annotations

import numpy as np
import pytest

from optstudy.inference.intervals import LEVEL
from optstudy.inference.looks import LEVELS, level_of, simulated_level
from optstudy.study.schema import MOST_LOOKS

FAMILIES = ((1, False), (6, False), (6, True), (12, False))  # numbers of claims; whether they share a contender
STUDIES = 40_000


def looks(first: int, count: int) -> list[int]:
    """Return the looks that are furthest apart: each adds half of the first."""
    return [first + number * (first // 2) for number in range(count)]


def test_one_look_has_the_level_of_a_single_test() -> None:
    assert level_of(1) == LEVEL
    assert simulated_level([10], 6, False, STUDIES) == pytest.approx(LEVEL, abs=1e-4)


def test_each_number_of_looks_that_a_study_file_allows_has_a_level_and_more_looks_a_smaller_one() -> None:
    assert list(LEVELS) == list(range(1, MOST_LOOKS + 1))
    assert np.all(np.diff(list(LEVELS.values())) < 0)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6])
def test_the_levels_are_the_least_that_were_simulated(count: int) -> None:
    """The error of a simulated level is about 0.0003, so the table may be that much above the smallest one."""
    least = min(simulated_level(looks(6, count), *family, STUDIES) for family in FAMILIES)
    assert least - 0.0015 <= LEVELS[count] <= least + 0.0005


@pytest.mark.parametrize("first", [8, 20])
def test_later_looks_need_no_smaller_level(first: int) -> None:
    assert simulated_level(looks(first, 4), 12, False, STUDIES) >= LEVELS[4]


def test_looks_that_add_nothing_cost_nothing() -> None:
    """Two looks at almost the same replicates are one test."""
    assert simulated_level([400, 401], 1, False, 4_000) == pytest.approx(LEVEL, abs=0.006)
