"""Laws of stacking: each training is what it is alone, whatever it is stacked with."""

from __future__ import annotations

import inspect
import math
import random
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from builders import tiny
from optstudy.catalogue import OPTIMIZERS
from optstudy.spec import PARTS, EpochEnded, RunResult, RunSpec, TrainingEnded, group_key
from optstudy.tasks.arrays import Arrays, Inputs
from optstudy.tasks.datasets import inputs_of
from optstudy.tasks.images import digits
from optstudy.tasks.models import MODELS
from optstudy.training.batches import ArrayData
from optstudy.training.optimizers import build_optimizer
from optstudy.training.stacked.checks import why_solo, why_unsteady, work, worth_stacking
from optstudy.training.stacked.module import Stack, StackedSlices
from optstudy.training.stacked.networks import Networks, chain, cross_entropies
from optstudy.training.stacked.optimizers import RULES, Optimizer
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
from optstudy.user_code import import_class

pytestmark = pytest.mark.usefixtures("one_thread")

CONSTANT = {"name": "constant", "interval": "epoch", "warmup": 0.0}
WARMED = {"name": "cosine", "interval": "step", "warmup": 0.2}


class Own(nn.Module):
    """A network of layers that only vmap knows how to stack."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.norm = nn.Conv2d(1, 4, 3), nn.LayerNorm(4 * 36)
        self.head, self.scale = nn.Linear(4 * 36, 10, bias=False), nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.body(x))
        return self.head(self.norm(x.view(len(x), -1))) * self.scale


class Large(Own):
    """It raises where a batch is larger than that of the trial."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 2:
            raise RuntimeError("too many")
        return super().forward(x)


class Tempered(Own):
    """In evaluation its logits are others than in training, and it decides on a value, which vmap cannot."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            return super().forward(x)
        assert not bool(x.isnan().any())
        return super().forward(x) * -2


def chained() -> nn.Module:
    relu = nn.ReLU()
    dense = (nn.Flatten(), nn.Linear(27, 12), relu, nn.Linear(12, 10, bias=False))
    return nn.Sequential(nn.Conv2d(1, 3, 3, bias=False), nn.MaxPool2d(2), relu, *dense)


def flat_twice() -> nn.Module:
    """What is flat is flattened again, which changes nothing: networks and examples must not be swapped."""
    return nn.Sequential(nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten()), nn.Flatten(), nn.Linear(108, 10))


def hooked() -> nn.Module:
    """A hook, which only a call of the layer itself runs, divides what the last layer makes by ten."""
    network = chained()
    network[-1].register_forward_hook(lambda *called: called[-1] / 10)
    return network


def patched() -> nn.Module:
    """A layer whose forward pass was replaced; the layers of a stack follow its type."""
    network = chained()
    network[2].forward = torch.tanh
    return network


def by_rows() -> nn.Module:
    """A linear layer over each row of an image, without a bias: K and n must not be confused."""
    return nn.Sequential(nn.Linear(8, 4, bias=False), nn.Flatten(), nn.Linear(32, 10))


class Flat(nn.Module):
    """A network that only vmap stacks, of widths whose products are no whole cache lines in memory, as given."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(64, width), nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.hidden(x.flatten(1))))


class Permuted(Flat):
    """Its order of pixels is drawn when it is built, and is no parameter or buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.order = torch.randperm(64)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1)[:, self.order])


class Scaled(Flat):
    """So is the number that it multiplies its inputs by."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = float(torch.rand(()))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * self.factor)


class Masked(Flat):
    """The gradient of its first layer is changed on its way."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden.weight.register_hook(lambda gradient: gradient * 0)


class Noisy(Flat):
    """Its gradient is noisy, by numbers that are not torch's."""

    def drawn(self) -> float:
        return random.random()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (1 + self.training * self.drawn())


class NoisyByNumpy(Noisy):
    def drawn(self) -> float:
        return float(np.random.rand())


