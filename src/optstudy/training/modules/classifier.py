"""The LightningModule of classification: cross-entropy, accuracy, and the optimizer of its RunSpec.

It uses manual optimization, sums metrics in the module, reads them once an epoch, and takes many steps per iteration of
Lightning's loop. With automatic optimization and `self.log` in each step, the loop costs more than a step of a small
model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from optstudy.metrics import GRADIENTS_PER_STEP
from optstudy.spec import Outcome, Part, RunSpec, pack
from optstudy.training.averaging import WeightAverage
from optstudy.training.batches import SAMPLE, STEPS_PER_CHUNK, ArrayData, BatchChunks
from optstudy.training.device import to_device
from optstudy.training.groups import optimizer_of
from optstudy.training.optimizers import clip_gradients, set_mode, take_step, takes_closure
from optstudy.training.schedules import build_schedule

Batch = tuple[Tensor, Tensor]


class Sums:
    """Running sums of losses and correct predictions, kept on the device until they are read."""

    def __init__(self) -> None:
        self.loss, self.right, self.count = torch.zeros(()), torch.zeros(()), 0

    def add(self, batches: Sequence[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Add batches of logits (..., n, classes), labels (..., n) and mean losses (...), all at once."""
        logits, y, losses = zip(*batches, strict=True)
        sizes = [labels.shape[-1] for labels in y]
        weights = to_device(torch.tensor(sizes, dtype=losses[0].dtype), losses[0].device)
        self.loss = self.loss + (torch.stack(losses, -1) * weights).sum(-1)
        self.right = self.right + (torch.cat(logits, -2).argmax(-1) == torch.cat(y, -1)).sum(-1)
        self.count += sum(sizes)

    def means(self) -> list[dict[str, float]]:
        """Return {train/loss, train/accuracy} of each network."""
        sums = zip(self.loss.view(-1).tolist(), self.right.view(-1).tolist(), strict=True)
        return [named("train", loss / self.count, right / self.count) for loss, right in sums]


@dataclass(frozen=True)
class Score:
    """A network's mean loss on a part of the data, and which examples it classifies correctly."""

    loss: float
    right: list[bool]

    def metrics(self, part: Part) -> dict[str, float]:
        """Return {part/loss, part/accuracy}."""
        return named(part, self.loss, sum(self.right) / len(self.right))


