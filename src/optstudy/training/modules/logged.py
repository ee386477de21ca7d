"""The task "own": whatever a user's LightningModule does with data of the user's own form."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from optstudy.spec import Part
from optstudy.tasks.arrays import Inputs
from optstudy.training.modules.scoring import Scoring


class Logged(Scoring):
    """Scores that a LightningModule logs: diverged trainings get the values at chance that the study declares."""

    @staticmethod
    def loss(outputs: Tensor, y: Tensor) -> Tensor:
        """Raise: the module has its own loss."""
        raise NotImplementedError("data of kind own are trained on by a LightningModule, with its own loss")

    row_losses = losses = loss

    @staticmethod
    def trial_targets(count: int, inputs: Inputs) -> Tensor:
        """Raise: targets are of the user's own form."""
        raise NotImplementedError("targets of data of kind own are not known")

    def metrics(self, part: Part, loss: float, means: Mapping[str, float]) -> dict[str, float]:  # noqa: ARG002  # as above
        """Return nothing: the module logs its metrics."""
        return {}

    def chance(self, part: Part) -> dict[str, float]:  # noqa: ARG002  # nothing is known of the data
        """Return nothing: the study declares the values."""
        return {}
