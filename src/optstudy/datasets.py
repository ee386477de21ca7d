"""The table of data sets, and seeded splits of them; numpy only, so that a digest needs no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

VALIDATION_SHARE = 0.2
TEST_SHARE = 0.25
TEST_SEED = 0  # one test part for everybody: it is part of the data set, not of a replicate


@dataclass(frozen=True)
class Arrays:
    """A data set in memory: x is (n, channels, height, width) float32, y is (n,) int64; `test` is never trained on."""

    x: NDArray[np.float32]
    y: NDArray[np.int64]
    test_x: NDArray[np.float32]
    test_y: NDArray[np.int64]
    classes: int


@dataclass(frozen=True)
class DataRow:
    """One data set: its kind, the shape of one input, its classes, and the function that loads it."""

    kind: str
    shape: tuple[int, ...]
    classes: int
    load: Callable[[], Arrays]


def _load_digits() -> Arrays:
    """Return scikit-learn's digits: 1,797 grey images of 8x8, values 0..16 scaled to [0, 1]; a quarter is the test."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    images = (x / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    train_x, test_x, train_y, test_y = train_test_split(
        images, y.astype(np.int64), test_size=TEST_SHARE, stratify=y, random_state=TEST_SEED
    )
    return Arrays(train_x, train_y, test_x, test_y, classes=10)


DATASETS: Mapping[str, DataRow] = {
    "digits": DataRow(kind="image", shape=(1, 8, 8), classes=10, load=_load_digits),
}


@cache
def load_arrays(name: str) -> Arrays:
    """Return a data set of the table, loaded once a process."""
    return DATASETS[name].load()


def data_digest(data: Mapping[str, Any]) -> str:
    """Return a hash of every value of a data set."""
    arrays = load_arrays(data["name"])
    parts = (arrays.x, arrays.y, arrays.test_x, arrays.test_y)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()[:16]


def split(y: NDArray[np.int64], split_seed: int, share: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return indices of a stratified training and validation part; `share` of `y` goes to validation."""
    from sklearn.model_selection import train_test_split

    train, val = train_test_split(np.arange(len(y)), test_size=share, stratify=y, random_state=split_seed)
    return np.sort(train), np.sort(val)
