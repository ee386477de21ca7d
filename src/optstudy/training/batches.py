"""The LightningDataModule over in-memory tensors: batches are slices, in an order drawn from the training's seed.

A DataLoader collates item by item, and Lightning's loop takes half a millisecond per batch: each costs more than a step
of a small model. Hence slices, and `BatchChunks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from typing import Any, Protocol

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from optstudy.keys import derive_seed
from optstudy.spec import PARTS, Part, RunSpec
from optstudy.tasks.arrays import Arrays
from optstudy.tasks.datasets import inputs_of, load_arrays, split_of
from optstudy.tasks.kinds import KINDS, task_of
from optstudy.training.augmentation import AUGMENTATIONS
from optstudy.training.device import compute_device, to_device

EVALUATION_BATCH = 512
SAMPLE = 2048  # training examples on which the loss of the initial weights is measured
STEPS_PER_CHUNK = 32  # batches that Lightning's loop gets as one
SORTED_TOGETHER = 50  # batches; transformers' LengthGroupedSampler sorts as many, so that batches stay random

Parts = dict[Part, tuple[Tensor, Tensor]]


class Loader(Protocol):
    """Batches (x, y) of a part of the data; each iteration gives as many as its length says."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]: ...


class SliceLoader:
    """Batches of (x, y), each iteration in the next order that `generator` draws, or in the given order without one.

    Args:
        x: Inputs (n, ...).
        y: Targets (n, ...).
        batch_size: Number of examples in a batch; the last batch may be smaller.
        generator: Draws the orders, on the CPU, so that no step waits for a GPU.
        change: Is applied to each batch's x.
        lengths: Lengths (n,) of sentences, on the CPU; a batch is cut to its longest sentence, the rest is padding.
        by_length: Whether a batch has examples of about the same length. Without a generator, they come from the
            shortest to the longest.
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        batch_size: int,
        generator: torch.Generator | None = None,
        change: Callable[[Tensor], Tensor] = lambda batch: batch,
        lengths: Tensor | None = None,
        by_length: bool = False,
    ) -> None:
        self.x, self.y, self.batch_size, self.generator = x, y, batch_size, generator
        self.change, self.lengths = change, lengths
        self.grouped = lengths if by_length else None

    def __len__(self) -> int:
        """Return the number of batches; the last one may be smaller."""
        return -(-len(self.y) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        order = self._order()
        for (x, y), longest in zip(self._batches(order), self._longest(order), strict=True):
            yield self.change(x if longest is None else x[:, :longest]), y

    def _order(self) -> Tensor | None:
        if self.generator is None:
            return None if self.grouped is None else shortest_first(self.grouped)
        order = torch.randperm(len(self.y), generator=self.generator)
        if self.grouped is None:
            return order
        return grouped_by_length(order, self.grouped, self.batch_size, self.generator)

    def _batches(self, order: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
        if order is None:
            return zip(torch.split(self.x, self.batch_size), torch.split(self.y, self.batch_size), strict=True)
        chosen = torch.split(to_device(order, self.x.device), self.batch_size)
        return ((self.x.index_select(0, index), self.y.index_select(0, index)) for index in chosen)

    def _longest(self, order: Tensor | None) -> list[int] | list[None]:
        """Return the length of the longest sentence of each batch, None for data without lengths."""
        if self.lengths is None:
            return [None] * len(self)
        lengths = self.lengths if order is None else self.lengths[order]
        return [max(1, int(part.max())) for part in torch.split(lengths, self.batch_size)]


def shortest_first(lengths: Tensor) -> Tensor:
    """Return the indices (n,) of sentences from the shortest to the longest; of one length, the first comes first."""
    return lengths.argsort(stable=True)


def grouped_by_length(order: Tensor, lengths: Tensor, batch_size: int, generator: torch.Generator) -> Tensor:
    """Return `order` (n,) changed so that the examples of a batch have about the same length.

    As in transformers' `LengthGroupedSampler`, the examples of `SORTED_TOGETHER` batches are sorted by length. The
    batches are then shuffled, so that an epoch does not run from short to long. The examples that fill no batch stay
    the last ones of `order`.
    """
    count = len(order) // batch_size
    pieces = torch.split(order[: count * batch_size], SORTED_TOGETHER * batch_size)
    batches = torch.cat([piece[shortest_first(lengths[piece])] for piece in pieces]).view(count, batch_size)
    shuffled = batches[torch.randperm(count, generator=generator)]
    return torch.cat([shuffled.flatten(), order[count * batch_size :]])


class BatchChunks:
    """The `steps` batches of an epoch in chunks of `length`. Each chunk is an iterator over batches, to be exhausted.

    Lightning takes a chunk for one batch, so that its loop runs once per `length` steps.
    """

    def __init__(self, batches: Iterable[tuple[Tensor, Tensor]], steps: int, length: int) -> None:
        self.batches, self.steps, self.length = batches, steps, length

    def __len__(self) -> int:
        """Return the number of chunks in an epoch."""
        return -(-self.steps // self.length)

    def __iter__(self) -> Iterator[Iterator[tuple[Tensor, Tensor]]]:
        batches = iter(self.batches)
        return (islice(batches, self.length) for _ in range(len(self)))


class ArrayData(pl.LightningDataModule):
    """A data set as one training sees it: a training and a validation part by its split, and the common test part.

    Tensors are on `device`, and shared with `like`, the data of another training with the same split, if it is given.
    """

    def __init__(self, spec: RunSpec, like: ArrayData | None = None, device: torch.device | None = None) -> None:
        super().__init__()
        self.device = device or compute_device()
        arrays, data = load_arrays(spec.data), spec.data
        self.inputs = inputs_of(data)
        if like is None:
            parts, self.target_sd = _parts(arrays, spec)
            self.lengths = {part: _lengths(x) if KINDS[data["kind"]].tokens else None for part, (x, _) in parts.items()}
            self.parts: Parts = {part: (x.to(self.device), y.to(self.device)) for part, (x, y) in parts.items()}
        else:
            self.lengths, self.parts, self.target_sd = like.lengths, like.parts, like.target_sd
        self.batch_size, self.by_length = spec.batch_size, data.get("batches") == "by_length"
        self.order = torch.Generator().manual_seed(spec.seed)
        self.to_layout = _to_channels_last if channels_last(spec) else _unchanged
        self.augments = bool(data["augment"])
        self.augment = _augmentation(data["augment"], derive_seed(spec.seed, "augment"), self.device)

    def train_dataloader(self) -> Loader:
        """Return shuffled batches of the training part."""
        x, y = self.parts["train"]
        return SliceLoader(x, y, self.batch_size, self.order, self._change, self.lengths["train"], self.by_length)

    def _change(self, x: Tensor) -> Tensor:
        return self.to_layout(self.augment(x))

    def val_dataloader(self) -> Any:
        """Return the validation part; an empty list where there is none."""
        return self.evaluation("val") if len(self.parts["val"][1]) else []

    def evaluation(self, part: Part, most: int | None = None) -> Loader:
        """Return `part`, or its first `most` examples, in large batches; in order unless batches are by length."""
        (x, y), lengths = self.parts[part], self.lengths[part]
        first = None if lengths is None else lengths[:most]
        return SliceLoader(x[:most], y[:most], EVALUATION_BATCH, None, self.to_layout, first, self.by_length)

    def evaluated_order(self, part: Part, most: int | None = None) -> Tensor | None:
        """Return the indices of the examples of `evaluation` in their order; None if they are all in order."""
        lengths = self.lengths[part]
        return shortest_first(lengths[:most]) if self.by_length and lengths is not None else None

    def present(self) -> list[Part]:
        """Return the parts that have examples: a study may have no validation part."""
        return [part for part in PARTS if len(self.parts[part][1])]


def _parts(arrays: Arrays, spec: RunSpec) -> tuple[Parts, float]:
    """Return the parts, and the deviation of the training targets: real numbers are standardised by those."""
    train, val = split_of(spec.data, spec.split_seed)
    scale = _scaling(arrays.x[train]) if spec.data["scaling"] == "standardised" else _unchanged
    target, sd = _unchanged, 1.0
    if task_of(spec.data["kind"]).targets == "numbers":
        numbers = arrays.y[train].astype(np.float64)
        mean, sd = float(numbers.mean()), float(numbers.std()) or 1.0
        target = partial(_standardised, mean=mean, sd=sd)
    xs = {"train": arrays.x[train], "val": arrays.x[val], "test": arrays.test_x}
    ys = {"train": arrays.y[train], "val": arrays.y[val], "test": arrays.test_y}
    return {part: (torch.from_numpy(scale(xs[part])), torch.from_numpy(target(ys[part]))) for part in PARTS}, sd


def _unchanged(x: Any) -> Any:
    return x


def _scaling(train: NDArray[np.float32]) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """Return the function that gives each channel, or feature, mean 0 and deviation 1 in `train`."""
    axes = {4: (0, 2, 3), 3: (0, 1), 2: (0,)}[train.ndim]
    mean = train.mean(axes, keepdims=True, dtype=np.float64)
    sd = np.maximum(train.std(axes, keepdims=True, dtype=np.float64), 1e-8)
    return partial(_standardised, mean=mean, sd=sd)


def _standardised(values: NDArray[Any], mean: Any, sd: Any) -> NDArray[np.float32]:
    return ((values - mean) / sd).astype(np.float32)


def _lengths(tokens: Tensor) -> Tensor:
    """Return the lengths (n,) of sentences (n, length) that are padded with 0."""
    return (tokens != 0).sum(1)


def channels_last(spec: RunSpec) -> bool:
    """Return whether images and convolutions keep the channels of a pixel together in memory.

    This makes convolutions and pooling a fifth to a half faster. A user's own network is excluded: its `view` may fail.
    """
    return KINDS[spec.data["kind"]].channels_last and spec.model["name"] is not None


def _to_channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


def _augmentation(names: tuple[str, ...], seed: int, device: torch.device) -> Callable[[Tensor], Tensor]:
    if not names:
        return _unchanged
    generator = torch.Generator(device).manual_seed(seed)

    def augment(x: Tensor) -> Tensor:
        for name in names:
            x = AUGMENTATIONS[name](x, generator)
        return x

    return augment
