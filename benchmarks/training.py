"""One training: time per step against the limit, measured alternately; time outside of steps; precisions and the glue.

writing.py times the journal and MLflow.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from glue import glue, store
from limit import Timed, limit
from measure import Figure, arguments, ended, figure, ratios, report

from optstudy.catalogue import OPTIMIZERS
from optstudy.errors import DataError
from optstudy.spec import RunSpec
from optstudy.study.study import Study, load_study
from optstudy.tasks.datasets import load_arrays
from optstudy.training.device import set_numerics
from optstudy.training.timing import Stopwatch
from optstudy.training.train import build_trainer, prepare_training, quiet_lightning, seeded

CONFIGS = Path(__file__).parents[1] / "configs"


def spec_of(name: str, optimizer: str = "adam", **changes: object) -> RunSpec:
    """Return a training of a shipped study with its optimizer's defaults, without decay: all loops then do the same."""
    study: Study = load_study(CONFIGS / f"{name}.yaml")
    contender = study.contender(optimizer)
    spec = study.spec(contender, 0, 1, {**study.row(contender).defaults, "weight_decay": 0.0})
    return replace(spec, **changes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Ours(Timed):
    """A training by optstudy, with the seconds before the first epoch and after the last."""

    before: float
    after: float

    @property
    def between(self) -> float:
        """Return the seconds after the steps of each epoch: evaluation and report."""
        return self.total - self.in_steps - self.before - self.after


def ours(spec: RunSpec) -> Ours:
    """Train by optstudy, with a stopwatch among its callbacks."""
    with seeded(spec.seed), quiet_lightning():
        clock, watch = time.perf_counter(), Stopwatch()
        setup = prepare_training(spec, lambda _: None)
        trainer = build_trainer(spec, *setup.callbacks, watch)
        trainer.fit(setup.module, datamodule=setup.data)
        accuracy = setup.outcome(trainer).metrics["test/accuracy"]
        ended = time.perf_counter()
    before, after = watch.epochs[0][0] - clock, ended - watch.ended
    epochs = len(watch.epochs)
    examples = len(setup.module.data.parts["train"][1])  # type: ignore[union-attr]  # a NetworkModule, which has data
    return Ours(setup.steps * epochs, examples * epochs, watch.in_steps, ended - clock, accuracy, before, after)


def in_turn(spec: RunSpec, repeats: int) -> list[tuple[Ours, Timed]]:
    """Return `repeats` trainings by optstudy and by the limit, alternately, after one of each to warm up."""
    limit(spec), ours(spec)
    return [(ours(spec), limit(spec)) for _ in range(repeats)]


def steps(name: str, pairs: Sequence[tuple[Ours, Timed]]) -> list[Figure]:
    """Return the time per step, and its ratio to the limit's."""
    own, limits = [[1000 * one.step for one in side] for side in zip(*pairs, strict=True)]
    return [ratios(f"{name}: a step, over the limit's", own, limits), figure(f"{name}: a step", own, "ms")]


def outside(name: str, epochs: int, pairs: Sequence[tuple[Ours, Timed]]) -> list[Figure]:
    """Return the time of a training outside of its steps."""
    own = [one for one, _ in pairs]
    return [
        figure(f"{name}: set-up", [1000 * one.before for one in own], "ms"),
        figure(f"{name}: evaluation and report, an epoch", [1000 * one.between / epochs for one in own], "ms"),
        figure(f"{name}: final evaluation", [1000 * one.after for one in own], "ms"),
    ]


def each_optimizer(name: str, study: str, repeats: int, **changes: object) -> list[Figure]:
    """Return the time per step with each optimizer, and the time outside of steps with the last of them."""
    figures = list[Figure]()
    for optimizer in OPTIMIZERS:
        spec = spec_of(study, optimizer, **changes)
        pairs = in_turn(spec, repeats)
        figures += steps(f"{name}, {optimizer}", pairs)
        ended(f"{name}, {optimizer}")
    return figures + outside(f"{name}, {optimizer}", spec.epochs, pairs)


def images(name: str, spec: RunSpec, repeats: int) -> list[Figure]:
    """Return images per second of optstudy in bf16 and fp32, and the ratios to the glue of both and of the limit."""
    single = replace(spec, precision="32-true")
    with tempfile.TemporaryDirectory() as folder:
        uri = store(Path(folder))
        timed = [(ours(spec), ours(single), limit(spec), limit(single), glue(single, uri)) for _ in range(repeats)]
    rates = [[one.rate for one in side] for side in zip(*timed, strict=True)]
    halves, singles, half_limits, single_limits, glues = rates
    return [
        figure(f"{name}: bf16-mixed", halves, "images/s"),
        figure(f"{name}: fp32", singles, "images/s"),
        figure(f"{name}: glue, fp32", glues, "images/s"),
        ratios(f"{name}: bf16-mixed over the glue's fp32", halves, glues),
        ratios(f"{name}: fp32 over the glue's fp32", singles, glues),
        ratios(f"{name}: the limit in bf16 over the glue's fp32", half_limits, glues),
        ratios(f"{name}: the limit in fp32 over the glue's fp32", single_limits, glues),
    ]


def main() -> None:
    """Measure."""
    repeats = arguments(__doc__, 21).parse_args().repeats
    set_numerics()  # RMSProp is three times slower without it
    digits, few = spec_of("digits", epochs=10), {**spec_of("fashion_mnist").data, "train_size": 6400}
    two = spec_of("fashion_mnist", epochs=1, data=few)
    load_arrays(digits.data)
    torch.set_num_threads(1)
    report(each_optimizer("digits CNN, 1 thread", "digits", repeats, epochs=10), "digits CNN")
    with tempfile.TemporaryDirectory() as folder:
        pairs = [(glue(digits, store(Path(folder))).step, limit(digits).step) for _ in range(3)]
    name = "digits CNN, 1 thread, adam: the glue's step, over the limit's"
    report([ratios(name, *zip(*pairs, strict=True))], "digits CNN, glue")
    try:
        load_arrays(two.data)
    except DataError as error:
        print(f"2c2d is not measured: {error}")
        return
    torch.set_num_threads(os.cpu_count() or 1)
    report(each_optimizer(f"2c2d, {two.precision}", "fashion_mnist", min(repeats, 9), epochs=1, data=few), "2c2d")
    report(images("2c2d", two, 3), "2c2d, images/s")


if __name__ == "__main__":
    main()
