"""The LightningModule of every classification: cross-entropy, accuracy, and the optimizer of its RunSpec.

Manual optimization and metrics that are summed in the module, read once an epoch: Lightning's automatic loop with
`self.log` in each step costs more than a step of a small model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from optstudy.batches import SAMPLE, ArrayData
from optstudy.errors import DataError
from optstudy.optimizers import build_optimizer, build_schedule, decay_groups
from optstudy.pretrained import plain_name
from optstudy.runs import Outcome, RunSpec, pack

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
    """Trains `network` on `data` as `spec` says and hands the metrics of each epoch to `on_epoch`."""

    def __init__(
        self, network: nn.Module, data: ArrayData, spec: RunSpec, on_epoch: Callable[[dict[str, float]], None]
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network, self.data, self.spec, self.on_epoch = network, data, spec, on_epoch
        self.train_sums, self.val_sums = Sums(), Sums()
        self.start = evaluate(self, data.evaluation("train", SAMPLE), "train")[0]["train/loss"]

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, classes)."""
        logits: Tensor = self.network(x)
        return logits

    def configure_optimizers(self) -> Any:
        """Return the optimizer and the schedule of the spec."""
        return optimization(self.network, self.spec, len(self.data.train_dataloader()))

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
        metrics = {**self.train_sums.means("train"), "learning_rate": self.rate}
        if self.val_sums.count:
            metrics |= self.val_sums.means("val")
        if not all_finite(metrics) or not finite_weights(self.network):
            self.trainer.should_stop = True
            return
        self.on_epoch(metrics)

    def outcome(self) -> Outcome:
        """Return how the training ended and the metrics of the final weights; a diverged one is scored at chance.

        Diverged: a loss or weight is not finite, or the training loss is above that of the initial weights (for more
        than `SAMPLE` examples: on the first of them).
        """
        metrics: dict[str, float] = {}
        right: list[bool] = []
        for part in self.data.present():  # the test part comes last
            found, right = evaluate(self, self.data.evaluation(part), part)
            metrics |= found
        diverged = not all_finite(metrics) or not finite_weights(self.network) or metrics["train/loss"] > self.start
        if diverged:
            metrics, right = chance(self.data, metrics), self.data.of_largest_class("test")
        metrics["generalisation_gap"] = metrics["train/accuracy"] - metrics["test/accuracy"]
        return Outcome("diverged" if diverged else "completed", metrics, pack(right))


def optimization(module: nn.Module, spec: RunSpec, steps_per_epoch: int) -> dict[str, Any]:
    """Return the optimizer and the schedule of `spec` over the parameters of `module` that are trained."""
    groups = decay_groups(module, spec.decay_all)
    optimizer = build_optimizer(spec.optimizer, spec.hyperparameters, groups)
    interval = spec.schedule["interval"]
    per_epoch = 1 if interval == "epoch" else steps_per_epoch
    schedule = build_schedule(optimizer, spec.schedule, spec.epochs * per_epoch)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": interval}}


def chance(data: ArrayData, names: Iterable[str]) -> dict[str, float]:
    """Return the named losses and accuracies of always answering by the largest class: ln C and its share."""
    found = {}
    for name in names:
        part, _, metric = name.partition("/")
        if metric == "accuracy":
            found[name] = data.chance(part)  # type: ignore[arg-type]  # the names of the parts, split off
        elif metric == "loss":
            found[name] = math.log(data.inputs.classes)
    return found


def freeze(network: nn.Module, prefixes: Sequence[str]) -> None:
    """Stop training the parameters whose names start with one of `prefixes`, a wrapper's own prefix apart.

    Raises DataError where a prefix matches none.
    """
    names = {name: plain_name(name) for name, _ in network.named_parameters()}
    for prefix in prefixes:
        if not any(plain.startswith(prefix) for plain in names.values()):
            starts = sorted({".".join(plain.split(".")[:2]) for plain in names.values()})
            raise DataError(f"freeze: {prefix!r} matches no parameter; they start with {', '.join(starts)}")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not names[name].startswith(tuple(prefixes)) if prefixes else True)


def all_finite(metrics: Mapping[str, float]) -> bool:
    """Return whether no metric is infinite or not a number."""
    return all(abs(value) < float("inf") for value in metrics.values())


def finite_weights(network: nn.Module) -> bool:
    """Return whether all parameters are finite."""
    return all(bool(torch.isfinite(parameter).all()) for parameter in network.parameters())


@torch.no_grad()
def evaluate(module: Classifier, batches: Any, part: str) -> tuple[dict[str, float], list[bool]]:
    """Return {part/loss, part/accuracy} of the present weights in evaluation mode, and which answers are right."""
    module.eval()
    sums, right = Sums(), list[bool]()
    for x, y in batches:
        with torch.autocast("cpu", torch.bfloat16, enabled=module.spec.precision == "bf16-mixed"):
            logits = module(x)
            sums.add(logits, y, functional.cross_entropy(logits, y))
        right += (logits.argmax(1) == y).tolist()
    module.train()
    return sums.means(part), right
