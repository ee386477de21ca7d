"""The table of data sets, and seeded subsets and splits of them; numpy only, so that reading it needs no torch.

A row's loader lives in a module of its kind and is named as a string: only who loads a data set imports it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optstudy.errors import DataError
from optstudy.optimizers import import_class

TEST_SHARE = 0.25
TEST_SEED = 0  # one test part for everybody: it is part of the data set, not of a replicate


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
class DataRow:
    """One data set: its kind, the function that returns its `Arrays`, and its arguments with their defaults.

    An argument whose default is None must be given. A function (kind `function`) has `load` = the class of the
    function, see functions.py.
    """

    kind: str
    load: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    side: int | None = None  # of an image, in pixels; None: its argument `size` says


DATASETS: Mapping[str, DataRow] = {
    "digits": DataRow("image", "optstudy.datasets.digits", {"classes": list(range(10))}, side=8),
    "mnist": DataRow("image", "optstudy.vision.mnist", side=28),
    "fashion_mnist": DataRow("image", "optstudy.vision.fashion_mnist", side=28),
    "kmnist": DataRow("image", "optstudy.vision.kmnist", side=28),
    "cifar10": DataRow("image", "optstudy.vision.cifar10", side=32),
    "cifar100": DataRow("image", "optstudy.vision.cifar100", side=32),
    "image_folder": DataRow("image", "optstudy.vision.image_folder", {"train": None, "test": None, "size": 64}),
    "text": DataRow(
        "text", "optstudy.texts.separated", {"train": None, "test": None, "tokenizer": "words", "length": 64}
    ),
    "trec6": DataRow("text", "optstudy.texts.trec6", {"tokenizer": "words", "length": 64}),
    "hub": DataRow(
        "text",
        "optstudy.texts.hub",
        {"dataset": None, "text": "text", "label": "label", "train": "train", "test": "test"}
        | {"tokenizer": "words", "length": 64},
    ),
    "ravine": DataRow("function", "optstudy.functions.Ravine", {"condition": 100.0, "tolerance": 1e-3}),
    "rosenbrock": DataRow("function", "optstudy.functions.Rosenbrock", {"tolerance": 1e-3}),
}


def data_root() -> Path:
    """Return the folder of downloaded data sets: `OPTSTUDY_DATA`, or `data` below the current folder."""
    return Path(os.environ.get("OPTSTUDY_DATA") or "data")


def below_root(path: str) -> Path:
    """Return a study file's path; a relative one lies below the data root."""
    return data_root() / path


def digits(classes: list[int]) -> Arrays:
    """Return scikit-learn's digits: 1,797 grey images of 8x8, values 0..16 scaled to [0, 1]; a quarter is the test.

    `classes` keeps some of the ten digits, numbered anew from 0 in the order given.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    x, y = load_digits(return_X_y=True)
    images = (x / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    train_x, test_x, train_y, test_y = train_test_split(
        images, y.astype(np.int64), test_size=TEST_SHARE, stratify=y, random_state=TEST_SEED
    )
    number = {digit: index for index, digit in enumerate(classes)}
    keep, test_keep = np.isin(train_y, classes), np.isin(test_y, classes)
    return Arrays(
        train_x[keep],
        np.array([number[int(digit)] for digit in train_y[keep]], dtype=np.int64),
        test_x[test_keep],
        np.array([number[int(digit)] for digit in test_y[test_keep]], dtype=np.int64),
        len(classes),
    )


def load_arrays(data: Mapping[str, Any]) -> Arrays:
    """Return the arrays of {"load", "arguments", ...} (see `RunSpec.data`), loaded once a process.

    Raises DataError where files are missing or broken, or a user's own class fails or makes something else.
    """
    own = data["kind"] if data.get("name", "") is None else ""
    return _loaded(data["load"], json.dumps(data["arguments"], sort_keys=True), own)


@lru_cache(maxsize=2)  # a study's data, and that of its pretraining
def _loaded(path: str, arguments: str, own: str) -> Arrays:
    """Return the arrays that `path` makes; `own` is the kind that a user's own is said to be, empty for the table's."""
    if not own:
        try:
            arrays: Arrays = import_class(path)(**json.loads(arguments))
        except OSError as error:  # its text names the file
            raise DataError(f"data: cannot be read: {error}") from error
        return arrays
    from optstudy.own_data import own_arrays

    return own_arrays(path, json.loads(arguments), own)


def data_digest(data: Mapping[str, Any]) -> str:
    """Return a hash of a data set's values and shapes; a function has none, and its name says all."""
    if data["kind"] == "function":
        return "function"
    arrays = load_arrays(data)
    content = hashlib.sha256()
    for part in (arrays.x, arrays.y, arrays.test_x, arrays.test_y):
        content.update(f"{part.dtype} {part.shape}".encode())
        content.update(np.ascontiguousarray(part).data)
    return content.hexdigest()[:16]


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
