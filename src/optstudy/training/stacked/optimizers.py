"""The update rules of the five optimizers over K networks at once, each network with its own hyperparameters.

Parameters, gradients and states are matrices (K, P), one network per row. Scalars that follow from hyperparameters are
computed in Python floats for each network, as torch.optim does, and become columns (K, 1), so that one kernel serves
all networks. The rules equal torch.optim's up to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from optstudy.training.device import to_device

Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Rule:
    """One update rule.

    Attributes:
        defaults: torch's defaults, by the study file's names.
        states: Number of states. The last state of a rule with momentum is its buffer, left out if none has momentum.
        scalars: Returns one network's scalars, given its hyperparameters, learning rate and step (from 1).
        update: Updates parameters in place, given gradients, which it may overwrite, states, and scalars as columns.
        decoupled: Whether decay is multiplied by the learning rate and subtracted from the weights.
    """

    defaults: Numbers
    states: int
    scalars: Callable[[Numbers, float, int], tuple[float, ...]]
    update: Callable[..., None]
    decoupled: bool = False


def _sgd_scalars(h: Numbers, rate: float, step: int) -> tuple[float, ...]:  # noqa: ARG001  # the same at each step
    return -rate, h["momentum"]


def _sgd(p: Tensor, g: Tensor, states: Sequence[Tensor], minus_rate: Tensor, momentum: Tensor) -> None:
    for buffer in states:
        g = buffer.mul_(momentum).add_(g)
    p.addcmul_(g, minus_rate)


def _rmsprop_scalars(h: Numbers, rate: float, step: int) -> tuple[float, ...]:  # noqa: ARG001  # the same at each step
    return -rate, 1 - h["alpha"], h["eps"], h["momentum"]


def _rmsprop(
    p: Tensor, g: Tensor, states: Sequence[Tensor], minus_rate: Tensor, rest: Tensor, eps: Tensor, momentum: Tensor
) -> None:
    square, *buffers = states
    square.lerp_(g * g, rest)
    g.div_(square.sqrt().add_(eps))
    _sgd(p, g, buffers, minus_rate, momentum)


def _adam_scalars(h: Numbers, rate: float, step: int) -> tuple[float, ...]:
    """Move the square root of the bias correction into the rate and eps, which saves a pass over P numbers."""
    correction = math.sqrt(1 - h["beta2"] ** step)
    minus_rate = -rate * correction / (1 - h["beta1"] ** step)
    return minus_rate, 1 - h["beta1"], 1 - h["beta2"], h["eps"] * correction


def _adam(
    p: Tensor, g: Tensor, states: Sequence[Tensor], minus_rate: Tensor, rest1: Tensor, rest2: Tensor, eps: Tensor
) -> None:
    mean, square = states
    mean.lerp_(g, rest1)
    square.lerp_(g.mul_(g), rest2)
    torch.sqrt(square, out=g).add_(eps)
    p.addcmul_(torch.div(mean, g, out=g), minus_rate)


_ADAM = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
RULES: Mapping[str, Rule] = {
    "torch.optim.SGD": Rule({"learning_rate": 1e-3, "weight_decay": 0.0, "momentum": 0.0}, 1, _sgd_scalars, _sgd),
    "torch.optim.RMSprop": Rule(
        {"learning_rate": 1e-2, "weight_decay": 0.0, "alpha": 0.99, "eps": 1e-8, "momentum": 0.0},
        2,
        _rmsprop_scalars,
        _rmsprop,
    ),
    "torch.optim.Adam": Rule({"learning_rate": 1e-3, "weight_decay": 0.0, **_ADAM}, 2, _adam_scalars, _adam),
    "torch.optim.AdamW": Rule(
        {"learning_rate": 1e-3, "weight_decay": 1e-2, **_ADAM}, 2, _adam_scalars, _adam, decoupled=True
    ),
}


@dataclass
class Optimizer:
    """The optimizer of K networks: `rule` with the hyperparameters of each network. States start at zero.

    Weight decay applies to the first `decayed` columns of the parameters.
    """

    rule: Rule
    hyperparameters: list[Numbers]
    decayed: int
    states: list[Tensor] = field(default_factory=list)
    steps: int = 0

    def __post_init__(self) -> None:
        self.hyperparameters = [{**self.rule.defaults, **given} for given in self.hyperparameters]
        self._states = self.rule.states - (not any(h.get("momentum", 1.0) for h in self.hyperparameters))

    def rates(self, factor: float) -> list[float]:
        """Return the learning rate of each network at `factor` of its base rate."""
        return [h["learning_rate"] * factor for h in self.hyperparameters]

    def step(self, parameters: Tensor, gradients: Tensor, factor: float) -> None:
        """Update parameters (K, P) in place by gradients (K, P), which it overwrites, at `factor` of the base rates."""
        self.steps += 1
        if self.steps == 1:
            self.states = [torch.zeros_like(parameters) for _ in range(self._states)]
        decay, *columns = self._columns(factor, parameters)
        inner, outer = parameters[:, : self.decayed], gradients[:, : self.decayed]
        if self.rule.decoupled:
            inner.mul_(decay)
        else:
            outer.addcmul_(inner, decay)
        self.rule.update(parameters, gradients, self.states, *columns)

    def select(self, rows: Sequence[int]) -> None:
        """Keep the networks of these rows, in this order."""
        self.hyperparameters = [self.hyperparameters[row] for row in rows]
        self.states = [state[rows] for state in self.states]

    def _columns(self, factor: float, like: Tensor) -> tuple[Tensor, ...]:
        """Return the decay (a factor if decoupled, else a coefficient) and the rule's scalars, each (K, 1)."""
        table = []
        for h, rate in zip(self.hyperparameters, self.rates(factor), strict=True):
            decay = 1 - rate * h["weight_decay"] if self.rule.decoupled else h["weight_decay"]
            table.append((decay, *self.rule.scalars(h, rate, self.steps)))
        return to_device(torch.tensor(table, dtype=like.dtype), like.device).T.unsqueeze(2).unbind()
