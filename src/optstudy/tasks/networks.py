"""The networks of the table of models: nn.Modules that map a batch of inputs to logits.

The last layer of each is called `head`: a fine-tuned network gets a fresh one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from optstudy.errors import DataError
from optstudy.tasks.arrays import Inputs
from optstudy.tasks.causal_lm import CausalLm
from optstudy.tasks.models import MODELS, model_source
from optstudy.tasks.transformers import Transformer
from optstudy.user_code import import_class

SMALL_SIDE = 64  # below it, torchvision's first layers would leave next to nothing of an image


class Body(nn.Module):
    """A body of layers and a linear head; subclasses only choose the layers."""

    def __init__(self, body: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, classes)."""
        return self.head(self.body(x))  # type: ignore[no-any-return]


class Linear(Body):
    """Multinomial logistic regression: (n, *shape) to (n, classes)."""

    def __init__(self, inputs: Inputs) -> None:
        super().__init__(nn.Flatten(), math.prod(inputs.shape), inputs.classes)


class Mlp(Body):
    """Two hidden layers of `width` units with ReLU: (n, *shape) to (n, classes)."""

    def __init__(self, inputs: Inputs, width: int) -> None:
        layers = (nn.Linear(math.prod(inputs.shape), width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        super().__init__(nn.Sequential(nn.Flatten(), *layers), width, inputs.classes)


class Cnn(Body):
    """Two 3x3 convolutions with ReLU and 2x2 max pooling, then one linear layer: (n, c, h, w) to (n, classes)."""

    def __init__(self, inputs: Inputs, width: int) -> None:
        channels, height, side = inputs.shape
        layers = (
            nn.Conv2d(channels, width, 3, padding=1),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, padding=1),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
        )
        super().__init__(nn.Sequential(*layers), 2 * width * (height // 4) * (side // 4), inputs.classes)


class TwoConvTwoDense(Body):
    """DeepOBS's 2c2d (Schneider et al. 2019, arXiv:1903.05499); weights N(0, 0.05^2) truncated at 2 sd, biases 0.05."""

    def __init__(self, inputs: Inputs) -> None:
        channels, height, side = inputs.shape
        layers = (
            nn.Conv2d(channels, 32, 5, padding=2),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Conv2d(32, 64, 5, padding=2),
            nn.MaxPool2d(2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * (height // 4) * (side // 4), 1024),
            nn.ReLU(),
        )
        super().__init__(nn.Sequential(*layers), 1024, inputs.classes)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.constant_(parameter, 0.05)
            else:
                nn.init.trunc_normal_(parameter, std=0.05, a=-0.1, b=0.1)


class ThreeConvThreeDense(Body):
    """DeepOBS's 3c3d (Schneider et al. 2019) for 32x32 images, which leave 3x3x128 numbers for the dense layers.

    Its pools use TensorFlow's padding "same", which for even sides pads at the end only: torch's `ceil_mode`. Kernels
    are Glorot normal, dense weights Glorot uniform, biases 0.
    """

    def __init__(self, inputs: Inputs) -> None:
        convolutions = nn.Sequential(
            nn.Conv2d(inputs.shape[0], 64, 5),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.ReLU(),
            nn.Conv2d(64, 96, 3),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.ReLU(),
            nn.Conv2d(96, 128, 3, padding=1),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.ReLU(),
            nn.Flatten(),
        )
        left = _features(convolutions, inputs.shape)
        dense = (nn.Linear(left, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU())
        super().__init__(nn.Sequential(*convolutions, *dense), 256, inputs.classes)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.ndim == 4:
                nn.init.xavier_normal_(parameter)
            else:
                nn.init.xavier_uniform_(parameter)


class Residual(nn.Module):
    """Two 3x3 convolutions with batch norm beside a shortcut without parameters (He et al. 2016, option A)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.second = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(after), nn.BatchNorm2d(after)
        self.stride, self.more = stride, after - before

    def forward(self, x: Tensor) -> Tensor:
        """Return (n, after, h / stride, w / stride)."""
        y = self.norm2(self.second(functional.relu(self.norm1(self.first(x)))))
        shortcut = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))
        return functional.relu(y + shortcut)


class ResNet20(Body):
    """The CIFAR ResNet of 20 layers (He et al. 2016, arXiv:1512.03385, section 4.2); He normal weights."""

    def __init__(self, inputs: Inputs) -> None:
        blocks = [Residual(16, 16, 1) for _ in range(3)]
        for width in (32, 64):
            blocks += [Residual(width // 2, width, 2), *(Residual(width, width, 1) for _ in range(2))]
        stem = (nn.Conv2d(inputs.shape[0], 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        body = nn.Sequential(*stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        super().__init__(body, 64, inputs.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class Vit(nn.Module):
    """A small vision transformer (arXiv:2010.11929), pre-norm, mean over patches, no dropout."""

    def __init__(self, inputs: Inputs, patch: int, width: int, depth: int, heads: int) -> None:
        super().__init__()
        channels, height, side = inputs.shape
        self.patches = nn.Conv2d(channels, width, patch, patch)
        self.position = nn.Parameter(0.02 * torch.randn(1, (height // patch) * (side // patch), width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
            for _ in range(depth)
        )
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, inputs.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, classes)."""
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.position
        for layer in self.layers:
            tokens = layer(tokens)
        return self.head(self.norm(tokens).mean(1))  # type: ignore[no-any-return]


class Lstm(nn.Module):
    """One LSTM layer of `width` units over the rows of an image or the steps of a sequence; its last state is read."""

    def __init__(self, inputs: Inputs, width: int) -> None:
        super().__init__()
        features = inputs.shape[-1] * (inputs.shape[0] if len(inputs.shape) == 3 else 1)
        self.lstm, self.head = nn.LSTM(features, width, batch_first=True), nn.Linear(width, inputs.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, classes) of images (n, channels, height, width) or sequences (n, steps, features)."""
        if x.ndim == 4:
            x = x.transpose(1, 2).flatten(2)
        _, (state, _) = self.lstm(x)
        return self.head(state[-1])  # type: ignore[no-any-return]


class Bag(nn.Module):
    """The mean of the words' embeddings, then a linear layer: token ids (n, length), 0 for padding, to logits."""

    def __init__(self, inputs: Inputs, width: int) -> None:
        super().__init__()
        self.embeddings, self.head = nn.Embedding(inputs.tokens, width, padding_idx=0), nn.Linear(width, inputs.classes)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, classes)."""
        words = (x != 0).sum(1, keepdim=True).clamp(min=1)
        return self.head(self.embeddings(x).sum(1) / words)  # type: ignore[no-any-return]


class Resized(nn.Module):
    """A network that gets its images resized bilinearly to `side` pixels: smaller ones, or all if `fixed`.

    Grey images are repeated to the three channels of published weights.
    """

    def __init__(self, network: nn.Module, side: int, fixed: bool) -> None:
        super().__init__()
        self.network, self.side, self.fixed = network, side, fixed

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, classes)."""
        if x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        size = (self.side, self.side)
        if min(x.shape[-2:]) < self.side or (self.fixed and x.shape[-2:] != size):
            x = functional.interpolate(x, size=size, mode="bilinear", antialias=False)
        return self.network(x)  # type: ignore[no-any-return]


# Arguments with which some architectures return only logits, and do not warn.
ARCHITECTURE_ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}


def torchvision_model(inputs: Inputs, architecture: str) -> nn.Module:
    """Return a classification model of torchvision, for the data's channels and classes.

    Small images are enlarged to 64 pixels, or to the side that the architecture needs (see `_side`).
    """
    from torchvision import models
    from torchvision.models import get_model, list_models

    if architecture not in list_models(module=models):
        raise ValueError(f"architecture {architecture!r} is not a torchvision classification model")
    arguments = ARCHITECTURE_ARGUMENTS.get(architecture, {})
    network = get_model(architecture, weights=None, num_classes=inputs.classes, **arguments)
    return Resized(network, *_side(architecture))


def _side(architecture: str) -> tuple[int, bool]:
    """Return the smallest side in pixels that a torchvision architecture accepts, and whether it is the only one.

    The metadata of its published weights say so: transformers accept only the side that they were trained with.
    """
    from torchvision.models import get_model_weights

    published = min(get_model_weights(architecture), key=lambda weights: max(weights.meta["min_size"]))
    least = max(published.meta["min_size"])
    return max(SMALL_SIDE, least), least == published.transforms.keywords["crop_size"]


def wrapper_prefix(network: nn.Module) -> str:
    """Return the prefix that a wrapper of ours adds to the parameter names of a library's network."""
    return {Resized: "network.", Transformer: "encoder.", CausalLm: "decoder."}.get(type(network), "")


def _features(layers: nn.Module, shape: tuple[int, ...]) -> int:
    with torch.no_grad():
        return int(layers(torch.zeros(1, *shape)).shape[1])


def build_network(model: Mapping[str, Any], inputs: Inputs) -> nn.Module:
    """Return the network of `RunSpec.model`, freshly initialised from torch's global generator.

    A user's class or function gets only its arguments. Raises DataError if a function returns no network, and for a
    LightningModule with manual optimization, for which Lightning would neither step the schedule nor clip gradients.
    """
    path = model["class"]
    if path is None:
        own: nn.Module = import_class(MODELS[model["name"]].network)(inputs, **model["arguments"])
        return own
    network = model_source(path)(**model["arguments"])
    if not isinstance(network, nn.Module):
        raise DataError(f"model: class: {path} must return a torch.nn.Module, found {type(network).__name__}")
    if not getattr(network, "automatic_optimization", True):
        raise DataError(
            f"model: class: {path} sets automatic_optimization = False: its schedule would never be "
            "stepped; leave automatic optimization on, and return the loss from training_step"
        )
    return network


class Point(nn.Module):
    """The two parameters, at `start`."""

    def __init__(self, start: tuple[float, float]) -> None:
        super().__init__()
        self.x, self.y = (nn.Parameter(torch.tensor(value, dtype=torch.float64)) for value in start)
