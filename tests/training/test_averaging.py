"""Averaged weights equal those of torch's own loop, and are those that are judged and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from builders import spec_of, tiny
from optstudy.planning.dry_run import last_part
from optstudy.spec import RunSpec, TrainingEnded, spec_fields
from optstudy.training.batches import ArrayData
from optstudy.training.modules.examples import start_network
from optstudy.training.train import seeded, train

EPOCHS = 4
STUDY = {"model": "mlp", "epochs": EPOCHS, "batch_size": 128, "schedule": "constant"}


class WithBatchNorm(nn.Module):
    """A network with buffers: floating-point statistics and a whole number."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.norm, self.head = nn.Linear(64, 16), nn.BatchNorm1d(16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.norm(self.body(x.flatten(1)))))


BATCH_NORM = {"name": None, "class": "test_averaging.WithBatchNorm", "arguments": {}}


def trained(spec: RunSpec) -> tuple[dict[str, Any], TrainingEnded]:
    """Return the weights that a training keeps, and its end."""
    ends = list[Any]()
    train([spec], ends.append, weights=True)
    assert ends[-1].result.status == "completed", ends[-1].result.message
    return dict(ends[-1].weights), ends[-1]


def loop(spec: RunSpec) -> Iterator[tuple[nn.Module, bool]]:
    """Train by hand with SGD; yield the network after each step, and whether an epoch ended with it."""
    with seeded(spec.seed):
        data = ArrayData(spec)
        network = start_network(spec, data.inputs)
        optimizer = torch.optim.SGD(network.parameters(), spec.hyperparameters["learning_rate"])
        for _ in range(spec.epochs):
            loader = data.train_dataloader()
            for number, (x, y) in enumerate(loader, start=1):
                optimizer.zero_grad()
                functional.cross_entropy(network(x), y).backward()
                optimizer.step()
                yield network, number == len(loader)


def moving_average(spec: RunSpec) -> nn.Module:
    """Return torch's exponential moving average over the steps of a loop by hand."""
    averaged = None
    for network, _ in loop(spec):
        averaged = averaged or AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
        averaged.update_parameters(network)
    assert averaged is not None
    return averaged.module


def mean_from(spec: RunSpec, first: int) -> nn.Module:
    """Return the network with the mean of its states at the ends of epochs from `first` on."""
    ends = (network for network, ended in loop(spec) if ended)
    states = [{name: value.clone() for name, value in network.state_dict().items()} for network in ends]
    means = {name: sum(state[name] for state in states[first:]) / len(states[first:]) for name in states[0]}
    network = start_network(spec, ArrayData(spec).inputs)
    network.load_state_dict(means)
    return network


@pytest.mark.parametrize("model", [None, BATCH_NORM], ids=["mlp", "batch norm"])
@pytest.mark.parametrize(
    ("average", "expected_of"),
    [
        ({"name": "ema", "decay": 0.9}, moving_average),
        ({"name": "swa", "start": 0.5}, partial(mean_from, first=2)),
        ({"name": "swa", "start": 0.99}, partial(mean_from, first=3)),
    ],
    ids=["ema", "swa", "swa of the last epoch"],
)
def test_kept_weights_are_the_average_over_a_loop_by_hand(
    model: dict[str, Any] | None, average: dict[str, Any], expected_of: Callable[[RunSpec], nn.Module]
) -> None:
    changes = {"average": average} | ({"model": model} if model else {})
    spec = spec_of("sgd", {"learning_rate": 0.1}, STUDY, **changes)
    kept, ended = trained(spec)
    expected = expected_of(spec)
    for name, value in expected.state_dict().items():
        if not value.is_floating_point():  # batch norm's count of batches: the last, not an average
            continue
        assert kept[name] == pytest.approx(value.float().numpy(), abs=1e-6), name
    expected.eval()
    with torch.no_grad():
        right = [(expected(x).argmax(-1) == y).float() for x, y in ArrayData(spec).evaluation("val")]
    assert ended.result.metrics["val/accuracy"] == pytest.approx(float(torch.cat(right).mean()))
    assert ended.result.curve[-1]["val/accuracy"] == ended.result.metrics["val/accuracy"]


