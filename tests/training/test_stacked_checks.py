"""What can be stacked, what cannot and why, and what is worth stacking."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from optstudy.tasks.arrays import Inputs
from optstudy.tasks.datasets import inputs_of
from optstudy.training.stacked.checks import why_solo, why_unsteady, work, worth_stacking
from optstudy.training.stacked.networks import chain
from optstudy.training.train import (
    start_network,
)
from stacked_networks import Flat, Whitened, same_bits, stacked_spec

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("network", ["Own", "chained", "flat_twice", "hooked", "Evaluating", "tied"])
def test_a_users_network_can_be_stacked(network: str) -> None:
    spec = stacked_spec(network=network)
    assert why_solo(spec, partial(start_network, spec, inputs_of(spec.data)), inputs_of(spec.data)) == ""


REASONS: dict[str, tuple[dict[str, Any], str]] = {
    "an optimizer of the user's": ({"optimizer": "torch.optim.NAdam"}, "torch.optim.NAdam has no stacked form"),
    "an option": ({"hyperparameters": {"amsgrad": True}}, "the stacked form of torch.optim.Adam takes no amsgrad"),
    "bf16": ({"precision": "bf16-mixed"}, "bf16-mixed"),
    "text": ({"data": {**stacked_spec().data, "kind": "text"}}, "each batch of text has its own length"),
    "batch norm": ({"network": "normed"}, "1 (BatchNorm2d) keeps running statistics"),
    "dropout": ({"network": "dropping"}, "1 (Dropout) draws random numbers"),
    "lstm": ({"network": "lstm"}, "aten::lstm"),
    "a linear layer over rows": ({"network": "by_rows"}, "must be a 3D tensor"),
    "a parameter without a gradient": ({"network": "unused"}, "not have been used"),
    "a layer that was changed": ({"network": "patched"}, "computes something else in a stack"),
    "an order that is drawn": ({"network": "Permuted"}, "computes something else in a stack"),
    "a number that is drawn": ({"network": "Scaled"}, "computes something else in a stack"),
    "a hook on a parameter": ({"network": "Masked"}, "computes something else in a stack"),
    "a count": ({"network": "Counting"}, "the network (Counting) changes `seen`"),
    "Python's random numbers": ({"network": "Noisy"}, "draws random numbers"),
    "NumPy's": ({"network": "NoisyByNumpy"}, "draws random numbers"),
    "a dictionary": ({"network": "Remembering"}, "gives other logits when it is called again"),
}


@pytest.mark.parametrize("case", REASONS)
def test_a_training_that_cannot_be_stacked_has_a_reason(case: str) -> None:
    changes, reason = REASONS[case]
    spec = stacked_spec(**changes)
    inputs = inputs_of(spec.data)
    assert reason in why_solo(spec, partial(start_network, spec, inputs), inputs)


@pytest.mark.parametrize("examples", [1, 5, 32])
@pytest.mark.parametrize("width", [4, 5, 9, 16, 33])
def test_a_network_that_passes_the_trial_has_the_same_bits_in_each_row(width: int, examples: int) -> None:
    spec, inputs = stacked_spec(), Inputs((1, 8, 8), 10)
    torch.manual_seed(0)
    networks: list[nn.Module] = [Flat(width) for _ in range(8)]
    reason = why_unsteady(spec, networks[0], inputs, [examples])
    assert same_bits(networks, inputs, examples) or reason
    if (width, examples) in {(16, 32), (9, 32)}:  # whole cache lines, and none
        assert reason == ("" if width == 16 else f"{DEPENDS}, with batches of 32")


DEPENDS = "in a stack its last bits would depend on the other networks"


def test_the_work_of_a_network_that_cannot_read_zeros_is_counted() -> None:
    assert work(Whitened(), Inputs((1, 8, 8), 10), 32) > 0


def test_the_small_models_are_worth_stacking_and_the_large_ones_are_not() -> None:
    for model, worth in (("linear", True), ("mlp", True), ("cnn", True), ("2c2d", False)):
        spec = stacked_spec(network=model, batch_size=64)
        inputs = Inputs((1, 28, 28) if model == "2c2d" else (1, 8, 8), 10)
        network = start_network(spec, inputs)
        assert chain(network) is not None
        assert worth_stacking(network, inputs, spec.batch_size) is worth


def test_the_work_of_a_step_is_counted_as_by_hand() -> None:
    # Forward and by the weights: 2 * 64 * 10 each for an example; the gradient by the inputs is not asked for.
    spec = stacked_spec(network="linear")
    assert work(start_network(spec, Inputs((1, 8, 8), 10)), Inputs((1, 8, 8), 10), 32) == 2 * 2 * 64 * 10 * 32
