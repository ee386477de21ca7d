"""On a GPU: images/s against the limit, and in stacks of 1 to 256 trainings; without a GPU it says so and ends.

Before that one training alone and a stack of two, both augmented, take steps with torch's check for synchronisation
switched on: one would raise.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
import torch
from measure import Figure, figure, ratios, report
from stack_scaling import spec_of, stacked
from training import in_turn

from optstudy.runs import RunSpec
from optstudy.stack import Stack
from optstudy.train import build_trainer, members_of, quiet_lightning, seeded, set_up

SIZES = tuple(2**power for power in range(9))
TASKS = {"digits CNN": "digits-cnn", "2c2d": "fashion-2c2d"}


class NoWaiting(pl.Callback):
    """Raises where a step waits for the GPU; not in the first epoch, in which things are allocated and tuned once."""

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        """Switch torch's check on."""
        torch.cuda.set_sync_debug_mode("error" if trainer.current_epoch else "default")

    def on_train_batch_end(self, *_: Any) -> None:
        """Switch it off."""
        torch.cuda.set_sync_debug_mode("default")


def check_no_synchronisation(spec: RunSpec) -> None:
    """Train alone and as a stack of two; raises where a step waits for the GPU."""
    augmented = replace(spec, data={**spec.data, "augment": ("crop", "flip")})
    members = members_of([replace(augmented, seed=seed) for seed in (1, 2)], [lambda _: None] * 2)
    for module in (set_up(augmented, lambda _: None).module, Stack(members, lambda _: None)):
        build_trainer(augmented, NoWaiting()).fit(module)


def against_limit(name: str, spec: RunSpec, repeats: int) -> list[Figure]:
    """Return images/s of one training, and their ratio to the limit's."""
    pairs = in_turn(spec, repeats)
    own, limits = [[spec.batch_size / one.step for one in side] for side in zip(*pairs, strict=True)]
    return [
        figure(f"{name}: one training", own, "images/s"),
        figure(f"{name}: the limit", limits, "images/s"),
        ratios(f"{name}: one training over the limit", own, limits),
    ]


def stacks(name: str, spec: RunSpec, sizes: Sequence[int], repeats: int) -> list[Figure]:
    """Return images/s of all trainings of a stack together, by its size."""
    found = []
    for size in sizes:
        try:
            seconds = [stacked(spec, size) for _ in range(repeats)]
        except torch.cuda.OutOfMemoryError:
            print(f"{name}: a stack of {size} does not fit the GPU's memory")
            break
        found.append(figure(f"{name}: stack of {size}", [spec.batch_size / one for one in seconds], "images/s"))
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
    found = list[Figure]()
    for name, task in TASKS.items():
        spec = spec_of(task, "adam")
        title = f"{name}, {torch.cuda.get_device_name()}"
        with seeded(0), quiet_lightning():
            check_no_synchronisation(spec)
            found += against_limit(title, spec, options.repeats)
            found += stacks(title, spec, options.sizes, options.repeats)
    report(found)


if __name__ == "__main__":
    main()
