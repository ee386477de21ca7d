"""The table of models: the network of each name, and the kinds of data that it reads. Torch only for a user's class."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from optstudy.user_code import import_class, is_users_function

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class ModelRow:
    """One model.

    Attributes:
        network: Path of the class or function that is called with (inputs, **arguments).
        kinds: The kinds of data that it reads.
        arguments: Its arguments with their defaults. An argument whose default is None must be given.
        least_side: Side in pixels of the smallest image that it can read.
    """

    network: str
    kinds: frozenset[str]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    least_side: int = 1


IMAGE, TEXT, FUNCTION = frozenset({"image"}), frozenset({"text"}), frozenset({"function"})
LANGUAGE = frozenset({"language"})
SERIES = frozenset({"image", "sequence"})  # an image is a sequence of its rows
NUMBERS = SERIES | {"tabular", "tabular_classes"}

MODELS: Mapping[str, ModelRow] = {
    "linear": ModelRow("optstudy.tasks.networks.Linear", NUMBERS),
    "mlp": ModelRow("optstudy.tasks.networks.Mlp", NUMBERS, {"width": 128}),
    "cnn": ModelRow("optstudy.tasks.networks.Cnn", IMAGE, {"width": 16}, least_side=4),
    "2c2d": ModelRow("optstudy.tasks.networks.TwoConvTwoDense", IMAGE, least_side=4),
    "3c3d": ModelRow("optstudy.tasks.networks.ThreeConvThreeDense", IMAGE, least_side=16),
    "resnet20": ModelRow("optstudy.tasks.networks.ResNet20", IMAGE, least_side=4),
    "vit": ModelRow("optstudy.tasks.networks.Vit", IMAGE, {"patch": 4, "width": 64, "depth": 4, "heads": 4}),
    "torchvision": ModelRow("optstudy.tasks.networks.torchvision_model", IMAGE, {"architecture": None}, least_side=8),
    "lstm": ModelRow("optstudy.tasks.networks.Lstm", SERIES, {"width": 64}),
    "bag": ModelRow("optstudy.tasks.networks.Bag", TEXT, {"width": 64}),
    "transformer": ModelRow("optstudy.tasks.transformers.Transformer", TEXT, {"folder": None}),
    "gpt": ModelRow(
        "optstudy.tasks.language_models.Gpt",
        LANGUAGE,
        {"layers": 4, "heads": 4, "width": 128, "dropout": 0.0, "bias": False},
    ),
    "token_lstm": ModelRow("optstudy.tasks.language_models.TokenLstm", LANGUAGE, {"layers": 1, "width": 128}),
    "causal_lm": ModelRow("optstudy.tasks.causal_lm.CausalLm", LANGUAGE, {"folder": None}),
    "point": ModelRow("optstudy.tasks.networks.Point", FUNCTION),
}


def model_source(path: str) -> Callable[..., nn.Module]:
    """Return what makes a user's own network: the class, or the function, at `path`.

    Raises ValueError for anything else before it is called, such as `os.system`.
    """
    from torch import nn

    source: Callable[..., nn.Module] = import_class(path)
    if not (issubclass(source, nn.Module) if isinstance(source, type) else is_users_function(source)):
        allowed = "a subclass of torch.nn.Module, or a Python function from outside the standard library"
        raise ValueError(f"must be {allowed}")
    return source
