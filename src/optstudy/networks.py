"""The networks that the table of models names: plain nn.Modules from a batch of inputs to logits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import nn

from optstudy.models import MODELS
from optstudy.optimizers import import_class


class Linear(nn.Sequential):
    """Multinomial logistic regression: (n, *shape) to (n, classes)."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__(nn.Flatten(), nn.Linear(math.prod(shape), classes))


class Mlp(nn.Sequential):
    """Two hidden layers of `width` units with ReLU: (n, *shape) to (n, classes)."""

    def __init__(self, shape: tuple[int, ...], classes: int, width: int) -> None:
        super().__init__(
            nn.Flatten(),
            nn.Linear(math.prod(shape), width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, classes),
        )


class Cnn(nn.Sequential):
    """Two 3x3 convolutions with ReLU and 2x2 max pooling, then one linear layer: (n, c, h, w) to (n, classes)."""

    def __init__(self, shape: tuple[int, ...], classes: int, width: int) -> None:
        channels, height, side = shape
        super().__init__(
            nn.Conv2d(channels, width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(2 * width * (height // 4) * (side // 4), classes),
        )


def build_network(model: Mapping[str, Any], shape: tuple[int, ...], classes: int) -> nn.Module:
    """Return the network of {"name": ..., **arguments}, freshly initialised from torch's global generator."""
    arguments = dict(model)
    row = MODELS[arguments.pop("name")]
    network: nn.Module = import_class(row.network)(shape, classes, **{**row.arguments, **arguments})
    return network
