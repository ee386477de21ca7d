"""The table of five optimizers with their defaults and search spaces; builds optimizers and schedules from it.

torch is imported where something is built, so that reading a study file does not wait for it.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler


@dataclass(frozen=True)
class Space:
    """An interval to search; log-uniform unless `log` is false."""

    low: float
    high: float
    log: bool = True

    def at(self, u: float) -> float:
        """Return the value at `u` in [0, 1) of the way from low to high."""
        if self.log:
            return math.exp(math.log(self.low) + u * (math.log(self.high) - math.log(self.low)))
        return self.low + u * (self.high - self.low)

    def position(self, value: float) -> float:
        """Return where `value` lies: 0 at low, 1 at high; the inverse of `at`."""
        if self.log:
            return (math.log(value) - math.log(self.low)) / (math.log(self.high) - math.log(self.low))
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Row:
    """One optimizer: its class, how it applies weight decay, its defaults, what stays fixed and what is searched.

    `defaults` are what the untuned variant uses for the searched hyperparameters (docs/protocol.md).
    """

    optimizer: str
    decay: Literal["coupled", "decoupled"]
    defaults: Mapping[str, float]
    fixed: Mapping[str, float | bool]
    search: Mapping[str, Space]


# Defaults are the protocol's. Each learning-rate space spans three decades around the rates that the literature
# reports for the optimizer (Schmidt et al. 2021, table 1; the DeepOBS grid); momentum's is a decade below SGD's because
# 1/(1 - 0.9) multiplies its steps. Decoupled decay is multiplied by the learning rate, hence its larger values.
OPTIMIZERS: Mapping[str, Row] = {
    "sgd": Row(
        optimizer="torch.optim.SGD",
        decay="coupled",
        defaults={"learning_rate": 1e-2, "weight_decay": 0.0},
        fixed={"momentum": 0.0},
        search={"learning_rate": Space(3e-3, 3.0), "weight_decay": Space(1e-6, 1e-2)},
    ),
    "momentum": Row(
        optimizer="torch.optim.SGD",
        decay="coupled",
        defaults={"learning_rate": 1e-2, "weight_decay": 1e-4},
        fixed={"momentum": 0.9},
        search={"learning_rate": Space(3e-4, 3e-1), "weight_decay": Space(1e-6, 1e-2)},
    ),
    "rmsprop": Row(
        optimizer="torch.optim.RMSprop",
        decay="coupled",
        defaults={"learning_rate": 1e-3, "weight_decay": 0.0},
        fixed={},
        search={"learning_rate": Space(3e-5, 3e-2), "weight_decay": Space(1e-6, 1e-2)},
    ),
    "adam": Row(
        optimizer="torch.optim.Adam",
        decay="coupled",
        defaults={"learning_rate": 1e-3, "weight_decay": 1e-5},
        fixed={"beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
        search={"learning_rate": Space(3e-5, 3e-2), "weight_decay": Space(1e-6, 1e-2)},
    ),
    "adamw": Row(
        optimizer="torch.optim.AdamW",
        decay="decoupled",
        defaults={"learning_rate": 1e-3, "weight_decay": 1e-2},
        fixed={"beta1": 0.9, "beta2": 0.999, "eps": 1e-8},
        search={"learning_rate": Space(3e-5, 3e-2), "weight_decay": Space(1e-4, 1.0)},
    ),
}


# torch.optim classes whose `fused` runs on the CPU, and arguments that do not go with it.
FUSED = frozenset({"torch.optim.SGD", "torch.optim.Adam", "torch.optim.AdamW"})
FUSED_WITHOUT = frozenset({"fused", "foreach", "differentiable"})


def import_class(path: str) -> Any:
    """Return the object at `package.module.Name`.

    Raises ValueError with a sentence for users where there is none.
    """
    module, _, name = path.rpartition(".")
    if not module or not all(part.isidentifier() for part in path.split(".")):
        raise ValueError(f"{path!r} is not a path like package.module.Name")
    try:
        found = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # a user's own module may raise anything where it is imported
        raise ValueError(f"module {module!r} cannot be imported ({type(error).__name__}: {error})") from error
    if not hasattr(found, name):
        raise ValueError(f"module {module!r} has no {name!r}")
    return getattr(found, name)


def torch_arguments(hyperparameters: Mapping[str, float | bool]) -> dict[str, Any]:
    """Translate a study's names into torch's: `learning_rate` is `lr`; `beta1`, `beta2` are `betas`."""
    arguments: dict[str, Any] = dict(hyperparameters)
    if "learning_rate" in arguments:
        arguments["lr"] = arguments.pop("learning_rate")
    if "beta1" in arguments or "beta2" in arguments:
        arguments["betas"] = (arguments.pop("beta1", 0.9), arguments.pop("beta2", 0.999))
    return arguments


def build_optimizer(
    path: str, hyperparameters: Mapping[str, float | bool], groups: Iterable[Mapping[str, Any]]
) -> Optimizer:
    """Return the optimizer of class `path` over parameter groups (see `decay_groups`).

    Where torch has it, its fused step: equal to rounding, a third to a tenth of the time on the CPU.
    """
    fused = {"fused": True} if path in FUSED and not FUSED_WITHOUT & set(hyperparameters) else {}
    optimizer: Optimizer = import_class(path)(list(groups), **fused, **torch_arguments(hyperparameters))
    return optimizer


def decay_groups(module: nn.Module, decay_all: bool) -> list[dict[str, Any]]:
    """Return parameter groups; biases and norm parameters (those of fewer than two dimensions) get no weight decay.

    Goyal et al. 2017 (arXiv:1706.02677, section 5.3) leave them undecayed; `decay_all` decays them too.
    """
    parameters = [p for p in module.parameters() if p.requires_grad]
    if decay_all:
        return [{"params": parameters}]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.ndim >= 2]},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def schedule_factor(schedule: Mapping[str, Any], step: int, steps: int) -> float:
    """Return the multiple of the base rate after `step` of `steps`.

    Linear warm-up over the first `warmup` share of the steps, then cosine from 1 to 0 as in `CosineAnnealingLR`
    with eta_min 0 (Loshchilov & Hutter 2017, arXiv:1608.03983), or constant.
    """
    warmup: int = round(schedule["warmup"] * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if schedule["name"] == "constant":
        return 1.0
    return 0.5 * (1.0 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def build_schedule(optimizer: Optimizer, schedule: Mapping[str, Any], steps: int) -> LRScheduler:
    """Return the schedule, to be stepped `steps` times over the whole training (per epoch or per step)."""
    from torch.optim.lr_scheduler import LambdaLR

    return LambdaLR(optimizer, lambda step: schedule_factor(schedule, step, steps))
