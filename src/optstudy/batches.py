"""The LightningDataModule over in-memory tensors: batches are slices, their order comes from the run's seed.

A DataLoader collates item by item and costs more than a step of a small model; one `index_select` does not.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from optstudy.datasets import DATASETS, VALIDATION_SHARE, load_arrays, split
from optstudy.runs import Part, RunSpec

EVALUATION_BATCH = 512


class Slices:
    """Batches of (x, y); each iteration takes the next permutation from `generator`, or the given order without one."""

    def __init__(self, x: Tensor, y: Tensor, batch_size: int, generator: torch.Generator | None = None) -> None:
        self.x, self.y, self.batch_size, self.generator = x, y, batch_size, generator

    def __len__(self) -> int:
        """Return the number of batches; the last one may be smaller."""
        return -(-len(self.y) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self.generator is None:
            yield from zip(torch.split(self.x, self.batch_size), torch.split(self.y, self.batch_size), strict=True)
            return
        for index in torch.split(torch.randperm(len(self.y), generator=self.generator), self.batch_size):
            yield self.x[index], self.y[index]


class ArrayData(pl.LightningDataModule):
    """A replicate's view of a data set: its training and validation part, and the test part that all share."""

    def __init__(self, spec: RunSpec) -> None:
        super().__init__()
        arrays = load_arrays(spec.data["name"])
        train, val = split(arrays.y, spec.split_seed, spec.data.get("validation_share", VALIDATION_SHARE))
        self.shape, self.classes = DATASETS[spec.data["name"]].shape, arrays.classes
        self.parts: dict[Part, tuple[Tensor, Tensor]] = {
            "train": (torch.from_numpy(arrays.x[train]), torch.from_numpy(arrays.y[train])),
            "val": (torch.from_numpy(arrays.x[val]), torch.from_numpy(arrays.y[val])),
            "test": (torch.from_numpy(arrays.test_x), torch.from_numpy(arrays.test_y)),
        }
        self.batch_size = spec.batch_size
        self.order = torch.Generator().manual_seed(spec.seed)

    def train_dataloader(self) -> Slices:
        """Return shuffled batches of the training part."""
        return Slices(*self.parts["train"], self.batch_size, self.order)

    def val_dataloader(self) -> Slices:
        """Return the validation part in order."""
        return self.evaluation("val")

    def evaluation(self, part: Part) -> Slices:
        """Return `part` in order, in batches as large as is quick."""
        return Slices(*self.parts[part], EVALUATION_BATCH)

    def chance(self, part: Part) -> float:
        """Return the accuracy of always answering the largest class of `part`."""
        labels = self.parts[part][1].numpy()
        return float(np.bincount(labels).max() / len(labels))
