"""The tables that study, planning and training share: optimizers, schedules, samplers.

Functions are named by their path and imported when they are called, so that reading a study file imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Space:
    """An interval to search, log-uniformly unless `log` is false; `whole` if it has whole numbers alone."""

    low: float
    high: float
    log: bool = True
    whole: bool = False

    def at(self, u: float) -> float:
        """Return the value at `u` in [0, 1) of the way from low to high.

        A whole number has the share of the whole numbers' interval that is nearest to it, as in Optuna's `suggest_int`.
        """
        if self.whole:
            wider = Space(self.low - 0.5, self.high + 0.5, self.log)
            return int(min(max(round(wider.at(u)), self.low), self.high))
        if self.log:
            return math.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low)))
        return self.low + u * (self.high - self.low)

    def position(self, value: float) -> float:
        """Return where `value` lies: 0 at low, 1 at high; the inverse of `at` for an interval of real numbers."""
        if self.log:
            return (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class OptimizerRow:
    """One optimizer.

    Attributes:
        optimizer: Path of its class.
        decay: How it applies weight decay: "coupled" (added to the gradient) or "decoupled" (subtracted from the
            weights, multiplied by the learning rate as in PyTorch). None if its class has to be tried.
        defaults: Values of the searched hyperparameters in the untuned variant (docs/protocol.md).
        fixed: Hyperparameters that are not searched.
        search: Search space of each searched hyperparameter.
    """

    optimizer: str
    decay: Literal["coupled", "decoupled"] | None
    defaults: Mapping[str, float]
    fixed: Mapping[str, float | bool]
    search: Mapping[str, Space]


# Defaults are the protocol's. Each learning-rate space spans three decades around the rates that the literature
# reports for the optimizer (Schmidt et al. 2021, table 1; the DeepOBS grid); momentum's is a decade below SGD's because
# 1/(1 - 0.9) multiplies its steps. Decoupled decay is multiplied by the learning rate, hence its larger values.
OPTIMIZERS: Mapping[str, OptimizerRow] = {
    "sgd": OptimizerRow(
        optimizer="torch.optim.SGD",
        decay="coupled",
        defaults={"learning_rate": 1e-2, "weight_decay": 0.0},
        fixed={"momentum": 0.0},
        search={"learning_rate": Space(3e-3, 3.0), "weight_decay": Space(1e-6, 1e-2)},
    ),
    "momentum": OptimizerRow(
        optimizer="torch.optim.SGD",
        decay="coupled",
        defaults={"learning_rate": 1e-2, "weight_decay": 1e-4},
        fixed={"momentum": 0.9},
        search={"learning_rate": Space(3e-4, 3e-1), "weight_decay": Space(1e-6, 1e-2)},
    ),
    "rmsprop": OptimizerRow(
        optimizer="torch.optim.RMSprop",
        decay="coupled",
        defaults={"learning_rate": 1e-3, "weight_decay": 0.0},
        fixed={},
        search={"learning_rate": Space(3e-5, 3e-2), "weight_decay": Space(1e-6, 1e-2)},
    ),
    "adam": OptimizerRow(
        optimizer="torch.optim.Adam",
        decay="coupled",
        defaults={"learning_rate": 1e-3, "weight_decay": 1e-5},
        fixed={"beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
        search={"learning_rate": Space(3e-5, 3e-2), "weight_decay": Space(1e-6, 1e-2)},
    ),
    "adamw": OptimizerRow(
        optimizer="torch.optim.AdamW",
        decay="decoupled",
        defaults={"learning_rate": 1e-3, "weight_decay": 1e-2},
        fixed={"beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
        search={"learning_rate": Space(3e-5, 3e-2), "weight_decay": Space(1e-4, 1.0)},
    ),
}


def optimizer_path(optimizer: str) -> str:
    """Return the path of the class that `RunSpec.optimizer` means: a row's name, or a path already."""
    return OPTIMIZERS[optimizer].optimizer if optimizer in OPTIMIZERS else optimizer


@dataclass(frozen=True)
class ScheduleRow:
    """One learning-rate schedule.

    Attributes:
        function: Path of the function that returns the multiple of the base rate after `step` of `steps` steps.
        arguments: Its further arguments with their defaults; a study file has them as keys of `schedule`.
        warms_up: Whether it rises by itself, so that a warm-up before it makes no sense.
    """

    function: str
    arguments: Mapping[str, float | tuple[float, ...]] = field(default_factory=dict)
    warms_up: bool = False


# Shares (`at`, `rise`, `decay`, `timescale`) are of the budget without its warm-up, `start` and `end` multiples of the
# base rate.
SCHEDULES: Mapping[str, ScheduleRow] = {
    "cosine": ScheduleRow("optstudy.training.schedules.cosine", {"end": 0.0}),
    "constant": ScheduleRow("optstudy.training.schedules.constant"),
    "linear": ScheduleRow("optstudy.training.schedules.linear", {"end": 0.0}),
    "step": ScheduleRow("optstudy.training.schedules.step_down", {"at": (0.5, 0.75), "factor": 0.1}),
    "exponential": ScheduleRow("optstudy.training.schedules.exponential", {"end": 0.01}),
    "polynomial": ScheduleRow("optstudy.training.schedules.polynomial", {"power": 0.9, "end": 0.0}),
    "inverse_square_root": ScheduleRow("optstudy.training.schedules.inverse_square_root", {"timescale": 0.1}),
    "one_cycle": ScheduleRow(
        "optstudy.training.schedules.one_cycle", {"rise": 0.3, "start": 0.04, "end": 4e-6}, warms_up=True
    ),
    "warmup_stable_decay": ScheduleRow("optstudy.training.schedules.warmup_stable_decay", {"decay": 0.2, "end": 0.0}),
}


@dataclass(frozen=True)
class Sampler:
    """One way to search.

    Attributes:
        points: Path of the function that returns the points: of an `adaptive` sampler the next one, given the trials
            before it (see `samplers.tpe_point`), of others all of them in the unit cube (see `samplers.sobol_points`).
        adaptive: Whether points depend on the results of earlier trials.
    """

    points: str
    adaptive: bool = False


SAMPLERS: Mapping[str, Sampler] = {
    "sobol": Sampler("optstudy.planning.samplers.sobol_points"),
    "random": Sampler("optstudy.planning.samplers.random_points"),
    "tpe": Sampler("optstudy.planning.samplers.tpe_point", adaptive=True),
}
