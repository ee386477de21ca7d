"""Finds out how an optimizer class applies weight decay, by trying it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from optstudy.catalogue import Hyperparameters
from optstudy.training.optimizers import build_optimizer, set_mode, take_step, takes_closure
from optstudy.user_code import import_class, may_decay

Gradient = Callable[[int, Tensor], Tensor]  # of the weights before a step, given its index
STEPS = 3
DECAYS = (0.05, 0.1)
TOLERANCE = 1e-3


def found_decay(optimizer: str, hyperparameters: Hyperparameters) -> Literal["coupled", "decoupled", "none", ""]:
    """Return how the class applies weight decay; "none" if it has none, empty if trying it does not decide.

    Coupled decay adds the weights, multiplied by the decay, to the gradient: three steps with it are three steps
    without it on such gradients. Decoupled decay takes the same share off each weight, before or after the step and
    for any gradient, and a larger one for a larger decay. Where both hold, as for plain SGD, they are the same.

    `hyperparameters` are such as a training has. Raises what the class raises.
    """
    if not may_decay(import_class(optimizer)):
        return "none"
    generator = torch.Generator().manual_seed(0)
    weights, *gradients = torch.randn(STEPS + 1, 4, 3, generator=generator, dtype=torch.float64).unbind()
    run = partial(_trajectory, optimizer, hyperparameters, weights)

    def with_coupled(decay: float, step: int, at: Tensor) -> Tensor:
        return gradients[step] + decay * at

    plain = partial(with_coupled, 0.0)
    without = run(0.0, plain)
    shares = []
    for decay in DECAYS:
        decayed = run(decay, plain)
        effect = float((decayed - without).abs().max())
        if effect == 0:
            return "none"
        if not _close(decayed, run(0.0, partial(with_coupled, decay)), effect):
            shares.append(_share_taken(torch.cat([weights[None], without]), decayed))
    if not shares:
        return "coupled"
    return "decoupled" if len(shares) == len(DECAYS) and 0 < shares[0] < shares[1] else ""


def _share_taken(without: Tensor, decayed: Tensor) -> float:
    """Return the share by which the first step that decays reduces all weights alike; NaN if it does not do that.

    `without` (steps + 1, 4, 3) begins with the start; `decayed` (steps, 4, 3) does not.
    """
    step = next(step for step in range(STEPS) if not torch.equal(decayed[step], without[step + 1]))
    taken = without[step + 1] - decayed[step]
    for weights in (without[step], decayed[step]):
        share = taken / weights
        if _close(share, share.mean().expand_as(share), float(share.abs().max())):
            return float(share.mean())
    return math.nan


def _trajectory(
    optimizer: str, hyperparameters: Hyperparameters, weights: Tensor, decay: float, gradient: Gradient
) -> Tensor:
    """Return the weights (steps, 4, 3) after each step from the same start, as its optimizer wants them judged."""
    parameter = nn.Parameter(weights.clone())
    built = build_optimizer(optimizer, {**hyperparameters, "weight_decay": decay}, [{"params": [parameter]}])
    points = []
    for step in range(STEPS):

        def compute(step: int = step) -> Tensor:
            parameter.grad = gradient(step, parameter.detach()).clone()
            return torch.zeros(())

        set_mode(built, "train")
        take_step(built, compute, takes_closure(optimizer, built))
        set_mode(built, "eval")
        points.append(parameter.detach().clone())
    return torch.stack(points)


def _close(one: Tensor, other: Tensor, scale: float) -> bool:
    """Return whether two results are the same but for rounding: the alternatives differ by about `scale`."""
    return float((one - other).abs().max()) <= TOLERANCE * scale