def test_averaging_changes_what_is_judged_and_not_how_it_trains() -> None:
    plain, averaged = train(
        [spec_of("sgd", {"learning_rate": 0.1}, STUDY, average=one) for one in (None, {"name": "ema", "decay": 0.9})]
    )
    losses = [[epoch["train/loss"] for epoch in result.curve] for result in (plain, averaged)]
    assert losses[0] == losses[1]
    assert plain.metrics["val/loss"] != averaged.metrics["val/loss"]


@pytest.mark.parametrize("parts", [2, 3])
def test_a_batch_in_parts_trains_like_the_whole_batch(parts: int) -> None:
    """In single precision, up to the order of the sums; the last batch of an epoch is smaller."""
    given = {"model": "linear", "epochs": 2, "batch_size": 128, "clip": 0.5}
    whole, divided = train([spec_of("sgd", {"learning_rate": 0.1}, given, accumulate=one) for one in (1, parts)])
    assert divided.metrics == pytest.approx(whole.metrics, abs=2e-5)


def test_clipping_by_value_bounds_each_element_of_a_step() -> None:
    """Without momentum, one step moves no weight by more than rate times the value clipped to."""
    study = {"model": "linear", "epochs": 1, "batch_size": 2000, "schedule": "constant"}
    spec = spec_of("sgd", {"learning_rate": 1.0}, study, clip_value=1e-3)
    with seeded(spec.seed):
        before = {k: v.numpy() for k, v in start_network(spec, ArrayData(spec).inputs).state_dict().items()}
    kept, _ = trained(spec)
    moved = max(float(np.abs(kept[name] - before[name]).max()) for name in kept)
    assert moved == pytest.approx(1e-3, rel=1e-3)


def test_clipping_by_value_is_the_same_in_a_stack() -> None:
    given = {"model": "mlp", "epochs": 2, "batch_size": 128}
    alone, stacked = train(
        [spec_of("sgd", {"learning_rate": 0.1}, given, clip_value=1e-3, stacked=one) for one in (False, True)]
    )
    assert stacked.metrics == pytest.approx(alone.metrics, abs=1e-4)


def test_the_keys_reach_the_spec_and_change_no_key_of_a_training_without_them() -> None:
    study = tiny(
        optimizers=["sgd", {"name": "averaged", "like": "sgd", "average": "ema", "clip_value": 0.5}],
        clip=2.0,
        accumulate=4,
    )
    plain, averaged = (spec_fields(study.spec(one, 0, 0, {})) for one in study.optimizers)
    assert plain["clip"] == 2.0
    assert not {"average", "clip_value"} & set(plain)
    assert (averaged["average"], averaged["clip_value"]) == ({"name": "ema", "decay": 0.999}, 0.5)
    assert averaged["accumulate"] == 4
    assert not {"average", "clip_value", "accumulate"} & set(spec_fields(spec_of()))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizers": [{"name": "a", "like": "sgd", "average": {"name": "ema", "start": 0.5}}]}, "its key is decay"),
        ({"optimizers": [{"name": "a", "like": "sgd", "average": "mean"}]}, "'ema' or 'swa'"),
        ({"clip_value": 0}, "greater than 0"),
        ({"accumulate": 257}, "at most the batch size, 256"),
        (
            {
                "data": "ravine",
                "model": "point",
                "batch_size": 64,
                "optimizers": [{"name": "a", "like": "sgd", "average": "ema"}],
            },
            "has no effect, because ravine is an analytic function",
        ),
    ],
)
def test_keys_without_effect_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        tiny(**changes)


@pytest.mark.parametrize(("batch", "parts"), [(0, 3), (1, 3), (5, 2), (7, 3), (8, 4), (9, 4), (128, 100)])
def test_the_last_part_is_that_of_torchs_chunks(batch: int, parts: int) -> None:
    assert last_part(batch, parts) == (len(torch.zeros(batch).chunk(parts)[-1]) if batch else 0)
