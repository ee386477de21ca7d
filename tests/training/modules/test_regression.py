"""Regression: scores are those of scikit-learn in the targets' own unit, and the unit changes nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from builders import spec_of
from optstudy.spec import Event, RunSpec, TrainingEnded
from optstudy.training.batches import ArrayData
from optstudy.training.modules.examples import start_network
from optstudy.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")


def plane(scale: float = 1.0, offset: float = 0.0) -> tuple[Any, ...]:
    """Return data on a plane with noise: features (n, 3), and targets (n,) in any unit."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(260, 3))
    y = scale * (x @ [1.0, -2.0, 0.5] + 0.3 * rng.normal(size=260)) + offset
    return x[:200], y[:200], x[200:], y[200:]


def spec(model: str = "linear", **changes: Any) -> RunSpec:
    """Return a training on the plane; `arguments` are those of `plane`."""
    data = {"class": "test_regression.plane", "kind": "tabular", "arguments": changes.pop("arguments", {})}
    study = {"data": data, "model": model, "batch_size": 16, "epochs": 4}
    rates = {"learning_rate": 0.05, "weight_decay": 0.0}
    return spec_of(changes.pop("optimizer", "adam"), changes.pop("hyperparameters", rates), study, **changes)


def test_scores_are_those_of_scikit_learn_in_the_targets_own_unit() -> None:
    own, kept = spec(arguments={"scale": 30.0, "offset": 500.0}), list[TrainingEnded]()

    def keep(event: Event) -> None:
        if isinstance(event, TrainingEnded):
            kept.append(event)

    [result] = train([own], keep, weights=True)
    data = ArrayData(own)
    network = start_network(own, data.inputs)
    assert kept[0].weights is not None
    network.load_state_dict({name: torch.tensor(value) for name, value in kept[0].weights.items()})
    train_y = plane(30.0, 500.0)[1]
    for part in ("train", "val", "test"):
        x, y = data.parts[part]
        predicted, known = (data.target_sd * z.detach().double().numpy() for z in (network(x).squeeze(1), y))
        scores = {
            "rmse": root_mean_squared_error(known, predicted),
            "mae": mean_absolute_error(known, predicted),
            "r2": r2_score(known, predicted),
        }
        assert {name: result.metrics[f"{part}/{name}"] for name in scores} == pytest.approx(scores, rel=1e-4)
    assert result.metrics["test/r2"] > 0.9
    assert result.metrics["test/rmse"] == pytest.approx(30 * 0.3, rel=0.3)  # the noise
    assert data.target_sd == pytest.approx(train_y.std(), rel=0.1)
    assert result.answers == ""


@pytest.mark.parametrize("model", ["linear", "mlp"])
def test_another_unit_of_the_targets_changes_only_the_unit_of_the_scores(model: str) -> None:
    one, other = train([spec(model), spec(model, arguments={"scale": 1024.0})])
    for part in ("train", "val", "test"):
        for name, factor in (("loss", 1), ("r2", 1), ("rmse", 1024), ("mae", 1024)):
            scaled = factor * one.metrics[f"{part}/{name}"]
            assert other.metrics[f"{part}/{name}"] == pytest.approx(scaled, rel=1e-4), (part, name)


def test_a_diverged_training_is_scored_as_the_mean_of_the_training_targets() -> None:
    rates = {"learning_rate": 1e30, "weight_decay": 0.0, "momentum": 0.0}
    own = spec(optimizer="sgd", hyperparameters=rates)
    [result] = train([own])
    data = ArrayData(own)
    y = data.target_sd * data.parts["test"][1].double().numpy()
    assert result.status == "diverged"
    assert result.metrics["test/rmse"] == pytest.approx(root_mean_squared_error(y, np.zeros_like(y)), rel=1e-6)
    assert result.metrics["test/r2"] == pytest.approx(r2_score(y, np.zeros_like(y)), abs=1e-6)
    assert result.metrics["train/r2"] == pytest.approx(0.0, abs=1e-6)
    assert result.metrics["train/loss"] == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize("model", ["linear", "mlp"])
def test_a_stack_computes_what_each_training_computes_alone(model: str) -> None:
    seeds = [replace(spec(model), seed=seed, split_seed=seed) for seed in range(3)]
    alone, stacked = train(seeds), train([replace(one, stacked=True) for one in seeds])
    for one, other in zip(alone, stacked, strict=True):
        assert other.metrics == pytest.approx(one.metrics, rel=1e-3, abs=1e-4)
        assert other.curve[-1]["train/mae"] == pytest.approx(one.curve[-1]["train/mae"], rel=1e-3)


def test_a_batch_in_parts_has_the_same_gradient() -> None:
    whole, parts = train([spec(), spec(accumulate=3)])
    assert parts.metrics == pytest.approx(whole.metrics, rel=1e-3, abs=1e-4)