class Classifier(pl.LightningModule):
    """Trains `network` on `data` as `spec` says and hands the metrics of each epoch to `on_epoch`."""

    def __init__(
        self,
        network: nn.Module,
        data: ArrayData,
        spec: RunSpec,
        on_epoch: Callable[[dict[str, float]], None],
        steps_per_chunk: int = STEPS_PER_CHUNK,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network, self.data, self.spec = network.to(data.device), data, spec
        self.on_epoch, self.steps_per_chunk = on_epoch, steps_per_chunk
        self.average = None if spec.average is None else WeightAverage(self.network, spec.average, spec.epochs)
        self.sums, self.start = Sums(), math.inf
        self.steps, self.evaluations = 0, 0  # taken, and gradients computed for them

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, classes)."""
        logits: Tensor = self.network(x)
        return logits

    def train_dataloader(self) -> BatchChunks:
        """Return chunks of batches of the training part; Lightning takes each chunk for one batch."""
        batches = self.data.train_dataloader()
        return BatchChunks(batches, len(batches), self.steps_per_chunk)

    def configure_optimizers(self) -> Any:
        """Return the optimizer and the schedule of the spec."""
        return optimization(self.network, self.spec, len(self.data.train_dataloader()))

    def on_train_start(self) -> None:
        """Note the loss of the initial weights."""
        with self._judged_weights():
            self.start = self.score("train", SAMPLE).loss

    def on_train_epoch_start(self) -> None:
        """Reset the epoch's sums, and remember its initial learning rate."""
        self.sums = Sums()
        self.rate = self._optimizer().param_groups[0]["lr"]

    def training_step(self, batch: Iterator[Batch], batch_index: int) -> None:  # noqa: ARG002  # Lightning passes it
        """Take the steps of a chunk. With manual optimization, clipping and scheduling are done here.

        Lightning's wrappers of `step` and `backward` are avoided: they cost as much as the rest of a chunk.
        """
        optimizer, by_step = self._optimizer(), self.spec.schedule["interval"] == "step"
        closure = takes_closure(self.spec.optimizer, optimizer)
        done = list[tuple[Tensor, Tensor, Tensor]]()
        for x, y in batch:
            evaluated = list[tuple[Tensor, Tensor]]()
            gradient = partial(self._gradient, optimizer, x, y, evaluated)
            self.evaluations += take_step(optimizer, gradient, closure)
            self.steps += 1
            if self.average is not None:
                self.average.step_ended(self.network)
            logits, loss = evaluated[0]
            done.append((logits.detach(), y, loss.detach()))
            if by_step:
                self.lr_schedulers().step()  # type: ignore[union-attr]  # one schedule, not a list
        self.sums.add(done)

    def _gradient(self, optimizer: Any, x: Tensor, y: Tensor, evaluated: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Compute the clipped gradient of a batch, append its logits and loss to `evaluated`, and return the loss."""
        if self.spec.accumulate > 1:
            logits, loss = self._in_parts(optimizer, x, y)
        else:
            logits = self.network(x)
            loss = functional.cross_entropy(logits, y)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
        clip_gradients(self.network.parameters(), self.spec.clip, self.spec.clip_value)
        torch.clear_autocast_cache()  # it would hold the weights in bf16 until the chunk ends
        evaluated.append((logits, loss))
        return loss

    def _in_parts(self, optimizer: Any, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Add up the gradient of a batch part by part; return its logits and loss, those of the whole batch."""
        optimizer.zero_grad()
        logits, losses = list[Tensor](), list[Tensor]()
        for inputs, labels in zip(x.chunk(self.spec.accumulate), y.chunk(self.spec.accumulate), strict=True):
            logits.append(self.network(inputs))
            losses.append(functional.cross_entropy(logits[-1], labels) * (len(labels) / len(y)))
            losses[-1].backward()  # type: ignore[no-untyped-call]
        return torch.cat(logits), torch.stack(losses).sum()

    def on_train_epoch_end(self) -> None:
        """Report the epoch, and stop if the training has diverged."""
        if self.spec.schedule["interval"] == "epoch":
            self.lr_schedulers().step()  # type: ignore[union-attr]  # one schedule, not a list
        if self.average is not None:
            self.average.epoch_ended(self.network, self.current_epoch)
        with self._judged_weights():
            val = self.score("val") if "val" in self.data.present() else None
            finite = finite_weights(self.network)
        self.trainer.should_stop = not self.report(self.sums.means()[0], self.rate, val, finite)

    def on_train_end(self) -> None:
        """Leave the weights that are judged and kept."""
        self._show_judged_weights()

    @contextmanager
    def _judged_weights(self) -> Iterator[None]:
        """Give the network the weights that are judged, while a training goes on."""
        self._show_judged_weights()
        yield
        if self.average is not None:
            self.average.swap(self.network)
        set_mode(self._optimizer(), "train")

    def _show_judged_weights(self) -> None:
        """Give the network the weights that its optimizer wants to be judged by, or the average of its weights."""
        set_mode(self._optimizer(), "eval")
        if self.average is not None:
            self.average.swap(self.network)

    def report(self, train: Mapping[str, float], rate: float, val: Score | None, finite: bool) -> bool:
        """Pass the metrics of an epoch to `on_epoch` if they are finite, and the weights too, as `finite` says.

        Returns whether they are.
        """
        metrics = {**train, "learning_rate": rate} | ({} if val is None else val.metrics("val"))
        if not (finite and all_finite(metrics)):
            return False
        self.on_epoch(metrics)
        return True

    def score(self, part: Part, most: int | None = None) -> Score:
        """Return the score of the current weights, in evaluation mode, on `part` or its first `most` examples."""
        self.network.eval()
        [score] = evaluate(self.network, self.data.evaluation(part, most), self.spec.precision)
        self.network.train()
        return score

    def _optimizer(self) -> Any:
        return self.optimizers(use_pl_optimizer=False)

    def outcome(self) -> Outcome:
        """Return how the training ended."""
        self.network.to(self.data.device)  # Lightning moves it to the CPU when a training ends
        scores = {part: self.score(part) for part in self.data.present()}
        return self.judged(scores, finite_weights(self.network))

    def judged(self, scores: Mapping[Part, Score], finite: bool) -> Outcome:
        """Return how a training with these final scores ended; a diverged training is scored at chance.

        It has diverged if a loss or, as `finite` says, a weight is not finite, or if its training loss is above that of
        the initial weights (which is measured on at most `SAMPLE` examples).
        """
        metrics = {name: value for part, score in scores.items() for name, value in score.metrics(part).items()}
        right = scores["test"].right
        diverged = not (finite and all_finite(metrics)) or metrics["train/loss"] > self.start
        if diverged:
            metrics, right = chance(self.data, metrics), self.data.of_largest_class("test")
        metrics["generalisation_gap"] = metrics["train/accuracy"] - metrics["test/accuracy"]
        if self.evaluations > self.steps:
            metrics[GRADIENTS_PER_STEP] = self.evaluations / self.steps
        return Outcome("diverged" if diverged else "completed", metrics, pack(right))


def optimization(module: nn.Module, spec: RunSpec, steps_per_epoch: int) -> dict[str, Any]:
    """Return the optimizer and the schedule of `spec` over the trainable parameters of `module`, for Lightning."""
    optimizer = optimizer_of(spec, module)
    interval = spec.schedule["interval"]
    per_epoch = 1 if interval == "epoch" else steps_per_epoch
    schedule = build_schedule(optimizer, spec.schedule, spec.epochs * per_epoch)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": interval}}


def named(part: Part, loss: float, accuracy: float) -> dict[str, float]:
    """Return {part/loss, part/accuracy}."""
    return {f"{part}/loss": loss, f"{part}/accuracy": accuracy}


def chance(data: ArrayData, names: Iterable[str]) -> dict[str, float]:
    """Return the named losses and accuracies at chance: ln C, and the share of the largest class."""
    found = {}
    for name in names:
        part, _, metric = name.partition("/")
        if metric == "accuracy":
            found[name] = data.chance(part)  # type: ignore[arg-type]  # the names of the parts, split off
        elif metric == "loss":
            found[name] = math.log(data.inputs.classes)
    return found


def all_finite(metrics: Mapping[str, float]) -> bool:
    """Return whether all metrics are finite."""
    return all(abs(value) < float("inf") for value in metrics.values())


def finite_weights(network: nn.Module) -> bool:
    """Return whether all parameters are finite."""
    return bool(torch.isfinite(nn.utils.get_total_norm(network.parameters(), math.inf)))


@torch.no_grad()
def evaluate(network: Callable[[Tensor], Tensor], batches: Iterable[Batch], precision: str) -> list[Score]:
    """Return the scores of a network on batches x (n, ...), y (n), or of K stacked ones on x (K, n, ...), y (K, n)."""
    losses, right = list[Tensor](), list[Tensor]()
    for x, y in batches:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            logits = network(x).contiguous()  # a stack's are not, and argmax would take ten times as long
            loss = functional.cross_entropy(logits.flatten(0, -2), y.flatten(), reduction="none")
        losses.append(loss.view(y.shape))
        right.append(logits.argmax(-1) == y)
    means, answers = torch.cat(losses, -1).mean(-1), torch.cat(right, -1)  # along rows, for the same bits with any K
    rows = answers.view(-1, answers.shape[-1]).tolist()
    return [Score(loss, row) for loss, row in zip(means.view(-1).tolist(), rows, strict=True)]
