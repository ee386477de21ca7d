"""One training: time per step against the limit, in turn; what it spends outside of steps; precisions and the glue."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from loops import Timed, glue, limit, store
from measure import Figure, figure, ratios, report

from optstudy.datasets import load_arrays
from optstudy.runs import RunSpec
from optstudy.study import Study, load_study
from optstudy.timing import Stopwatch
from optstudy.train import build_trainer, quiet_lightning, seeded, set_up

CONFIGS = Path(__file__).parents[1] / "configs"


def spec_of(name: str, **changes: object) -> RunSpec:
    """Return Adam's training at its defaults in a shipped study, without decay, so that all loops do the same."""
    study: Study = load_study(CONFIGS / f"{name}.yaml")
    adam = study.contender("adam")
    spec = study.spec(adam, 0, 1, {"learning_rate": 1e-3, "weight_decay": 0.0})
    return replace(spec, **changes)  # type: ignore[arg-type]


def ours(spec: RunSpec) -> Timed:
    """Train by optstudy, with a stopwatch among its callbacks."""
    with seeded(spec.seed), quiet_lightning():
        clock, watch = time.perf_counter(), Stopwatch()
        fitting = set_up(spec, lambda _: None)
        trainer = build_trainer(spec, *fitting.callbacks, watch)
        trainer.fit(fitting.module, datamodule=fitting.data)
        accuracy = fitting.outcome(trainer).metrics["test/accuracy"]
        total = time.perf_counter() - clock
    in_steps = sum(epoch[-1] - epoch[0] for epoch in watch.epochs)
    return Timed(fitting.steps * len(watch.epochs), in_steps, total, accuracy)


def against_limit(name: str, spec: RunSpec, repeats: int) -> list[Figure]:
    """Return time per step over the limit's, and what is spent outside of steps."""
    pairs = [(ours(spec), limit(spec)) for _ in range(repeats)]
    per_step = [[one.in_steps / one.steps for one in side] for side in zip(*pairs, strict=True)]
    outside = [one.total - one.in_steps for one, _ in pairs]
    return [
        ratios(f"{name}: a step, over the limit's", *per_step),
        figure(f"{name}: a step", [1000 * seconds for seconds in per_step[0]], "ms"),
        figure(f"{name}: outside of steps", outside, "s"),
    ]


def images(name: str, spec: RunSpec, repeats: int) -> list[Figure]:
    """Return images per second of optstudy and of the glue, in fp32 and in bf16, and their ratios."""
    halves, singles, glues = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(repeats):
            for spec_of_side, found in ((spec, halves), (replace(spec, precision="32-true"), singles)):
                one = ours(spec_of_side)
                found.append(one.steps * spec.batch_size / one.in_steps)
            one = glue(replace(spec, precision="32-true"), store(Path(folder)))
            glues.append(one.steps * spec.batch_size / one.in_steps)
    return [
        figure(f"{name}: bf16-mixed", halves, "images/s"),
        figure(f"{name}: fp32", singles, "images/s"),
        figure(f"{name}: glue, fp32", glues, "images/s"),
        ratios(f"{name}: bf16-mixed over the glue's fp32", halves, glues),
        ratios(f"{name}: fp32 over the glue's fp32", singles, glues),
    ]


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    digits = spec_of("digits", epochs=10)
    load_arrays(digits.data)
    limit(digits), ours(digits)  # both warm
    found = against_limit("digits CNN, 1 thread", digits, repeats)
    with tempfile.TemporaryDirectory() as folder:
        pairs = [(glue(digits, store(Path(folder))), limit(digits)) for _ in range(3)]
    steps = [[one.in_steps / one.steps for one in side] for side in zip(*pairs, strict=True)]
    found.append(ratios("digits CNN, 1 thread: the glue's step, over the limit's", *steps))
    fashion = Path(os.environ.get("OPTSTUDY_DATA", "data")) / "FashionMNIST"
    if fashion.exists():
        torch.set_num_threads(os.cpu_count() or 1)
        two = spec_of("fashion_mnist", epochs=1, data={**spec_of("fashion_mnist").data, "train_size": 6400})
        limit(two), ours(two)
        found += against_limit("2c2d, bf16-mixed, all cores", two, min(repeats, 5))
        found += images("2c2d, all cores", two, 3)
    else:
        print("Fashion-MNIST is not below OPTSTUDY_DATA: 2c2d is not measured")
    report(found)


if __name__ == "__main__":
    main()
