"""The LightningModule that trains networks on examples, with the loss and scores of their task.

It uses manual optimization, sums metrics in the module, reads them once an epoch, and takes many steps per iteration of
Lightning's loop. With automatic optimization and `self.log` in each step, the loop costs more than a step of a small
model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from optstudy.metrics import GRADIENTS_PER_STEP
from optstudy.spec import Outcome, Part, RunSpec
from optstudy.training.averaging import WeightAverage
from optstudy.training.batches import SAMPLE, STEPS_PER_CHUNK, ArrayData, BatchChunks
from optstudy.training.groups import optimizer_of
from optstudy.training.modules.scoring import Batch, Score, Scoring, Sums, named, scoring_of
from optstudy.training.optimizers import clip_gradients, set_mode, take_step, takes_closure
from optstudy.training.schedules import build_schedule


class NetworkModule(pl.LightningModule):
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
        self.scoring = scoring_of(spec.data["kind"])(data, spec)
        self.sums, self.start = Sums(type(self.scoring)), math.inf
        self.steps, self.evaluations = 0, 0  # taken, and gradients computed for them

    def forward(self, x: Tensor) -> Tensor:
        """Return the network's outputs, logits (n, classes) of a classifier."""
        outputs: Tensor = self.network(x)
        return outputs

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
        self.sums = Sums(type(self.scoring))
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
            outputs, loss = evaluated[0]
            # Outputs are as large as the vocabulary of a language model: those that nothing reads are not kept.
            done.append((outputs.detach() if self.scoring.marked else loss.detach(), y, loss.detach()))
            if by_step:
                self.lr_schedulers().step()  # type: ignore[union-attr]  # one schedule, not a list
        self.sums.add(done)

    def _gradient(self, optimizer: Any, x: Tensor, y: Tensor, evaluated: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Compute the clipped gradient of a batch, append its outputs and loss to `evaluated`, and return the loss."""
        if self.spec.accumulate > 1:
            outputs, loss = self._in_parts(optimizer, x, y)
        else:
            outputs = self.network(x)
            loss = self.scoring.loss(outputs, y)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
        clip_gradients(self.network.parameters(), self.spec.clip, self.spec.clip_value)
        torch.clear_autocast_cache()  # it would hold the weights in bf16 until the chunk ends
        evaluated.append((outputs, loss))
        return loss

    def _in_parts(self, optimizer: Any, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Add up the gradient of a batch part by part; return its outputs and loss, those of the whole batch."""
        optimizer.zero_grad()
        outputs, losses = list[Tensor](), list[Tensor]()
        for inputs, targets in zip(x.chunk(self.spec.accumulate), y.chunk(self.spec.accumulate), strict=True):
            outputs.append(self.network(inputs))
            losses.append(self.scoring.loss(outputs[-1], targets) * (len(targets) / len(y)))
            losses[-1].backward()  # type: ignore[no-untyped-call]
        return torch.cat(outputs), torch.stack(losses).sum()

    def on_train_epoch_end(self) -> None:
        """Report the epoch, and stop if the training has diverged."""
        if self.spec.schedule["interval"] == "epoch":
            self.lr_schedulers().step()  # type: ignore[union-attr]  # one schedule, not a list
        if self.average is not None:
            self.average.epoch_ended(self.network, self.current_epoch)
        with self._judged_weights():
            val = self.score("val") if "val" in self.data.present() else None
            finite = finite_weights(self.network)
        self.trainer.should_stop = not self.report(self.train_metrics(self.sums.means()[0]), self.rate, val, finite)

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
        metrics = {**train, "learning_rate": rate} | ({} if val is None else self.metrics("val", val))
        if not (finite and all_finite(metrics)):
            return False
        self.on_epoch(metrics)
        return True

    def score(self, part: Part, most: int | None = None) -> Score:
        """Return the score of the current weights, in evaluation mode, on `part` or its first `most` examples."""
        self.network.eval()
        [score] = evaluate(
            self.network, self.data.evaluation(part, most), self.spec.precision, self.scoring, whole=most is None
        )
        self.network.train()
        order = self.data.evaluated_order(part, most)
        return score if order is None else in_order(score, order)

    def metrics(self, part: Part, score: Score) -> dict[str, float]:
        """Return {part/name: value} of a score."""
        means = {name: sum(marks) / len(marks) for name, marks in score.marks.items()}
        return named(part, {**self.scoring.metrics(part, score.loss, means), **score.whole})

    def train_metrics(self, means: Mapping[str, float]) -> dict[str, float]:
        """Return {train/name: value} of the means of an epoch's losses and marks (see `Sums.means`)."""
        return named("train", self.scoring.metrics("train", means["loss"], means))

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
        metrics = {name: value for part, score in scores.items() for name, value in self.metrics(part, score).items()}
        diverged = not (finite and all_finite(metrics)) or metrics["train/loss"] > self.start
        if diverged:
            metrics = self.scoring.at_chance(metrics)
        metrics |= self.scoring.gaps(metrics)
        answers = self.scoring.answers("test", None if diverged else scores["test"])
        if self.evaluations > self.steps:
            metrics[GRADIENTS_PER_STEP] = self.evaluations / self.steps
        return Outcome("diverged" if diverged else "completed", metrics, answers)


def in_order(score: Score, order: Tensor) -> Score:
    """Return a score whose marks are those of the examples in order, from one whose mark i is of `order[i]`."""
    places = order.argsort().tolist()
    return replace(score, marks={name: [marks[at] for at in places] for name, marks in score.marks.items()})


def optimization(module: nn.Module, spec: RunSpec, steps_per_epoch: int) -> dict[str, Any]:
    """Return the optimizer and the schedule of `spec` over the trainable parameters of `module`, for Lightning."""
    optimizer = optimizer_of(spec, module)
    interval = spec.schedule["interval"]
    per_epoch = 1 if interval == "epoch" else steps_per_epoch
    schedule = build_schedule(optimizer, spec.schedule, spec.epochs * per_epoch)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": interval}}


def all_finite(metrics: Mapping[str, float]) -> bool:
    """Return whether all metrics are finite."""
    return all(abs(value) < float("inf") for value in metrics.values())


def finite_weights(network: nn.Module) -> bool:
    """Return whether all parameters are finite."""
    return bool(torch.isfinite(nn.utils.get_total_norm(network.parameters(), math.inf)))


@torch.no_grad()
def evaluate(
    network: Callable[[Tensor], Tensor], batches: Iterable[Batch], precision: str, scoring: Scoring, whole: bool = True
) -> list[Score]:
    """Return the scores of a network on batches of x and y, or of K stacked ones on batches of x (K, n, ...), y (K, n).

    `whole` says whether the batches are a whole part, so that metrics of whole parts are computed, too.
    """
    losses, marks, kept = list[Tensor](), list[dict[str, Tensor]](), list[Batch]()
    for x, y in batches:
        with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            outputs = network(x).contiguous()  # a stack's are not, and argmax would take ten times as long
            losses.append(scoring.losses(outputs, y))
        marks.append(scoring.marks(outputs, y))
        if whole and scoring.needs_outputs:
            kept.append((outputs, y))
    means = torch.cat(losses, -1).mean(-1)  # along rows, for the same bits with any K
    joined = {name: torch.cat([one[name] for one in marks], -1) for name in scoring.marked}
    rows = {name: values.view(-1, values.shape[-1]).tolist() for name, values in joined.items()}
    wholes = _wholes(scoring, kept, stacked=means.ndim > 0)
    return [
        Score(loss, {name: values[row] for name, values in rows.items()}, wholes[row] if wholes else {})
        for row, loss in enumerate(means.view(-1).tolist())
    ]


def _wholes(scoring: Scoring, kept: Sequence[Batch], stacked: bool) -> list[dict[str, float]]:
    """Return the metrics of a whole part of each network; empty if no outputs were kept."""
    if not kept:
        return []
    axis = -1 - scoring.target_axes
    outputs, y = torch.cat([one for one, _ in kept], axis - 1), torch.cat([one for _, one in kept], axis)
    return [scoring.whole(*row) for row in (zip(outputs, y, strict=True) if stacked else [(outputs, y)])]
