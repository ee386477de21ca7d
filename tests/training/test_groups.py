"""Groups of parameters: which parameter falls into which group, and what their optimizers do."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from builders import spec_of, tiny
from optimizer_classes import Averaged
from optstudy.catalogue import OPTIMIZERS
from optstudy.errors import DataError
from optstudy.spec import RunSpec, TrainingEnded, spec_fields
from optstudy.study.groups import resolved_groups
from optstudy.training.groups import REST, CombinedOptimizer, members, optimizer_of
from optstudy.training.optimizers import takes_closure
from optstudy.training.schedules import build_schedule, schedule_factor
from optstudy.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")

MUON = {"name": "muon", "optimizer": "torch.optim.Muon", "hidden": True, "ndim": [2]}
CONSTANT = {"name": "constant", "interval": "step", "warmup": 0.0}


class Words(nn.Module):
    """All that rules can tell apart: embeddings, hidden layers, a norm, a head, and a matrix of the network's own."""

    def __init__(self, tied: bool = False) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(2, 6))
        self.words, self.places = nn.Embedding(9, 6), nn.Embedding(4, 6)
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in range(3))
        self.norm, self.head = nn.LayerNorm(6), nn.Linear(6, 9)
        if tied:
            self.head.weight = self.words.weight


def groups_of(network: nn.Module, *groups: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the names of the parameters of each group."""
    return {name: [one for one, _ in own] for name, own in members(network, groups).items()}


def spec(
    groups: Sequence[Mapping[str, Any]] = (), optimizer: str = "adamw", schedule: Any = CONSTANT, **values: float
) -> RunSpec:
    """Return a training with groups; `values` are hyperparameters, with `__` for the dot after a group's name."""
    given = {name.replace("__", "."): value for name, value in values.items()}
    hyperparameters = {**OPTIMIZERS[optimizer].fixed, "learning_rate": 0.01, "weight_decay": 0.1, **given}
    changes = {"groups": tuple(groups), "schedule": schedule}
    return spec_of(optimizer, hyperparameters, {"model": "mlp", "batch_size": 64}, **changes)


def mlp() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3))


