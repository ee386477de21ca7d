"""A user's own data, a LightningDataModule or what a function returned, as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from optstudy.datasets import Arrays
from optstudy.errors import DataError

EXPECTED = "a LightningDataModule, or a function that returns (x, y, test_x, test_y) as tensors or numpy arrays"


def arrays_of(loaded: Any) -> Arrays:
    """Return the arrays of what a `class:` of a study's data made.

    A LightningDataModule's `train_dataloader` and `test_dataloader` are read once each, in full; optstudy splits off
    the validation part, orders and batches as for any data set. Raises DataError for anything else.
    """
    if hasattr(loaded, "train_dataloader"):
        loaded.prepare_data()
        loaded.setup("fit")
        x, y = _collected(loaded.train_dataloader())
        loaded.setup("test")
        loaded = (x, y, *_collected(loaded.test_dataloader()))
    if not isinstance(loaded, tuple) or len(loaded) != 4:
        raise DataError(f"data: class: expected {EXPECTED}, found {type(loaded).__name__}")
    x, y, test_x, test_y = (np.asarray(part) for part in loaded)
    if len(x) != len(y) or len(test_x) != len(test_y) or x.shape[1:] != test_x.shape[1:]:
        shapes = f"{x.shape}, {y.shape}, {test_x.shape}, {test_y.shape}"
        raise DataError(f"data: class: expected x and y of one length and test_x of x's shape, found {shapes}")
    whole = np.issubdtype(x.dtype, np.integer)
    kind = np.int64 if whole and x.ndim == 2 else np.float32
    tokens = int(max(x.max(), test_x.max())) + 1 if kind is np.int64 else 0
    classes = int(max(y.max(), test_y.max())) + 1
    return Arrays(x.astype(kind), y.astype(np.int64), test_x.astype(kind), test_y.astype(np.int64), classes, tokens)


def _collected(loader: Any) -> tuple[Any, Any]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # a loader that shuffles gives the same order in each process
        batches = list(loader)
    return torch.cat([x for x, _ in batches]).numpy(), torch.cat([y for _, y in batches]).numpy()
