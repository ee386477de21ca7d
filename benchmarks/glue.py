"""The glue: the usual way to combine the libraries, as their documentation shows it, for comparison with optstudy.

It trains optstudy's RunSpecs: the same network, split and batch size, cosine once an epoch, the same evaluation.
"""

from __future__ import annotations

import logging
import time
import warnings
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from limit import Timed
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from optstudy.spec import RunSpec
from optstudy.tasks.networks import build_network
from optstudy.training.batches import ArrayData
from optstudy.training.device import now
from optstudy.training.optimizers import build_optimizer


class Usual(pl.LightningModule):
    """A LightningModule as in the documentation: `self.log` in each step."""

    def __init__(self, network: nn.Module, spec: RunSpec) -> None:
        super().__init__()
        self.network, self.spec = network, spec

    def training_step(self, batch: Any, _: int) -> Any:
        """Return the loss, logged with the accuracy."""
        return self._step(batch, "train")

    def validation_step(self, batch: Any, _: int) -> None:
        """Log loss and accuracy."""
        self._step(batch, "val")

    def test_step(self, batch: Any, batch_index: int) -> None:  # noqa: ARG002  # Lightning passes it
        """Log loss and accuracy."""
        self._step(batch, "test")

    def _step(self, batch: Any, part: str) -> Any:
        x, y = batch
        logits = self.network(x)
        loss = functional.cross_entropy(logits, y)
        self.log(f"{part}/loss", loss)
        self.log(f"{part}/accuracy", (logits.argmax(1) == y).float().mean())
        return loss

    def configure_optimizers(self) -> Any:
        """Return the optimizer and cosine annealing once an epoch."""
        optimizer = build_optimizer(self.spec.optimizer, self.spec.hyperparameters, [{"params": self.parameters()}])
        return [optimizer], [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, self.spec.epochs)]


class Clock(pl.Callback):
    """Seconds from the start of each epoch to the end of its last batch."""

    def __init__(self) -> None:
        self.steps, self.seconds, self.began = 0, 0.0, 0.0

    def on_train_epoch_start(self, *_: Any) -> None:
        """Start the epoch."""
        self.began = now()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Count a step; the last one ends the epoch. Only this waits for a GPU."""
        self.steps += 1
        if trainer.is_last_batch:
            self.seconds += now() - self.began


def glue(spec: RunSpec, uri: str) -> Timed:
    """Train in the usual way: DataLoader, `self.log`, MLFlowLogger on SQLite."""
    from pytorch_lightning.loggers import MLFlowLogger

    clock = time.perf_counter()
    for name in ("pytorch_lightning", "lightning_fabric", "alembic", "mlflow", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.manual_seed(spec.seed)
    data = ArrayData(spec)
    sets = {part: TensorDataset(*(tensor.cpu() for tensor in data.parts[part])) for part in data.present()}
    loaders = {part: DataLoader(sets[part], batch_size=spec.batch_size, shuffle=part == "train") for part in sets}
    module, watch = Usual(build_network(spec.model, data.inputs), spec), Clock()
    trainer = pl.Trainer(
        max_epochs=spec.epochs,
        devices=1,
        precision=spec.precision,  # type: ignore[arg-type]
        logger=MLFlowLogger(experiment_name="glue", tracking_uri=uri),
        callbacks=[watch],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    trainer.fit(module, loaders["train"], loaders.get("val"))
    tested = trainer.test(module, loaders["test"], verbose=False)
    images = spec.epochs * len(sets["train"])
    return Timed(watch.steps, images, watch.seconds, time.perf_counter() - clock, float(tested[0]["test/accuracy"]))


def store(folder: Path) -> str:
    """Return an MLflow store in `folder`."""
    return f"sqlite:///{folder / 'mlflow.db'}"
