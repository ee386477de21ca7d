"""K networks that are chains of common layers, evaluated as one without vmap, whose own work is more than theirs.

Between the layers, images are (n, K * channels, h, w) and what is flat (K, n, features).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from optstudy.networks import Body

Stacked = Mapping[str, Tensor]  # a parameter's name: the parameters of K networks (K, *shape)
Layer = Callable[[Tensor, Stacked], Tensor]


def chain(network: nn.Module) -> Layer | None:
    """Return what maps inputs (K, n, ...) to logits (K, n, classes); None where a layer is not among those below."""
    images = convolves(network)
    layers = _layer(network, "", images)
    if layers is None or not images:
        return layers
    return lambda x, stacked: layers(x.movedim(0, 1).flatten(1, 2), stacked)


def convolves(network: nn.Module) -> bool:
    """Return whether the network has a convolution over images."""
    return any(isinstance(module, nn.Conv2d) for module in network.modules())


def _layer(module: nn.Module, name: str, images: bool) -> Layer | None:
    """Return what `module`, called `name`, does in K networks; with `images` as in this module's first lines."""
    if type(module) is nn.Sequential or type(module).forward is Body.forward:
        # Not named_children: it names a layer that comes twice but once.
        children = [(own, child) for own, child in module._modules.items() if child is not None]
        return _in_turn([_layer(child, f"{name}{own}.", images) for own, child in children])
    if type(module) is nn.Conv2d and module.padding_mode == "zeros":
        return partial(_convolution, module, name)
    if type(module) is nn.Linear:
        return partial(_linear, module, name)
    if type(module) is nn.MaxPool2d and not module.return_indices:
        return partial(_pool, module)
    if type(module) is nn.Flatten and (module.start_dim, module.end_dim) == (1, -1):
        return partial(_flatten, images)
    if type(module) is nn.ReLU:
        return lambda x, _: functional.relu(x)
    return None


def _in_turn(layers: list[Layer | None]) -> Layer | None:
    known = [layer for layer in layers if layer is not None]

    def call(x: Tensor, stacked: Stacked) -> Tensor:
        for layer in known:
            x = layer(x, stacked)
        return x

    return call if len(known) == len(layers) else None


def _convolution(module: nn.Conv2d, name: str, x: Tensor, stacked: Stacked) -> Tensor:
    """One grouped convolution, bias included: the order of no sum then depends on K."""
    weight = stacked[f"{name}weight"]
    bias = None if module.bias is None else stacked[f"{name}bias"].flatten()
    groups = len(weight) * module.groups
    return functional.conv2d(x, weight.flatten(0, 1), bias, module.stride, module.padding, module.dilation, groups)


def _linear(module: nn.Linear, name: str, x: Tensor, stacked: Stacked) -> Tensor:
    weight = stacked[f"{name}weight"].mT
    return (
        torch.bmm(x, weight) if module.bias is None else torch.baddbmm(stacked[f"{name}bias"].unsqueeze(1), x, weight)
    )


def _pool(module: nn.MaxPool2d, x: Tensor, stacked: Stacked) -> Tensor:  # noqa: ARG001  # it has no parameters
    pooled: Tensor = module(x)
    if pooled.requires_grad and x.is_contiguous(memory_format=torch.channels_last):
        pooled.register_hook(lambda gradient: gradient.contiguous(memory_format=torch.channels_last))  # type: ignore[no-untyped-call]
    return pooled


def _flatten(images: bool, x: Tensor, stacked: Stacked) -> Tensor:
    if images:
        count = len(next(iter(stacked.values())))
        x = x.view(len(x), count, -1, *x.shape[2:]).movedim(1, 0)
    return x.flatten(2)