class Counting(Flat):
    """Its logits shrink once it has seen some batches."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        self.seen += self.training
        return super().forward(x) / (2 if self.seen > 9 else 1)


class Remembering(Flat):
    """It takes a running mean off its inputs, which it keeps where nobody looks for tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = {"mean": torch.zeros(64)}

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        if self.training:
            self.kept["mean"] = 0.9 * self.kept["mean"] + 0.1 * x.detach().mean(0)
        return super().forward(x - self.kept["mean"])


class Evaluating(Flat):
    """A part of it is in evaluation from the start, until its network is scored, which ends with training mode."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate().eval()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.gate(x))


class Gate(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if self.training else -x


def tied() -> nn.Module:
    """Two layers of one weight, which has two names."""
    first, second = nn.Linear(64, 64), nn.Linear(64, 64)
    second.weight = first.weight
    return nn.Sequential(nn.Flatten(), first, nn.ReLU(), second, nn.ReLU(), nn.Linear(64, 10))


class Whitened(Flat):
    """It cannot read zeros: what covers its inputs must be a positive definite matrix."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        factor = torch.linalg.cholesky(x.reshape(-1, 4).T @ x.reshape(-1, 4))
        return super().forward(x * factor[0, 0])


def normed() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(108, 10))


def dropping() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(64, 10))


def unused() -> nn.Module:
    network = chained()
    network.register_parameter("unused", nn.Parameter(torch.ones(3)))
    return network


def digits64() -> Arrays:
    whole = digits(list(range(10)))
    return replace(whole, x=whole.x.astype(np.float64), test_x=whole.test_x.astype(np.float64))


def spec_of(name: str = "adam", network: str = "cnn", **changes: Any) -> RunSpec:
    """Return a stacked training of 128 digits, four steps an epoch, of a model of the table or a network above."""
    model = network if network in MODELS else "mlp"
    study = tiny(optimizers=[name], model={"name": model, "arguments": {"width": 4} if model == "cnn" else {}})
    contender = study.optimizers[0]
    spec = study.spec(contender, 0, 5, contender.row().defaults, stacked=True)
    data = {**spec.data, "train_size": 160}
    resolved = spec.model if network in MODELS else {"name": None, "class": f"test_stacked.{network}", "arguments": {}}
    return replace(
        spec, **{"data": data, "model": resolved, "epochs": 5, "batch_size": 32, "schedule": WARMED, **changes}
    )


def variants(spec: RunSpec, count: int) -> list[RunSpec]:
    """Return `count` trainings that differ in all that may differ: the rate from a third to three times the default."""
    h = spec.hyperparameters
    return [
        replace(
            spec,
            seed=seed,
            split_seed=seed // 2,
            hyperparameters={
                **h,
                "learning_rate": h["learning_rate"] * 3 ** (1 - seed % 3),
                "weight_decay": 0.02 * seed,
            },
        )
        for seed in range(count)
    ]


def in_double(spec: RunSpec) -> RunSpec:
    return replace(spec, data={**spec.data, "class": "test_stacked.digits64", "arguments": {}})


def trained(specs: list[RunSpec]) -> list[dict[str, Tensor]]:
    """Return the final weights of a stack."""
    members = members_of(specs, [lambda _: None] * len(specs))
    with quiet_lightning():
        build_trainer(specs[0]).fit(Stack(members, lambda _: None))
    return [dict(member.network.named_parameters()) for member in members]


def ended(specs: list[RunSpec]) -> list[tuple[RunResult, dict[str, Any]]]:
    """Return results and final weights."""
    events: list[Any] = []
    results = train(specs, events.append, weights=True)
    weights = {event.index: event.weights for event in events if isinstance(event, TrainingEnded)}
    return [(outcome(result), weights[index]) for index, result in enumerate(results)]


