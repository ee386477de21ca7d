"""The LightningDataModule over a stream of tokens: random windows to train on, consecutive ones to evaluate on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from optstudy.errors import DataError
from optstudy.spec import Part, RunSpec
from optstudy.tasks.arrays import Stream
from optstudy.tasks.datasets import load_arrays, split_of
from optstudy.training.batches import ArrayData
from optstudy.training.device import to_device

LOGITS = 2**18  # in one batch of an evaluation: what a batch computes then stays in a processor's cache


class RandomWindows:
    """The batches of an epoch: windows (batch_size, context) that start anywhere in a stream (n,), with their targets.

    Each iteration draws the next starts from `generator`, on the CPU, so that no step waits for a GPU.
    """

    def __init__(
        self, x: Tensor, y: Tensor, context: int, batch_size: int, steps: int, generator: torch.Generator
    ) -> None:
        self.x, self.y, self.batch_size, self.steps, self.generator = x, y, batch_size, steps, generator
        self.context, self.within = context, torch.arange(context)

    def __len__(self) -> int:
        """Return the number of batches."""
        return self.steps

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        starts = len(self.x) - self.context + 1
        for _ in range(self.steps):
            first = torch.randint(starts, (self.batch_size, 1), generator=self.generator)
            yield _windows(self.x, self.y, to_device(first + self.within, self.x.device))


class ConsecutiveWindows:
    """Windows of a stream (n,) without overlap, in large batches (windows, context); together they are all of it.

    The last window is shorter, and a batch of its own, if `context` does not divide n. With `most`, about so many
    tokens in evenly spaced windows are enough.
    """

    def __init__(self, x: Tensor, y: Tensor, stream: Stream, most: int | None = None) -> None:
        self.x, self.y, self.context = x, y, stream.context
        whole = len(x) // stream.context
        kept = whole if most is None else min(whole, max(1, most // stream.context))
        self.starts = torch.arange(kept) * whole // max(1, kept) * stream.context
        self.rest = len(x) % stream.context if kept == whole else 0
        self.batch_size = max(1, LOGITS // (stream.context * len(stream.token_bytes)))

    def __len__(self) -> int:
        """Return the number of batches."""
        return -(-len(self.starts) // self.batch_size) + (self.rest > 0)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        within = torch.arange(self.context)
        for starts in torch.split(self.starts, self.batch_size) if len(self.starts) else ():
            yield _windows(self.x, self.y, to_device(starts[:, None] + within, self.x.device))
        if self.rest:
            yield self.x[None, -self.rest :], self.y[None, -self.rest :]


def _windows(x: Tensor, y: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    return x[index], y[index]


class TokenWindows(ArrayData):
    """A stream of tokens as one training sees it: its parts follow each other, and batches are windows of them.

    `bytes_per_token` says how many bytes of text a target of each part stands for, on average. Raises DataError if the
    training part is shorter than a window.
    """

    def __init__(self, spec: RunSpec, like: ArrayData | None = None, device: torch.device | None = None) -> None:
        super().__init__(spec, like, device)
        arrays, (train, val) = load_arrays(spec.data), split_of(spec.data, spec.split_seed)
        stream, tokens = arrays.stream, len(train)
        assert stream is not None
        self.stream = stream
        if tokens < stream.context:
            words = f"must be at most {tokens}, the tokens of the training part"
            raise DataError(f"data.arguments.context: {stream.context}: {words}")
        targets: dict[Part, NDArray[np.int64]] = {"train": arrays.y[train], "val": arrays.y[val], "test": arrays.test_y}
        self.bytes_per_token = {part: float(stream.token_bytes[targets[part]].mean()) for part in self.present()}

    def train_dataloader(self) -> RandomWindows:
        """Return random windows of the training part."""
        stream = self.stream
        return RandomWindows(*self.parts["train"], stream.context, self.batch_size, stream.steps, self.order)

    def evaluation(self, part: Part, most: int | None = None) -> ConsecutiveWindows:  # noqa: ARG002  # as ArrayData's
        """Return `part` as consecutive windows; of the training part evenly spaced ones, about `Stream.scored` tokens.

        They are the same before and after the training, and make train scores as cheap as those of the other parts.
        """
        return ConsecutiveWindows(*self.parts[part], self.stream, self.stream.scored if part == "train" else None)
