"""train(specs) -> results: the only Trainer, for searches and final runs, so that both train in the same way."""

from __future__ import annotations

import gc
import logging
import os
import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from torch import Tensor, nn

from optstudy.environment import training_facts
from optstudy.spec import EpochEnded, Event, Outcome, RunResult, RunSpec, TrainingEnded, group_key
from optstudy.tasks.kinds import task_of
from optstudy.training.batches import STEPS_PER_CHUNK, ArrayData
from optstudy.training.device import compute_device, set_numerics
from optstudy.training.modules.examples import start_network
from optstudy.training.modules.network_module import NetworkModule
from optstudy.training.setup import TrainingSetup
from optstudy.training.stacked.module import Stack
from optstudy.user_code import import_class

MAX_STACKED = 32  # up to this size, tests show that the bits do not depend on the size of a stack

# Lightning sets it when it is imported. Without a GPU, torch then looks for one in each step of Adam: 0.05 to 0.3 ms.
os.environ.pop("PYTORCH_NVML_BASED_CUDA_CHECK", None)


def _ignore(event: Event) -> None:
    """Ignore an event: the default of `train`."""


def train(
    specs: Sequence[RunSpec], on_event: Callable[[Event], None] = _ignore, weights: bool = False
) -> list[RunResult]:
    """Train each spec and return the results in the same order.

    Stacked specs that share their `group_key` are trained together, the others one by one. A training that raises has
    the status `failed` and the error as its message, as have those that it was stacked with; the others continue.

    Args:
        specs: What to train.
        on_event: Is called with an `EpochEnded` after each epoch and a `TrainingEnded` after each training.
        weights: Whether the `TrainingEnded` events carry the final weights.
    """
    results: dict[int, RunResult] = {}

    def report(event: Event) -> None:
        if isinstance(event, TrainingEnded):
            results[event.index] = event.result
        on_event(event)

    set_numerics()
    for group in _groups(specs):
        if specs[group[0]].stacked:
            _train_stacked([_Run(index, specs[index], report, weights, len(group)) for index in group])
            gc.collect()
        else:
            for index in group:
                _train_alone(_Run(index, specs[index], report, weights))
                if task_of(specs[index].data["kind"]).examples:
                    gc.collect()  # Trainer and module refer to each other: their tensors would stay
    return [results[index] for index in range(len(specs))]


def _groups(specs: Sequence[RunSpec]) -> list[list[int]]:
    """Return the indices of specs that are trained together, at most `MAX_STACKED` in a group."""
    groups: dict[str, list[int]] = {}
    for index, spec in enumerate(specs):
        groups.setdefault(group_key(spec) if spec.stacked else str(index), []).append(index)
    return [group[at : at + MAX_STACKED] for group in groups.values() for at in range(0, len(group), MAX_STACKED)]


class _Run:
    """A training that has begun: reports its epochs and its end.

    Its seconds are the wall time until its end, divided by `sharing`, the size of its stack at the beginning.
    """

    def __init__(
        self, index: int, spec: RunSpec, on_event: Callable[[Event], None], weights: bool, sharing: int = 1
    ) -> None:
        self.index, self.spec, self.on_event, self.weights, self.sharing = index, spec, on_event, weights, sharing
        self.started, self.clock = now_ms(), time.perf_counter()
        self.curve, self.epoch_ms = list[dict[str, float]](), list[int]()
        self.over = False

    def on_epoch(self, metrics: dict[str, float]) -> None:
        """Report an epoch."""
        self.curve.append(metrics)
        self.epoch_ms.append(now_ms())
        self.on_event(EpochEnded(self.index, len(self.curve), metrics, self.epoch_ms[-1]))

    def ended(self, ended: Outcome, network: nn.Module) -> None:
        """Report the end, with the network's weights if they are asked for."""
        result = RunResult(ended.status, ended.metrics, tuple(self.curve), self._seconds(), answers=ended.answers)
        self._end(result, network if self.weights else None)

    def failed(self, error: Exception) -> None:
        """Report an error as the end."""
        message = f"{type(error).__name__}: {error}"
        self._end(RunResult("failed", {}, tuple(self.curve), self._seconds(), message), None)

    def _seconds(self) -> float:
        return (time.perf_counter() - self.clock) / self.sharing

    def _end(self, result: RunResult, network: nn.Module | None) -> None:
        self.over = True
        state = {} if network is None else kept_weights(network, self.spec)
        kept = {name: tensor.float().contiguous().cpu().numpy() for name, tensor in state.items()} or None
        facts = training_facts(device_of(self.spec))
        self.on_event(TrainingEnded(self.index, result, self.started, tuple(self.epoch_ms), now_ms(), kept, facts))


