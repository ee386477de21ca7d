"""What the Trainer needs of one training, whatever its task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytorch_lightning as pl

from optstudy.spec import Outcome


@dataclass(frozen=True)
class TrainingSetup:
    """One training, ready for Lightning's Trainer.

    Attributes:
        module: The LightningModule to fit.
        outcome: Returns how the training ended, once the Trainer has fitted the module.
        steps: Number of steps in an epoch.
        steps_per_chunk: Number of steps, at most, that Lightning's loop is given as one batch.
        data: What the Trainer reads; None if the module brings its own data.
        callbacks: Callbacks for the Trainer.
        options: Further options of the Trainer, such as those of clipping, if Lightning is to clip.
    """

    module: pl.LightningModule
    outcome: Callable[[pl.Trainer], Outcome]
    steps: int
    steps_per_chunk: int = 1
    data: pl.LightningDataModule | None = None
    callbacks: tuple[pl.Callback, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
