"""The limit: the shortest raw PyTorch loop for the training of a RunSpec, for comparison with optstudy.

Network, split, order and layout of batches, optimizer, schedule and evaluation are the same. All parameters are in one
group, which is faster than two, so biases decay, too, if there is decay. It does not import Lightning: a process of it
starts as quickly as a plain script.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from optstudy.spec import RunSpec
from optstudy.tasks.arrays import split
from optstudy.tasks.datasets import inputs_of, load_arrays
from optstudy.tasks.networks import build_network
from optstudy.training.batches import EVALUATION_BATCH
from optstudy.training.device import compute_device, now
from optstudy.training.optimizers import build_optimizer


@dataclass(frozen=True)
class Timed:
    """A timed training: its steps and images, seconds in its steps and in total, and its test accuracy."""

    steps: int
    images: int
    in_steps: float
    total: float
    accuracy: float

    @property
    def step(self) -> float:
        """Return the seconds of a step."""
        return self.in_steps / self.steps

    @property
    def rate(self) -> float:
        """Return the images per second of its steps."""
        return self.images / self.in_steps


def limit(spec: RunSpec) -> Timed:
    """Train with the shortest loop: slices of tensors, one optimizer, no metrics in the loop."""
    assert not spec.data["augment"]
    assert spec.data["scaling"] != "standardised"
    assert spec.schedule["name"] == "cosine"
    assert spec.schedule["interval"] == "epoch"
    assert spec.clip is None
    clock = time.perf_counter()
    torch.manual_seed(spec.seed)
    order = torch.Generator().manual_seed(spec.seed)
    (x, y), val, test = _parts(spec)
    layout = _layout(x)
    network = build_network(spec.model, inputs_of(spec.data)).to(x.device, memory_format=layout)
    optimizer = build_optimizer(spec.optimizer, spec.hyperparameters, [{"params": list(network.parameters())}])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, spec.epochs)
    half = spec.precision == "bf16-mixed"
    steps, in_steps = 0, 0.0
    for _ in range(spec.epochs):
        began = now()
        for chosen in torch.randperm(len(y), generator=order).to(x.device).split(spec.batch_size):
            batch = x.index_select(0, chosen).contiguous(memory_format=layout)
            with torch.autocast(x.device.type, torch.bfloat16) if half else nullcontext():
                loss = functional.cross_entropy(network(batch), y.index_select(0, chosen))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
        in_steps += now() - began
        schedule.step()
        _accuracy(network, *val, half)
    accuracy = _accuracy(network, *test, half)
    return Timed(steps, spec.epochs * len(y), in_steps, time.perf_counter() - clock, accuracy)


def _parts(spec: RunSpec) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield inputs and labels of the training, validation and test part, on the device."""
    arrays, device = load_arrays(spec.data), compute_device()
    train, val = split(arrays.y, spec.split_seed, spec.data["validation_share"], spec.data["train_size"])
    parts = (arrays.x[train], arrays.y[train]), (arrays.x[val], arrays.y[val]), (arrays.test_x, arrays.test_y)
    for x, y in parts:
        yield torch.from_numpy(x).to(device), torch.from_numpy(y).to(device)


def _layout(x: Tensor) -> torch.memory_format:
    """Return the memory format that optstudy uses for such inputs and their networks."""
    return torch.channels_last if x.dim() == 4 else torch.contiguous_format


@torch.no_grad()
def _accuracy(network: nn.Module, x: Tensor, y: Tensor, half: bool) -> float:
    """Return the share of right answers, 0 if there are no examples."""
    right = 0
    for batch, labels in zip(x.split(EVALUATION_BATCH), y.split(EVALUATION_BATCH), strict=True):
        with torch.autocast(x.device.type, torch.bfloat16) if half else nullcontext():
            logits = network(batch.contiguous(memory_format=_layout(x)))
        right += int((logits.argmax(1) == labels).sum())
    return right / max(len(y), 1)
