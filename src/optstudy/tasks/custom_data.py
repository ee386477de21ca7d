"""A user's own data as arrays, checked to be of their kind: a LightningDataModule, or what a function returned."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from optstudy.errors import DataError
from optstudy.tasks.arrays import Arrays
from optstudy.tasks.kinds import KINDS, Targets, task_of
from optstudy.user_code import import_class, is_users_function

if TYPE_CHECKING:
    import torch

MOST_TOKENS = 10**6  # the largest vocabularies of pretrained models have a quarter of that; each id is a row of weights
LARGEST_FLOAT = float(np.finfo(np.float32).max)
EXPECTED = "a LightningDataModule, or a function that returns (x, y, test_x, test_y) as tensors or numpy arrays"


class Unfit(ValueError):
    """The data are not of their kind. The message says what is expected and what was found."""


def data_source(path: str) -> Callable[..., Any]:
    """Return what makes a user's own data: the LightningDataModule, or the function, at `path`.

    Raises ValueError for anything else before it is called, such as `os.system` or `shutil.rmtree`.
    """
    source: Callable[..., Any] = import_class(path)
    # Importing Lightning takes seconds, so that its class is not asked for.
    if not (hasattr(source, "train_dataloader") if isinstance(source, type) else is_users_function(source)):
        raise ValueError("must be a LightningDataModule, or a Python function from outside the standard library")
    return source


def custom_arrays(path: str, arguments: Mapping[str, Any], kind: str) -> Arrays:
    """Return the arrays of what the callable at `path` returns. Raises DataError for anything that goes wrong in it."""
    try:
        return arrays_of(data_source(path)(**arguments), kind)
    except (Exception, SystemExit) as error:  # a user's code may raise anything
        name = "" if isinstance(error, Unfit) else f"{type(error).__name__}: "
        raise DataError(f"data.class: {path}: {name}{' '.join(str(error).split())}") from error


def arrays_of(loaded: Any, kind: str) -> Arrays:
    """Return as arrays what a study's `data: class` returned, which must be of `kind`.

    A LightningDataModule's `train_dataloader` and `test_dataloader` are read once each, in full; optstudy splits off
    the validation part, orders and batches as for any data set. Raises Unfit if they are not of that kind.
    """
    if hasattr(loaded, "train_dataloader"):
        loaded.prepare_data()
        loaded.setup("fit")
        train = _collected(loaded.train_dataloader(), "train_dataloader")
        loaded.setup("test")
        loaded = (*train, *_collected(loaded.test_dataloader(), "test_dataloader"))
    if not isinstance(loaded, tuple | list) or len(loaded) != 4:
        raise Unfit(f"expected {EXPECTED}, found {type(loaded).__name__}")
    x, y, test_x, test_y = (_array(part) for part in loaded)
    targets = task_of(kind).targets
    for name, inputs, own in (("", x, y), ("test_", test_x, test_y)):
        _check_inputs(f"{name}x", inputs, kind)
        TARGETS[targets](f"{name}y", own, len(inputs))
    for name, of_train, of_test in (("x", x, test_x), ("y", y, test_y)):
        if of_train.shape[1:] != of_test.shape[1:]:
            found = f"{of_train.shape} and {of_test.shape}"
            raise Unfit(f"{name} and test_{name}: expected the same shape except for n, found {found}")
    if targets != "labels":
        if KINDS[kind].axes:
            x, test_x = x.astype(np.float32), test_x.astype(np.float32)
        outputs = 1 if targets == "numbers" else 0
        return Arrays(_single(x), _single(y), _single(test_x), _single(test_y), outputs)
    classes = _classes(y, test_y)
    tokens_only = KINDS[kind].tokens
    form = np.int64 if tokens_only else np.float32
    tokens = int(max(x.max(), test_x.max())) + 1 if tokens_only else 0
    return Arrays(x.astype(form), y.astype(np.int64), test_x.astype(form), test_y.astype(np.int64), classes, tokens)


def _single(array: NDArray[Any]) -> NDArray[Any]:
    """Return real numbers in single precision, whole ones as int64."""
    return array.astype(np.float32 if array.dtype.kind == "f" else np.int64)


def _classes(y: NDArray[Any], test_y: NDArray[Any]) -> int:
    """Return the number of classes, each of which must be in `y`."""
    classes = int(y.max()) + 1
    if classes > len(y):  # before anything of that size is made
        raise Unfit(f"y: expected labels that count from 0, at most {len(y) - 1} of {len(y)} examples; found {y.max()}")
    if classes < 2:
        raise Unfit("y: expected two labels or more, counted from 0; found 0 only: there is nothing to learn")
    missing = sorted(set(range(classes)) - set(y.tolist()))
    if missing:
        raise Unfit(f"y: expected every label from 0 to {classes - 1}, the largest found; there is no {missing[0]}")
    if test_y.max() >= classes:
        raise Unfit(f"test_y: expected labels from 0 to {classes - 1}, as in y, found {test_y.max()}")
    return classes


def _array(part: Any) -> NDArray[Any]:
    import torch

    if not isinstance(part, torch.Tensor):
        return np.asarray(part)
    part = part.detach().cpu()
    short = part.is_floating_point() and part.dtype not in (torch.float32, torch.float64)
    array: NDArray[Any] = (part.float() if short else part).numpy()  # numpy has no bfloat16
    return array


def _check_inputs(name: str, x: NDArray[Any], kind: str) -> None:
    if not KINDS[kind].axes:
        _check_any(name, x)
        return
    axes, tokens = ", ".join(KINDS[kind].axes), KINDS[kind].tokens
    least, largest = (0, MOST_TOKENS - 1) if tokens else (-LARGEST_FLOAT, LARGEST_FLOAT)
    numbers = f"{'whole' if tokens else 'finite'} numbers from {least:g} to {largest:g}"
    if x.ndim != len(KINDS[kind].axes) or 0 in x.shape or x.dtype.kind not in ("iu" if tokens else "biuf"):
        raise Unfit(f"{name}: data of kind {kind} are ({axes}), not empty, {numbers}; found {x.shape} of {x.dtype}")
    low, high = float(x.min()), float(x.max())
    if not least <= low <= high <= largest:  # also where some are not numbers
        raise Unfit(f"{name}: data of kind {kind} are {numbers}; found values from {low:g} to {high:g}")


def _check_labels(name: str, y: NDArray[Any], count: int) -> None:
    if y.shape != (count,) or y.dtype.kind not in "biu":
        raise Unfit(f"{name}: expected ({count},) whole numbers, as many as inputs; found {y.shape} of {y.dtype}")
    if y.min() < 0:
        raise Unfit(f"{name}: expected labels that count from 0, found {y.min()}")


def _check_numbers(name: str, y: NDArray[Any], count: int) -> None:
    if y.shape != (count,) or y.dtype.kind not in "biuf":
        raise Unfit(f"{name}: expected ({count},) real numbers, as many as inputs; found {y.shape} of {y.dtype}")
    if not np.abs(y.astype(np.float64)).max() <= LARGEST_FLOAT:
        raise Unfit(f"{name}: expected finite numbers, found values from {y.min():g} to {y.max():g}")


def _check_as_many(name: str, y: NDArray[Any], count: int) -> None:
    if y.ndim == 0 or len(y) != count:
        raise Unfit(f"{name}: expected {count} targets, as many as inputs; found {y.shape}")
    _check_any(name, y)


def _check_any(name: str, values: NDArray[Any]) -> None:
    if values.ndim == 0 or 0 in values.shape or values.dtype.kind not in "biuf":
        raise Unfit(f"{name}: expected an array of numbers, not empty; found {values.shape} of {values.dtype}")
    if values.dtype.kind == "f" and not np.abs(values).max() <= LARGEST_FLOAT:
        raise Unfit(f"{name}: expected finite numbers, found values from {values.min():g} to {values.max():g}")


# What targets must be, by what the task predicts.
TARGETS: Mapping[Targets, Callable[[str, NDArray[Any], int], None]] = {
    "labels": _check_labels,
    "numbers": _check_numbers,
    "any": _check_as_many,
}


def _collected(loader: Any, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # a loader that shuffles gives the same order in each process
        batches = list(loader)
    if not batches:
        raise Unfit(f"{name}: expected batches (x, y), found none")
    strange = [type(batch).__name__ for batch in batches if not isinstance(batch, tuple | list) or len(batch) != 2]
    if strange:
        raise Unfit(f"{name}: expected each batch to be (x, y), found {strange[0]}")
    return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])
