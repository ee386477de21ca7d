"""On a GPU: images/s against the limit, and in stacks of 1 to 256 trainings; without a GPU it says so and ends.

Before that, by each optimizer, one training alone and a stack of two, both augmented, take steps with torch's check for
synchronisation switched on: one would raise. And it is seen whether a training's bits depend on how many it is stacked
with.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
import torch
from measure import Figure, figure, ratios, report
from stack_scaling import spec_of
from training import in_turn

from optstudy.optimizers import OPTIMIZERS
from optstudy.runs import RunSpec
from optstudy.timing import Stopwatch, stack_of
from optstudy.train import build_trainer, quiet_lightning, seeded, set_numerics, set_up

SIZES = tuple(2**power for power in range(9))
EPOCHS = 20
TASKS = {"digits CNN": ("digits-cnn", "32-true"), "2c2d": ("fashion-2c2d", "bf16-mixed")}  # as the shipped studies


class NoWaiting(pl.Callback):
    """Raises where a step waits for the GPU; not in the first epoch, in which things are allocated and tuned once."""

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Switch torch's check on."""
        torch.cuda.set_sync_debug_mode("error" if trainer.current_epoch else "default")

    def on_train_batch_end(self, *_: Any) -> None:
        """Switch it off."""
        torch.cuda.set_sync_debug_mode("default")


def check_no_synchronisation(spec: RunSpec, precision: str) -> None:
    """Train alone, in this precision, and as a stack of two; raises where a step waits for the GPU."""
    spec = replace(spec, clip=1.0, data={**spec.data, "augment": ("crop", "flip")})
    alone = replace(spec, precision=precision)
    for one, module in ((alone, set_up(alone, lambda _: None).module), (spec, stack_of(spec, 2))):
        build_trainer(one, NoWaiting()).fit(module)


def same_bits(spec: RunSpec) -> str:
    """Return, in words, whether the first of a stack ends with the same bits however many there are."""
    found = []
    for size in (2, 3, 16):
        stack = stack_of(spec, size)
        build_trainer(spec).fit(stack)
        found.append([parameter.detach().cpu() for parameter in stack.members[0].network.parameters()])
    same = all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other, strict=True))
    return "the same bits in stacks of 2, 3 and 16" if same else "other bits in stacks of 2, 3 and 16"


def against_limit(name: str, spec: RunSpec, repeats: int) -> list[Figure]:
    """Return images/s of one training, and their ratio to the limit's."""
    pairs = in_turn(spec, repeats)
    own, limits = [[spec.batch_size / one.step for one in side] for side in zip(*pairs, strict=True)]
    return [
        figure(f"{name}: one training, {spec.precision}", own, "images/s"),
        figure(f"{name}: the limit, {spec.precision}", limits, "images/s"),
        ratios(f"{name}: one training over the limit", own, limits),
    ]


def rates(spec: RunSpec, size: int) -> tuple[float, float]:
    """Return images/s of a stack in its steps, and in whole epochs: with evaluation."""
    gc.collect()  # an earlier stack and its trainer refer to each other, and would stay in the GPU's memory
    stack, watch = stack_of(spec, size), Stopwatch()
    build_trainer(spec, watch).fit(stack)
    images = spec.epochs * stack.batches.size * size
    steps = sum(epoch[-1] - epoch[0] for epoch in watch.epochs)
    return images / steps, images / (watch.ended - watch.epochs[0][0])


def stacks(name: str, spec: RunSpec, sizes: Sequence[int], repeats: int) -> list[Figure]:
    """Return images/s of all trainings of a stack together, by its size."""
    found = []
    for size in sizes:
        try:
            rates(replace(spec, epochs=2), size)  # warms up
            timed = [rates(spec, size) for _ in range(repeats)]
        except torch.cuda.OutOfMemoryError:
            print(f"{name}: a stack of {size} does not fit the GPU's memory")
            break
        for what, values in zip(("in steps", "in whole epochs"), zip(*timed, strict=True), strict=True):
            found.append(figure(f"{name}: stack of {size}, {what}", values, "images/s"))
    return found


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("no GPU that CUDA can use is at hand: nothing is measured")
        return
    set_numerics()
    found = list[Figure]()
    with seeded(0), quiet_lightning():
        for name, (task, precision) in TASKS.items():
            for optimizer in OPTIMIZERS:
                spec = replace(spec_of(task, optimizer), epochs=3)
                check_no_synchronisation(spec, precision)
                print(f"{name}, {optimizer}: no step waits; {same_bits(spec)}", flush=True)
            spec = replace(spec_of(task, "adam"), epochs=EPOCHS)
            title = f"{name}, {torch.cuda.get_device_name()}"
            found += against_limit(title, replace(spec, precision=precision), options.repeats)
            found += stacks(title, spec, options.sizes, options.repeats)
    report(found)


if __name__ == "__main__":
    main()
