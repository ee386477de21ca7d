"""Estimates the seconds of one training on this machine from ten timed steps."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import Any

import pytorch_lightning as pl

from optstudy.spec import Outcome, RunSpec
from optstudy.tasks.datasets import load_arrays
from optstudy.tasks.kinds import task_of
from optstudy.training.batches import STEPS_PER_CHUNK
from optstudy.training.device import now
from optstudy.training.setup import TrainingSetup
from optstudy.training.stacked.module import Stack
from optstudy.training.train import build_trainer, members_of, prepare_training, quiet_lightning, seeded

STEPS = 10  # timed, after as many that are not: the first steps allocate memory and tune kernels
STACKED = 8  # size of the stack that is timed for a stacked spec


class Stopwatch(pl.Callback):
    """Records when each epoch began and when each chunk of it ended, in seconds."""

    def __init__(self) -> None:
        self.epochs: list[list[float]] = []
        self.ended = 0.0

    def on_train_epoch_start(self, *_: Any) -> None:
        """Begin an epoch."""
        self.epochs.append([now()])

    def on_train_batch_end(self, *_: Any) -> None:
        """End a chunk; fetching its batches is part of it."""
        self.epochs[-1].append(now())

    def on_train_end(self, *_: Any) -> None:
        """End the last epoch."""
        self.ended = now()

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
