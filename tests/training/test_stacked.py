"""Laws of stacking: each training is what it is alone, whatever it is stacked with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from optstudy.catalogue import OPTIMIZERS
from optstudy.spec import PARTS, EpochEnded, RunResult, RunSpec, TrainingEnded, group_key
from optstudy.tasks.datasets import inputs_of
from optstudy.training.batches import ArrayData
from optstudy.training.stacked.module import Stack, StackedSlices
from optstudy.training.stacked.networks import Networks
from optstudy.training.timing import seconds_of
from optstudy.training.train import (
    MAX_STACKED,
    _groups,
    build_trainer,
    members_of,
    prepare_training,
    quiet_lightning,
    start_network,
    train,
)
from stacked_networks import CONSTANT, STACKABLE, WARMED, in_double, outcome, stacked_spec, variants

pytestmark = pytest.mark.usefixtures("one_thread")


def trained(specs: list[RunSpec]) -> list[dict[str, Tensor]]:
    """Return the final weights of a stack."""
    members = members_of(specs, [lambda _: None] * len(specs))
    with quiet_lightning():
        build_trainer(specs[0]).fit(Stack(members, lambda _: None))
    return [dict(member.network.named_parameters()) for member in members]


def trained_alone(spec: RunSpec) -> dict[str, Tensor]:
    with quiet_lightning(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        module = prepare_training(spec, lambda _: None).module
        build_trainer(spec).fit(module)
    return dict(module.network.named_parameters())  # type: ignore[operator]


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(
    "changes", [{"clip": 0.05}, {"schedule": CONSTANT, "decay_all": True}], ids=["clip", "constant"]
)
@pytest.mark.parametrize("name", STACKABLE)
def test_after_twenty_steps_each_member_of_a_stack_equals_its_training_alone(
    name: str, changes: dict[str, Any]
) -> None:
    assert_as_alone(variants(in_double(stacked_spec(name, **changes)), 3))


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("network", ["Own", "Tempered", "chained", "flat_twice", "hooked", "Evaluating", "tied"])
def test_a_users_network_in_a_stack_equals_its_training_alone(network: str) -> None:
    assert_as_alone(variants(in_double(stacked_spec(network=network)), 3))


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("changes", [{"freeze": ("body",)}, {"schedule": {**WARMED, "interval": "epoch"}}])
def test_stacks_with_frozen_parameters_or_schedules_by_epoch_equal_trainings_alone(changes: dict[str, Any]) -> None:
    assert_as_alone(variants(in_double(stacked_spec(**changes)), 3))


def assert_as_alone(specs: list[RunSpec]) -> None:
    start = dict(start_network(specs[0], inputs_of(specs[0].data)).named_parameters())
    for spec, together in zip(specs, trained(specs), strict=True):
        expected = trained_alone(spec)
        moved = 0.0
        for name, parameter in together.items():
            torch.testing.assert_close(parameter, expected[name], rtol=0, atol=1e-9)
            moved += float((parameter - start[name]).detach().abs().sum())
        assert moved > 1e-3


@pytest.mark.parametrize("most", [None, 90])
@pytest.mark.parametrize("scaling", ["unit", "standardised"])  # by the latter the test parts differ, too
@pytest.mark.parametrize("network", ["linear", "cnn", "Own", "Tempered"])
def test_a_stack_scores_each_member_as_it_would_be_alone(network: str, scaling: str, most: int | None) -> None:
    spec = stacked_spec(network=network)
    specs = variants(replace(spec, data={**spec.data, "train_size": None, "scaling": scaling}), 3)
    stack = Stack(members_of(specs, [lambda _: None] * 3), lambda _: None)
    stack._keep([2, 0, 1])
    for part in PARTS:
        together = stack._scores(part, most)
        for row, index in stack.batches.firsts():
            alone = stack.members[index].score(part, most)
            assert together[row].loss == pytest.approx(alone.loss, abs=1e-5)
            assert together[row].marks == alone.marks
            assert len(alone.marks["right"]) == len(stack.members[index].data.parts[part][1][:most])
        assert len({tuple(score.marks["right"]) for score in together}) == 3


def test_a_diverged_member_leaves_and_its_neighbours_do_not_notice() -> None:
    specs = variants(stacked_spec("sgd", schedule=CONSTANT), 4)
    alone = [outcome(result) for result in train([specs[1]]) + train([specs[3]])]
    wild = [replace(spec, hyperparameters={**spec.hyperparameters, "learning_rate": 1e30}) for spec in specs]
    events: list[Any] = []
    results = train([wild[0], specs[1], wild[2], specs[3]], events.append)
    assert [outcome(results[1]), outcome(results[3])] == alone
    for result in (results[0], results[2]):
        assert (result.status, result.curve, result.metrics["test/loss"]) == ("diverged", (), math.log(10))
        assert outcome(result) == outcome(train([replace(wild[0], stacked=False)])[0])
    ends = [event.index for event in events if isinstance(event, TrainingEnded)]
    assert ends == [0, 2, 1, 3]
    assert [outcome(result) for result in train([wild[0], specs[1]])] == [outcome(results[0]), alone[0]]
    assert [result.status for result in train([wild[0], wild[2]])] == ["diverged", "diverged"]


def test_a_member_that_ends_above_its_first_loss_has_diverged_in_a_stack_as_alone() -> None:
    specs = variants(stacked_spec("sgd", schedule=CONSTANT, epochs=1, clip=1.0), 2)
    above = replace(specs[0], hyperparameters={**specs[0].hyperparameters, "learning_rate": 30.0})
    together, alone = train([specs[1], above]), train([replace(above, stacked=False)])
    assert [result.status for result in (*together, *alone)] == ["completed", "diverged", "diverged"]
    assert math.isfinite(together[1].curve[0]["train/loss"])  # so it did not leave


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_weights_that_are_not_finite_are_detected_in_their_row(value: float) -> None:
    spec = stacked_spec(network="chained")
    networks = Networks([start_network(spec, inputs_of(spec.data)) for _ in range(3)], spec.decay_all)
    assert networks.finite() == [True, True, True]
    networks.leaves[-1].data[1, 0] = value
    assert networks.finite() == [True, False, True]
    assert not networks.values[1].isfinite().all()


def test_a_stack_that_diverges_is_timed_all_the_same() -> None:
    spec = stacked_spec("sgd", schedule=CONSTANT)
    assert seconds_of(replace(spec, hyperparameters={**spec.hyperparameters, "learning_rate": 1e30})) > 0


def test_batches_and_augmentation_are_those_of_each_training_alone() -> None:
    spec = stacked_spec()
    spec = replace(spec, data={**spec.data, "augment": ("crop", "flip"), "scaling": "standardised"})
    specs = [replace(spec, seed=seed, split_seed=seed // 2) for seed in range(3)]
    together = StackedSlices([ArrayData(one) for one in specs])
    together.rows = [2, 0, 1, 2]
    alone = [ArrayData(one).train_dataloader() for one in specs]
    for _ in range(2):
        epochs = [list(batches) for batches in alone]
        for step, (x, y) in enumerate(together):
            for row, member in enumerate(together.rows):
                assert torch.equal(x[row], epochs[member][step][0])
                assert torch.equal(y[row], epochs[member][step][1])
        assert step == len(together) - 1 == 3


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_in_single_precision_the_accuracy_is_that_of_training_alone(name: str) -> None:
    rate = OPTIMIZERS[name].search["learning_rate"].at(0.6)
    hyperparameters = {**OPTIMIZERS[name].fixed, "learning_rate": rate, "weight_decay": 1e-4}
    spec = stacked_spec(name, "mlp", hyperparameters=hyperparameters, epochs=10)
    specs = [replace(spec, seed=seed) for seed in range(4)]
    for together, alone in zip(train(specs), train([replace(one, stacked=False) for one in specs]), strict=True):
        assert alone.metrics["test/accuracy"] > 0.3  # three times chance
        assert together.metrics["test/accuracy"] == pytest.approx(alone.metrics["test/accuracy"], abs=0.02)


def test_events_and_weights_come_for_each_member() -> None:
    events: list[Any] = []
    specs = variants(stacked_spec(epochs=2), 2)
    results = train([specs[0], replace(specs[1], stacked=False), specs[1]], events.append, weights=True)
    assert [event.index for event in events if isinstance(event, EpochEnded)] == [0, 2, 0, 2, 1, 1]
    ends = {event.index: event for event in events if isinstance(event, TrainingEnded)}
    assert {index: end.result for index, end in ends.items()} == dict(enumerate(results))
    assert set(ends[0].weights) == set(ends[1].weights) == {"body.0.weight", "body.0.bias"} | set(ends[2].weights)
    assert not np.array_equal(ends[0].weights["head.weight"], ends[2].weights["head.weight"])
    np.testing.assert_allclose(ends[1].weights["head.weight"], ends[2].weights["head.weight"], atol=1e-4)
    assert results[0].seconds == pytest.approx(results[2].seconds, rel=0.2)


def test_an_error_in_a_stack_fails_all_its_members() -> None:
    specs = variants(stacked_spec(network="Large"), 2)
    assert [result.status for result in train(specs)] == ["failed", "failed"]
    assert all("too many" in result.message for result in train(specs))


def test_a_stacked_training_is_timed_by_its_share() -> None:
    spec = stacked_spec(network="linear", epochs=200)
    assert 0 < seconds_of(spec) < seconds_of(replace(spec, stacked=False))


def test_specs_of_a_group_differ_only_in_seeds_and_numeric_hyperparameters() -> None:
    spec = stacked_spec()
    assert len({group_key(one) for one in variants(spec, 4)}) == 1
    others = [
        replace(spec, epochs=9),
        replace(spec, clip=1.0),
        replace(spec, freeze=("body",)),
        replace(spec, hyperparameters={}),
        replace(spec, stacked=False),
    ]
    assert len({group_key(one) for one in [spec, *others]}) == 6


def test_more_trainings_than_a_stack_holds_are_trained_in_several_stacks() -> None:
    specs = variants(stacked_spec(network="linear", epochs=1), MAX_STACKED + 1)
    others = variants(stacked_spec("sgd", network="linear", epochs=1), 2)
    everything = [*specs[:3], others[0], *specs[3:], others[1]]
    assert [len(group) for group in _groups(everything)] == [MAX_STACKED, 1, 2]
    results = train(everything)
    few = [results[0], results[2], results[-2], results[3], results[-1]]
    assert list(map(learned, few)) == list(map(learned, train([specs[0], specs[2], specs[-1], *others])))


def learned(result: RunResult) -> object:
    return result.metrics, result.curve, result.answers
