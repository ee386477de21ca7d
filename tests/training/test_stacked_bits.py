"""Laws of stacking: bits depend neither on the size of a stack nor on the row."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from optstudy.spec import RunResult, RunSpec, TrainingEnded
from optstudy.tasks.arrays import Inputs
from optstudy.tasks.datasets import inputs_of
from optstudy.training.train import (
    start_network,
    train,
)
from stacked_networks import STACKABLE, outcome, same_bits, stacked_spec, variants

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", STACKABLE)
@pytest.mark.parametrize("model", ["linear", "mlp", "cnn"])
def test_bits_depend_neither_on_the_size_of_a_stack_nor_on_the_row(model: str, name: str) -> None:
    assert_independent(variants(stacked_spec(name, model, epochs=2, clip=1.0), 32))


def test_bits_of_the_demos_network_do_not_depend_on_the_stack() -> None:
    spec = stacked_spec(epochs=2, batch_size=64)
    assert_independent(variants(replace(spec, model={**spec.model, "arguments": {"width": 16}}), 16))


@pytest.mark.parametrize("network", ["Own", "chained"])
def test_bits_of_a_users_network_do_not_depend_on_the_stack(network: str) -> None:
    assert_independent(variants(stacked_spec(network=network, epochs=2), 9))


@pytest.mark.parametrize("network", ["linear", "mlp", "cnn", "Own", "chained"])
def test_bits_do_not_depend_on_the_row_for_any_number_of_examples_in_a_batch(network: str) -> None:
    spec = stacked_spec(network=network)
    inputs = inputs_of(spec.data)
    networks = [start_network(replace(spec, seed=seed), inputs) for seed in range(8)]
    for examples in (*range(1, 20), 33, 71):
        assert same_bits(networks, inputs, examples), examples


@pytest.mark.parametrize("seed", range(12))
def test_bits_do_not_depend_on_the_stack_for_any_sizes_of_layers(seed: int) -> None:
    dice = random.Random(seed)
    width, classes, features = dice.choice([3, 7, 16, 33, 50]), dice.choice([2, 3, 7, 10]), dice.randint(2, 90)
    side, colours = dice.choice([8, 9, 12]), dice.choice([1, 2, 3])
    flat = (
        Inputs((features,), classes),
        lambda: nn.Sequential(
            nn.Linear(features, width, bias=False),
            nn.ReLU(),
            nn.Linear(width, width + 1),
            nn.Linear(width + 1, classes),
        ),
    )
    image = (
        Inputs((colours, side, side), classes),
        lambda: nn.Sequential(
            nn.Conv2d(colours, width, 3), nn.MaxPool2d(2), nn.Conv2d(width, 4, 2), nn.Flatten(), nn.LazyLinear(classes)
        ),
    )
    for inputs, build in (flat, image):
        torch.manual_seed(seed)
        networks = [build() for _ in range(8)]
        for network in networks:
            network(torch.rand(1, *inputs.shape))
        for examples in (1, 2, dice.randint(3, 15), 32, dice.randint(33, 99)):
            assert same_bits(networks, inputs, examples), (inputs, width, examples)


@pytest.mark.parametrize(("network", "batch_size"), [("cnn", 64), ("linear", 50), ("mlp", 33)])
def test_bits_do_not_depend_on_the_stack_with_a_last_batch_of_one_or_few_classes(network: str, batch_size: int) -> None:
    spec = stacked_spec(network=network, epochs=2, batch_size=batch_size)  # 321 images, 64 of them held
    model = {**spec.model, "arguments": {"width": 8} if network == "cnn" else spec.model["arguments"]}
    data = {**spec.data, "arguments": {"classes": [0, 1, 2]}, "train_size": 402}
    assert_independent(variants(replace(spec, data=data, model=model), 9))


def assert_independent(specs: list[RunSpec]) -> None:
    """Weights, and what they score by epoch and at the end, are the same to the last bit."""
    whole = ended(specs)
    for chosen in ([3], [5, 3], [0, 3, 5], [7, 6, 5, 4, 3]):
        for member, (result, weights) in zip(chosen, ended([specs[member] for member in chosen]), strict=True):
            assert result == whole[member][0]
            assert all(np.array_equal(tensor, whole[member][1][name]) for name, tensor in weights.items())


def ended(specs: list[RunSpec]) -> list[tuple[RunResult, dict[str, Any]]]:
    """Return results and final weights."""
    events: list[Any] = []
    results = train(specs, events.append, weights=True)
    weights = {event.index: event.weights for event in events if isinstance(event, TrainingEnded)}
    return [(outcome(result), weights[index]) for index, result in enumerate(results)]
