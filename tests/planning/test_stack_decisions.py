"""Which contenders are stacked is decided once, and stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from builders import tiny
from optstudy.planning.fingerprints import Decision
from optstudy.planning.layout import StudyPaths
from optstudy.planning.preflight import fingerprints_of
from optstudy.planning.stack_decisions import decisions, read_stored
from optstudy.running.stages import prepare
from optstudy.study.study import Study
from optstudy.tasks.arrays import Inputs
from optstudy.training.stacked.checks import why_bits_would_differ, why_not_stacked
from optstudy.user_process import UserProcess

NADAM = {
    "name": "nadam",
    "class": "torch.optim.NAdam",
    "search": {"learning_rate": {"low": 1e-3, "high": 1e-1}},
}


def decided(study: Study, data_digest: str = "digest", stored: Mapping[str, str] | None = None) -> dict[str, Decision]:
    with UserProcess() as process:
        return decisions(study, data_digest, "", stored or {}, process)


@pytest.mark.parametrize(
    ("study", "contender", "reason"),
    [
        (tiny(), "adam", ""),
        (tiny(model={"name": "cnn"}, stack="on"), "adam", ""),
        (tiny(stack="off"), "adam", "the study says so"),
        (tiny(optimizers=["sgd", NADAM]), "nadam", "has no stacked form"),
        (tiny(model="resnet20"), "adam", "running statistics"),
        (tiny(precision="bf16-mixed"), "adam", "bf16-mixed"),
        (tiny(data="ravine", model="point", batch_size=64), "sgd", "a function"),
    ],
)
def test_a_contender_is_stacked_or_has_a_reason_why_not(study: Study, contender: str, reason: str) -> None:
    reason_given = decided(study)[contender].not_stacked_because
    assert (reason_given == "") == (reason == "")
    assert reason in reason_given


class Flat(nn.Sequential):
    """A user's own network that vmap stacks: one hidden layer."""

    def __init__(self, width: int = 33) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, width), nn.Tanh(), nn.Linear(width, 10))


class Centred(nn.Module):
    """A user's own: it takes a running mean, which it keeps itself, off its inputs."""

    def __init__(self, buffer: bool) -> None:
        super().__init__()
        self.head = nn.Linear(64, 10)
        self.mean = nn.Buffer(torch.zeros(64)) if buffer else torch.zeros(64)

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1)
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        logits: Tensor = self.head(x - self.mean)
        return logits


@pytest.mark.parametrize("buffer", [True, False])
def test_a_network_that_keeps_running_statistics_is_not_stacked(buffer: bool) -> None:
    study = tiny(model={"class": "test_stack_decisions.Centred", "arguments": {"buffer": buffer}})
    reason_given = decided(study)["adam"].not_stacked_because
    assert reason_given == "the network (Centred) keeps running statistics in `mean`"


@pytest.mark.parametrize("stack", ["auto", "on"])
def test_a_network_whose_last_bits_would_depend_on_its_neighbours_is_not_stacked(stack: str) -> None:
    model = {"class": "test_stack_decisions.Flat", "arguments": {"width": 33}}  # its rows would lie askew in memory
    reason_given = decided(tiny(model=model, stack=stack))["adam"].not_stacked_because
    assert "its last bits would depend on the other networks" in reason_given


def normed() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10))


@pytest.mark.parametrize("build", [normed, Flat])
def test_deciding_changes_neither_the_network_nor_the_random_generator(build: Callable[[], nn.Module]) -> None:
    study, inputs = tiny(), Inputs((1, 8, 8), 10)
    spec = study.spec(study.optimizers[1], 0, 5, {"learning_rate": 0.01})
    torch.manual_seed(3)
    expected = torch.rand(1)
    made = [build(), build()]
    torch.manual_seed(3)
    why_not_stacked(spec, iter(made).__next__, inputs)
    assert torch.equal(expected, torch.rand(1))
    fresh = build()
    kept = {name: value.clone() for name, value in fresh.state_dict().items()}
    torch.manual_seed(3)
    why_bits_would_differ(spec, fresh, inputs, [2])
    assert torch.equal(expected, torch.rand(1))
    assert all(torch.equal(value, kept[name]) for name, value in fresh.state_dict().items())


@pytest.mark.long
def test_auto_does_not_stack_large_networks() -> None:
    large = {"name": "mlp", "arguments": {"width": 4096}}
    assert "saves no time" in decided(tiny(model=large))["sgd"].not_stacked_because
    assert decided(tiny(model=large, stack="on"))["sgd"].not_stacked_because == ""


def test_a_decision_is_stored_and_announced_once_and_then_used_as_it_is(tmp_path: Path) -> None:
    paths = StudyPaths(tiny(optimizers=["sgd", NADAM]), tmp_path / "results", tmp_path / "mlruns")
    lines: list[str] = []
    fingerprints = prepare(paths, lines.append).fingerprints
    assert [line.split(":")[0] for line in lines] == ["nadam"]
    stored = read_stored(paths.mlruns, paths.study.name)
    assert stored == {decision.key: decision.not_stacked_because for decision in fingerprints.stacking.values()}
    assert prepare(paths, lines.append).fingerprints == fingerprints
    assert len(lines) == 1
    stored = {fingerprints.stacking["sgd"].key: "because it was lines"}
    assert decided(paths.study, fingerprints.data, stored)["sgd"].not_stacked_because == "because it was lines"
    assert fingerprints_of(paths.study, paths.mlruns) == fingerprints
