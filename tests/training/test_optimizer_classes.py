"""Classes from outside the table train as their authors mean them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from builders import spec_of
from optstudy.metrics import GRADIENTS_PER_STEP
from optstudy.planning.weight_decay import found_decay
from optstudy.spec import RunResult, RunSpec, TrainingEnded
from optstudy.tasks.networks import build_network
from optstudy.training.batches import ArrayData
from optstudy.training.optimizers import build_optimizer, decay_groups, take_step
from optstudy.training.train import seeded, train

pytestmark = pytest.mark.usefixtures("one_thread")

EPOCHS = 3


def class_spec(path: str, hyperparameters: dict[str, Any] | None = None, **changes: Any) -> RunSpec:
    study = {"model": "mlp", "batch_size": 64, "epochs": EPOCHS, "schedule": "constant"}
    given = {"optimizer": path, "hyperparameters": hyperparameters or {"learning_rate": 0.1}}
    return replace(spec_of("sgd", study=study), **given, **changes)


def groups() -> list[dict[str, Any]]:
    return [{"params": [nn.Parameter(torch.ones(2, 2))]}]


@pytest.mark.parametrize(
    ("path", "given", "betas"),
    [
        ("optimizer_classes.OwnBetas", {"beta1": 0.95}, (0.95, 0.6)),
        ("optimizer_classes.OwnBetas", {"beta2": 0.9}, (0.5, 0.9)),
        ("optimizer_classes.OwnBetas", {}, (0.5, 0.6)),
        ("optimizer_classes.ThreeBetas", {"beta3": 0.9}, (0.98, 0.92, 0.9)),
        ("torch.optim.NAdam", {"beta1": 0.8}, (0.8, 0.999)),
    ],
)
def test_betas_that_are_not_given_are_the_defaults_of_the_class(
    path: str, given: dict[str, float], betas: tuple[float, ...]
) -> None:
    built = build_optimizer(path, {"learning_rate": 0.1, **given}, groups())
    assert getattr(built, "betas", built.defaults.get("betas")) == betas


def test_a_beta_that_is_an_argument_of_its_own_is_passed_as_such() -> None:
    assert build_optimizer("optimizer_classes.NamedBetas", {"beta1": 0.7}, groups()).beta1 == 0.7  # type: ignore[attr-defined]


def by_hand(spec: RunSpec, modes: bool) -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Train as a user would write it, and return the metrics and the weights at the end."""
    with seeded(spec.seed):
        data = ArrayData(spec)
        network = build_network(spec.model, data.inputs)
        optimizer: Any = build_optimizer(spec.optimizer, spec.hyperparameters, decay_groups(network, False))
        batches = data.train_dataloader()
        for _ in range(spec.epochs):
            if modes:
                optimizer.train()
            for x, y in batches:
                optimizer.zero_grad()
                functional.cross_entropy(network(x), y).backward()
                optimizer.step()
        if modes:
            optimizer.eval()
        metrics = {}
        for part in data.present():
            x, y = (torch.cat(tensors) for tensors in zip(*data.evaluation(part), strict=True))
            with torch.no_grad():
                metrics[f"{part}/accuracy"] = float((network(x).argmax(1) == y).float().mean())
                metrics[f"{part}/loss"] = float(functional.cross_entropy(network(x), y))
    return metrics, network.state_dict()


def trained(spec: RunSpec) -> tuple[RunResult, dict[str, np.ndarray[Any, Any]]]:
    events: list[Any] = []
    [result] = train([spec], events.append, weights=True)
    assert result.status == "completed", result.message
    return result, next(event.weights for event in events if isinstance(event, TrainingEnded))


def test_an_optimizer_with_modes_is_judged_by_the_weights_of_its_evaluation_mode() -> None:
    spec = class_spec("optimizer_classes.Averaged")
    result, weights = trained(spec)
    expected, state = by_hand(spec, modes=True)
    assert {name: result.metrics[name] for name in expected} == pytest.approx(expected, abs=1e-5)
    assert result.curve[-1]["val/accuracy"] == result.metrics["val/accuracy"]
    for name, kept in weights.items():
        np.testing.assert_allclose(kept, state[name], atol=1e-6)
    wrong, _ = by_hand(class_spec("torch.optim.SGD"), modes=False)  # the same steps, judged by the other weights
    assert abs(wrong["test/loss"] - expected["test/loss"]) > 0.01


@pytest.mark.parametrize(
    "path",
    [
        "schedulefree.AdamWScheduleFree",
        pytest.param("pytorch_optimizer.ScheduleFreeAdamW", marks=pytest.mark.long),
    ],
)
def test_schedule_free_over_ten_seeds_is_a_loop_with_its_modes(path: str) -> None:
    pytest.importorskip(path.partition(".")[0])
    specs = [class_spec(path, {"learning_rate": 0.01}, seed=seed) for seed in range(10)]
    results = train(specs)
    found = [result.metrics["val/accuracy"] for result in results]
    expected = [by_hand(spec, modes=True)[0]["val/accuracy"] for spec in specs]
    assert np.std(expected) > 0
    assert abs(np.mean(found) - np.mean(expected)) <= np.std(expected) / np.sqrt(10)


