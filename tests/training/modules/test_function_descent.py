"""Analytic functions: optimizers take the steps that the formulas say, and the path's metrics are those of the path."""

from __future__ import annotations

import math
from typing import Any

import pytest

from builders import tiny
from optstudy.catalogue import OPTIMIZERS
from optstudy.spec import RunResult
from optstudy.study.study import Study
from optstudy.tasks.functions import Ravine, Rosenbrock
from optstudy.training.train import train


def study_of(**changes: Any) -> Study:
    given = {"data": "ravine", "model": "point", "epochs": 50, "schedule": "constant"}
    return tiny(**{**given, "batch_size": 64, **changes})


def descend(name: str, rate: float, **changes: Any) -> RunResult:
    study = study_of(optimizers=[name], **changes)
    return train([study.spec(study.optimizers[0], 0, 5, {"learning_rate": rate})])[0]


def test_gradient_descent_on_the_ravine_by_hand() -> None:
    # Each coordinate shrinks by a factor of its own: 1 - rate along, 1 - 100 * rate across.
    study = study_of(optimizers=["sgd"])
    x, y = Ravine(100.0, 1e-3).start(study.spec(study.optimizers[0], 0, 5, {}).split_seed)
    result = descend("sgd", 0.015)
    for step, metrics in enumerate(result.curve, start=1):
        assert metrics["x"] == pytest.approx(x * 0.985**step, rel=1e-9)
        assert metrics["y"] == pytest.approx(y * (-0.5) ** step, rel=1e-9)
    assert result.metrics["sign_changes"] == 49  # the factor across is negative: each step crosses the valley


def test_steps_to_tolerance_is_the_first_step_at_or_below_it() -> None:
    result = descend("sgd", 0.01, epochs=400)
    reached = [step for step, metrics in enumerate(result.curve, start=1) if metrics["loss"] <= 1e-3]
    assert result.metrics["steps_to_tolerance"] == reached[0]
    assert descend("sgd", 1e-4).metrics["steps_to_tolerance"] == 51  # a miss counts as steps + 1


def test_a_step_too_long_diverges_and_is_scored_at_the_start() -> None:
    result = descend("sgd", 1.0)
    assert result.status == "diverged"
    assert result.metrics["steps_to_tolerance"] == 51
    study = study_of(optimizers=["sgd"])
    start = Ravine(100.0, 1e-3).start(study.spec(study.optimizers[0], 0, 5, {}).split_seed)
    assert result.metrics["loss"] == Ravine(100.0, 1e-3)(*start)


@pytest.mark.parametrize("name", [name for name, row in OPTIMIZERS.items() if not row.groups])
@pytest.mark.parametrize("data", ["ravine", "rosenbrock"])
def test_every_optimizer_descends_every_function_and_decays_nothing(name: str, data: str) -> None:
    rate = {"sgd": 1e-4, "momentum": 1e-5, "nesterov": 1e-5, "radam": 1e-5, "prodigy": 1.0}.get(name, 1e-3)
    result = descend(name, rate, data=data)
    assert result.status == "completed"
    assert result.curve[-1]["loss"] < result.curve[0]["loss"]
    row = study_of(optimizers=[name]).row(study_of(optimizers=[name]).optimizers[0])
    assert set(row.search) == ({"d_coef"} if row.rate_free else {"learning_rate"})


def test_a_replicate_is_a_starting_point_shared_by_contenders() -> None:
    study = study_of(optimizers=["sgd", "adam"], replicates=4)
    seeds = [[study.spec(c, r, 5, {}).split_seed for r in range(4)] for c in study.optimizers]
    assert seeds[0] == seeds[1]
    starts = {Ravine(100.0, 1e-3).start(seed) for seed in seeds[0]}
    assert len(starts) == 4
    assert all(math.hypot(*start) == pytest.approx(1.0) for start in starts)


def test_minima_and_the_steep_axis() -> None:
    ravine, rosenbrock = Ravine(100.0, 1e-3), Rosenbrock(1e-3)
    assert (ravine(0.0, 0.0), rosenbrock(1.0, 1.0)) == (0.0, 0.0)
    # Along the eigenvector with the eigenvalue 1001.6, the value grows as half of that times the distance squared.
    a, b = rosenbrock.steep
    assert rosenbrock(1 + 1e-4 * a, 1 + 1e-4 * b) == pytest.approx(0.5 * 1001.6 * 1e-8, rel=1e-2)
