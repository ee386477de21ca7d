"""train(specs) -> results: the only Trainer, for searches and final runs alike, so that they cannot drift apart."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from optstudy.runs import EpochEnded, Event, RunResult, RunSpec, Status, TrainingEnded


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
        status, metrics, module = _fit(spec, on_epoch)
        result = RunResult(status, metrics, tuple(curve), time.perf_counter() - clock)
        if weights:
            network = getattr(module, "network", module)
            kept = {name: tensor.float().numpy() for name, tensor in network.state_dict().items()}
    except Exception as error:  # whatever a user's model raises is that training's result, not the study's end
        message = f"{type(error).__name__}: {error}"
        result = RunResult("failed", {}, tuple(curve), time.perf_counter() - clock, message)
    on_event(TrainingEnded(index, result, started, tuple(epoch_ms), now_ms(), kept))
    return result


def _fit(
    spec: RunSpec, on_epoch: Callable[[dict[str, float]], None]
) -> tuple[Status, dict[str, float], pl.LightningModule]:
    with seeded(spec.seed), quiet_lightning():
        if spec.data["kind"] == "function":
            descent = Descent(spec, on_epoch)
            _trainer(spec).fit(descent)
            return *descent.outcome(), descent
        data = ArrayData(spec)
        network = start_network(spec, data.inputs)
        if isinstance(network, pl.LightningModule):
            module = adopt(network, spec, len(data.train_dataloader()))
            trainer = _trainer(spec, gradient_clip_val=spec.clip, callbacks=[Watch(on_epoch)])
            trainer.fit(module, datamodule=data)
            return *outcome(module, trainer, data), module
        classifier = Classifier(network, data, spec, on_epoch)
        _trainer(spec).fit(classifier, datamodule=data)
        return *classifier.outcome(), classifier


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


def _trainer(spec: RunSpec, **options: Any) -> pl.Trainer:
    return pl.Trainer(
        max_epochs=spec.epochs,
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
