"""Searches are paired across contenders, extend without change, and selection sees validation values only."""

from __future__ import annotations

import inspect

import pytest

from optstudy.catalogue import OPTIMIZERS, SAMPLERS, Space
from optstudy.planning.samplers import drawn_points, next_point, random_points, sobol_points
from optstudy.planning.selection import Validation, edges, select, validation
from optstudy.spec import RunResult

SPACES = OPTIMIZERS["adam"].search


DRAWN = [name for name, sampler in SAMPLERS.items() if not sampler.adaptive]
ADAPTIVE = [name for name, sampler in SAMPLERS.items() if sampler.adaptive]


@pytest.mark.parametrize("sampler", DRAWN)
def test_more_trials_extend_a_search_and_change_none_of_it(sampler: str) -> None:
    longer = drawn_points(sampler, 0, 3, 12, SPACES)
    for trials in range(1, 12):
        assert drawn_points(sampler, 0, 3, trials, SPACES) == longer[:trials]


def test_sobol_and_random_points_differ() -> None:
    assert sobol_points(0, 0, 4, 2) != random_points(0, 0, 4, 2)


@pytest.mark.parametrize("sampler", DRAWN)
def test_replicates_and_study_seeds_search_other_points_inside_the_space(sampler: str) -> None:
    searches = [drawn_points(sampler, seed, replicate, 6, SPACES) for seed in (0, 1) for replicate in (0, 1)]
    assert len({str(search) for search in searches}) == 4
    for point in (point for search in searches for point in search):
        assert all(SPACES[name].low <= value <= SPACES[name].high for name, value in point.items())


def test_sobol_spreads_eight_points_over_the_eight_eighths_of_each_axis() -> None:
    points = sobol_points(0, 0, 8, 2)
    for axis in (0, 1):
        assert sorted(int(point[axis] * 8) for point in points) == list(range(8))


@pytest.mark.parametrize("sampler", ADAPTIVE)
def test_an_adaptive_sampler_asks_the_same_question_again_and_learns_from_its_history(sampler: str) -> None:
    history = [({"learning_rate": 1e-3 * 1.1**i, "weight_decay": 1e-4}, 0.9) for i in range(10)]
    history += [({"learning_rate": 3e-5 * 1.1**i, "weight_decay": 1e-4}, 0.1) for i in range(10)]
    first, again = (next_point(sampler, 0, 0, SPACES, history, "maximize") for _ in range(2))
    assert first == again
    proposals = [next_point(sampler, seed, 0, SPACES, history, "maximize")["learning_rate"] for seed in range(10)]
    assert sum(rate > 3e-4 for rate in proposals) >= 8


def test_selection_takes_the_best_then_the_lower_loss_then_the_lower_trial() -> None:
    results = [
        RunResult("completed", {"val/accuracy": accuracy, "val/loss": loss}, (), 0.0)
        for accuracy, loss in ((0.8, 0.1), (0.9, 0.5), (0.9, 0.4), (0.9, 0.4))
    ]
    assert select([validation(result, "val/accuracy") for result in results]) == 2
    assert select([validation(result, "val/loss") for result in results]) == 0


def test_selection_cannot_see_test_values() -> None:
    assert set(Validation.__dataclass_fields__) == {"score", "loss"}
    hidden = RunResult("completed", {"val/accuracy": 0.5, "val/loss": 1.0, "test/accuracy": 0.9}, (), 0.0)
    assert validation(hidden, "val/accuracy") == Validation(0.5, 1.0)
    assert "Validation" in str(inspect.signature(select).parameters["trials"].annotation)


def test_edges_are_five_percent_of_the_log_range() -> None:
    spaces = {"learning_rate": Space(1e-4, 1e-1)}
    flags = [edges({"learning_rate": spaces["learning_rate"].at(u)}, spaces) for u in (0.04, 0.06, 0.94, 0.96)]
    assert flags == [["learning_rate:low"], [], [], ["learning_rate:high"]]
