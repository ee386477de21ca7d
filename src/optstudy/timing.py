"""Seconds of one training on this machine, from ten timed steps."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import pairwise
from statistics import median
from typing import Any

import pytorch_lightning as pl

from optstudy.datasets import load_arrays
from optstudy.runs import RunSpec
from optstudy.train import build_trainer, quiet_lightning, seeded, set_up

STEPS = 10  # timed; as many go before them, unmeasured: the first ones allocate and tune


class Stopwatch(pl.Callback):
    """Notes, for each epoch, when it began and when each of its steps ended, in seconds."""

    def __init__(self) -> None:
        self.epochs: list[list[float]] = []
        self.ended = 0.0

    def on_train_epoch_start(self, *_: Any) -> None:
        """Begin an epoch."""
        self.epochs.append([time.perf_counter()])

    def on_train_batch_end(self, *_: Any) -> None:
        """End a step: fetching its batch is part of it."""
        self.epochs[-1].append(time.perf_counter())

    def on_train_end(self, *_: Any) -> None:
        """End the last epoch."""
        self.ended = time.perf_counter()


def seconds_of(spec: RunSpec) -> float:
    """Return about how long the training of `spec` takes, alone on the threads that torch may use.

    It is run with at most ten steps an epoch, and with just the epochs that ten steps after the first one need, but
    with its whole validation and final evaluation; steps are then stretched to an epoch, and epochs to the training.
    """
    if spec.data["kind"] != "function":
        load_arrays(spec.data)  # once a process, so no part of a training
    with seeded(spec.seed), quiet_lightning():
        clock = time.perf_counter()
        fitting = set_up(spec, lambda _: None)
        steps = 1 if fitting.data is None else len(fitting.data.train_dataloader())
        watch, epochs = Stopwatch(), 1 + -(-STEPS // min(steps, STEPS))
        trainer = build_trainer(
            replace(spec, epochs=epochs), *fitting.callbacks, watch, limit_train_batches=min(steps, STEPS)
        )
        trainer.fit(fitting.module, datamodule=fitting.data)
        fitting.outcome(trainer)
        total = time.perf_counter() - clock
    ends = [*(epoch[0] for epoch in watch.epochs[1:]), watch.ended]
    rest = median(end - epoch[-1] for epoch, end in zip(watch.epochs, ends, strict=True))
    step = median(after - before for epoch in watch.epochs[1:] or watch.epochs for before, after in pairwise(epoch))
    return total - (ends[-1] - watch.epochs[0][0]) + spec.epochs * (steps * step + rest)
