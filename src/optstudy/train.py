"""train(specs) -> results: the only Trainer, for searches and final runs alike, so that they cannot drift apart."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch import nn

from optstudy.batches import ArrayData
from optstudy.classifier import Classifier, freeze
from optstudy.descent import Descent
from optstudy.networks import Inputs, build_network
from optstudy.own import Watch, adopt, outcome
from optstudy.pretrained import load_pretrained
from optstudy.runs import EpochEnded, Event, Outcome, RunResult, RunSpec, TrainingEnded


def _ignore(event: Event) -> None:
    """Drop an event: the default of `train`."""


def train(
    specs: Sequence[RunSpec], on_event: Callable[[Event], None] = _ignore, weights: bool = False
) -> list[RunResult]:
    """Train each spec and return their results in order; epochs and ends are reported to `on_event` as they come.

    A training that diverges is a result. One that raises is a result too, of status `failed` with the error as its
    message: the others of its group go on. With `weights` the ends carry the final weights.
    """
    return [_train_one(index, spec, on_event, weights) for index, spec in enumerate(specs)]


def _train_one(index: int, spec: RunSpec, on_event: Callable[[Event], None], weights: bool) -> RunResult:
    started, epoch_ms, curve = now_ms(), list[int](), list[dict[str, float]]()

    def on_epoch(metrics: dict[str, float]) -> None:
        curve.append(metrics)
        epoch_ms.append(now_ms())
        on_event(EpochEnded(index, len(curve), metrics, epoch_ms[-1]))

    clock = time.perf_counter()
    kept: dict[str, Any] | None = None
    try:
        ended, module = _fit(spec, on_epoch)
        seconds = time.perf_counter() - clock
        result = RunResult(ended.status, ended.metrics, tuple(curve), seconds, answers=ended.answers)
        if weights:
            network = getattr(module, "network", module)
            kept = {name: tensor.float().numpy() for name, tensor in network.state_dict().items()}
    except Exception as error:  # whatever a user's model raises is that training's result, not the study's end
        message = f"{type(error).__name__}: {error}"
        result = RunResult("failed", {}, tuple(curve), time.perf_counter() - clock, message)
    on_event(TrainingEnded(index, result, started, tuple(epoch_ms), now_ms(), kept))
    return result


def _fit(spec: RunSpec, on_epoch: Callable[[dict[str, float]], None]) -> tuple[Outcome, pl.LightningModule]:
    with seeded(spec.seed), quiet_lightning():
        fitting = set_up(spec, on_epoch)
        trainer = build_trainer(spec, *fitting.callbacks, gradient_clip_val=fitting.clip)
        trainer.fit(fitting.module, datamodule=fitting.data)
        return fitting.outcome(trainer), fitting.module


@dataclass(frozen=True)
class Fitting:
    """What a Trainer needs of one training, and how it is judged; `clip` is Lightning's part of the clipping."""

    module: pl.LightningModule
    data: ArrayData | None
    outcome: Callable[[pl.Trainer], Outcome]
    callbacks: tuple[pl.Callback, ...] = ()
    clip: float | None = None


def set_up(spec: RunSpec, on_epoch: Callable[[dict[str, float]], None]) -> Fitting:
    """Return what trains as `spec` says and hands the metrics of each epoch to `on_epoch`."""
    if spec.data["kind"] == "function":
        descent = Descent(spec, on_epoch)
        return Fitting(descent, None, lambda _: descent.outcome())
    data = ArrayData(spec)
    network = start_network(spec, data.inputs)
    if isinstance(network, pl.LightningModule):
        module = adopt(network, spec, len(data.train_dataloader()))
        watch = Watch(on_epoch)
        return Fitting(module, data, lambda trainer: outcome(module, trainer, data), (watch,), spec.clip)
    classifier = Classifier(network, data, spec, on_epoch)
    return Fitting(classifier, data, lambda _: classifier.outcome())


def start_network(spec: RunSpec, inputs: Inputs) -> nn.Module:
    """Return the network as the training finds it: with the pretrained weights in it, and what is frozen, frozen.

    Raises DataError where weights or frozen names do not fit.
    """
    network = build_network(spec.model, inputs)
    if spec.pretrained is not None:
        load_pretrained(network, spec.pretrained, spec.model["arguments"].get("architecture", ""))
    freeze(network, spec.freeze)
    bf16 = spec.precision == "bf16-mixed" and spec.data["kind"] == "image"
    return network.to(memory_format=torch.channels_last) if bf16 else network


def build_trainer(spec: RunSpec, *callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    """Return the Trainer of every training; `options` are further ones of Lightning's."""
    return pl.Trainer(
        max_epochs=spec.epochs,
        callbacks=list(callbacks),
        precision=spec.precision,  # type: ignore[arg-type]  # the study file allows two of Lightning's literals
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )


def now_ms() -> int:
    """Return milliseconds since 1970, UTC: MLflow's unit."""
    return time.time_ns() // 1_000_000


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run the body with torch's global generator at `seed`, then put it back; weights and dropout draw from it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's notes on hardware and workers: a study trains hundreds of models."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
