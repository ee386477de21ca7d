"""A user's own data as arrays, checked to be of their kind: a LightningDataModule, or what a function returned."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from optstudy.errors import DataError
from optstudy.tasks.arrays import Arrays
from optstudy.tasks.kinds import KINDS
from optstudy.user_code import import_class

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
    if isinstance(source, type):
        fits = hasattr(source, "train_dataloader")  # importing Lightning takes seconds
    else:
        function = inspect.unwrap(source)
        fits = inspect.isfunction(function) and function.__module__.partition(".")[0] not in sys.stdlib_module_names
    if not fits:
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
    for name, inputs, labels in (("", x, y), ("test_", test_x, test_y)):
        _check_inputs(f"{name}x", inputs, kind)
        _check_labels(f"{name}y", labels, len(inputs))
    if x.shape[1:] != test_x.shape[1:]:
        raise Unfit(f"x and test_x: expected the same shape except for n, found {x.shape} and {test_x.shape}")
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
    tokens_only = KINDS[kind].tokens
    form = np.int64 if tokens_only else np.float32
    tokens = int(max(x.max(), test_x.max())) + 1 if tokens_only else 0
    return Arrays(x.astype(form), y.astype(np.int64), test_x.astype(form), test_y.astype(np.int64), classes, tokens)


def _array(part: Any) -> NDArray[Any]:
    import torch

    if not isinstance(part, torch.Tensor):
        return np.asarray(part)
    part = part.detach().cpu()
    short = part.is_floating_point() and part.dtype not in (torch.float32, torch.float64)
    array: NDArray[Any] = (part.float() if short else part).numpy()  # numpy has no bfloat16
    return array


def _check_inputs(name: str, x: NDArray[Any], kind: str) -> None:
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
