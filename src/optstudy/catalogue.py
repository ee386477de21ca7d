"""The tables that study, planning and training share: optimizers, schedules, samplers.

Functions are named by their path and imported when they are called, so that reading a study file imports no torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

# The value of a hyperparameter; a tuple is written as a list in a study file.
Value = bool | float | str | tuple[bool | float | str | None, ...]
Hyperparameters = Mapping[str, Value]


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

    @property
    def ends(self) -> tuple[float, ...]:
        """Return the values between which all others lie."""
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)


@dataclass(frozen=True)
class Choices:
    """Values to choose from, all with the same share. They have no order, and so no end that a value is close to."""

    choices: tuple[Value, ...]

    def at(self, u: float) -> Value:
        """Return the value at `u` in [0, 1): each has an equal part of it."""
        return self.choices[min(int(u * len(self.choices)), len(self.choices) - 1)]

    def index(self, value: object) -> int:
        """Return the place of a value, or of its label as a table has it. Raises ValueError if it is none of them."""
        for place, choice in enumerate(self.choices):
            if choice == value or label(choice) == value:
                return place
        raise ValueError(f"{value!r} is none of {', '.join(map(label, self.choices))}")

    def position(self, value: object) -> float:
        """Return the middle of the part that `at` has for a value."""
        return (self.index(value) + 0.5) / len(self.choices)

    @property
    def ends(self) -> tuple[Value, ...]:
        """Return all values: none lies between others."""
        return self.choices

    @property
    def numeric(self) -> bool:
        """Return whether all choices are numbers, so that a column of a table has numbers."""
        return all(isinstance(choice, int | float) and not isinstance(choice, bool) for choice in self.choices)


def label(value: object) -> str:
    """Return a value as tables and figures write it: text as it is, anything else as JSON.

    Text that could be read as something else, such as `1`, `true` or `nan`, is in quotes.
    """
    if not isinstance(value, str):
        return json.dumps(value)
    try:
        json.loads(value)
    except ValueError:
        if value and value.lower() != "nan":
            return value
    return json.dumps(value)


def labelled(hyperparameters: Hyperparameters) -> dict[str, float | str]:
    """Return hyperparameters as the cells of a table: numbers, and the labels of all others."""
    return {
        name: label(value) if isinstance(value, bool | str | tuple) else value
        for name, value in hyperparameters.items()
    }


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters of a network that an optimizer treats in their own way (see `training.groups`).

    A hyperparameter of the group is named `<name of the group>.<hyperparameter>`.

    Attributes:
        name: Its name.
        optimizer: The row or the class that trains it; None for the contender's own.
        ndim: Numbers of dimensions that its parameters have; empty for any.
        names: Prefixes of their names, or patterns with `*`, `?` or `[...]` for the whole name; empty for any.
        modules: Names of the classes that own them, or of base classes of these; empty for any.
        hidden: Whether embeddings, and the first and the last layer with weights, are left out.
        multiply: Hyperparameters that have the contender's own value, multiplied by this factor.
    """

    name: str
    optimizer: str | None = None
    ndim: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    hidden: bool = False
    multiply: Mapping[str, float] = field(default_factory=dict)


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
        groups: Parameters that it treats in another way than the rest; of several that match one, the first has it.
        rate_free: Whether it estimates its learning rate itself. What is called its learning rate is a factor of the
            estimate, which its authors leave at 1.
        schedule_free: Whether an average of its weights takes the place of a schedule, so that its rate is constant.
    """

    optimizer: str
    decay: Literal["coupled", "decoupled"] | None
    defaults: Hyperparameters
    fixed: Hyperparameters
    search: Mapping[str, Space | Choices]
    groups: tuple[ParameterGroup, ...] = ()
    rate_free: bool = False
    schedule_free: bool = False

    @property
    def rates(self) -> Space | None:
        """Return the space of learning rates, which are never a choice; None if they are not searched."""
        space = self.search.get("learning_rate")
        return space if isinstance(space, Space) else None

    def interval(self, name: str) -> Space:
        """Return the space of a hyperparameter that is searched over an interval."""
        space = self.search[name]
        assert isinstance(space, Space), f"{name} has choices"
        return space


# Defaults are the protocol's. Each learning-rate space spans three decades around the rates that the literature
# reports for the optimizer (Schmidt et al. 2021, table 1; the DeepOBS grid); momentum's is a decade below SGD's because
# 1/(1 - 0.9) multiplies its steps. Decoupled decay is multiplied by the learning rate, hence its larger values.
# The rows below these five cite the paper of their update, which their defaults and the rates in their spaces follow.
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
    # Sutskever et al. 2013 (proceedings.mlr.press/v28/sutskever13); the rates are those of momentum.
    "nesterov": OptimizerRow(
        optimizer="torch.optim.SGD",
        decay="coupled",
        defaults={"learning_rate": 1e-2, "weight_decay": 1e-4},
        fixed={"momentum": 0.9, "nesterov": True},
        search={"learning_rate": Space(3e-4, 3e-1), "weight_decay": Space(1e-6, 1e-2)},
    ),
    # Duchi et al. 2011 (jmlr.org/papers/v12/duchi11a); Schmidt et al. 2021 (arXiv:2007.01547) search around 1e-2.
    "adagrad": OptimizerRow(
        optimizer="torch.optim.Adagrad",
        decay="coupled",
        defaults={"learning_rate": 1e-2, "weight_decay": 0.0},
        fixed={"eps": 1e-10},
        search={"learning_rate": Space(3e-4, 3e-1), "weight_decay": Space(1e-6, 1e-2)},
    ),
    # Dozat 2016 (openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ): Adam with Nesterov's momentum, at Adam's rates.
    "nadam": OptimizerRow(
        optimizer="torch.optim.NAdam",
        decay="coupled",
        defaults={"learning_rate": 2e-3, "weight_decay": 0.0},
        fixed={"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "momentum_decay": 4e-3},
        search={"learning_rate": Space(3e-5, 3e-2), "weight_decay": Space(1e-6, 1e-2)},
    ),
    # Liu et al. 2020 (arXiv:1908.03265): Adam's default, and 0.003 to 0.1 on CIFAR-10.
    "radam": OptimizerRow(
        optimizer="torch.optim.RAdam",
        decay="coupled",
        defaults={"learning_rate": 1e-3, "weight_decay": 0.0},
        fixed={"beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
        search={"learning_rate": Space(1e-4, 1e-1), "weight_decay": Space(1e-6, 1e-2)},
    ),
    # Shazeer & Stern 2018 (arXiv:1804.04235). Its rate is relative: torch multiplies it by the root mean square of the
    # weights, and uses the smaller of the rate and 1 / sqrt(step); the paper's relative rate is at most 1e-2.
    "adafactor": OptimizerRow(
        optimizer="torch.optim.Adafactor",
        decay="decoupled",
        defaults={"learning_rate": 1e-2, "weight_decay": 0.0},
        fixed={"beta2_decay": -0.8, "d": 1.0},
        search={"learning_rate": Space(3e-4, 3e-1), "weight_decay": Space(1e-4, 1.0)},
    ),
    # Chen et al. 2023 (arXiv:2302.06675): rates 3 to 10 times smaller than AdamW's, decay as many times larger.
    "lion": OptimizerRow(
        optimizer="pytorch_optimizer.Lion",
        decay="decoupled",
        defaults={"learning_rate": 1e-4, "weight_decay": 1e-1},
        fixed={"beta1": 0.9, "beta2": 0.99},
        search={"learning_rate": Space(3e-6, 3e-3), "weight_decay": Space(1e-3, 10.0)},
    ),
    # Vyas et al. 2024 (arXiv:2409.11321): Adam in the eigenbasis of Shampoo's preconditioner; 3.16e-3 was best for it.
    "soap": OptimizerRow(
        optimizer="pytorch_optimizer.SOAP",
        decay="decoupled",
        defaults={"learning_rate": 3e-3, "weight_decay": 1e-2},
        fixed={"beta1": 0.95, "beta2": 0.95, "eps": 1e-8, "precondition_frequency": 10},
        search={"learning_rate": Space(1e-4, 1e-1), "weight_decay": Space(1e-4, 1.0)},
    ),
    # Defazio et al. 2024 (arXiv:2405.15682): rates 1 to 10 times those of AdamW with a schedule.
    "schedule_free_adamw": OptimizerRow(
        optimizer="schedulefree.AdamWScheduleFree",
        decay="decoupled",
        defaults={"learning_rate": 2.5e-3, "weight_decay": 0.0},
        fixed={"beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
        search={"learning_rate": Space(1e-4, 1e-1), "weight_decay": Space(1e-4, 1.0)},
        schedule_free=True,
    ),
    # Mishchenko & Defazio 2024 (arXiv:2306.06101): `d_coef` multiplies the estimate; the authors' package (prodigyopt)
    # advises to change it, by 0.1 to 10, rather than the learning rate. Decay is multiplied by the estimate, too.
    "prodigy": OptimizerRow(
        optimizer="pytorch_optimizer.Prodigy",
        decay="decoupled",
        defaults={"weight_decay": 0.0, "d_coef": 1.0},
        fixed={"learning_rate": 1.0, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
        search={"weight_decay": Space(1e-4, 1.0), "d_coef": Space(1e-1, 10.0)},
        rate_free=True,
    ),
    # Xie et al. 2022 (arXiv:2208.06677): rates up to 5 to 10 times AdamW's; decay 0.02 in nearly all of its tasks,
    # applied as the proximal step of its algorithm 1, which divides weights by 1 + rate * decay.
    "adan": OptimizerRow(
        optimizer="pytorch_optimizer.Adan",
        decay="decoupled",
        defaults={"learning_rate": 1e-3, "weight_decay": 2e-2},
        fixed={"beta1": 0.98, "beta2": 0.92, "beta3": 0.99, "eps": 1e-8},
        search={"learning_rate": Space(3e-4, 3e-1), "weight_decay": Space(1e-4, 1.0)},
    ),
    # Muon for hidden matrices, AdamW for the rest, at the rates, momentum, betas and decay that Jordan et al. 2024
    # (kellerjordan.github.io/posts/muon) advise, who tune Muon's rate and the decay; both parts have the same decay, as
    # in Liu et al. 2025 (Moonlight, arXiv:2502.16982). Its space of rates is three decades around 0.02, rounded.
    "muon": OptimizerRow(
        optimizer="torch.optim.AdamW",
        decay="decoupled",
        defaults={"learning_rate": 3e-4, "weight_decay": 1e-2, "muon.learning_rate": 2e-2},
        fixed={
            "beta1": 0.9,
            "beta2": 0.95,
            "eps": 1e-8,
            "muon.momentum": 0.95,
            "muon.nesterov": True,
            "muon.ns_steps": 5,
        },
        search={
            "learning_rate": Space(3e-5, 3e-2),
            "weight_decay": Space(1e-4, 1.0),
            "muon.learning_rate": Space(1e-3, 1.0),
        },
        groups=(ParameterGroup("muon", "torch.optim.Muon", ndim=(2,), hidden=True, multiply={"weight_decay": 1.0}),),
    ),
}

# Packages of the extra `optimizers`, by the modules that rows name: the one that users install has another name.
EXTRA_PACKAGES: Mapping[str, str] = {"pytorch_optimizer": "pytorch-optimizer", "schedulefree": "schedulefree"}


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
