"""The LightningModule that trains K networks as one stack (vmap-style batching of trainings).

A step of a small network is mostly the overhead of starting its operations, which a stack pays once for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import cast

import pytorch_lightning as pl
import torch
from torch import Tensor

from optstudy.catalogue import optimizer_path
from optstudy.spec import Outcome, Part
from optstudy.training.batches import SAMPLE, STEPS_PER_CHUNK, ArrayData, BatchChunks
from optstudy.training.device import to_device
from optstudy.training.modules.network_module import NetworkModule, evaluate
from optstudy.training.modules.scoring import Batch, Score, Sums, scoring_of
from optstudy.training.schedules import schedule_factor
from optstudy.training.stacked.networks import Networks, clip_rows
from optstudy.training.stacked.optimizers import RULES, Numbers, Optimizer

STACKED_BATCH = 128  # examples per network in evaluation: with more, the activations of 16 networks leave the cache


class StackedSlices:
    """Batches x (K, n, ...), y (K, n): row k has the batches that its member of `data` would get if trained alone."""

    def __init__(self, data: Sequence[ArrayData]) -> None:
        self.data, self.rows = data, list(range(len(data)))
        splits = {id(one.parts): one.parts["train"] for one in data}
        self.size, self.batch_size = len(data[0].parts["train"][1]), data[0].batch_size
        self.starts = [list(splits).index(id(one.parts)) * self.size for one in data]
        self.x, self.y = [torch.cat(part) if len(part) > 1 else part[0] for part in zip(*splits.values(), strict=True)]
        for one, start in zip(data, self.starts, strict=True):  # so that the tensors are in memory only once
            one.parts["train"] = (self.x[start : start + self.size], self.y[start : start + self.size])

    def __len__(self) -> int:
        """Return the number of batches; the last one may be smaller."""
        return -(-self.size // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        orders = {
            member: torch.randperm(self.size, generator=self.data[member].order) + self.starts[member]
            for member in dict.fromkeys(self.rows)
        }
        order = to_device(torch.stack([orders[member] for member in self.rows]), self.x.device)
        for chosen in torch.split(order, self.batch_size, 1):
            flat = chosen.flatten()
            x, y = self.x.index_select(0, flat), self.y.index_select(0, flat)
            yield self._augmented(x.view(*chosen.shape, *x.shape[1:])), y.view(chosen.shape)

    def evaluation(self, part: Part, most: int | None = None) -> Iterator[Batch]:
        """Yield batches of each row's `part`, or of its first `most` examples, in order."""
        parts = [self.data[member].parts[part] for member in self.rows]
        count = -(-len(parts[0][1][:most]) // STACKED_BATCH)
        batches = [zip(*(side[:most].tensor_split(count) for side in sides), strict=True) for sides in parts]
        for rows in zip(*batches, strict=True):
            x, y = (torch.stack(side) for side in zip(*rows, strict=True))
            yield x, y

    def _augmented(self, x: Tensor) -> Tensor:
        """Return x (K, n, ...), augmented by each member's own random numbers."""
        if not self.data[0].augments:
            return x
        changed = {member: self.data[member].augment(x[row]) for row, member in self.firsts()}
        return torch.stack([changed[member] for member in self.rows])

    def firsts(self) -> list[tuple[int, int]]:
        """Return (row, member) of each member that is still trained, with its first row."""
        return [(self.rows.index(member), member) for member in dict.fromkeys(self.rows)]


class Stack(pl.LightningModule):
    """Trains the networks of `members` as one, each as it would be trained alone; the members report and score.

    Members differ only in seeds, split and numeric hyperparameters. A member whose loss or weights are no longer finite
    leaves at the end of the epoch: `on_left` gets its index. A single member is trained twice, because kernels may sum
    in another order for K = 1 than for larger K.
    """

    def __init__(
        self, members: Sequence[NetworkModule], on_left: Callable[[int], None], steps_per_chunk: int = STEPS_PER_CHUNK
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.members, self.on_left, self.spec = list(members), on_left, members[0].spec
        self.steps_per_chunk, self.scoring = steps_per_chunk, scoring_of(self.spec.data["kind"])
        self.batches = StackedSlices([member.data for member in members])
        self.batches.rows = rows = padded(self.batches.rows)
        self.networks = Networks([members[member].network for member in rows], self.spec.decay_all)
        hyperparameters = cast("list[Numbers]", [members[member].spec.hyperparameters for member in rows])
        self.optimizer = Optimizer(RULES[optimizer_path(self.spec.optimizer)], hyperparameters, self.networks.decayed)
        self.by_step, self.scheduled, self.sums = self.spec.schedule["interval"] == "step", 0, Sums(self.scoring)

    def train_dataloader(self) -> BatchChunks:
        """Return chunks of batches of all rows; Lightning takes each chunk for one batch."""
        return BatchChunks(self.batches, len(self.batches), self.steps_per_chunk)

    def configure_optimizers(self) -> None:
        """Return no optimizer: `training_step` updates the weights."""

    def on_train_start(self) -> None:
        """Note the losses of the initial weights."""
        scores = self._scores("train", SAMPLE)
        for row, index in self.batches.firsts():
            self.members[index].start = scores[row].loss

    def on_train_epoch_start(self) -> None:
        """Reset the epoch's sums, and remember its initial learning rates."""
        self.sums, self.rates = Sums(self.scoring), self.optimizer.rates(self._factor())

    def training_step(self, batch: Iterator[Batch], batch_index: int) -> None:  # noqa: ARG002  # Lightning passes it
        """Take the steps of a chunk."""
        done = list[tuple[Tensor, Tensor, Tensor]]()
        for x, y in batch:
            outputs = self.networks(x)
            losses = self.scoring.row_losses(outputs, y)
            gradients = self.networks.gradients_of(losses)
            if self.spec.clip is not None:
                clip_rows(gradients, self.spec.clip)
            if self.spec.clip_value is not None:
                gradients.clamp_(-self.spec.clip_value, self.spec.clip_value)
            self.optimizer.step(self.networks.values, gradients, self._factor())
            self.scheduled += self.by_step
            done.append((outputs.detach(), y, losses.detach()))
        self.sums.add(done)

    def on_train_epoch_end(self) -> None:
        """Let each member report the epoch, and remove those that have diverged."""
        self.scheduled += not self.by_step
        vals = self._scores("val") if "val" in self.members[0].data.present() else [None] * len(self.batches.rows)
        trains, finite, stay = self.sums.means(), self.networks.finite(), list[int]()
        for row, index in self.batches.firsts():
            member = self.members[index]
            if member.report(member.train_metrics(trains[row]), self.rates[row], vals[row], finite[row]):
                stay.append(row)
            else:
                self.networks.write(row, member.network)
                self.on_left(index)
        self.trainer.should_stop = not stay
        if len(stay) < len(self.batches.firsts()):
            self._keep(padded(stay))

    def _keep(self, rows: Sequence[int]) -> None:
        self.batches.rows = [self.batches.rows[row] for row in rows]
        if rows:
            self.networks.select(rows)
            self.optimizer.select(rows)

    def on_train_end(self) -> None:
        """Write the final weights into the network of each member that has not left."""
        for row, index in self.batches.firsts():
            self.networks.write(row, self.members[index].network)

    def outcomes(self) -> list[tuple[int, Outcome]]:
        """Return (index, outcome) of each member that has not left."""
        if not self.batches.rows:
            return []
        parts = {part: self._scores(part) for part in self.members[0].data.present()}
        finite = self.networks.finite()
        return [
            (index, self.members[index].judged({part: scores[row] for part, scores in parts.items()}, finite[row]))
            for row, index in self.batches.firsts()
        ]

    def _scores(self, part: Part, most: int | None = None) -> list[Score]:
        """Return the score of each row on its `part`, or on its first `most` examples.

        Networks that are stacked by vmap are scored one by one: in evaluation they may do what vmap cannot.
        """
        if self.networks.chained:
            scoring = self.members[0].scoring  # of whole metrics, which depend on outputs and targets only
            return evaluate(
                self.networks, self.batches.evaluation(part, most), self.spec.precision, scoring, whole=most is None
            )
        found = dict[int, Score]()
        for row, index in self.batches.firsts():
            self.networks.write(row, self.members[index].network)
            found[index] = self.members[index].score(part, most)
        return [found[index] for index in self.batches.rows]

    def _factor(self) -> float:
        """Return the current multiple of the base learning rates."""
        per_epoch = len(self.batches) if self.by_step else 1
        return schedule_factor(self.spec.schedule, self.scheduled, self.spec.epochs * per_epoch)


def padded(rows: Sequence[int]) -> list[int]:
    """Return `rows`, or a single row twice."""
    return list(rows) * (2 if len(rows) == 1 else 1)
