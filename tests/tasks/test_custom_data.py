"""A user's own data: read as it is meant in each customary form, refused with what was expected in any other."""

from __future__ import annotations

import functools
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from builders import tiny
from optstudy.errors import DataError
from optstudy.planning.layout import StudyPaths
from optstudy.planning.preflight import fingerprints_of
from optstudy.running import stages
from optstudy.tasks import datasets
from optstudy.tasks.arrays import Arrays
from optstudy.tasks.custom_data import custom_arrays, data_source
from optstudy.tasks.datasets import check_scale, data_digest, load_arrays

X = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(20) % 2
TOKENS = torch.randint(0, 9, (20, 5), generator=torch.Generator().manual_seed(0))


def of(made: object, kind: str = "image", **arguments: Any) -> Arrays:
    """Load what `made` makes, or itself, as a study's data would be loaded."""
    globals()["made"] = made if callable(made) else lambda: made
    datasets._loaded.cache_clear()
    return load_arrays({"name": None, "kind": kind, "class": "test_custom_data.made", "arguments": arguments})


WITH_NAN, LABEL_1E9 = X.clone(), Y.clone()
WITH_NAN[3, 0, 1, 2], LABEL_1E9[3] = torch.nan, 10**9


class Module(pl.LightningDataModule):
    def __init__(self, batch: Callable[[Any, Any], Any] | None = None) -> None:
        super().__init__()
        self.batch = batch

    def train_dataloader(self) -> Any:
        loader = DataLoader(TensorDataset(X, Y), batch_size=7)
        return loader if self.batch is None else [self.batch(x, y) for x, y in loader]


class Whole(Module):
    def test_dataloader(self) -> Any:
        return self.train_dataloader()


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x,
        lambda x: x.numpy(),
        lambda x: x.clone().requires_grad_(),
        lambda x: x.double(),
        lambda x: x.to(memory_format=torch.channels_last),
    ],
)
def test_tensors_and_arrays_of_any_float_are_the_numbers_that_they_hold(change: Callable[[Any], Any]) -> None:
    arrays = of((change(X), Y, change(X), Y))
    assert (arrays.x.dtype, arrays.y.dtype, arrays.classes, arrays.tokens) == (np.float32, np.int64, 2, 0)
    assert np.array_equal(arrays.x, X.numpy())


def test_half_precision_and_bytes_are_taken_as_numbers() -> None:
    assert np.array_equal(of((X.bfloat16(), Y, X.bfloat16(), Y)).x, X.bfloat16().float().numpy())
    pixels = (X * 255).byte()
    assert np.array_equal(of((pixels, Y, pixels, Y == 1)).x, pixels.float().numpy())


def test_a_data_module_is_read_in_full() -> None:
    arrays = of(Whole)
    assert np.array_equal(arrays.x, X.numpy())
    assert np.array_equal(arrays.test_y, Y.numpy())


def test_a_text_s_vocabulary_is_counted() -> None:
    arrays = of((TOKENS, Y, TOKENS, Y), "text")
    assert (arrays.x.dtype, arrays.tokens) == (np.int64, int(TOKENS.max()) + 1)


def raising() -> None:
    raise RuntimeError("the disk\nis full")


