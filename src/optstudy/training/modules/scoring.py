"""What the networks of a task are trained to make small, and how they are scored: what `Task.scoring` names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from optstudy.spec import Part, RunSpec
from optstudy.tasks.arrays import Inputs
from optstudy.tasks.kinds import task_of
from optstudy.training.batches import ArrayData
from optstudy.training.device import to_device
from optstudy.user_code import import_class

Batch = tuple[Tensor, Tensor]  # inputs (n, ...), or outputs of a network, and targets


@dataclass(frozen=True)
class Score:
    """How a network does on a part of the data.

    Attributes:
        loss: Its mean loss.
        marks: The marks of each example, by name (see `Scoring.marks`).
        whole: Metrics that are no means over examples, by name (see `Scoring.whole`).
    """

    loss: float
    marks: Mapping[str, list[float]]
    whole: Mapping[str, float]


class Scoring(ABC):
    """The loss and the scores of the networks of a task, on the data of one training.

    Outputs of a network are (n, ..., features), and targets (n, ...). Those of a stack of K networks are (K, n,
    features) and (K, n).

    Attributes:
        target_axes: Number of axes of the targets of one example: 0 for a label or a number, 1 for a sequence.
        marked: Names of the marks.
    """

    target_axes: ClassVar[int] = 0
    marked: ClassVar[tuple[str, ...]] = ()

    def __init__(self, data: ArrayData, spec: RunSpec) -> None:
        self.data, self.spec = data, spec

    @staticmethod
    @abstractmethod
    def loss(outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean loss () of a batch of one network, whose gradient trains it."""

    @staticmethod
    @abstractmethod
    def row_losses(outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean losses (K,) of a batch of a stack, whose gradients train it."""

    @staticmethod
    @abstractmethod
    def losses(outputs: Tensor, y: Tensor) -> Tensor:
        """Return the loss of each example: (n,), of a stack (K, n)."""

    @staticmethod
    @abstractmethod
    def trial_targets(count: int, inputs: Inputs) -> Tensor:
        """Return targets (count, ...) with which a network can be tried."""

    @staticmethod
    def marks(outputs: Tensor, y: Tensor) -> dict[str, Tensor]:  # noqa: ARG004  # of tasks with marks
        """Return the marks, numbers of each example whose means are the scores: (n,), of a stack (K, n), by name."""
        return {}

    @abstractmethod
    def metrics(self, part: Part, loss: float, means: Mapping[str, float]) -> dict[str, float]:
        """Return the metrics on a part, by name (`loss`, `accuracy`), from its mean loss and the means of its marks."""

    @abstractmethod
    def chance(self, part: Part) -> dict[str, float]:
        """Return the metrics, by name, of predictions without training. Diverged trainings are scored at them."""

    def whole(self, outputs: Tensor, y: Tensor) -> dict[str, float]:  # noqa: ARG002  # of studies that declare metrics
        """Return metrics, by name, that are no means over examples, of outputs and targets of a whole part."""
        return {}

    @property
    def needs_outputs(self) -> bool:
        """Return whether `whole` returns anything, so that the outputs of a whole part must be kept."""
        return False

    def at_chance(self, names: Iterable[str]) -> dict[str, float]:
        """Return those of the named metrics whose value at chance is known, with that value.

        The study's own value comes before that of predictions without training.
        """
        stated = {name: value for name, value in (self.spec.metrics or {}).items() if value is not None}
        chances = {part: {**self.chance(part), **stated} for part in self.data.present()}
        known = {name: value for part, own in chances.items() for name, value in named(part, own).items()}
        return {name: known[name] for name in names if name in known}

    def answers(self, part: Part, score: Score | None) -> str:  # noqa: ARG002  # of tasks with right answers
        """Return which examples are right (see `spec.pack`), at chance without a score; empty if none can be."""
        return ""

    def gaps(self, metrics: Mapping[str, float]) -> dict[str, float]:  # noqa: ARG002  # of tasks that have one
        """Return what is computed from the metrics of several parts, `generalisation_gap`."""
        return {}


def scoring_of(kind: str) -> type[Scoring]:
    """Return the class that scores networks on data of a kind."""
    scoring: type[Scoring] = import_class(task_of(kind).scoring)
    return scoring


def named(part: Part, metrics: Mapping[str, float]) -> dict[str, float]:
    """Return {part/name: value}."""
    return {f"{part}/{name}": value for name, value in metrics.items()}


class Sums:
    """Running sums of losses and marks, kept on the device until they are read."""

    def __init__(self, scoring: type[Scoring]) -> None:
        self.scoring, self.count = scoring, 0
        self.loss, self.marks = torch.zeros(()), dict.fromkeys(scoring.marked, torch.zeros(()))

    def add(self, batches: Sequence[tuple[Tensor, Tensor, Tensor]]) -> None:
        """Add batches of outputs, targets and mean losses, () or (K,), all at once."""
        outputs, y, losses = zip(*batches, strict=True)
        axis = -1 - self.scoring.target_axes  # of the examples in targets
        sizes = [targets.shape[axis] for targets in y]
        weights = to_device(torch.tensor(sizes, dtype=losses[0].dtype), losses[0].device)
        self.loss = self.loss + (torch.stack(losses, -1) * weights).sum(-1)
        if self.marks:
            marks = self.scoring.marks(torch.cat(outputs, axis - 1), torch.cat(y, axis))
            self.marks = {name: total + marks[name].sum(-1) for name, total in self.marks.items()}
        self.count += sum(sizes)

    def means(self) -> list[dict[str, float]]:
        """Return {name: mean} of `loss` and the marks, of each network."""
        totals = {"loss": self.loss, **self.marks}
        rows = zip(*(total.view(-1).tolist() for total in totals.values()), strict=True)
        return [{name: total / self.count for name, total in zip(totals, row, strict=True)} for row in rows]
