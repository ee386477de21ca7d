"""K networks of one architecture evaluated as one: chains of common layers directly, other networks by vmap.

vmap has more overhead. Between the layers of a chain, images are (n, K * channels, h, w), flat inputs (K, n, features).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional

from optstudy.tasks.networks import Body
from optstudy.training.optimizers import decay_groups

Stacked = Mapping[str, Tensor]  # a parameter's name: the parameters of K networks (K, *shape)
Layer = Callable[[Tensor, Stacked], Tensor]

# Each parameter of each row starts at a multiple of 64 numbers. So neither a kernel's remainder loop nor its alignment
# depends on K or on the row, which could change the last bits.
ALIGNED = 64
LINE = 16  # numbers of 4 bytes in a cache line
# oneDNN has kernels of its own for images of 1 and of 3 channels, with other last bits (seen on a processor with AVX2).
SPECIAL_CHANNELS = (1, 3)


class Networks:
    """K networks as one. `values` (K, P) holds their trained parameters, one network per row, decayed ones first.

    Frozen parameters and buffers are stacked in `rest`.
    """

    def __init__(self, networks: Sequence[nn.Module], decay_all: bool) -> None:
        first = networks[0]
        groups = decay_groups(first, decay_all)
        trained = [parameter for group in groups for parameter in group["params"]]
        decayed = [parameter for group in groups if "weight_decay" not in group for parameter in group["params"]]
        name_of = {id(parameter): name for name, parameter in first.named_parameters()}
        self.names = [name_of[id(parameter)] for parameter in trained]
        self.shapes = [parameter.shape for parameter in trained]
        self.starts = [0, *accumulate(-(-shape.numel() // ALIGNED) * ALIGNED for shape in self.shapes)]
        self.decayed = self.starts[len(decayed)]
        states = [_tensors(network) for network in networks]
        stacked = {name: torch.stack([state[name].detach() for state in states]) for name in states[0]}
        self._hold(trained[0].new_zeros(len(networks), self.starts[-1]))
        torch._foreach_copy_(self.views(self.values), [stacked.pop(name) for name in self.names])
        self.rest = stacked
        template = copy.deepcopy(
            first
        ).train()  # as for a training alone, even if the network set itself to evaluation mode
        self._chain = chain(first)
        self._call = vmap(lambda x, *tensors: functional_call(template, tensors, (x,)))

    def __call__(self, x: Tensor) -> Tensor:
        """Return logits (K, n, classes) of inputs (K, n, ...)."""
        logits: Tensor
        if self._chain is None:
            logits = self._call(x, self._leaves_by_name(), self.rest)
        else:
            logits = self._chain(x, self._leaves_by_name() | self.rest)
        return logits

    @property
    def chained(self) -> bool:
        """Return whether the networks are chains of common layers, which act the same in evaluation and in training."""
        return self._chain is not None

    def finite(self) -> list[bool]:
        """Return for each network whether all its trained parameters are finite."""
        each = [leaf.isfinite().reshape(len(leaf), -1).all(1) for leaf in self.leaves]
        found: list[bool] = torch.stack(each).all(0).tolist()
        return found

    def gradients_of(self, losses: Tensor) -> Tensor:
        """Return the gradients (K, P) of the losses (K,) with respect to each network's own parameters."""
        torch._foreach_copy_(self._slots, torch.autograd.grad(losses.sum(), self.leaves))
        return self.gradients

    def select(self, rows: Sequence[int]) -> None:
        """Keep the networks of these rows, in this order."""
        self._hold(self.values[rows])
        self.rest = {name: tensor[rows] for name, tensor in self.rest.items()}

    def write(self, row: int, network: nn.Module) -> None:
        """Copy a row into a network."""
        own, stacked = _tensors(network), self._leaves_by_name() | self.rest
        with torch.no_grad():
            torch._foreach_copy_(list(own.values()), [stacked[name][row] for name in own])

    def _hold(self, values: Tensor) -> None:
        """Use `values` (K, P) as the parameters: `leaves` (K, *shape) and the slots of their gradients are views."""
        self.values, self.gradients = values, torch.zeros_like(values)
        self.leaves = [view.detach().requires_grad_() for view in self.views(self.values)]
        self._slots = self.views(self.gradients)

    def views(self, matrix: Tensor) -> list[Tensor]:
        """Return the parts (K, *shape) of a matrix (K, P), in the order of `names`."""
        return [
            matrix[:, start : start + shape.numel()].view(-1, *shape)
            for start, shape in zip(self.starts[:-1], self.shapes, strict=True)
        ]

    def _leaves_by_name(self) -> dict[str, Tensor]:
        return dict(zip(self.names, self.leaves, strict=True))


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def clip_rows(gradients: Tensor, most: float) -> None:
    """Scale each row of gradients (K, P) in place to a norm of at most `most`, as `clip_grad_norm_` does."""
    norms = torch.linalg.vector_norm(gradients, dim=1, keepdim=True)
    gradients.mul_((most / (norms + 1e-6)).clamp(max=1.0))