def trained_alone(spec: RunSpec) -> dict[str, Tensor]:
    with quiet_lightning(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(spec.seed)
        module = prepare_training(spec, lambda _: None).module
        build_trainer(spec).fit(module)
    return dict(module.network.named_parameters())  # type: ignore[operator]


def outcome(result: RunResult) -> RunResult:
    return replace(result, seconds=0.0)


@pytest.fixture
def double() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_updates_follow_torch_row_by_row(name: str) -> None:
    row, generator = OPTIMIZERS[name], torch.Generator().manual_seed(0)
    start = torch.randn(3, 128, generator=generator, dtype=torch.float64)
    hyperparameters = [{**row.fixed, "learning_rate": 0.01 * k, "weight_decay": 0.1 * k} for k in (1, 2, 3)]
    together, ours = start.clone(), Optimizer(RULES[row.optimizer], list(hyperparameters), 64)
    parameters = [[nn.Parameter(part.clone()) for part in one.split(64)] for one in start]
    theirs = [
        build_optimizer(row.optimizer, h, [{"params": decayed}, {"params": plain, "weight_decay": 0.0}])
        for h, (decayed, plain) in zip(hyperparameters, parameters, strict=True)
    ]
    for _ in range(20):
        gradients = torch.randn(3, 128, generator=generator, dtype=torch.float64)
        for optimizer, one, gradient in zip(theirs, parameters, gradients, strict=True):
            for parameter, part in zip(one, gradient.split(64), strict=True):
                parameter.grad = part.clone()
            optimizer.step()
        ours.step(together, gradients.clone(), 1.0)
    expected = torch.stack([torch.cat(one) for one in parameters]).detach()
    torch.testing.assert_close(together, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("path", RULES)
def test_defaults_of_the_updates_are_those_of_torch(path: str) -> None:
    given = {name: p.default for name, p in inspect.signature(import_class(path)).parameters.items()}
    given["learning_rate"] = given["lr"]
    if "betas" in given:
        given["beta1"], given["beta2"] = given["betas"]
    assert all(given[name] == value for name, value in RULES[path].defaults.items())


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(
    "changes", [{"clip": 0.05}, {"schedule": CONSTANT, "decay_all": True}], ids=["clip", "constant"]
)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_after_twenty_steps_each_member_of_a_stack_equals_its_training_alone(
    name: str, changes: dict[str, Any]
) -> None:
    assert_as_alone(variants(in_double(spec_of(name, **changes)), 3))


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("network", ["Own", "Tempered", "chained", "flat_twice", "hooked", "Evaluating", "tied"])
def test_a_users_network_in_a_stack_equals_its_training_alone(network: str) -> None:
    assert_as_alone(variants(in_double(spec_of(network=network)), 3))


@pytest.mark.parametrize("network", ["Own", "chained", "flat_twice", "hooked", "Evaluating", "tied"])
def test_a_users_network_can_be_stacked(network: str) -> None:
    spec = spec_of(network=network)
    assert why_solo(spec, partial(start_network, spec, inputs_of(spec.data)), inputs_of(spec.data)) == ""


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("changes", [{"freeze": ("body",)}, {"schedule": {**WARMED, "interval": "epoch"}}])
def test_stacks_with_frozen_parameters_or_schedules_by_epoch_equal_trainings_alone(changes: dict[str, Any]) -> None:
    assert_as_alone(variants(in_double(spec_of(**changes)), 3))


def assert_as_alone(specs: list[RunSpec]) -> None:
    start = dict(start_network(specs[0], inputs_of(specs[0].data)).named_parameters())
    for spec, together in zip(specs, trained(specs), strict=True):
        expected = trained_alone(spec)
        moved = 0.0
        for name, parameter in together.items():
            torch.testing.assert_close(parameter, expected[name], rtol=0, atol=1e-9)
            moved += float((parameter - start[name]).detach().abs().sum())
        assert moved > 1e-3


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("model", ["linear", "mlp", "cnn"])
def test_bits_depend_neither_on_the_size_of_a_stack_nor_on_the_row(model: str, name: str) -> None:
    assert_independent(variants(spec_of(name, model, epochs=2, clip=1.0), 32))


def test_bits_of_the_demos_network_do_not_depend_on_the_stack() -> None:
    spec = spec_of(epochs=2, batch_size=64)
    assert_independent(variants(replace(spec, model={**spec.model, "arguments": {"width": 16}}), 16))


@pytest.mark.parametrize("network", ["Own", "chained"])
def test_bits_of_a_users_network_do_not_depend_on_the_stack(network: str) -> None:
    assert_independent(variants(spec_of(network=network, epochs=2), 9))


@pytest.mark.parametrize("network", ["linear", "mlp", "cnn", "Own", "chained"])
def test_bits_do_not_depend_on_the_row_for_any_number_of_examples_in_a_batch(network: str) -> None:
    spec = spec_of(network=network)
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


def same_bits(networks: list[nn.Module], inputs: Inputs, examples: int) -> bool:
    """Return whether logits and gradients of eight networks are the same to the last bit among fewer of them."""
    x, y = torch.rand(8, examples, *inputs.shape), torch.randint(inputs.classes, (8, examples))

    def computed(rows: list[int]) -> tuple[Tensor, Tensor]:
        together = Networks([networks[row] for row in rows], False)
        logits = together(x[rows])
        return logits, together.gradients_of(cross_entropies(logits, y[rows]))

    whole = computed(list(range(8)))
    return all(
        torch.equal(all_rows[rows], chosen)
        for rows in ([1, 0], [5, 3], [0, 3, 5], [7, 6, 5, 4, 3], [6, 7])
        for all_rows, chosen in zip(whole, computed(rows), strict=True)
    )


@pytest.mark.parametrize(("network", "batch_size"), [("cnn", 64), ("linear", 50), ("mlp", 33)])
def test_bits_do_not_depend_on_the_stack_with_a_last_batch_of_one_or_few_classes(network: str, batch_size: int) -> None:
    spec = spec_of(network=network, epochs=2, batch_size=batch_size)  # 321 images of the three digits, 64 of them held
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


@pytest.mark.parametrize("most", [None, 90])
@pytest.mark.parametrize("scaling", ["unit", "standardised"])  # by the latter the test parts differ, too
@pytest.mark.parametrize("network", ["linear", "cnn", "Own", "Tempered"])
def test_a_stack_scores_each_member_as_it_would_be_alone(network: str, scaling: str, most: int | None) -> None:
    spec = spec_of(network=network)
    specs = variants(replace(spec, data={**spec.data, "train_size": None, "scaling": scaling}), 3)
    stack = Stack(members_of(specs, [lambda _: None] * 3), lambda _: None)
    stack._keep([2, 0, 1])
    for part in PARTS:
        together = stack._scores(part, most)
        for row, index in stack.batches.firsts():
            alone = stack.members[index].score(part, most)
            assert together[row].loss == pytest.approx(alone.loss, abs=1e-5)
            assert together[row].right == alone.right
            assert len(alone.right) == len(stack.members[index].data.parts[part][1][:most])
        assert len({tuple(score.right) for score in together}) == 3


def test_a_diverged_member_leaves_and_its_neighbours_do_not_notice() -> None:
    specs = variants(spec_of("sgd", schedule=CONSTANT), 4)
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
    specs = variants(spec_of("sgd", schedule=CONSTANT, epochs=1, clip=1.0), 2)
    above = replace(specs[0], hyperparameters={**specs[0].hyperparameters, "learning_rate": 30.0})
    together, alone = train([specs[1], above]), train([replace(above, stacked=False)])
    assert [result.status for result in (*together, *alone)] == ["completed", "diverged", "diverged"]
    assert math.isfinite(together[1].curve[0]["train/loss"])  # so it did not leave


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_weights_that_are_not_finite_are_detected_in_their_row(value: float) -> None:
    spec = spec_of(network="chained")
    networks = Networks([start_network(spec, inputs_of(spec.data)) for _ in range(3)], spec.decay_all)
    assert networks.finite() == [True, True, True]
    networks.leaves[-1].data[1, 0] = value
    assert networks.finite() == [True, False, True]
    assert not networks.values[1].isfinite().all()


def test_a_stack_that_diverges_is_timed_all_the_same() -> None:
    spec = spec_of("sgd", schedule=CONSTANT)
    assert seconds_of(replace(spec, hyperparameters={**spec.hyperparameters, "learning_rate": 1e30})) > 0


def test_batches_and_augmentation_are_those_of_each_training_alone() -> None:
    spec = spec_of()
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
    spec = spec_of(name, "mlp", hyperparameters=hyperparameters, epochs=10)
    specs = [replace(spec, seed=seed) for seed in range(4)]
    for together, alone in zip(train(specs), train([replace(one, stacked=False) for one in specs]), strict=True):
        assert alone.metrics["test/accuracy"] > 0.3  # three times chance
        assert together.metrics["test/accuracy"] == pytest.approx(alone.metrics["test/accuracy"], abs=0.02)


def test_events_and_weights_come_for_each_member() -> None:
    events: list[Any] = []
    specs = variants(spec_of(epochs=2), 2)
    results = train([specs[0], replace(specs[1], stacked=False), specs[1]], events.append, weights=True)
    assert [event.index for event in events if isinstance(event, EpochEnded)] == [0, 2, 0, 2, 1, 1]
    ends = {event.index: event for event in events if isinstance(event, TrainingEnded)}
    assert {index: end.result for index, end in ends.items()} == dict(enumerate(results))
    assert set(ends[0].weights) == set(ends[1].weights) == {"body.0.weight", "body.0.bias"} | set(ends[2].weights)
    assert not np.array_equal(ends[0].weights["head.weight"], ends[2].weights["head.weight"])
    np.testing.assert_allclose(ends[1].weights["head.weight"], ends[2].weights["head.weight"], atol=1e-4)
    assert results[0].seconds == pytest.approx(results[2].seconds, rel=0.2)


def test_an_error_in_a_stack_fails_all_its_members() -> None:
    specs = variants(spec_of(network="Large"), 2)
    assert [result.status for result in train(specs)] == ["failed", "failed"]
    assert all("too many" in result.message for result in train(specs))


REASONS: dict[str, tuple[dict[str, Any], str]] = {
    "an optimizer of the user's": ({"optimizer": "torch.optim.NAdam"}, "torch.optim.NAdam has no stacked form"),
    "an option": ({"hyperparameters": {"amsgrad": True}}, "the stacked form of torch.optim.Adam takes no amsgrad"),
    "bf16": ({"precision": "bf16-mixed"}, "bf16-mixed"),
    "text": ({"data": {**spec_of().data, "kind": "text"}}, "each batch of text has its own length"),
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
    spec = spec_of(**changes)
    inputs = inputs_of(spec.data)
    assert reason in why_solo(spec, partial(start_network, spec, inputs), inputs)


@pytest.mark.parametrize("examples", [1, 5, 32])
@pytest.mark.parametrize("width", [4, 5, 9, 16, 33])
def test_a_network_that_passes_the_trial_has_the_same_bits_in_each_row(width: int, examples: int) -> None:
    spec, inputs = spec_of(), Inputs((1, 8, 8), 10)
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
        spec = spec_of(network=model, batch_size=64)
        inputs = Inputs((1, 28, 28) if model == "2c2d" else (1, 8, 8), 10)
        network = start_network(spec, inputs)
        assert chain(network) is not None
        assert worth_stacking(network, inputs, spec.batch_size) is worth


def test_the_work_of_a_step_is_counted_as_by_hand() -> None:
    # Forward and by the weights: 2 * 64 * 10 each for an example; the gradient by the inputs is not asked for.
    spec = spec_of(network="linear")
    assert work(start_network(spec, Inputs((1, 8, 8), 10)), Inputs((1, 8, 8), 10), 32) == 2 * 2 * 64 * 10 * 32


def test_a_stacked_training_is_timed_by_its_share() -> None:
    spec = spec_of(network="linear", epochs=200)
    assert 0 < seconds_of(spec) < seconds_of(replace(spec, stacked=False))


def test_specs_of_a_group_differ_only_in_seeds_and_numeric_hyperparameters() -> None:
    spec = spec_of()
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
    specs = variants(spec_of(network="linear", epochs=1), MAX_STACKED + 1)
    others = variants(spec_of("sgd", network="linear", epochs=1), 2)
    everything = [*specs[:3], others[0], *specs[3:], others[1]]
    assert [len(group) for group in _groups(everything)] == [MAX_STACKED, 1, 2]
    results = train(everything)
    few = [results[0], results[2], results[-2], results[3], results[-1]]
    assert list(map(learned, few)) == list(map(learned, train([specs[0], specs[2], specs[-1], *others])))


def learned(result: RunResult) -> object:
    return result.metrics, result.curve, result.answers
