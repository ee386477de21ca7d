"""The networks are what their papers and libraries say, at the sizes of image that the table lets through."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from optstudy.tasks.arrays import Inputs
from optstudy.tasks.models import MODELS
from optstudy.tasks.networks import build_network

pytestmark = pytest.mark.usefixtures("one_thread")


def built(name: str, inputs: Inputs, **arguments: Any) -> nn.Module:
    row = MODELS[name]
    return build_network({"name": name, "class": None, "arguments": {**row.arguments, **arguments}}, inputs)


def test_3c3d_has_the_shapes_of_deepobs() -> None:
    network = built("3c3d", Inputs((3, 32, 32), 10))
    sides: list[int] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d):
            module.register_forward_hook(lambda _, __, output: sides.append(output.shape[-1]))
    network(torch.zeros(1, 3, 32, 32))
    assert sides == [28, 14, 12, 6, 6, 3]
    assert next(module.in_features for module in network.modules() if isinstance(module, nn.Linear)) == 3 * 3 * 128


def test_a_pool_of_3c3d_is_padded_as_tensorflows_same() -> None:
    pool = next(m for m in built("3c3d", Inputs((3, 32, 32), 10)).modules() if isinstance(m, nn.MaxPool2d))
    x = torch.randn(2, 3, 28, 28)
    padded = nn.functional.pad(x, (0, 1, 0, 1), value=-math.inf)  # "same": one row and column, behind
    assert torch.equal(pool(x), nn.functional.max_pool2d(padded, 3, 2))


def test_3c3d_starts_from_glorot_normal_kernels_and_glorot_uniform_dense_weights() -> None:
    torch.manual_seed(0)
    network = built("3c3d", Inputs((3, 32, 32), 10))
    kernel, dense = network.state_dict()["body.3.weight"], network.state_dict()["body.10.weight"]
    sd, end = math.sqrt(2 / (9 * (64 + 96))), math.sqrt(6 / (1152 + 512))
    assert float(kernel.std()) == pytest.approx(sd, rel=0.02)
    assert float(kernel.abs().max()) > math.sqrt(3) * sd  # farther out than a uniform one of this spread reaches
    assert float(dense.abs().max()) == pytest.approx(end, rel=1e-3)
    assert all(not parameter.any() for name, parameter in network.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize(
    "model", [name for name, row in MODELS.items() if row.least_side > 1 and name != "torchvision"]
)
def test_images_of_the_least_side_pass_and_smaller_ones_do_not(model: str) -> None:
    side = MODELS[model].least_side
    inputs = Inputs((1, side, side), 3)
    assert built(model, inputs)(torch.rand(2, *inputs.shape)).shape == (2, 3)
    if model == "3c3d":
        with pytest.raises(RuntimeError):
            built(model, Inputs((1, side - 1, side - 1), 3))


# Families that need a side, an argument or a head of their own, and some that do not; the larger of each are left out.
FAMILIES = ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "googlenet", "inception_v3", "vit_b_32"]
FAMILIES += ["swin_t", "maxvit_t"]


@pytest.mark.parametrize("architecture", FAMILIES)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 80, 96)])
def test_a_network_of_torchvision_takes_a_step_on_images_of_any_size(
    architecture: str, shape: tuple[int, int, int]
) -> None:
    network = built("torchvision", Inputs(shape, 5), architecture=architecture).train()
    loss = nn.functional.cross_entropy(network(torch.rand(2, *shape)), torch.tensor([0, 4]))
    loss.backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is not None and bool(torch.isfinite(gradient).all()) for gradient in gradients)


@pytest.mark.parametrize("path", ["os.system", "math.sqrt", "builtins.dict", "torch.nn.functional.relu"])
def test_what_is_no_network_is_refused_before_it_is_called(path: str) -> None:
    with pytest.raises(ValueError, match=r"must be a subclass of torch\.nn\.Module"):
        build_network({"name": None, "class": path, "arguments": {}}, Inputs((1, 8, 8), 10))