def chain(network: nn.Module) -> Layer | None:
    """Return the function that maps inputs (K, n, ...) to logits (K, n, classes).

    Returns None if the network has a layer that is not handled below, or a parameter with two names.
    """
    images = convolves(network)
    layers = _layer(network, "", images)
    if len(list(network.named_parameters(remove_duplicate=False))) > len(list(network.parameters())):
        return None
    return partial(_of_images, layers) if layers is not None and images else layers


def _of_images(layers: Layer, x: Tensor, stacked: Stacked) -> Tensor:
    """Apply layers to images, laid out with the channels of all networks together, the fastest for convolutions.

    A single example (K, 1, ...) is evaluated twice: the last bits of its convolution would depend on K, as they would
    in another layout. For the same reason the networks are evaluated twice if there is a kernel for their few channels.
    """
    count, examples, channels = x.shape[:3]
    x = x.expand(-1, 2, -1, -1, -1) if examples == 1 else x
    twice = count * channels in SPECIAL_CHANNELS
    if twice:
        x, stacked = torch.cat([x, x]), {name: torch.cat([tensor, tensor]) for name, tensor in stacked.items()}
    joined = x.permute(1, 3, 4, 0, 2).contiguous().flatten(3).permute(0, 3, 1, 2)
    logits = layers(joined, stacked)[:, :examples]
    return logits.mT[:count].mT if twice else logits  # transposed, so that the layout of the gradient is the same


def convolves(network: nn.Module) -> bool:
    """Return whether the network has a convolution over images."""
    return any(isinstance(module, nn.Conv2d) for module in network.modules())


def _layer(module: nn.Module, name: str, images: bool) -> Layer | None:
    """Return what `module`, called `name`, does in K networks; `images` says whether the network convolves images."""
    if module._forward_hooks or module._forward_pre_hooks:  # hooks run only if the module itself is called
        return None
    if type(module) is nn.Sequential or type(module).forward is Body.forward:
        # Not named_children: it names a layer that is used twice only once.
        children = [(own, child) for own, child in module._modules.items() if child is not None]
        return _in_turn([_layer(child, f"{name}{own}.", images) for own, child in children])
    if type(module) is nn.Conv2d and module.padding_mode == "zeros":
        return partial(_convolution, module, name)
    if type(module) is nn.Linear:
        return partial(_linear, name)
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
    """One grouped convolution with bias, so that no order of summation depends on K."""
    weight = stacked[f"{name}weight"]
    bias = None if module.bias is None else stacked[f"{name}bias"].flatten()
    groups = len(weight) * module.groups
    return functional.conv2d(x, weight.flatten(0, 1), bias, module.stride, module.padding, module.dilation, groups)


def _linear(name: str, x: Tensor, stacked: Stacked) -> Tensor:
    """Matrix products with the weights on the left, so that the gradient of weights (K, after, before) has long rows.

    Each network's part of a product and of a gradient must fill whole cache lines. Otherwise its alignment depends on
    the row, which changes the last bits (seen with 5, 7, 9 or 11 examples, and with weights of 2 x 7). Examples and
    output features are padded with zeros for that.
    """
    weight, bias = stacked[f"{name}weight"], stacked.get(f"{name}bias")
    examples, (_, after, before) = x.shape[1], weight.shape
    columns, weight = _filled(x, LINE).mT, _filled(weight, LINE // math.gcd(before, LINE))
    if bias is None:
        product = torch.bmm(weight, columns)
    else:
        spare = weight.shape[1] - after
        product = torch.baddbmm(functional.pad(bias, (0, spare)).unsqueeze(2), weight, columns)
    return product.mT[:, :examples, :after]


def _filled(matrices: Tensor, whole: int) -> Tensor:
    """Return matrices (K, n, m) with rows of zeros appended, up to a multiple of `whole` rows."""
    spare = -matrices.shape[1] % whole
    return functional.pad(matrices, (0, 0, 0, spare)) if spare else matrices


def _pool(module: nn.MaxPool2d, x: Tensor, stacked: Stacked) -> Tensor:  # noqa: ARG001  # it has no parameters
    pooled: Tensor = module(x)
    _lay_out_gradient(pooled)
    return pooled


def _lay_out_gradient(x: Tensor) -> None:
    """If x is channels last, pass its gradient on in the same layout: its operation is three times faster then."""
    if x.requires_grad and x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        # torch has no types for register_hook
        x.register_hook(lambda gradient: gradient.contiguous(memory_format=torch.channels_last))  # type: ignore[no-untyped-call]


def _flatten(images: bool, x: Tensor, stacked: Stacked) -> Tensor:
    if images and x.dim() == 4:  # flat inputs have changed their axes already
        _lay_out_gradient(x)
        count = len(next(iter(stacked.values())))
        x = x.view(len(x), count, -1, *x.shape[2:]).movedim(1, 0)
    return x.flatten(2)
