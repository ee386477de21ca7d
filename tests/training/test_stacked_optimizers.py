"""Stacked update rules follow torch, row by row."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import nn

from optstudy.catalogue import OPTIMIZERS
from optstudy.training.optimizers import build_optimizer
from optstudy.training.stacked.optimizers import RULES, Optimizer
from optstudy.user_code import import_class
from stacked_networks import STACKABLE


@pytest.mark.parametrize("name", STACKABLE)
def test_updates_follow_torch_row_by_row(name: str) -> None:
    row, generator = OPTIMIZERS[name], torch.Generator().manual_seed(0)
    start = torch.randn(3, 128, generator=generator, dtype=torch.float64)
    hyperparameters = [{**row.fixed, "learning_rate": 0.01 * k, "weight_decay": 0.1 * k} for k in (1, 2, 3)]
    together, ours = start.clone(), Optimizer(RULES[row.optimizer], list(hyperparameters), 64)
    parameters = [[nn.Parameter(part.clone()) for part in one.split(64)] for one in start]
    theirs = [
        build_optimizer(row.optimizer, h, [{"params": decayed}, {"params": plain, "weight_decay": 0.0}])
        for h, (decayed, plain) in zip(hyperparameters, parameters, strict=True)
    ]
    for _ in range(20):
        gradients = torch.randn(3, 128, generator=generator, dtype=torch.float64)
        for optimizer, one, gradient in zip(theirs, parameters, gradients, strict=True):
            for parameter, part in zip(one, gradient.split(64), strict=True):
                parameter.grad = part.clone()
            optimizer.step()
        ours.step(together, gradients.clone(), 1.0)
    expected = torch.stack([torch.cat(one) for one in parameters]).detach()
    torch.testing.assert_close(together, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("path", RULES)
def test_defaults_of_the_updates_are_those_of_torch(path: str) -> None:
    given = {name: p.default for name, p in inspect.signature(import_class(path)).parameters.items()}
    given["learning_rate"] = given["lr"]
    if "betas" in given:
        given["beta1"], given["beta2"] = given["betas"]
    assert all(given[name] == value for name, value in RULES[path].defaults.items())
