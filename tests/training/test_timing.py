"""What a step costs: the optimizer's state is as large as its rule says, and an epoch has the steps of its batches."""

from __future__ import annotations

import pytest
import torch

from builders import spec_of, tiny
from optstudy.tasks.datasets import load_arrays
from optstudy.training.timing import step_cost

# Parameter-sized buffers of each rule in float32, and the bytes of its step counters: one of 4 bytes for each tensor.
STATE = {"sgd": (0, 0), "momentum": (1, 0), "rmsprop": (1, 4), "adam": (2, 4), "adamw": (2, 4)}
PARAMETERS, TENSORS = 64 * 10 + 10, 2  # of a linear network from 8x8 pixels to ten classes


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("optimizer", STATE)
def test_the_state_of_an_optimizer_has_the_buffers_of_its_rule(optimizer: str) -> None:
    buffers, counter = STATE[optimizer]
    cost = step_cost(spec_of(optimizer))
    assert cost.parameter_bytes == 4 * PARAMETERS
    assert cost.state_bytes == buffers * 4 * PARAMETERS + counter * TENSORS
    assert cost.seconds > 0
    assert (cost.peak_bytes > 0) is torch.cuda.is_available()


def test_an_epoch_has_the_steps_of_its_batches_whether_stacked_or_not() -> None:
    spec = spec_of("sgd", batch_size=100)
    examples = len(load_arrays(spec.data).y)
    train = examples - round(spec.data["validation_share"] * examples)
    assert step_cost(spec).steps_per_epoch == -(-train // 100)
    assert step_cost(spec_of("sgd", batch_size=100, stacked=True)).steps_per_epoch == -(-train // 100)


def test_a_step_of_a_function_is_an_epoch() -> None:
    study = tiny(data="ravine", model="point", epochs=40, batch_size=64, optimizers=["adam"])
    cost = step_cost(study.spec(study.optimizers[0], 0, 5, {"learning_rate": 0.01}))
    assert (cost.steps_per_epoch, cost.parameter_bytes) == (1, 2 * 8)  # two numbers in float64
    assert cost.state_bytes == 2 * 2 * 8 + 2 * 4


def test_a_training_that_diverges_at_once_cannot_be_timed() -> None:
    hyperparameters = {"learning_rate": 1e30, "weight_decay": 1.0}
    with pytest.raises(ValueError, match="diverges within its first steps"):
        step_cost(spec_of("sgd", hyperparameters, batch_size=1000))
