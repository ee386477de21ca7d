"""Each schedule equals torch's over its whole course, and a user's function is one, too."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import Optimizer, lr_scheduler

from builders import spec_of, tiny
from optstudy.catalogue import SCHEDULES
from optstudy.study.contender_blocks import Schedule
from optstudy.training.schedules import build_schedule, schedule_factor
from optstudy.training.train import train

STEPS = 20
RATE = 0.3


def course(build: Callable[[Optimizer], lr_scheduler.LRScheduler], steps: int = STEPS) -> list[float]:
    """Return the learning rate before each of `steps` steps, and after the last."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=RATE)
    scheduler = build(optimizer)
    rates = [optimizer.param_groups[0]["lr"]]
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def ours(given: dict[str, Any]) -> list[float]:
    resolved = Schedule.model_validate(given).resolved()
    return course(lambda optimizer: build_schedule(optimizer, resolved, STEPS))


# A schedule of a study file, and torch's.
TORCHS: dict[str, tuple[dict[str, Any], Callable[[Optimizer], lr_scheduler.LRScheduler]]] = {
    "cosine": ({}, lambda one: lr_scheduler.CosineAnnealingLR(one, STEPS)),
    "cosine to an end": ({"end": 0.1}, lambda one: lr_scheduler.CosineAnnealingLR(one, STEPS, eta_min=0.1 * RATE)),
    "constant": ({"name": "constant"}, lambda one: lr_scheduler.ConstantLR(one, factor=1.0)),
    "linear": ({"name": "linear"}, lambda one: lr_scheduler.LinearLR(one, 1.0, 0.0, STEPS)),
    "linear to an end": ({"name": "linear", "end": 0.2}, lambda one: lr_scheduler.LinearLR(one, 1.0, 0.2, STEPS)),
    "step": ({"name": "step"}, lambda one: lr_scheduler.MultiStepLR(one, [10, 15], 0.1)),
    "equal steps": (
        {"name": "step", "at": [0.2, 0.4, 0.6, 0.8], "factor": 0.5},
        lambda one: lr_scheduler.StepLR(one, 4, 0.5),
    ),
    "exponential": ({"name": "exponential"}, lambda one: lr_scheduler.ExponentialLR(one, 0.01 ** (1 / STEPS))),
    "polynomial": ({"name": "polynomial"}, lambda one: lr_scheduler.PolynomialLR(one, STEPS, 0.9)),
    "one cycle": (
        {"name": "one_cycle"},
        lambda one: lr_scheduler.OneCycleLR(one, RATE, total_steps=STEPS + 1, cycle_momentum=False),
    ),
}


@pytest.mark.parametrize("name", TORCHS)
def test_a_schedule_is_torchs_over_its_whole_course(name: str) -> None:
    given, torchs = TORCHS[name]
    last = STEPS
    if name == "one cycle":  # torch's ends with its last step, so its course has one step less
        resolved, last = Schedule.model_validate(given).resolved(), STEPS - 1
        found = course(lambda optimizer: build_schedule(optimizer, resolved, STEPS + 1), last)
    else:
        found = ours(given)
    expected = course(torchs, last)
    if name == "equal steps":  # StepLR steps down at the very end, too
        found, expected = found[:-1], expected[:-1]
    assert found == pytest.approx(expected, abs=1e-12)


def test_inverse_square_root_after_as_long_a_warm_up_is_vaswanis() -> None:
    warmup, steps = 20, 220
    schedule = {"name": "inverse_square_root", "warmup": warmup / steps, "timescale": warmup / (steps - warmup)}
    for step in (20, 21, 100, 219):
        assert schedule_factor(schedule, step, steps) == pytest.approx(math.sqrt(warmup / step))


def test_warmup_stable_decay_is_flat_and_then_falls_to_its_end() -> None:
    given = {"name": "warmup_stable_decay", "warmup": 0.1, "decay": 0.25, "end": 0.1, "interval": "step"}
    rates = [rate / RATE for rate in ours(given)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1])
    assert rates[3:16] == [1.0] * 13
    assert rates[16:] == pytest.approx([0.9, 0.7, 0.5, 0.3, 0.1])


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 50])
def test_multiples_lie_between_0_and_1_for_any_number_of_steps(name: str, steps: int) -> None:
    factors = [schedule_factor({"name": name, "warmup": 0.0}, step, steps) for step in range(steps + 1)]
    assert all(0 <= factor <= 1 + 1e-12 for factor in factors)
    assert name == "constant" or steps < 3 or factors[-1] < max(factors)


def test_warmup_rises_linearly_to_the_base_rate() -> None:
    schedule = {"name": "cosine", "warmup": 0.3}
    assert [schedule_factor(schedule, step, 10) for step in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1.0])


def test_a_default_that_is_written_down_changes_no_training() -> None:
    written = Schedule.model_validate({"name": "step", "at": [0.5, 0.75], "factor": 0.1})
    assert written.resolved() == Schedule.model_validate({"name": "step"}).resolved()
    assert Schedule().resolved() == {"name": "cosine", "interval": "epoch", "warmup": 0.0}


def halves(step: int, steps: int) -> float:
    """A user's schedule."""
    return 1.0 if 2 * step < steps else 0.5


def falls_below_zero(step: int, steps: int) -> float:
    return 1.0 - 2 * step / steps


def test_a_users_function_is_a_schedule_and_trains() -> None:
    given = {"class": "test_schedules.halves", "interval": "step"}
    rates = ours(given)
    assert rates == [RATE] * 10 + [RATE / 2] * 11
    spec = spec_of("sgd", study={"model": "linear", "epochs": 2, "schedule": {"class": "test_schedules.halves"}})
    [result] = train([spec])
    assert [epoch["learning_rate"] for epoch in result.curve] == [0.01, 0.005]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "cosine", "power": 2.0}, "no effect on the schedule cosine: its keys are end"),
        ({"name": "constant", "end": 0.1}, "it has no further keys"),
        ({"name": "one_cycle", "warmup": 0.1, "interval": "step"}, "rises by itself"),
        ({"name": "one_cycle"}, "rises and falls within epochs: write `interval: step`"),
        ({"name": "step", "at": [0.7, 0.5]}, "must rise"),
        ({"name": "exponential", "end": 0.0}, "equal factors never reach it"),
        ({"name": "cosine", "class": "test_schedules.halves"}, "either `name` or `class`"),
        ({"class": "test_schedules.falls_below_zero"}, "after step 6 of 10"),
        ({"class": "torch.optim.lr_scheduler.StepLR"}, "must be a function of `step` and `steps`"),
        ({"class": "test_schedules.no_function"}, "has no 'no_function'"),
    ],
)
def test_keys_without_effect_and_unusable_functions_are_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tiny(schedule=given)
