"""A data set as arrays in memory, what a network sees of it, and seeded splits. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optstudy.errors import DataError


@dataclass(frozen=True)
class Arrays:
    """A data set in memory; `test_*` is never trained on, y are classes (n,) int64.

    x by kind: image (n, channels, height, width) float32, sequence (n, steps, features) float32, text (n, length)
    int64 token ids with 0 for padding. `tokens` is the size of a text's vocabulary, 0 elsewhere.
    """

    x: NDArray[Any]
    y: NDArray[np.int64]
    test_x: NDArray[Any]
    test_y: NDArray[np.int64]
    classes: int
    tokens: int = 0


@dataclass(frozen=True)
class Inputs:
    """What a network is made for: the shape of one input, the number of classes, a text's vocabulary (else 0)."""

    shape: tuple[int, ...]
    classes: int
    tokens: int = 0


def split(
    y: NDArray[np.int64], split_seed: int, share: float, size: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return indices of a training and a validation part, both stratified.

    Of `y`, `size` examples are drawn first (all without it); `share` of those goes to validation. Raises DataError
    where the classes do not all fit into each part.
    """
    from sklearn.model_selection import train_test_split

    if size is not None and size > len(y):
        raise DataError(f"data.train_size: {size}: must be at most {len(y)}, the examples of the training part")
    pool = np.arange(len(y))
    try:
        if size is not None and size < len(y):
            pool, _ = train_test_split(pool, train_size=size, stratify=y, random_state=split_seed)
        if share == 0:
            return np.sort(pool), np.empty(0, dtype=np.int64)
        train, val = train_test_split(pool, test_size=share, stratify=y[pool], random_state=split_seed)
    except ValueError as error:  # scikit-learn's words name its own arguments
        counts = np.bincount(y)
        raise DataError(
            f"data.train_size: {size or len(y)}, validation_share: {share:g}: each part, and what train_size leaves "
            f"out, must hold each of {np.count_nonzero(counts)} classes, and each class two examples; the training "
            f"part has {len(y)} examples, of the smallest class {counts[counts > 0].min()}"
        ) from error
    return np.sort(train), np.sort(val)
