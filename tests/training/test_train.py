"""Laws of training: pure, paired, and honest about divergence."""

from __future__ import annotations

import math
import random
import weakref
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest

from builders import spec_of, tiny
from optstudy.catalogue import OPTIMIZERS
from optstudy.spec import TrainingEnded
from optstudy.tasks.arrays import split
from optstudy.tasks.datasets import load_arrays
from optstudy.training.batches import ArrayData
from optstudy.training.train import train

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_same_spec_gives_the_same_bits_also_in_a_group(name: str) -> None:
    spec = spec_of(name, study={"model": "mlp"})
    first, other, second = train([spec, spec_of(name, seed=6), spec])
    assert (first.metrics, first.curve) == (second.metrics, second.curve)
    assert first.metrics != other.metrics


def test_contenders_of_a_replicate_see_the_same_batches_in_another_order_each_epoch() -> None:
    orders = [
        [[y.tolist() for _, y in data] for _ in range(2)]
        for data in (ArrayData(spec_of(name)).train_dataloader() for name in ("sgd", "adam"))
    ]
    assert orders[0] == orders[1]
    assert orders[0][0] != orders[0][1]
    assert sorted(chain(*orders[0][0])) == sorted(chain(*orders[0][1]))


def test_contenders_of_a_replicate_start_from_the_same_weights() -> None:
    # With a rate of zero nothing moves: the final metrics are those of the initial weights.
    results = []
    for name, row in OPTIMIZERS.items():
        still = {key: 0.0 for key in ("learning_rate", "weight_decay", *row.search) if key != "d_coef"}
        results.append(train([spec_of(name, {**row.fixed, **still}, {"model": "mlp"})])[0].metrics)
    assert all(metrics == results[0] for metrics in results)


@pytest.mark.parametrize(("rate", "clip"), [(1e30, None), (3e3, None)])
def test_divergence_is_recorded_at_chance(rate: float, clip: float | None) -> None:
    spec = spec_of(
        "sgd",
        hyperparameters={"momentum": 0.0, "learning_rate": rate},
        clip=clip,
        schedule={"name": "constant", "interval": "epoch", "warmup": 0.0},
    )
    result = train([spec])[0]
    assert result.status == "diverged"
    assert result.metrics["test/loss"] == math.log(10)
    labels = load_arrays(tiny().data.resolved()).test_y
    assert result.metrics["test/accuracy"] == max((labels == c).mean() for c in range(10))


def test_clipping_bounds_a_step() -> None:
    rate = {"momentum": 0.0, "learning_rate": 1e-2}
    free, clipped = train([spec_of("sgd", hyperparameters=rate), spec_of("sgd", hyperparameters=rate, clip=1e-6)])
    assert clipped.curve[-1]["train/loss"] > free.curve[-1]["train/loss"]
    assert clipped.curve[-1]["val/loss"] == pytest.approx(clipped.curve[0]["val/loss"], abs=1e-5)


def test_a_training_that_raises_is_a_failed_result_and_its_group_goes_on() -> None:
    broken, fine = train([replace(spec_of(), optimizer="torch.optim.Nothing"), spec_of()])
    assert (broken.status, fine.status) == ("failed", "completed")
    assert "Nothing" in broken.message


def test_events_carry_every_epoch_and_the_result() -> None:
    events: list[object] = []
    result = train([spec_of()], events.append)[0]
    assert len(events) == 3
    last = events[-1]
    assert isinstance(last, TrainingEnded)
    assert last.result == result
    assert last.started_ms <= last.epoch_ms[0] <= last.epoch_ms[1] <= last.ended_ms


def test_metrics_are_those_of_the_final_weights_and_the_gap_is_their_difference() -> None:
    metrics = train([spec_of()])[0].metrics
    assert metrics["generalisation_gap"] == metrics["train/accuracy"] - metrics["test/accuracy"]


def test_splits_are_stratified_disjoint_and_differ_by_seed() -> None:
    y = load_arrays(tiny().data.resolved()).y
    train_part, val = split(y, 1, 0.2)
    assert sorted([*train_part, *val]) == list(range(len(y)))
    assert abs((y[val] == 3).mean() - (y == 3).mean()) < 0.01
    assert split(y, 2, 0.2)[1].tolist() != val.tolist()
    assert split(y, 1, 0.2)[1].tolist() == val.tolist()


@pytest.mark.parametrize("stacked", [False, True])
def test_a_finished_training_leaves_no_tensors_behind(stacked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[weakref.ref[ArrayData]] = []

    class Noted(ArrayData):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            kept.append(weakref.ref(self))

    for module in ("train", "modules.examples"):
        monkeypatch.setattr(f"optstudy.training.{module}.ArrayData", Noted)
    study = tiny()
    rates = [{"learning_rate": 0.1, "weight_decay": 0.0}, {"learning_rate": 0.2, "weight_decay": 0.0}]
    train([study.spec(study.optimizers[0], 0, 5, rate, stacked=stacked) for rate in rates])
    assert len(kept) == 2
    assert not any(one() for one in kept)


@pytest.mark.parametrize("network", ["Noisy", "NoisyByNumpy"])
def test_a_seed_is_one_of_all_generators_that_a_users_network_may_draw_from(network: str) -> None:
    study = tiny(model={"class": f"stacked_networks.{network}", "arguments": {}}, optimizers=["sgd"])
    spec = study.spec(study.optimizers[0], 0, 5, {"learning_rate": 0.1})
    before = random.getstate()
    first, again, other = train([spec, spec, replace(spec, seed=6)])
    assert replace(first, seconds=0.0) == replace(again, seconds=0.0)
    assert first.curve != other.curve
    assert random.getstate() == before
