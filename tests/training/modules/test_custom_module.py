"""A user's own LightningModule trains as it says: with the schedule, the clipping and the weights that are reported."""

from __future__ import annotations

from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from builders import spec_of, tiny
from optstudy.errors import DataError
from optstudy.planning.stack_decisions import decisions
from optstudy.spec import RunSpec
from optstudy.tasks.arrays import Inputs
from optstudy.training.train import start_network, train
from optstudy.user_process import UserProcess

pytestmark = pytest.mark.usefixtures("one_thread")


class Own(pl.LightningModule):
    """A linear classifier, called as in optstudy's own module; with `by_hand` it steps its optimizer itself."""

    def __init__(self, by_hand: bool = False) -> None:
        super().__init__()
        self.automatic_optimization = not by_hand
        self.network = torch.nn.Linear(64, 10)

    def loss(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return torch.nn.functional.cross_entropy(self.network(batch[0].flatten(1)), batch[1])

    def training_step(self, batch: Any) -> Tensor:
        return self.loss(batch)

    def validation_step(self, batch: Any) -> None:
        self.log("val/loss", self.loss(batch))
        self.log("val/accuracy", (self.network(batch[0].flatten(1)).argmax(1) == batch[1]).float().mean())

    def test_step(self, batch: Any) -> None:
        self.log("test/accuracy", (self.network(batch[0].flatten(1)).argmax(1) == batch[1]).float().mean())


def own_of(name: str = "adam", by_hand: bool = False, **changes: Any) -> RunSpec:
    model = {"class": "test_custom_module.Own", "arguments": {"by_hand": by_hand}}
    return spec_of(name, {"learning_rate": 0.01, "weight_decay": 0.0}, {"model": model}, **changes)


def test_manual_optimization_is_an_input_error() -> None:
    spec = own_of(by_hand=True)
    with pytest.raises(
        DataError, match=r"test_custom_module\.Own sets automatic_optimization = False: its schedule would never"
    ):
        decisions(
            tiny(model={"class": spec.model["class"], "arguments": {"by_hand": True}}), "digest", "", {}, UserProcess()
        )
    [result] = train([spec])
    assert result.status == "failed"
    assert "leave automatic optimization on" in result.message


@pytest.mark.parametrize("name", ["sgd", "momentum", "rmsprop", "adam", "adamw"])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_are_clipped_in_every_precision(name: str, precision: str) -> None:
    """With momentum none and one step, SGD moves the weights by no more than rate times the norm clipped to."""
    spec = own_of(name, clip=1e-3, precision=precision, epochs=1, batch_size=2000)
    kept: list[Any] = []
    [result] = train([spec], kept.append, weights=True)
    assert result.status == "completed", result.message
    if name == "sgd":
        torch.manual_seed(spec.seed)
        start = start_network(spec, Inputs((1, 8, 8), 10)).state_dict()
        moved = [torch.from_numpy(kept[-1].weights[key]) - value for key, value in start.items()]
        assert float(torch.cat([part.flatten() for part in moved]).norm()) == pytest.approx(1e-5, rel=0.01)


def test_the_weights_that_are_kept_have_the_names_of_the_module() -> None:
    spec, kept = own_of(epochs=1), []
    train([spec], kept.append, weights=True)
    assert set(kept[-1].weights) == set(start_network(spec, Inputs((1, 8, 8), 10)).state_dict())


def test_the_final_metrics_are_those_of_the_final_weights() -> None:
    spec, kept = own_of(), []
    [result] = train([spec], kept.append, weights=True)
    from optstudy.training.batches import ArrayData

    module, data = Own(), ArrayData(spec)
    module.load_state_dict({name: torch.from_numpy(value) for name, value in kept[-1].weights.items()})
    for part in ("val", "test"):
        batches = list(data.evaluation(part))
        right = torch.cat([module.network(x.flatten(1)).argmax(1) == y for x, y in batches])
        assert result.metrics[f"{part}/accuracy"] == pytest.approx(float(right.float().mean()), abs=1e-6)