def steps(network: nn.Module, step: Callable[[], None], count: int = 10) -> None:
    """Train a network for some steps on batches that are always the same."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        x = torch.randn(12, 8, generator=generator)
        y = torch.randint(3, (12,), generator=generator)
        network.zero_grad()
        functional.cross_entropy(network(x), y).backward()
        step()


def assert_same_weights(first: nn.Module, second: nn.Module) -> None:
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def ends(one: RunSpec) -> tuple[Any, ...]:
    """Return the metrics, the curve and the weights of a training."""
    events = list[Any]()
    [result] = train([one], events.append, weights=True)
    [ended] = [event for event in events if isinstance(event, TrainingEnded)]
    assert ended.weights is not None
    return result.metrics, result.curve, {name: array.tobytes() for name, array in ended.weights.items()}


@pytest.mark.parametrize("optimizer", ["momentum", "adamw"])
@pytest.mark.parametrize("own", [{}, {"optimizer": "like"}], ids=["parameter groups", "several optimizers"])
def test_groups_with_the_same_class_and_hyperparameters_train_bit_for_bit_as_no_groups(
    optimizer: str, own: dict[str, str]
) -> None:
    row = OPTIMIZERS[optimizer]
    own = {"optimizer": optimizer} if own else {}
    same = {**row.fixed, "learning_rate": 0.01, "weight_decay": 0.1} if own else {}
    groups = [{"name": "first", "names": ["body.1"], **own}, {"name": "matrices", "ndim": [2], **own}]
    values = {f"{group['name']}__{name}": value for group in groups for name, value in same.items()}
    assert ends(spec(groups, optimizer, **values)) == ends(spec((), optimizer))


def test_a_training_without_groups_keeps_its_key() -> None:
    assert "groups" not in spec_fields(spec())
    assert "groups" in spec_fields(spec([MUON], muon__learning_rate=0.02))
    assert tiny(optimizers=["adam"]).row(tiny(optimizers=["adam"]).optimizers[0]).groups == ()


def test_muon_with_adamw_equals_a_loop_with_two_optimizers() -> None:
    ours, theirs = mlp(), mlp()
    changed = spec([MUON], muon__learning_rate=0.02, muon__weight_decay=0.05, muon__momentum=0.9)
    optimizer = optimizer_of(changed, ours)
    schedule = build_schedule(optimizer, {"name": "cosine", "interval": "step", "warmup": 0.2}, 10)

    def our_step() -> None:
        optimizer.step()
        schedule.step()

    steps(ours, our_step)
    hidden = theirs[2].weight
    ends_ = [theirs[0].weight, theirs[4].weight]
    biases = [theirs[index].bias for index in (0, 2, 4)]
    muon = torch.optim.Muon([hidden], lr=0.02, weight_decay=0.05, momentum=0.9)
    adamw = torch.optim.AdamW(
        [{"params": ends_}, {"params": biases, "weight_decay": 0.0}], lr=0.01, weight_decay=0.1, fused=True
    )
    taken = 0

    def their_step() -> None:
        nonlocal taken
        factor = schedule_factor({"name": "cosine", "interval": "step", "warmup": 0.2}, taken, 10)
        for group in muon.param_groups:
            group["lr"] = 0.02 * factor
        for group in adamw.param_groups:
            group["lr"] = 0.01 * factor
        muon.step()
        adamw.step()
        taken += 1

    steps(theirs, their_step)
    assert_same_weights(ours, theirs)


def test_the_row_muon_equals_the_loop_of_its_authors_advice() -> None:
    row, ours, theirs = OPTIMIZERS["muon"], mlp(), mlp()
    changed = replace(
        spec(resolved_groups(row.groups)), optimizer="muon", hyperparameters={**row.fixed, **row.defaults}
    )
    steps(ours, optimizer_of(changed, ours).step)
    biases = [theirs[index].bias for index in (0, 2, 4)]
    rest = [{"params": [theirs[0].weight, theirs[4].weight]}, {"params": biases, "weight_decay": 0.0}]
    muon = torch.optim.Muon([theirs[2].weight], lr=0.02, weight_decay=0.01)
    adamw = torch.optim.AdamW(rest, lr=3e-4, betas=(0.9, 0.95), weight_decay=0.01, fused=True)

    def step() -> None:
        muon.step()
        adamw.step()

    steps(theirs, step)
    assert_same_weights(ours, theirs)


def test_layer_wise_rates_equal_parameter_groups_by_hand() -> None:
    ours, theirs = mlp(), mlp()
    lower = [{"name": "low", "names": ["0."], "multiply": {"learning_rate": 0.1}}]
    lower += [{"name": "middle", "names": ["2.*"], "multiply": {"learning_rate": 0.5}}]
    optimizer = optimizer_of(spec(lower, "momentum"), ours)
    assert isinstance(optimizer, torch.optim.SGD)
    steps(ours, optimizer.step)
    by_hand = []
    for index, rate in ((0, 0.001), (2, 0.005), (4, 0.01)):
        by_hand.append({"params": [theirs[index].weight], "lr": rate})
        by_hand.append({"params": [theirs[index].bias], "lr": rate, "weight_decay": 0.0})
    steps(theirs, torch.optim.SGD(by_hand, lr=0.01, momentum=0.9, weight_decay=0.1, fused=True).step)
    assert_same_weights(ours, theirs)


def test_embeddings_do_not_decay_if_their_group_says_so() -> None:
    network = Words()
    with torch.no_grad():
        network.offset.fill_(1.0)
    before = {name: parameter.detach().clone() for name, parameter in network.named_parameters()}
    embeddings = {"name": "embeddings", "modules": ["Embedding"]}
    optimizer = optimizer_of(spec([embeddings], embeddings__weight_decay=0.0), network)
    for parameter in network.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in network.named_parameters():
        decays = parameter.ndim >= 2 and name not in ("words.weight", "places.weight")
        torch.testing.assert_close(parameter.detach(), before[name] * (1 - 0.01 * 0.1 if decays else 1.0))


def test_the_first_group_that_matches_has_a_parameter_and_each_is_in_one() -> None:
    network = Words()
    rules = [
        {"name": "embeddings", "modules": ["Embedding"]},
        {"name": "middle", "names": ["layers.[12].*"], "ndim": [2]},
        {"name": "layers", "names": ["layers."]},
    ]
    found = groups_of(network, *rules)
    assert found["embeddings"] == ["words.weight", "places.weight"]
    assert found["middle"] == ["layers.1.weight", "layers.2.weight"]
    assert found["layers"] == ["layers.0.weight", "layers.0.bias", "layers.1.bias", "layers.2.bias"]
    assert found[REST] == ["offset", "norm.weight", "norm.bias", "head.weight", "head.bias"]
    names = [name for name, _ in network.named_parameters()]
    assert sorted(chain(*found.values())) == sorted(names)
    with pytest.raises(DataError, match="groups: middle"):
        members(network, rules[::-1])  # `layers` now has what `middle` means
    optimizer = optimizer_of(spec(rules), network)
    ids = [id(one) for group in optimizer.param_groups for one in group["params"]]
    assert sorted(ids) == sorted(id(one) for one in network.parameters())


@pytest.mark.parametrize("tied", [False, True])
def test_hidden_weights_are_neither_embeddings_nor_of_the_first_or_last_layer_nor_the_networks_own(tied: bool) -> None:
    hidden = {"name": "hidden", "hidden": True}
    assert groups_of(Words(tied), hidden)["hidden"] == [f"layers.{index}.weight" for index in range(3)]
    assert groups_of(mlp(), hidden)["hidden"] == ["2.weight"]
    convolutions = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 2))
    assert groups_of(convolutions, hidden)["hidden"] == ["1.weight"]


def test_the_class_that_owns_a_parameter_is_known_by_its_base_classes_too() -> None:
    attention = nn.Sequential(nn.Linear(4, 4), nn.MultiheadAttention(4, 2))
    found = groups_of(attention, {"name": "linear", "modules": ["Linear"], "ndim": [2]})
    assert found["linear"] == ["0.weight", "1.out_proj.weight"]  # the latter's class is derived from Linear
    assert groups_of(attention, {"name": "a", "modules": ["MultiheadAttention"]})["a"] == [
        "1.in_proj_weight",
        "1.in_proj_bias",
    ]


def test_a_group_without_parameters_is_an_error_that_lists_the_parameters() -> None:
    network = mlp()
    with pytest.raises(DataError, match=r"groups: far: means no parameter .*0.weight \(Linear, ndim 2\)"):
        members(network, [{"name": "far", "names": ["layers."]}])
    with pytest.raises(DataError, match="groups: second"):
        members(network, [{"name": "first", "ndim": [2]}, {"name": "second", "hidden": True}])
    network[2].requires_grad_(False)
    with pytest.raises(DataError, match="groups: muon"):
        members(network, [MUON])


@pytest.mark.parametrize("decay_all", [False, True])
def test_biases_decay_in_groups_only_if_decay_all_says_so(decay_all: bool) -> None:
    network = mlp()
    groups = [{"name": "low", "names": ["0."], "multiply": {"weight_decay": 2.0}}, {**MUON, "multiply": {}}]
    changed = replace(spec(groups, muon__learning_rate=0.02), decay_all=decay_all)
    optimizer = optimizer_of(changed, network)
    decays = {id(one): group["weight_decay"] for group in optimizer.param_groups for one in group["params"]}
    found = {name: decays[id(parameter)] for name, parameter in network.named_parameters()}
    assert [found[f"{index}.bias"] for index in (0, 2, 4)] == ([0.2, 0.1, 0.1] if decay_all else [0.0] * 3)
    assert [found[f"{index}.weight"] for index in (0, 2, 4)] == [0.2, 0.1, 0.1]


def test_schedules_change_the_rates_of_all_optimizers_and_modes_reach_them() -> None:
    network = mlp()
    muon, modes = torch.optim.Muon([network[2].weight], lr=0.02), Averaged([network[0].weight], lr=0.5)
    combined = CombinedOptimizer([muon, modes])
    schedule = build_schedule(combined, {"name": "linear", "interval": "step", "warmup": 0.0}, 4)
    for own in network.parameters():
        own.grad = torch.ones_like(own)
    combined.train()
    combined.step()
    schedule.step()
    assert (muon.param_groups[0]["lr"], modes.param_groups[0]["lr"]) == pytest.approx((0.015, 0.375))
    combined.eval()
    assert modes.mode == "eval"
    combined.train()
    assert modes.mode == "train"
    combined.zero_grad()
    assert network[2].weight.grad is network[0].weight.grad is None
    assert network[2].weight in combined.state


def test_a_class_that_needs_a_closure_cannot_be_one_of_several_optimizers() -> None:
    network = mlp()
    changed = spec([{"name": "second", "hidden": True, "optimizer": "torch.optim.LBFGS"}])
    with pytest.raises(ValueError, match="LBFGS needs a closure"):
        optimizer_of(changed, network)
    combined = optimizer_of(spec([MUON], muon__learning_rate=0.1), network)
    assert not takes_closure("torch.optim.Muon", combined)
    calls = list[int]()

    def closure() -> Tensor:
        calls.append(1)
        return torch.ones(())

    assert float(combined.step(closure)) == 1.0
    assert len(calls) == 1


def test_a_setting_that_an_optimizer_has_once_for_all_parameters_cannot_differ_in_a_group() -> None:
    changed = spec([{"name": "low", "names": ["0."]}], low__beta1=0.5)
    with pytest.raises(ValueError, match=r"low\.beta1 has no effect: NamedBetas has one beta1 for all parameters"):
        optimizer_of(
            replace(
                changed,
                optimizer="optimizer_classes.NamedBetas",
                hyperparameters={"learning_rate": 0.1, "low.beta1": 0.5},
            ),
            mlp(),
        )
