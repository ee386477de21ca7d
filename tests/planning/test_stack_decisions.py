"""Which contenders stack is decided once, and stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_stacked import Flat
from torch import Tensor, nn

from builders import tiny
from optstudy.planning.layout import StudyPaths
from optstudy.planning.preflight import fingerprints_of
from optstudy.planning.stack_decisions import decisions, read_stored
from optstudy.running.stages import prepare
from optstudy.tasks.arrays import Inputs
from optstudy.training.stacked.checks import why_solo, why_unsteady

NADAM = {
    "name": "nadam",
    "class": "torch.optim.NAdam",
    "search": {"learning_rate": {"low": 1e-3, "high": 1e-1}},
}


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
def test_a_contender_stacks_or_says_why_not(study: object, contender: str, reason: str) -> None:
    found = decisions(study, "digest", "", {})[contender].solo  # type: ignore[arg-type]
    assert (found == "") == (reason == "")
    assert reason in found


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
def test_what_a_network_keeps_of_its_inputs_is_not_lost_in_a_stack(buffer: bool) -> None:
    study = tiny(model={"class": "test_stack_decisions.Centred", "arguments": {"buffer": buffer}})
    found = decisions(study, "digest", "", {})["adam"].solo
    assert found == "the network (Centred) keeps running statistics in `mean`"


@pytest.mark.parametrize("stack", ["auto", "on"])
def test_results_that_would_depend_on_their_neighbours_are_not_stacked(stack: str) -> None:
    model = {"class": "test_stacked.Flat", "arguments": {"width": 33}}  # its rows would lie askew in memory
    found = decisions(tiny(model=model, stack=stack), "digest", "", {})["adam"].solo
    assert "the last bits would depend on the neighbours" in found


def normed() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64), nn.Linear(64, 10))


@pytest.mark.parametrize("build", [normed, Flat])
def test_a_network_is_asked_without_being_changed_or_drawing_random_numbers(build: Callable[[], nn.Module]) -> None:
    study, inputs = tiny(), Inputs((1, 8, 8), 10)
    spec = study.spec(study.optimizers[1], 0, 5, {"learning_rate": 0.01})
    torch.manual_seed(3)
    expected = torch.rand(1)
    made = [build(), build()]
    torch.manual_seed(3)
    why_solo(spec, iter(made).__next__, inputs)
    assert torch.equal(expected, torch.rand(1))
    fresh = build()
    kept = {name: value.clone() for name, value in fresh.state_dict().items()}
    torch.manual_seed(3)
    why_unsteady(spec, fresh, inputs, [2])
    assert torch.equal(expected, torch.rand(1))
    assert all(torch.equal(value, kept[name]) for name, value in fresh.state_dict().items())


def test_auto_leaves_large_networks_alone() -> None:
    large = {"name": "mlp", "arguments": {"width": 4096}}
    assert "wins nothing" in decisions(tiny(model=large), "digest", "", {})["sgd"].solo
    assert decisions(tiny(model=large, stack="on"), "digest", "", {})["sgd"].solo == ""


def test_a_decision_is_stored_said_once_and_then_believed(tmp_path: Path) -> None:
    paths = StudyPaths(tiny(optimizers=["sgd", NADAM]), tmp_path / "results", tmp_path / "mlruns")
    said: list[str] = []
    content = prepare(paths, said.append)
    assert [line.split(":")[0] for line in said] == ["nadam"]
    stored = read_stored(paths.mlruns, paths.study.name)
    assert stored == {decision.key: decision.solo for decision in content.stacking.values()}
    assert prepare(paths, said.append) == content
    assert len(said) == 1
    stored = {content.stacking["sgd"].key: "because it was said"}
    assert decisions(paths.study, content.data, "", stored)["sgd"].solo == "because it was said"
    assert fingerprints_of(paths.study, paths.mlruns) == content
