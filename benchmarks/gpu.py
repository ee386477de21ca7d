"""Images/s on a GPU, against the limit and in stacks of 1 to 256 trainings. Without a GPU it prints that and ends.

First, with each optimizer, a training alone and a stack of two, both augmented, take steps under torch's check for
synchronisation, which raises if a step waits. It also prints whether a training's bits depend on the size of its stack.
"""

from __future__ import annotations

import gc
from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
import torch
from limit import limit
from measure import Figure, arguments, figure, positive, ratios, report
from stack_scaling import spec_of

from optstudy.catalogue import OPTIMIZERS
from optstudy.spec import RunSpec
from optstudy.training.device import set_numerics
from optstudy.training.timing import Stopwatch, stack_of
from optstudy.training.train import build_trainer, prepare_training, quiet_lightning, seeded
from training import in_turn

SIZES = tuple(2**power for power in range(9))
EPOCHS = 20
TASKS = {"digits CNN": ("digits-cnn", "32-true"), "2c2d": ("fashion-2c2d", "bf16-mixed")}  # as the shipped studies


class NoWaiting(pl.Callback):
    """Raises if a step waits for the GPU, except in the first epoch, which allocates and tunes once."""

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Switch torch's check on."""
        torch.cuda.set_sync_debug_mode("error" if trainer.current_epoch else "default")

    def on_train_batch_end(self, *_: Any) -> None:
        """Switch it off."""
        torch.cuda.set_sync_debug_mode("default")


def check_no_synchronisation(spec: RunSpec, precision: str) -> None:
    """Train alone, in this precision, and as a stack of two; raises if a step waits for the GPU."""
    spec = replace(spec, clip=1.0, data={**spec.data, "augment": ("crop", "flip")})
    alone = replace(spec, precision=precision)
    for one, module in ((alone, prepare_training(alone, lambda _: None).module), (spec, stack_of(spec, 2))):
        build_trainer(one, NoWaiting()).fit(module)


def same_bits(spec: RunSpec) -> str:
    """Return, in words, whether the first of a stack ends with the same bits for each size of the stack."""
    trained = []
    for size in (2, 3, 16):
        stack = stack_of(spec, size)
        build_trainer(spec).fit(stack)
        trained.append([parameter.detach().cpu() for parameter in stack.members[0].network.parameters()])
    same = all(torch.equal(a, b) for other in trained[1:] for a, b in zip(trained[0], other, strict=True))
    return "the same bits in stacks of 2, 3 and 16" if same else "other bits in stacks of 2, 3 and 16"


def against_limit(title: str, spec: RunSpec, repeats: int) -> list[Figure]:
    """Return images/s of one training, and the ratio to the limit's."""
    own, limits = [[one.rate for one in side] for side in zip(*in_turn(spec, repeats), strict=True)]
    return [
        figure(f"{title}: one training", own, "images/s"),
        figure(f"{title}: the limit", limits, "images/s"),
        ratios(f"{title}: one training over the limit", own, limits),
    ]


def rates(spec: RunSpec, size: int) -> tuple[float, float]:
    """Return images/s of a stack in its steps, and in whole epochs with evaluation."""
    gc.collect()  # an earlier stack and its trainer refer to each other and would stay in GPU memory
    stack, watch = stack_of(spec, size), Stopwatch()
    build_trainer(spec, watch).fit(stack)
    images = spec.epochs * stack.batches.size * size
    return images / watch.in_steps, images / (watch.ended - watch.epochs[0][0])


def stacked(title: str, spec: RunSpec, size: int, repeats: int) -> list[Figure]:
    """Return images/s of all trainings of a stack together, and the ratio to the limit's."""
    rates(replace(spec, epochs=2), size)  # warms up
    timed = [(*rates(spec, size), limit(spec).rate) for _ in range(repeats)]
    steps, epochs, limits = zip(*timed, strict=True)
    name = f"{title}: a stack of {size}{', computed as two' if size == 1 else ''}"
    return [
        figure(f"{name}, in steps", steps, "images/s"),
        figure(f"{name}, in whole epochs", epochs, "images/s"),
        ratios(f"{name}, in steps, over the limit", steps, limits),
    ]


def main() -> None:
    """Measure."""
    parser = arguments(__doc__, 3)
    parser.add_argument("--sizes", nargs="+", type=positive, default=SIZES)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("CUDA finds no GPU: nothing is measured")
        return
    set_numerics()
    with seeded(0), quiet_lightning():
        for name, (task, precision) in TASKS.items():
            for optimizer in OPTIMIZERS:
                spec = replace(spec_of(task, optimizer), epochs=3)
                check_no_synchronisation(spec, precision)
                print(f"{name}, {optimizer}: no step waits; {same_bits(spec)}", flush=True)
            spec = spec_of(task, "adam")
            spec = replace(spec, epochs=EPOCHS, data={**spec.data, "validation_share": 0.2})
            title = f"{name}, {precision}"
            report(against_limit(title, replace(spec, precision=precision), options.repeats), title)
            title = f"{name}, {spec.precision}"
            for size in options.sizes:
                try:
                    report(stacked(title, spec, size, options.repeats), f"{title}, {size}")
                except torch.cuda.OutOfMemoryError:
                    print(f"{title}: a stack of {size} does not fit the GPU's memory")
                    break


if __name__ == "__main__":
    main()
