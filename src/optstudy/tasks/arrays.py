"""A data set as arrays in memory, what a network sees of it, and seeded splits. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optstudy.errors import DataError


@dataclass(frozen=True)
class Stream:
    """How a stream of tokens is read.

    Attributes:
        context: Number of tokens in a window.
        steps: Number of batches of windows in an epoch.
        token_bytes: How many bytes of text each token id (V,) stands for.
        scored: Number of tokens of the training part, at most about, on which weights are scored.
    """

    context: int
    steps: int
    token_bytes: NDArray[np.int64]
    scored: int = 2**16


@dataclass(frozen=True)
class Arrays:
    """A data set in memory.

    Attributes:
        x: Training inputs. Images (n, channels, height, width), sequences (n, steps, features) and tables (n,
            features) are float32; texts (n, length) are int64 token ids with 0 for padding; those of a language are
            its stream of int64 token ids (n,).
        y: Training targets: labels (n,), int64, or real numbers (n,), float32; of a language the token after each of x.
        test_x: Test inputs, never trained on.
        test_y: Test targets.
        classes: Number of classes, which is the number of outputs: 1 for real numbers, 0 if it is not known; of a
            language the size of its vocabulary.
        tokens: Size of the vocabulary of a text or a language, 0 for other kinds.
        stream: How a language's stream is read; None for other kinds.
    """

    x: NDArray[Any]
    y: NDArray[Any]
    test_x: NDArray[Any]
    test_y: NDArray[Any]
    classes: int
    tokens: int = 0
    stream: Stream | None = None

    def first(self, count: int) -> NDArray[Any]:
        """Return the first `count` training inputs as a network reads them: of a stream, windows (count, context)."""
        return self.x[:count] if self.stream is None else np.resize(self.x, (count, self.stream.context))


@dataclass(frozen=True)
class Inputs:
    """What a network is built for: shape of one input, number of outputs, size of the vocabulary (else 0).

    An input of a language has the shape (context,): the longest that the network must read.
    """

    shape: tuple[int, ...]
    classes: int
    tokens: int = 0


def check_differences(arrays: Arrays, classes: bool = True) -> None:
    """Raise DataError if nothing can be learned or measured: one target alone, or inputs that do not differ.

    A test part of a single example passes.
    """
    for name, x, y in (("training", arrays.x, arrays.y), ("test", arrays.test_x, arrays.test_y)):
        if name == "test" and len(y) == 1:
            continue
        if (y == y[0]).all():
            expected, found = ("two classes or more", "of one class") if classes else ("targets that differ", "of one")
            raise DataError(f"expected {expected}, found {len(y)} {name} examples {found}")
        if all(np.array_equal(x[0], other) for other in x[1:]):  # stops at the first that differs
            raise DataError(f"expected inputs that differ, found {len(y)} {name} inputs that are all the same")


def split(
    y: NDArray[np.int64], split_seed: int, share: float, size: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the sorted indices of a training and a validation part, both stratified by the labels `y` (n,).

    `size` examples are drawn first (all if it is None); the `share` of them goes to validation. Raises DataError if a
    part would lack a class.
    """
    from sklearn.model_selection import train_test_split

    _check_size(size, len(y))
    pool = np.arange(len(y))
    try:
        if size is not None and size < len(y):
            pool, _ = train_test_split(pool, train_size=size, stratify=y, random_state=split_seed)
        if share == 0:
            return np.sort(pool), np.empty(0, dtype=np.int64)
        train, val = train_test_split(pool, test_size=share, stratify=y[pool], random_state=split_seed)
    except ValueError as error:  # scikit-learn's message names its own arguments
        counts = np.bincount(y)
        raise DataError(
            f"data.train_size: {size or len(y)}, validation_share: {share:g}: each part, and what train_size leaves "
            f"out, must hold each of {np.count_nonzero(counts)} classes, and each class two examples; the training "
            f"part has {len(y)} examples, of the smallest class {counts[counts > 0].min()}"
        ) from error
    return np.sort(train), np.sort(val)


def split_at_random(
    y: NDArray[Any], split_seed: int, share: float, size: int | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the sorted indices of a training and a validation part, as `split` does, whatever the targets `y` are.

    Raises DataError if a part that is asked for would be empty.
    """
    _check_size(size, len(y))
    pool = np.random.default_rng(split_seed).permutation(len(y))[:size]
    held = round(share * len(pool))
    if held == len(pool) or (share > 0 and held == 0):
        raise DataError(
            f"data.train_size: {len(pool)}, validation_share: {share:g}: training and validation part need an example"
        )
    return np.sort(pool[held:]), np.sort(pool[:held])


def split_by_position(
    y: NDArray[Any],
    split_seed: int,  # noqa: ARG001  # the signature of all ways to split
    share: float,
    size: int | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the indices of a training and a validation part of a stream with the targets `y` (n,); nothing is drawn.

    Of the first `size` targets (all if it is None) the last ones, the `share` of them, are the validation part: what
    comes after the training part, so that no text near a validated token was trained on, but for that before the first.
    Raises DataError if a part that is asked for would be empty.
    """
    _check_size(size, len(y))
    end = size or len(y)
    held = round(share * end)
    if held == end or (share > 0 and held == 0):
        raise DataError(f"data.validation_share: {share:g}: leaves a part of {end} tokens empty")
    return np.arange(end - held), np.arange(end - held, end)


def _check_size(size: int | None, examples: int) -> None:
    if size is not None and size > examples:
        raise DataError(f"data.train_size: {size}: must be at most {examples}, the examples of the training part")


# How the validation part is drawn, by what `Task.split` names.
SPLITS: Mapping[str, Callable[..., tuple[NDArray[np.int64], NDArray[np.int64]]]] = {
    "stratified": split,
    "random": split_at_random,
    "position": split_by_position,
}
