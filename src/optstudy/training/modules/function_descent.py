"""The task "descent": two parameters descend an analytic function, one step per epoch, and their path is recorded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from optstudy.spec import Outcome, RunSpec
from optstudy.tasks.datasets import function_of
from optstudy.tasks.networks import Point
from optstudy.training.optimizers import build_optimizer, clip_gradients, set_mode, take_step, takes_closure
from optstudy.training.schedules import build_schedule
from optstudy.training.setup import TrainingSetup


class Descent(pl.LightningModule):
    """Minimises the function of `spec.data` from the replicate's starting point, and passes each step to `on_epoch`.

    Its metrics are `loss` (the function's value; its minimum is 0), `steps_to_tolerance` (the first step, from 1, after
    which the value is at most the function's tolerance; steps + 1 if there is none) and `sign_changes` (of the gradient
    along the steep axis, between consecutive steps).
    """

    def __init__(self, spec: RunSpec, on_epoch: Callable[[dict[str, float]], None]) -> None:
        super().__init__()
        self.spec, self.on_epoch = spec, on_epoch
        self.function = function_of(spec.data)
        self.point = Point(self.function.start(spec.split_seed))
        self.automatic_optimization = False
        self.losses: list[float] = []
        self.along: list[float] = []  # the gradient's component along the steep axis, at each step's beginning
        self.start = self.loss()

    def position(self) -> tuple[float, float]:
        """Return the parameters."""
        return self.point.x.item(), self.point.y.item()

    def loss(self) -> float:
        """Return the function's value where the parameters are."""
        with torch.no_grad():
            return float(self.function(self.point.x, self.point.y))  # tensors overflow to infinity; floats raise

    def train_dataloader(self) -> Any:
        """Return one empty batch: an epoch is one step."""
        return [torch.zeros(1)]

    def configure_optimizers(self) -> Any:
        """Return the optimizer and the schedule of the spec, without weight decay."""
        hyperparameters = {key: value for key, value in self.spec.hyperparameters.items() if key != "weight_decay"}
        groups = [{"params": list(self.point.parameters()), "weight_decay": 0.0}]
        optimizer = build_optimizer(self.spec.optimizer, hyperparameters, groups)
        return {
            "optimizer": optimizer,
            "lr_scheduler": build_schedule(optimizer, self.spec.schedule, self.spec.epochs),
        }

    def training_step(self, batch: Tensor, batch_index: int) -> None:  # noqa: ARG002  # Lightning passes it
        """Take one step and record the position that it reaches."""
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        rate = optimizer.param_groups[0]["lr"]
        set_mode(optimizer, "train")
        signs = len(self.along)
        take_step(optimizer, partial(self._gradient, optimizer), takes_closure(self.spec.optimizer, optimizer))
        del self.along[signs + 1 :]  # of further evaluations in the same step
        set_mode(optimizer, "eval")
        self.lr_schedulers().step()  # type: ignore[union-attr]  # one schedule, not a list
        self.losses.append(self.loss())
        if not all(abs(value) < float("inf") for value in (self.losses[-1], self.along[-1])):
            self.trainer.should_stop = True
            return
        x, y = self.position()
        self.on_epoch({"loss": self.losses[-1], "x": x, "y": y, "learning_rate": rate})

    def _gradient(self, optimizer: Any) -> Tensor:
        """Compute the clipped gradient, note its component along the steep axis, and return the loss."""
        optimizer.zero_grad()
        loss: Tensor = self.function(self.point.x, self.point.y)
        loss.backward()  # type: ignore[no-untyped-call]
        assert self.point.x.grad is not None
        assert self.point.y.grad is not None
        across, up = self.function.steep
        self.along.append(across * self.point.x.grad.item() + up * self.point.y.grad.item())
        clip_gradients(self.point.parameters(), self.spec.clip, self.spec.clip_value)
        return loss

    def outcome(self) -> Outcome:
        """Return how the descent ended; a diverged one is scored at its start, and as not reaching the tolerance.

        It has diverged if the value is not finite or above that at the start.
        """
        steps = self.spec.epochs
        changes = float(sum(before * after < 0 for before, after in pairwise(self.along)))
        if not self.loss() <= self.start:
            scored = {"loss": self.start, "steps_to_tolerance": steps + 1.0, "sign_changes": changes}
            return Outcome("diverged", scored)
        reached = (step for step, loss in enumerate(self.losses, start=1) if loss <= self.function.tolerance)
        steps_taken = float(next(reached, steps + 1))
        metrics = {"loss": self.loss(), "steps_to_tolerance": steps_taken, "sign_changes": changes}
        return Outcome("completed", metrics)


def prepare(spec: RunSpec, on_epoch: Callable[[dict[str, float]], None], steps_per_chunk: int) -> TrainingSetup:  # noqa: ARG001  # the signature of all tasks
    """Return the descent of `spec`, which hands the metrics of each step to `on_epoch`; an epoch is one step."""
    descent = Descent(spec, on_epoch)
    return TrainingSetup(descent, lambda _: descent.outcome(), 1)
