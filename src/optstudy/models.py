"""The table of models: which network a name means and which kinds of data it reads; without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ModelRow:
    """One model: the class that is built with (shape, classes, **arguments), its kinds, its arguments' defaults."""

    network: str
    kinds: frozenset[str]
    arguments: Mapping[str, Any] = field(default_factory=dict)


MODELS: Mapping[str, ModelRow] = {
    "linear": ModelRow("optstudy.networks.Linear", frozenset({"image"})),
    "mlp": ModelRow("optstudy.networks.Mlp", frozenset({"image"}), {"width": 128}),
    "cnn": ModelRow("optstudy.networks.Cnn", frozenset({"image"}), {"width": 16}),
}
