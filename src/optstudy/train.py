"""train(specs) -> results: the only Trainer, for searches and final runs alike, so that they cannot drift apart."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytorch_lightning as pl
import torch

from optstudy.batches import ArrayData
from optstudy.classifier import Classifier, all_finite, evaluate, finite_weights
from optstudy.networks import build_network
from optstudy.runs import PARTS, EpochEnded, Event, RunResult, RunSpec, Status, TrainingEnded


def _ignore(event: Event) -> None:
    """Drop an event: the default of `train`."""


def train(specs: Sequence[RunSpec], on_event: Callable[[Event], None] = _ignore) -> list[RunResult]:
    """Train each spec and return their results in order; epochs and ends are reported to `on_event` as they come.

    A training that diverges is a result. One that raises is a result too, of status `failed` with the error as its
    message: the others of its group go on.
    """
    return [_train_one(index, spec, on_event) for index, spec in enumerate(specs)]


def _train_one(index: int, spec: RunSpec, on_event: Callable[[Event], None]) -> RunResult:
    started, epoch_ms, curve = now_ms(), list[int](), list[dict[str, float]]()

    def on_epoch(metrics: dict[str, float]) -> None:
        curve.append(metrics)
        epoch_ms.append(now_ms())
        on_event(EpochEnded(index, len(curve), metrics, epoch_ms[-1]))

    clock = time.perf_counter()
    try:
        status, metrics = _fit(spec, on_epoch)
        result = RunResult(status, metrics, tuple(curve), time.perf_counter() - clock)
    except Exception as error:  # whatever a user's model raises is that training's result, not the study's end
        message = f"{type(error).__name__}: {error}"
        result = RunResult("failed", {}, tuple(curve), time.perf_counter() - clock, message)
    on_event(TrainingEnded(index, result, started, tuple(epoch_ms), now_ms()))
    return result


def _fit(spec: RunSpec, on_epoch: Callable[[dict[str, float]], None]) -> tuple[Status, dict[str, float]]:
    with seeded(spec.seed), quiet_lightning():
        data = ArrayData(spec)
        network = build_network(spec.model, data.shape, data.classes)
        module = Classifier(network, spec, len(data.train_dataloader()), on_epoch)
        initial = evaluate(module, data.evaluation("train"), "train")
        trainer = pl.Trainer(
            max_epochs=spec.epochs,
            precision=spec.precision,  # type: ignore[arg-type]  # the study file allows two of Lightning's literals
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(module, datamodule=data)
        metrics = {
            name: value for part in PARTS for name, value in evaluate(module, data.evaluation(part), part).items()
        }
    diverged = not all_finite(metrics) or not finite_weights(network) or metrics["train/loss"] > initial["train/loss"]
    if diverged:
        chance = {f"{part}/accuracy": data.chance(part) for part in PARTS}
        metrics = {**{f"{part}/loss": math.log(data.classes) for part in PARTS}, **chance}
    metrics["generalisation_gap"] = metrics["train/accuracy"] - metrics["test/accuracy"]
    return ("diverged" if diverged else "completed"), metrics


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