# name -> (what is made, its kind, words of the message)
BROKEN: dict[str, tuple[Any, str, list[str]]] = {
    "function that raises": (raising, "image", ["RuntimeError: the disk is full"]),
    "two parts": ((X, Y), "image", ["expected a LightningDataModule, or a function", "found tuple"]),
    "no data": (None, "image", ["found NoneType"]),
    "no test_dataloader": (Module, "image", ["test_dataloader", "must be implemented"]),
    "dict batches": (lambda: Whole(lambda x, y: {"x": x, "y": y}), "image", ["(x, y)", "dict"]),
    "batches of inputs alone": (lambda: Whole(lambda *batch: batch[:1]), "image", ["train_dataloader", "(x, y)"]),
    "flat images": ((X.flatten(1), Y, X.flatten(1), Y), "image", ["(n, channels, height, width)", "(20, 16)"]),
    "flat sequences": ((X.flatten(1), Y, X.flatten(1), Y), "sequence", ["(n, steps, features)", "(20, 16)"]),
    "images for text": ((X, Y, X, Y), "text", ["(n, length)", "(20, 1, 4, 4)", "float32"]),
    "float ids": ((TOKENS.float(), Y, TOKENS.float(), Y), "text", ["whole numbers from 0", "float32"]),
    "negative ids": ((TOKENS - 5, Y, TOKENS, Y), "text", ["whole numbers from 0", "-5"]),
    "words for images": ((np.full((20, 1, 4, 4), "a"), Y, X, Y), "image", ["finite numbers", "<U1"]),
    "not a number": ((X / 0 * 0, Y, X, Y), "image", ["finite numbers", "nan"]),
    "one that is not a number": ((WITH_NAN, Y, X, Y), "image", ["x: ", "finite numbers", "nan"]),
    "infinite": ((X, Y, X / 0, Y), "image", ["test_x: ", "finite numbers", "to inf"]),
    "tensors beyond float32": ((X.double() * 1e300, Y, X, Y), "image", ["from -3.40282e+38 to 3.40282e+38", "e+299"]),
    "arrays beyond float32": (
        (X, Y, X.numpy() * np.float64(-1e300), Y),
        "image",
        ["test_x: ", "values from -9.", "e+299"],
    ),
    "huge ids": ((TOKENS + 10**9, Y, TOKENS, Y), "text", ["whole numbers from 0 to 999999", "1e+09"]),
    "ids beyond 63 bits": ((TOKENS.numpy().astype(np.uint64) + 2**63, Y, TOKENS, Y), "text", ["9.22337e+18"]),
    "exit": (lambda: sys.exit(3), "image", ["SystemExit: 3"]),
    "empty": ((X[:0], Y[:0], X, Y), "image", ["x", "not empty", "(0, 1, 4, 4)"]),
    "empty test": ((X, Y, X[:0], Y[:0]), "image", ["test_x", "not empty"]),
    "another test": ((X, Y, X[:, :, :2], Y), "image", ["same shape", "(20, 1, 2, 4)"]),
    "labels short of inputs": ((X, Y[:5], X, Y), "image", ["y: expected (20,)", "(5,)"]),
    "float labels": ((X, Y.float(), X, Y), "image", ["y: expected (20,) whole numbers", "float32"]),
    "one-hot labels": ((X, torch.eye(2)[Y], X, Y), "image", ["y: expected (20,)", "(20, 2)"]),
    "labels from -1": ((X, Y - 1, X, Y), "image", ["count from 0", "-1"]),
    "labels from 1": ((X, Y + 1, X, Y + 1), "image", ["every label from 0 to 2", "no 0"]),
    "a huge label": ((X, LABEL_1E9, X, Y), "image", ["count from 0, at most 19 of 20 examples; found 1000000000"]),
    "a huge test label": ((X, Y, X, LABEL_1E9), "image", ["test_y: expected labels from 0 to 1", "1000000000"]),
    "a single label": ((X, Y * 0, X, Y * 0), "image", ["y: expected two labels or more", "found 0 only"]),
    "new test labels": ((X, Y, X, Y + 1), "image", ["test_y: expected labels from 0 to 1", "2"]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_other_data_are_refused_in_one_line_that_says_what_is_expected(name: str) -> None:
    made, kind, words = BROKEN[name]
    with pytest.raises(DataError) as caught:
        of(made, kind)
    message = str(caught.value)
    assert message.startswith("data.class: test_custom_data.made: ")
    assert "\n" not in message
    assert [word for word in words if word not in message] == []


# What `data: class` names: Python functions and LightningDataModules, as they are or wrapped.
def plain() -> None: ...


@functools.cache
def kept() -> None: ...


@functools.wraps(plain)
def decorated() -> None: ...


from_system, from_shutil, of_one, number = os.system, shutil.rmtree, functools.partial(plain), 7


@pytest.mark.parametrize("name", ["plain", "kept", "decorated", "Module"])
def test_functions_and_data_modules_are_accepted_as_data(name: str) -> None:
    assert data_source(f"test_custom_data.{name}") is globals()[name]


NOT_DATA = [f"test_custom_data.{name}" for name in ("from_system", "from_shutil", "of_one", "number", "tiny.cache")]


@pytest.mark.parametrize(
    "path", ["os.system", "os._exit", "subprocess.run", "shutil.rmtree", "builtins.eval", "builtins.dict", *NOT_DATA]
)
def test_anything_else_is_refused_as_data_before_it_is_called(path: str) -> None:
    with pytest.raises(ValueError, match=r"must be a LightningDataModule, or a Python function|cannot be imported"):
        data_source(path)
    with pytest.raises(DataError, match=r"must be a LightningDataModule, or a Python function|cannot be imported"):
        custom_arrays(path, {}, "image")


PIXELS = (X * 255).byte()
# name -> (what is made, its kind, whether the inputs are near enough to one)
SCALES: dict[str, tuple[Any, str, bool]] = {
    "in [0, 1]": (X, "image", True),
    "standardised": ((X - 0.5) * 3.5, "image", True),
    "up to 16, as sklearn's digits": (X * 16, "image", True),
    "a rare large value": (X * (X.max() - 1e-6 < X) * 100, "image", True),
    "bytes": (PIXELS, "image", False),
    "pixels as floats": (PIXELS.float(), "image", False),
    "dark pixels": (PIXELS.double() * (X > 0.95), "image", False),
    "below zero": (PIXELS.float() - 255, "image", False),
    "whose square overflows": (X * 1e30, "image", False),
    "sequences of bytes": (PIXELS[:, 0], "sequence", False),
    "token ids": (TOKENS * 1000, "text", True),
}


@pytest.mark.parametrize("name", SCALES)
def test_own_inputs_that_are_not_scaled_are_refused_for_networks_of_the_table(name: str) -> None:
    x, kind, fits = SCALES[name]
    of((x, Y, x, Y), kind)
    data = {"name": None, "kind": kind, "class": "test_custom_data.made", "arguments": {}, "scaling": "unit"}
    row, own_network = {"name": "linear", "class": None}, {"name": None, "class": "mine.Scaling"}
    check_scale(data, own_network)
    check_scale({**data, "scaling": "standardised"}, row)
    if fits:
        check_scale(data, row)
        return
    with pytest.raises(DataError) as caught:
        check_scale(data, row)
    words = r"inputs from \S+ to \S+: their root mean square is \S+, must be at most 10: return scaled inputs .*"
    assert re.fullmatch(rf"data\.class: test_custom_data\.made: {words}", str(caught.value))


def pixels() -> Any:
    return PIXELS, Y, PIXELS, Y


def test_a_study_with_unscaled_pixels_is_refused_by_the_name_of_its_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^tiny: data\.class: test_custom_data\.pixels: inputs from 0 to 254"):
        fingerprints_of(tiny(data=own("pixels")), tmp_path)
    fingerprints_of(tiny(data={**own("pixels"), "scaling": "standardised"}), tmp_path)


def counted(folder: str) -> Any:
    with (Path(folder) / "calls").open("a") as file:
        file.write("called\n")
    x = torch.rand(400, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return x, torch.arange(400) % 2, x, torch.arange(400) % 2


def unseeded() -> Any:
    x = torch.rand(400, 1, 4, 4)
    return x, torch.arange(400) % 2, x, torch.arange(400) % 2


def own(name: str) -> dict[str, Any]:
    return {"class": f"test_custom_data.{name}", "kind": "image"}


DIFFERS = r"data\.class: test_custom_data\.unseeded: differs from call to call: seed its generator"


def test_data_that_differ_from_call_to_call_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"^tiny: {DIFFERS}"):
        fingerprints_of(tiny(data=own("unseeded")), tmp_path)
    block = {"data": own("unseeded"), "optimizer": "adam", "epochs": 1}
    with pytest.raises(DataError, match=f"^tiny: pretraining: {DIFFERS}"):
        fingerprints_of(tiny(model={"name": "linear", "pretrained": "pretraining"}, pretraining=block), tmp_path)


def test_a_users_data_are_loaded_twice_only_before_the_first_training(tmp_path: Path) -> None:
    data = own("counted") | {"arguments": {"folder": str(tmp_path)}}
    paths = StudyPaths(tiny(data=data), tmp_path / "results", tmp_path / "mlruns")
    for calls in (2, 3):
        stages.prepare(paths, lambda _: None)
        assert (tmp_path / "calls").read_text().count("called") == calls


def test_arguments_that_a_users_data_do_not_take_are_named() -> None:
    with pytest.raises(DataError, match=r"data\.class: test_custom_data\.made: TypeError: .*unexpected keyword.*'n'"):
        of((X, Y, X, Y), n=3)


def test_data_of_different_shapes_have_different_digests() -> None:
    def digest(shape: tuple[int, ...]) -> str:
        of((X.reshape(shape), Y, X.reshape(shape), Y))
        return data_digest({"name": None, "kind": "image", "class": "test_custom_data.made", "arguments": {}})

    assert digest((20, 1, 4, 4)) != digest((20, 1, 2, 8))
