"""Trains a user's own LightningModule with the optimizer of the spec; everything else is as the module defines it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.model_helpers import is_overridden

from optstudy.catalogue import optimizer_path
from optstudy.spec import Outcome, RunSpec
from optstudy.training.batches import ArrayData
from optstudy.training.modules.network_module import all_finite, finite_weights, optimization
from optstudy.training.modules.scoring import scoring_of
from optstudy.training.optimizers import FUSED, set_mode

LOGGED = ("train/", "val/", "test/")


class Watch(pl.Callback):
    """Passes what a user's LightningModule logged in an epoch to `on_epoch`; stops the training if it is not finite.

    The optimizer is in its evaluation mode, if it has one, around each validation and from the end of the training on.
    """

    def __init__(self, on_epoch: Callable[[dict[str, float]], None]) -> None:
        self.on_epoch = on_epoch

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002  # Lightning passes it
        """Set the optimizer to training."""
        set_mode(trainer.optimizers[0], "train")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002  # Lightning passes it
        """Set the optimizer to evaluation."""
        set_mode(trainer.optimizers[0], "eval")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002  # Lightning passes it
        """Set the optimizer to training."""
        set_mode(trainer.optimizers[0], "train")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002  # Lightning passes it
        """Set the optimizer to evaluation, for the weights that are judged and kept."""
        set_mode(trainer.optimizers[0], "eval")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the epoch."""
        metrics = logged(trainer)
        if not all_finite(metrics) or not finite_weights(pl_module):
            trainer.should_stop = True
            return
        self.on_epoch(metrics)


def logged(trainer: pl.Trainer) -> dict[str, float]:
    """Return the metrics `train/...`, `val/...` and `test/...` that the module logged last."""
    return {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(LOGGED)}


def clipping(spec: RunSpec) -> dict[str, Any]:
    """Return the options of Lightning's Trainer that clip gradients as the spec says."""
    if spec.clip_value is not None:  # Lightning clips in one way only; `dry_run` refuses both
        return {"gradient_clip_val": spec.clip_value, "gradient_clip_algorithm": "value"}
    return {} if spec.clip is None else {"gradient_clip_val": spec.clip}


def use_optimizer(module: pl.LightningModule, spec: RunSpec, steps_per_epoch: int) -> pl.LightningModule:
    """Replace the `configure_optimizers` of a user's module; the rest of it stays."""
    if clipping(spec) and spec.precision == "bf16-mixed" and optimizer_path(spec.optimizer) in FUSED:
        # Lightning refuses to clip the gradients of a fused optimizer under mixed precision.
        spec = replace(spec, hyperparameters={**spec.hyperparameters, "fused": False})

    def configure_optimizers() -> Any:
        return optimization(module, spec, steps_per_epoch)

    module.configure_optimizers = configure_optimizers  # type: ignore[method-assign]
    return module


def module_outcome(module: pl.LightningModule, trainer: pl.Trainer, data: ArrayData, spec: RunSpec) -> Outcome:
    """Return how the training of a user's module ended, and the metrics of its final weights.

    Validation metrics are those of the last epoch, which Lightning measures on the final weights; `test_step` is run
    now, if there is one; train metrics are those of the last epoch. The training has diverged if a metric or a weight
    is not finite, and is then scored at chance.
    """
    metrics = logged(trainer)
    if is_overridden("test_step", module, pl.LightningModule):
        trainer.test(module, dataloaders=data.evaluation("test"), verbose=False)
        metrics |= logged(trainer)
    scoring = scoring_of(spec.data["kind"])(data, spec)
    diverged = not all_finite(metrics) or not finite_weights(module)
    if diverged:
        metrics = scoring.at_chance(metrics)
    metrics |= scoring.gaps(metrics)
    return Outcome("diverged" if diverged else "completed", metrics)
