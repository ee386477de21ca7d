"""The LightningModule of every classification: cross-entropy, accuracy, and the optimizer of its RunSpec.

Manual optimization and metrics that are summed in the module, read once an epoch: Lightning's automatic loop with
`self.log` in each step costs more than a step of a small model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from optstudy.optimizers import build_optimizer, build_schedule, decay_groups
from optstudy.runs import RunSpec

Batch = tuple[Tensor, Tensor]


class Sums:
    """Running sums of loss and right answers, kept on the device until they are read."""

    def __init__(self) -> None:
        self.loss, self.right, self.count = torch.zeros(()), torch.zeros(()), 0

    def add(self, logits: Tensor, y: Tensor, loss: Tensor) -> None:
        """Add a batch: logits (n, classes), labels (n,), mean loss ()."""
        self.loss = self.loss + loss.detach() * len(y)
        self.right = self.right + (logits.detach().argmax(1) == y).sum()
        self.count += len(y)

    def means(self, part: str) -> dict[str, float]:
        """Return {part/loss, part/accuracy}."""
        return {f"{part}/loss": float(self.loss) / self.count, f"{part}/accuracy": float(self.right) / self.count}


class Classifier(pl.LightningModule):
    """Trains `network` as `spec` says and hands the metrics of each epoch to `on_epoch`."""

    def __init__(
        self, network: nn.Module, spec: RunSpec, steps_per_epoch: int, on_epoch: Callable[[dict[str, float]], None]
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network, self.spec, self.on_epoch = network, spec, on_epoch
        self.steps_per_epoch = steps_per_epoch
        self.train_sums, self.val_sums = Sums(), Sums()

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, classes)."""
        logits: Tensor = self.network(x)
        return logits

    def configure_optimizers(self) -> Any:
        """Return the optimizer and the schedule of the spec."""
        spec = self.spec
        groups = decay_groups(self.network, spec.decay_all)
        optimizer = build_optimizer(spec.optimizer, spec.hyperparameters, groups)
        per_epoch = 1 if spec.schedule["interval"] == "epoch" else self.steps_per_epoch
        schedule = build_schedule(optimizer, spec.schedule, spec.epochs * per_epoch)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_train_epoch_start(self) -> None:
        """Start the epoch's sums, and remember the rate that it starts with."""
        self.train_sums, self.val_sums = Sums(), Sums()
        self.rate = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]  # one optimizer, not a list

    def training_step(self, batch: Batch, batch_index: int) -> None:  # noqa: ARG002  # Lightning passes it
        """Take one step of the optimizer; with manual optimization, clipping and scheduling are ours to call."""
        x, y = batch
        optimizer: Any = self.optimizers()
        logits = self(x)
        loss = functional.cross_entropy(logits, y)
        optimizer.zero_grad()
        self.manual_backward(loss)
        if self.spec.clip is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), self.spec.clip)
        optimizer.step()
        self.train_sums.add(logits, y, loss)
        if self.spec.schedule["interval"] == "step":
            self.lr_schedulers().step()  # type: ignore[union-attr]  # one schedule, not a list

    def validation_step(self, batch: Batch, batch_index: int) -> None:  # noqa: ARG002  # Lightning passes it
        """Add a validation batch to the epoch's sums."""
        x, y = batch
        logits = self(x)
        self.val_sums.add(logits, y, functional.cross_entropy(logits, y))

    def on_train_epoch_end(self) -> None:
        """Report the epoch; stop where the loss or a weight is no longer finite."""
        if self.spec.schedule["interval"] == "epoch":
            self.lr_schedulers().step()  # type: ignore[union-attr]  # one schedule, not a list
        metrics = {**self.train_sums.means("train"), **self.val_sums.means("val"), "learning_rate": self.rate}
        if not all_finite(metrics) or not finite_weights(self.network):
            self.trainer.should_stop = True
            return
        self.on_epoch(metrics)


def all_finite(metrics: Mapping[str, float]) -> bool:
    """Return whether no metric is infinite or not a number."""
    return all(abs(value) < float("inf") for value in metrics.values())


def finite_weights(network: nn.Module) -> bool:
    """Return whether all parameters are finite."""
    return all(bool(torch.isfinite(parameter).all()) for parameter in network.parameters())


@torch.no_grad()
def evaluate(module: Classifier, batches: Any, part: str) -> dict[str, float]:
    """Return {part/loss, part/accuracy} of the present weights, in evaluation mode."""
    module.eval()
    sums = Sums()
    for x, y in batches:
        with torch.autocast("cpu", torch.bfloat16, enabled=module.spec.precision == "bf16-mixed"):
            logits = module(x)
            sums.add(logits, y, functional.cross_entropy(logits, y))
    module.train()
    return sums.means(part)
