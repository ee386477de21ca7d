"""The task "regression": the mean squared error of targets that are real numbers, and scores in their own unit."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from optstudy.spec import Part, RunSpec
from optstudy.tasks.arrays import Inputs
from optstudy.training.batches import ArrayData
from optstudy.training.modules.scoring import Scoring


class Regression(Scoring):
    """Predictions (n, 1) of targets (n,), which `ArrayData` has standardised: the training part has deviation 1.

    The loss is in units of the variance of the training targets. RMSE and MAE are in the targets' own unit. R² is 1
    minus the squared error divided by that of the part's own mean. At chance, the mean of the training targets is
    always predicted.
    """

    marked = ("absolute",)

    def __init__(self, data: ArrayData, spec: RunSpec) -> None:
        super().__init__(data, spec)
        self._variances: dict[Part, float] = {}

    @staticmethod
    def loss(outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean squared error."""
        return functional.mse_loss(outputs.squeeze(-1), y)

    @staticmethod
    def row_losses(outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean squared errors (K,)."""
        return (outputs.squeeze(2) - y).square().mean(1)

    @staticmethod
    def losses(outputs: Tensor, y: Tensor) -> Tensor:
        """Return the squared error of each example."""
        return (outputs.squeeze(-1).float() - y).square()

    @staticmethod
    def trial_targets(count: int, inputs: Inputs) -> Tensor:  # noqa: ARG004  # other tasks need the number of classes
        """Return numbers (count,)."""
        return torch.linspace(-1.0, 1.0, count)

    @staticmethod
    def marks(outputs: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Return the absolute error of each example."""
        return {"absolute": (outputs.squeeze(-1).float() - y).abs()}

    def metrics(self, part: Part, loss: float, means: Mapping[str, float]) -> dict[str, float]:
        """Return loss, RMSE, MAE and R² (of targets that are all the same: 0, as scikit-learn's `r2_score`)."""
        sd, variance = self.data.target_sd, self._variance(part)
        r2 = 1 - loss / variance if variance > 0 else 0.0
        return {"loss": loss, "rmse": sd * math.sqrt(loss), "mae": sd * means["absolute"], "r2": r2}

    def chance(self, part: Part) -> dict[str, float]:
        """Return the metrics of always predicting the mean of the training targets, 0 once they are standardised."""
        y = self.data.parts[part][1].double()
        return self.metrics(part, float(y.square().mean()), {"absolute": float(y.abs().mean())})

    def _variance(self, part: Part) -> float:
        """Return the variance of the standardised targets of a part."""
        if part not in self._variances:
            self._variances[part] = float(self.data.parts[part][1].double().var(correction=0))
        return self._variances[part]
