"""Microseconds of one training step of one network: in the shortest PyTorch loop, alone in optstudy, in stacks of K.

    python benchmarks/stack_scaling.py [--tasks digits-cnn ...] [--sizes 2 8] [--repeats 7] ...

Each cell is the median over repeats, and the least and the greatest. One thread; repeats of all columns alternate.
A step includes fetching its batch and summing loss and hits, not validation. Trainings run in a Lightning Trainer. The
raw loop is the plainest: without channels last and fused steps, which the limit of the other benchmarks has.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from statistics import median

import numpy as np
import torch
from torch.nn import functional

from optstudy.batches import ArrayData
from optstudy.datasets import Arrays
from optstudy.optimizers import decay_groups, import_class, torch_arguments
from optstudy.runs import RunSpec
from optstudy.stack import Stack
from optstudy.stackable import work
from optstudy.study import Study
from optstudy.timing import Stopwatch, now
from optstudy.train import build_trainer, members_of, quiet_lightning, seeded, set_up, start_network

EPOCHS = 3  # the first one of each repeat is not counted
TASKS = {  # model, data, batch size
    "digits-linear": ("linear", "digits", 64),
    "digits-mlp": ("mlp", "digits", 64),
    "digits-cnn": ("cnn", "digits", 64),
    "fashion-linear": ("linear", "28x28", 128),
    "fashion-mlp": ("mlp", "28x28", 128),
    "fashion-cnn": ("cnn", "28x28", 128),
    "fashion-2c2d": ("2c2d", "28x28", 128),
}


def images() -> Arrays:
    """Return noise in the shape of Fashion-MNIST, ten batches of it: its content does not matter here."""
    rng = np.random.default_rng(0)
    x, y = rng.random((1280, 1, 28, 28), dtype=np.float32), np.arange(1280) % 10
    return Arrays(x, y, x[:128], y[:128], 10)


def spec_of(task: str, optimizer: str) -> RunSpec:
    """Return the training of a task by an optimizer's defaults."""
    model, data, batch_size = TASKS[task]
    content = {"name": "b", "data": "digits", "model": model, "epochs": EPOCHS, "batch_size": batch_size}
    study = Study.model_validate({**content, "optimizers": [optimizer]})
    contender = study.optimizers[0]
    spec = study.spec(contender, 0, 0, contender.row().defaults, stacked=True)
    if data == "digits":
        return spec
    own = {"load": "stack_scaling.images", "arguments": {}, "validation_share": 0.0}
    return replace(spec, data={**spec.data, **own})


def raw(spec: RunSpec) -> float:
    """Return seconds per step of the shortest loop, as one would write it without optstudy."""
    data = ArrayData(spec)
    network = start_network(spec, data.inputs).to(data.device, memory_format=torch.contiguous_format)
    groups = decay_groups(network, spec.decay_all)
    optimizer = import_class(spec.optimizer)(groups, **torch_arguments(spec.hyperparameters))
    x, y = data.parts["train"]

    def epoch() -> None:
        for chosen in torch.randperm(len(y), device=data.device).split(spec.batch_size):
            loss = functional.cross_entropy(network(x[chosen]), y[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return _timed(epoch) / -(-len(y) // spec.batch_size)


def alone(spec: RunSpec) -> float:
    """Return seconds per step of one training alone."""
    fitting = set_up(spec, lambda _: None)
    return _fitted(fitting.module, spec) / fitting.steps


def stacked(spec: RunSpec, size: int) -> float:
    """Return seconds per step and network of a stack of `size`."""
    specs = [replace(spec, seed=seed) for seed in range(size)]
    members = members_of(specs, [lambda _: None] * size)
    stack = Stack(members, lambda _: None)
    return _fitted(stack, spec) / len(stack.batches) / size


def _timed(epoch: Callable[[], None]) -> float:
    """Return the seconds of an epoch."""
    epoch()
    start = now()
    for _ in range(EPOCHS - 1):
        epoch()
    return (now() - start) / (EPOCHS - 1)


def _fitted(module: object, spec: RunSpec) -> float:
    watch = Stopwatch()
    build_trainer(spec, watch).fit(module)
    return sum(epoch[-1] - epoch[0] for epoch in watch.epochs[1:]) / (EPOCHS - 1)


def cell(seconds: list[float]) -> str:
    """Return the median and the range in microseconds."""
    return f"{median(seconds) * 1e6:,.0f} ({min(seconds) * 1e6:,.0f}..{max(seconds) * 1e6:,.0f})"


def main() -> None:
    """Print one row for each task."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS)[:3])
    parser.add_argument("--optimizer", default="adam")
    parser.add_argument("--sizes", nargs="+", type=int, default=[2, 4, 8, 16])
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| task | MFLOP/step | raw loop | alone |", *(f"K={size} |" for size in options.sizes))
    print("| --- " * (4 + len(options.sizes)) + "|")
    for task in options.tasks:
        spec = spec_of(task, options.optimizer)
        columns: dict[str, Callable[[], float]] = {
            "raw": lambda spec=spec: raw(spec),
            "alone": lambda spec=spec: alone(spec),
            **{str(size): lambda spec=spec, size=size: stacked(spec, size) for size in options.sizes},
        }
        found: dict[str, list[float]] = {name: [] for name in columns}
        for _ in range(options.repeats):
            for name, measure in columns.items():
                with seeded(0), quiet_lightning():
                    found[name].append(measure())
        data = ArrayData(spec)
        flop = work(start_network(spec, data.inputs), data.inputs, spec.batch_size) / 1e6
        cells = [cell(seconds) for seconds in found.values()]
        print(f"| {task} | {flop:,.1f} |", *(f"{text} |" for text in cells), flush=True)


if __name__ == "__main__":
    main()
