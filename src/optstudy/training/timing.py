"""Times steps on this machine: estimates the seconds of a training from ten of them, and measures what a step costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Any

import pytorch_lightning as pl
import torch

from optstudy.spec import Outcome, RunSpec
from optstudy.tasks.datasets import load_arrays
from optstudy.tasks.kinds import task_of
from optstudy.training.batches import STEPS_PER_CHUNK
from optstudy.training.device import now
from optstudy.training.setup import TrainingSetup
from optstudy.training.stacked.module import Stack
from optstudy.training.train import build_trainer, device_of, members_of, prepare_training, quiet_lightning, seeded

STEPS = 10  # timed, after as many that are not: the first steps allocate memory and tune kernels
TIMED_CHUNKS = 3  # at most, whose median is the cost of a step
LONG_ENOUGH = 1.0  # seconds of timed chunks after which no more of them are timed
STACKED = 8  # size of the stack that is timed for a stacked spec


class Stopwatch(pl.Callback):
    """Records when each epoch began and when each chunk of it ended, in seconds.

    With a `limit`, it stops the training once the chunks after the first `untimed` have taken more seconds than that.
    """

    def __init__(self, untimed: int = 0, limit: float | None = None, clock: Callable[[], float] = now) -> None:
        self.untimed, self.limit, self.clock = untimed, limit, clock
        self.epochs: list[list[float]] = []
        self.ended = 0.0

    @property
    def chunks(self) -> list[float]:
        """Return the seconds of each chunk."""
        return [after - before for epoch in self.epochs for before, after in pairwise(epoch)]

    def on_train_epoch_start(self, *_: Any) -> None:
        """Begin an epoch."""
        self.epochs.append([self.clock()])

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """End a chunk; fetching its batches is part of it."""
        self.epochs[-1].append(self.clock())
        if self.limit is not None and sum(self.chunks[self.untimed :]) > self.limit:
            trainer.should_stop = True

    def on_train_end(self, *_: Any) -> None:
        """End the last epoch."""
        self.ended = self.clock()

    @property
    def in_steps(self) -> float:
        """Return the seconds spent in chunks, over all epochs."""
        return sum(epoch[-1] - epoch[0] for epoch in self.epochs)


def seconds_of(spec: RunSpec) -> float:
    """Return about how many seconds the training of `spec` takes, of a stacked training its share of the stack.

    It runs with at most ten steps per epoch and just enough epochs for ten steps after the first epoch, but with the
    whole validation and final evaluation; the seconds of steps and epochs are then extrapolated.
    """
    if task_of(spec.data["kind"]).examples:
        load_arrays(spec.data)  # once a process, so no part of a training
    with seeded(spec.seed), quiet_lightning():
        clock = time.perf_counter()
        setup, members = _timed_setup(spec)
        timed = min(setup.steps, STEPS)
        chunks = -(-timed // setup.steps_per_chunk)
        watch, epochs = Stopwatch(), 1 + -(-STEPS // timed)
        trainer = build_trainer(replace(spec, epochs=epochs), *setup.callbacks, watch, limit_train_batches=chunks)
        trainer.fit(setup.module, datamodule=setup.data)
        setup.outcome(trainer)
        total = time.perf_counter() - clock
    ends = [*(epoch[0] for epoch in watch.epochs[1:]), watch.ended]
    rest = median(end - epoch[-1] for epoch, end in zip(watch.epochs, ends, strict=True))
    chunk = median(after - before for epoch in watch.epochs[1:] or watch.epochs for before, after in pairwise(epoch))
    epoch = setup.steps * chunk * chunks / timed + rest
    return (total - (ends[-1] - watch.epochs[0][0]) + spec.epochs * epoch) / members


def _timed_setup(spec: RunSpec) -> tuple[TrainingSetup, int]:
    """Return the setup that is timed, and its number of trainings."""
    if not spec.stacked:
        return prepare_training(spec, lambda _: None, STEPS), 1
    stack = stack_of(spec, STACKED, STEPS)
    steps = len(stack.batches)
    return TrainingSetup(stack, lambda _: _outcome(stack), steps, STEPS), STACKED


def _outcome(stack: Stack) -> Outcome:
    """Evaluate all members that have not diverged, and return how the first one ended."""
    return dict(stack.outcomes()).get(0) or stack.members[0].outcome()


def stack_of(spec: RunSpec, size: int, steps_per_chunk: int = STEPS_PER_CHUNK) -> Stack:
    """Return a stack of `size` trainings that differ only in their seeds, and report nothing."""
    members = members_of([replace(spec, seed=seed) for seed in range(size)], [lambda _: None] * size)
    return Stack(members, lambda _: None, steps_per_chunk)


@dataclass(frozen=True)
class StepCost:
    """What one training step costs when a training runs alone.

    Attributes:
        seconds: Median seconds of a step, data included, evaluation left out; on a CPU, of processor time.
        steps_per_epoch: Number of steps in an epoch.
        parameter_bytes: Bytes of the trained parameters.
        state_bytes: Bytes of all tensors that the optimizer keeps between steps.
        peak_bytes: Largest memory that tensors took on the GPU; 0 on a CPU, which does not tell.
    """

    seconds: float
    steps_per_epoch: int
    parameter_bytes: int
    state_bytes: int
    peak_bytes: int


def step_cost(spec: RunSpec) -> StepCost:
    """Return what a step of `spec` costs: the median of chunks of at most ten steps, after the first ten.

    Raises ValueError if the training diverges before a step could be timed.
    """
    alone = replace(spec, stacked=False)
    if task_of(spec.data["kind"]).examples:
        load_arrays(spec.data)
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with seeded(spec.seed), quiet_lightning():
        setup = prepare_training(alone, lambda _: None, STEPS)
        length = min(setup.steps, setup.steps_per_chunk)  # of a chunk, in steps
        untimed = -(-STEPS // length)
        # On a CPU, the time of the processor: other work on the machine must not count.
        watch = Stopwatch(untimed, LONG_ENOUGH, time.process_time if device_of(spec) == "cpu" else now)
        wanted = untimed + max(TIMED_CHUNKS, untimed)
        in_epoch = min(wanted, setup.steps // length)
        # The schedule is that of the whole training: only the Trainer stops earlier.
        limits: dict[str, Any] = {"limit_train_batches": in_epoch, "limit_val_batches": 0}
        short = replace(alone, epochs=-(-wanted // in_epoch))
        trainer = build_trainer(short, *setup.callbacks, watch, **setup.options, **limits)
        trainer.fit(setup.module, datamodule=setup.data)
    if not (chunks := watch.chunks[untimed:]):
        raise ValueError("the training diverges within its first steps")
    optimizer = trainer.optimizers[0]
    peak = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
    return StepCost(
        seconds=median(chunks) / length,
        steps_per_epoch=setup.steps,
        parameter_bytes=sum(_bytes_in(group["params"]) for group in optimizer.param_groups),
        state_bytes=_bytes_in(optimizer.state),
        peak_bytes=peak,
    )


def _bytes_in(state: object) -> int:
    """Return the bytes of all tensors in nested mappings and sequences."""
    if isinstance(state, torch.Tensor):
        return state.numel() * state.element_size()
    if isinstance(state, Mapping):
        return sum(_bytes_in(part) for part in state.values())
    return sum(_bytes_in(part) for part in state) if isinstance(state, list | tuple) else 0