def kept_weights(network: nn.Module, spec: RunSpec) -> dict[str, Tensor]:
    """Return the weights of a trained network that are kept by name; of one with adapters only what was trained."""
    state: dict[str, Tensor] = network.state_dict()
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    return state if spec.lora is None else {name: state[name] for name in state if name in trained}


def _train_alone(run: _Run) -> None:
    try:
        with seeded(run.spec.seed), quiet_lightning():
            setup = prepare_training(run.spec, run.on_epoch)
            trainer = build_trainer(run.spec, *setup.callbacks, **setup.options)
            trainer.fit(setup.module, datamodule=setup.data)
            outcome = setup.outcome(trainer)
    except Exception as error:  # a user's model may raise anything: it fails this training, not the study
        run.failed(error)
    else:
        run.ended(outcome, setup.module.network if isinstance(setup.module, NetworkModule) else setup.module)


def _train_stacked(runs: Sequence[_Run]) -> None:
    """Train runs of one `group_key` as a stack. Those that diverge end at that epoch, the others together."""

    def end(member: int) -> None:
        runs[member].ended(members[member].outcome(), members[member].network)

    try:
        members = members_of([run.spec for run in runs], [run.on_epoch for run in runs])
        stack = Stack(members, end)
        with quiet_lightning():
            build_trainer(runs[0].spec).fit(stack)
        for member, outcome in stack.outcomes():
            runs[member].ended(outcome, members[member].network)
    except Exception as error:  # as above; which member raised it is not known
        for run in runs:
            if not run.over:
                run.failed(error)


def members_of(specs: Sequence[RunSpec], on_epoch: Sequence[Callable[[dict[str, float]], None]]) -> list[NetworkModule]:
    """Return the members of a stack. Members with the same split share its tensors."""
    members: list[NetworkModule] = []
    views: dict[int, ArrayData] = {}
    for spec, report in zip(specs, on_epoch, strict=True):
        with seeded(spec.seed):
            data = ArrayData(spec, views.get(spec.split_seed))
            views.setdefault(spec.split_seed, data)
            members.append(NetworkModule(start_network(spec, data.inputs), data, spec, report))
    return members


def prepare_training(
    spec: RunSpec, on_epoch: Callable[[dict[str, float]], None], steps_per_chunk: int = STEPS_PER_CHUNK
) -> TrainingSetup:
    """Return what trains as `spec` says and hands the metrics of each epoch to `on_epoch`, by the spec's task."""
    prepare = import_class(task_of(spec.data["kind"]).prepare)
    setup: TrainingSetup = prepare(spec, on_epoch, steps_per_chunk)
    return setup


def build_trainer(spec: RunSpec, *callbacks: pl.Callback, **options: Any) -> pl.Trainer:
    """Return the Trainer of every training; `options` are further options of Lightning's Trainer."""
    return pl.Trainer(
        max_epochs=spec.epochs,
        callbacks=list(callbacks),
        precision=spec.precision,  # type: ignore[arg-type]  # the study file allows two of Lightning's literals
        accelerator=device_of(spec),
        devices=1,
        plugins=[LightningEnvironment()],  # one process, also inside a SLURM job of several tasks
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )


def device_of(spec: RunSpec) -> str:
    """Return the kind of device that trains `spec`: "cpu" or "cuda"."""
    return task_of(spec.data["kind"]).device or compute_device().type


def now_ms() -> int:
    """Return the time in milliseconds since 1970, UTC, as MLflow counts it."""
    return time.time_ns() // 1_000_000


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global random generators for the body, and restore them afterwards.

    Initial weights and dropout draw from torch's. A user's network may also draw from Python's and NumPy's.
    """
    before = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)
        try:
            yield
        finally:
            random.setstate(before[0])
            np.random.set_state(before[1])


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Silence Lightning's messages about hardware and workers: a study trains hundreds of models."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