def sam_by_hand(spec: RunSpec, rate: float, momentum: float, sharpness: float) -> dict[str, torch.Tensor]:
    """SAM as its paper has it (algorithm 1), over plain loops."""
    with seeded(spec.seed):
        data = ArrayData(spec)
        network = build_network(spec.model, data.inputs)
        parameters = list(network.parameters())
        velocity = [torch.zeros_like(parameter) for parameter in parameters]
        batches = data.train_dataloader()
        for _ in range(spec.epochs):
            for x, y in batches:
                first = torch.autograd.grad(functional.cross_entropy(network(x), y), parameters)
                norm = torch.sqrt(sum((gradient**2).sum() for gradient in first))
                with torch.no_grad():
                    before = [parameter.clone() for parameter in parameters]
                    for parameter, gradient in zip(parameters, first, strict=True):
                        parameter.add_(gradient, alpha=float(sharpness / (norm + 1e-12)))
                second = torch.autograd.grad(functional.cross_entropy(network(x), y), parameters)
                with torch.no_grad():
                    for parameter, kept, speed, gradient in zip(parameters, before, velocity, second, strict=True):
                        speed.mul_(momentum).add_(gradient)
                        parameter.copy_(kept - rate * speed)
    return network.state_dict()


@pytest.mark.parametrize("name", ["Sam", "SamOfGradients"])
def test_sam_is_a_loop_of_sam_written_by_hand(name: str) -> None:
    spec = class_spec(f"optimizer_classes.{name}", {"learning_rate": 0.02, "sharpness": 0.05}, epochs=1)
    result, weights = trained(spec)
    expected = sam_by_hand(spec, 0.02, 0.9, 0.05)
    for key, kept in weights.items():
        np.testing.assert_allclose(kept, expected[key], rtol=0, atol=1e-6)
    assert result.metrics[GRADIENTS_PER_STEP] == 2.0


def test_sam_in_bf16_reads_the_weights_of_its_second_pass() -> None:
    given = {"learning_rate": 0.1, "sharpness": 0.5}
    single, _ = trained(class_spec("optimizer_classes.Sam", given))
    half, _ = trained(class_spec("optimizer_classes.Sam", given, precision="bf16-mixed"))
    plain, _ = trained(class_spec("torch.optim.SGD", {"learning_rate": 0.1, "momentum": 0.9}))
    effect = abs(plain.metrics["test/loss"] - single.metrics["test/loss"])
    assert abs(half.metrics["test/loss"] - single.metrics["test/loss"]) < effect / 4


def test_lbfgs_evaluates_as_often_as_it_asks_and_the_evaluations_are_counted() -> None:
    result, _ = trained(class_spec("torch.optim.LBFGS", {"learning_rate": 0.1, "max_iter": 4}, batch_size=2000))
    assert 1 < result.metrics[GRADIENTS_PER_STEP] <= 5
    assert result.metrics["train/loss"] < 2.0


def test_a_class_that_begins_with_its_closure_computes_one_gradient_per_step() -> None:
    result, _ = trained(class_spec("torch.optim.NAdam", {"learning_rate": 0.01}, epochs=1))
    assert GRADIENTS_PER_STEP not in result.metrics


@pytest.mark.parametrize("change", ["weights", "gradients set to none", "gradients zeroed", "nothing"])
def test_a_closure_computes_again_once_weights_or_gradients_have_changed(change: str) -> None:
    parameter = nn.Parameter(torch.ones(3))
    computed = []

    class Changing(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            if change == "weights":
                parameter.data.add_(1.0)  # which autograd does not notice
            if change.startswith("gradients"):
                self.zero_grad(set_to_none="none" in change)
            assert torch.equal(closure(), (parameter.detach() ** 2).sum())
            assert torch.equal(parameter.grad, 2 * parameter)  # type: ignore[arg-type]

    def gradient() -> torch.Tensor:
        computed.append(1)
        parameter.grad = None
        loss = (parameter**2).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    expected = 1 if change == "nothing" else 2
    assert take_step(Changing([parameter], lr=0.1), gradient, closure=True) == len(computed) == expected


# path -> the decay that its documentation gives
DECAYS = {
    "torch.optim.SGD": "coupled",
    "torch.optim.Adam": "coupled",
    "torch.optim.AdamW": "decoupled",
    "torch.optim.NAdam": "coupled",
    "torch.optim.RMSprop": "coupled",
    "torch.optim.Adagrad": "coupled",
    "torch.optim.Adafactor": "decoupled",
    "torch.optim.LBFGS": "none",
    "optimizer_classes.Passing": "decoupled",
    "optimizer_classes.OwnBetas": "coupled",
    "optimizer_classes.ThreeBetas": "none",
    "optimizer_classes.Odd": "",
    "pytorch_optimizer.Lion": "decoupled",
    "pytorch_optimizer.Adan": "decoupled",
    "pytorch_optimizer.Prodigy": "decoupled",
    "pytorch_optimizer.SOAP": "decoupled",
    "schedulefree.AdamWScheduleFree": "decoupled",
}


@pytest.mark.parametrize("path", DECAYS)
def test_the_decay_of_a_class_is_found_by_trying_it(path: str) -> None:
    pytest.importorskip(path.partition(".")[0])
    assert found_decay(path, {"learning_rate": 0.01}) == DECAYS[path]
