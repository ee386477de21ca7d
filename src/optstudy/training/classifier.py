"""The LightningModule of every classification: cross-entropy, accuracy, and the optimizer of its RunSpec.

Manual optimization, metrics that are summed in the module and read once an epoch, many steps in a turn of Lightning's
loop: as usual (automatic, `self.log` in each step) that loop costs more than a step of a small model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.nn import functional

from optstudy.spec import Outcome, Part, RunSpec, pack
from optstudy.training.batches import SAMPLE, STEPS_PER_CHUNK, ArrayData, BatchChunks
from optstudy.training.device import to_device
from optstudy.training.optimizers import build_optimizer, decay_groups
from optstudy.training.schedules import build_schedule

Batch = tuple[Tensor, Tensor]


class Sums:
    """Running sums of loss and right answers, kept on the device until they are read."""

    def __init__(self) -> None:
        self.loss, self.right, self.count = torch.zeros(()), torch.zeros(()), 0

    def add(self, batches: Sequence[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Add batches: logits (..., n, classes), labels (..., n), mean loss (...); all at once, for few kernels."""
        logits, y, losses = zip(*batches, strict=True)
        sizes = [labels.shape[-1] for labels in y]
        weights = to_device(torch.tensor(sizes, dtype=losses[0].dtype), losses[0].device)
        self.loss = self.loss + (torch.stack(losses, -1) * weights).sum(-1)
        self.right = self.right + (torch.cat(logits, -2).argmax(-1) == torch.cat(y, -1)).sum(-1)
        self.count += sum(sizes)

    def means(self) -> list[dict[str, float]]:
        """Return {train/loss, train/accuracy} of each network, of which there may be but one."""
        sums = zip(self.loss.view(-1).tolist(), self.right.view(-1).tolist(), strict=True)
        return [named("train", loss / self.count, right / self.count) for loss, right in sums]


@dataclass(frozen=True)
class Score:
    """A network's mean loss on a part of the data, and which examples it answers rightly."""

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
        turn: int = STEPS_PER_CHUNK,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network, self.data, self.spec, self.on_epoch, self.turn = (
            network.to(data.device),
            data,
            spec,
            on_epoch,
            turn,
        )
        self.sums, self.start = Sums(), math.inf

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, classes)."""
        logits: Tensor = self.network(x)
        return logits

    def train_dataloader(self) -> BatchChunks:
        """Return what Lightning takes for batches: each is `turn` batches of the training part."""
        batches = self.data.train_dataloader()
        return BatchChunks(batches, len(batches), self.turn)

    def configure_optimizers(self) -> Any:
        """Return the optimizer and the schedule of the spec."""
        return optimization(self.network, self.spec, len(self.data.train_dataloader()))

    def on_train_start(self) -> None:
        """Note the loss of the initial weights."""
        self.start = self.score("train", SAMPLE).loss

    def on_train_epoch_start(self) -> None:
        """Start the epoch's sums, and remember the rate that it starts with."""
        self.sums = Sums()
        self.rate = self._optimizer().param_groups[0]["lr"]

    def training_step(self, batch: Iterator[Batch], batch_index: int) -> None:  # noqa: ARG002  # Lightning passes it
        """Take the steps of a turn; with manual optimization, clipping and scheduling are ours to call.

        Not through Lightning's wrappers of `step` and `backward`, which cost as much as the rest of a turn.
        """
        optimizer, by_step = self._optimizer(), self.spec.schedule["interval"] == "step"
        done = list[tuple[Tensor, Tensor, Tensor]]()
        for x, y in batch:
            logits = self.network(x)
            loss = functional.cross_entropy(logits, y)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if self.spec.clip is not None:
                nn.utils.clip_grad_norm_(self.network.parameters(), self.spec.clip)
            optimizer.step()
            torch.clear_autocast_cache()  # it holds the weights in bf16, and lives as long as the turn
            done.append((logits.detach(), y, loss.detach()))
            if by_step:
                self.lr_schedulers().step()  # type: ignore[union-attr]  # one schedule, not a list
        self.sums.add(done)

    def on_train_epoch_end(self) -> None:
        """Report the epoch; stop where the training has diverged."""
        if self.spec.schedule["interval"] == "epoch":
            self.lr_schedulers().step()  # type: ignore[union-attr]  # one schedule, not a list
        val = self.score("val") if "val" in self.data.present() else None
        self.trainer.should_stop = not self.report(self.sums.means()[0], self.rate, val, finite_weights(self.network))

    def report(self, train: Mapping[str, float], rate: float, val: Score | None, finite: bool) -> bool:
        """Hand the metrics of an epoch to `on_epoch`; unless a loss, or as `finite` has it a weight, is not finite.

        Returns whether it did.
        """
        metrics = {**train, "learning_rate": rate} | ({} if val is None else val.metrics("val"))
        if not (finite and all_finite(metrics)):
            return False
        self.on_epoch(metrics)
        return True

    def score(self, part: Part, most: int | None = None) -> Score:
        """Return the score of the present weights, in evaluation mode, on `part`, or its first `most` examples."""
        self.network.eval()
        [score] = evaluate(self.network, self.data.evaluation(part, most), self.spec.precision)
        self.network.train()
        return score

    def _optimizer(self) -> Any:
        return self.optimizers(use_pl_optimizer=False)

    def outcome(self) -> Outcome:
        """Return how the training ended."""
        self.network.to(self.data.device)  # Lightning takes it off a GPU when a training ends
        scores = {part: self.score(part) for part in self.data.present()}
        return self.judged(scores, finite_weights(self.network))

    def judged(self, scores: Mapping[Part, Score], finite: bool) -> Outcome:
        """Return how a training ended whose final weights have these scores; a diverged one is scored at chance.

        Diverged: a loss, or as `finite` has it a weight, is not finite, or the training loss is above that of the
        initial weights (for more than `SAMPLE` examples: on the first of them).
        """
        metrics = {name: value for part, score in scores.items() for name, value in score.metrics(part).items()}
        right = scores["test"].right
        diverged = not (finite and all_finite(metrics)) or metrics["train/loss"] > self.start
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


def named(part: Part, loss: float, accuracy: float) -> dict[str, float]:
    """Return {part/loss, part/accuracy}."""
    return {f"{part}/loss": loss, f"{part}/accuracy": accuracy}


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


def all_finite(metrics: Mapping[str, float]) -> bool:
    """Return whether no metric is infinite or not a number."""
    return all(abs(value) < float("inf") for value in metrics.values())


def finite_weights(network: nn.Module) -> bool:
    """Return whether all parameters are finite."""
    return bool(torch.isfinite(nn.utils.get_total_norm(network.parameters(), math.inf)))


@torch.no_grad()
def evaluate(network: Callable[[Tensor], Tensor], batches: Iterable[Batch], precision: str) -> list[Score]:
    """Return the scores of one network, on batches x (n, ...), y (n), or of K as one, on x (K, n, ...), y (K, n)."""
    losses, right = list[Tensor](), list[Tensor]()
    for x, y in batches:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            logits = network(x).contiguous()  # a stack's are not, and argmax takes ten times as long then
            loss = functional.cross_entropy(logits.flatten(0, -2), y.flatten(), reduction="none")
        losses.append(loss.view(y.shape))
        right.append(logits.argmax(-1) == y)
    means, answers = torch.cat(losses, -1).mean(-1), torch.cat(right, -1)  # along rows: the same bits for any K
    rows = answers.view(-1, answers.shape[-1]).tolist()
    return [Score(loss, row) for loss, row in zip(means.view(-1).tolist(), rows, strict=True)]
