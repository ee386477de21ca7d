"""The time of a training step, alone in optstudy and in stacks of K, divided by that of the limit.

    python benchmarks/stack_scaling.py [--tasks digits-cnn ...] [--sizes 2 8] [--repeats 7] ...

One thread; all are measured alternately. A step includes fetching its batch and, in optstudy, Lightning's loop and
summing loss and hits, but not validation. For a stack it is the share of one network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from limit import limit
from measure import Figure, arguments, ended, figure, positive, ratios, report
from numpy.typing import NDArray

from optstudy.catalogue import OPTIMIZERS
from optstudy.spec import RunSpec
from optstudy.study.study import Study
from optstudy.training.batches import ArrayData
from optstudy.training.device import set_numerics
from optstudy.training.stacked.checks import work
from optstudy.training.timing import Stopwatch, stack_of
from optstudy.training.train import build_trainer, quiet_lightning, seeded, start_network
from training import ours

EPOCHS = 3
TASKS = {  # model, data, batch size
    "digits-linear": ("linear", "digits", 64),
    "digits-mlp": ("mlp", "digits", 64),
    "digits-cnn": ("cnn", "digits", 64),
    "fashion-linear": ("linear", "28x28", 128),
    "fashion-mlp": ("mlp", "28x28", 128),
    "fashion-cnn": ("cnn", "28x28", 128),
    "fashion-2c2d": ("2c2d", "28x28", 128),
}


def images() -> tuple[NDArray[Any], ...]:
    """Return ten batches of noise in the shape of Fashion-MNIST: the content does not matter here."""
    rng = np.random.default_rng(0)
    x, y = rng.random((1280, 1, 28, 28), dtype=np.float32), np.arange(1280) % 10
    return x, y, x[:128], y[:128]


def spec_of(task: str, optimizer: str) -> RunSpec:
    """Return the training of a task with an optimizer's defaults."""
    model, data, batch_size = TASKS[task]
    content = {"name": "b", "data": "digits", "model": model, "epochs": EPOCHS, "batch_size": batch_size}
    study = Study.model_validate({**content, "optimizers": [optimizer]})
    contender = study.optimizers[0]
    spec = study.spec(contender, 0, 0, contender.row().defaults, stacked=True)
    if data == "digits":
        return spec
    own = {"name": None, "class": "stack_scaling.images", "arguments": {}, "validation_share": 0.0}
    return replace(spec, data={**spec.data, **own})


def stacked(spec: RunSpec, size: int) -> float:
    """Return seconds per step and network of a stack of `size`."""
    stack, watch = stack_of(spec, size), Stopwatch()
    build_trainer(spec, watch).fit(stack)
    return watch.in_steps / (spec.epochs * len(stack.batches) * size)


def steps(spec: RunSpec, sizes: Sequence[int]) -> list[float]:
    """Return seconds per step of the limit, of one network alone, and of one network in a stack of each size."""
    return [limit(spec).step, ours(spec).step, *(stacked(spec, size) for size in sizes)]


def measured(task: str, optimizer: str, sizes: Sequence[int], repeats: int) -> list[Figure]:
    """Return the limit's step, the ratios of one network alone and in stacks to it, and the operations of a step."""
    spec = spec_of(task, optimizer)
    with seeded(0), quiet_lightning():
        timed = []
        for count in range(repeats + 1):
            timed.append(steps(spec, sizes))
            ended(f"{task}, {optimizer}, {count} of {repeats}")
    limits, alones, *stacks = zip(*timed[1:], strict=True)  # the first measurement warms up
    by_size = dict(zip(sizes, stacks, strict=True))
    data, title = ArrayData(spec), f"{task}, {optimizer}"
    operations = work(start_network(spec, data.inputs), data.inputs, spec.batch_size) / 1e6
    return [
        figure(f"{title}: operations in a step", [operations], "million"),
        figure(f"{title}: the limit", [1e6 * one for one in limits], "µs"),
        ratios(f"{title}: alone, over the limit", alones, limits),
        *(ratios(f"{title}: a stack of {size}, over the limit", times, limits) for size, times in by_size.items()),
        *(ratios(f"{title}: a stack of {size}, over alone", times, alones) for size, times in by_size.items()),
    ]


def main() -> None:
    """Measure."""
    parser = arguments(__doc__, 9)
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS)[:3])
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=["adam"])
    parser.add_argument("--sizes", nargs="+", type=positive, default=[2, 4, 8, 16])
    options = parser.parse_args()
    torch.set_num_threads(1)
    set_numerics()
    for task in options.tasks:
        for optimizer in options.optimizers:
            report(measured(task, optimizer, options.sizes, options.repeats), f"{task}, {optimizer}")


if __name__ == "__main__":
    main()
