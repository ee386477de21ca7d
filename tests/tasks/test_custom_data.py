"""A user's own data: read as it is meant in each customary form, refused with what was expected in any other."""

from __future__ import annotations

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
from optstudy.tasks.datasets import data_digest, load_arrays

X = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(20) % 2
TOKENS = torch.randint(0, 9, (20, 5), generator=torch.Generator().manual_seed(0))


def of(made: object, kind: str = "image", **arguments: Any) -> Arrays:
    """Load what `made` makes, or itself, as a study's data would be loaded."""
    globals()["made"] = made if callable(made) else lambda: made
    datasets._loaded.cache_clear()
    return load_arrays({"name": None, "kind": kind, "class": "test_custom_data.made", "arguments": arguments})


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
    "empty": ((X[:0], Y[:0], X, Y), "image", ["x", "not empty", "(0, 1, 4, 4)"]),
    "empty test": ((X, Y, X[:0], Y[:0]), "image", ["test_x", "not empty"]),
    "another test": ((X, Y, X[:, :, :2], Y), "image", ["same shape", "(20, 1, 2, 4)"]),
    "labels short of inputs": ((X, Y[:5], X, Y), "image", ["y: expected (20,)", "(5,)"]),
    "float labels": ((X, Y.float(), X, Y), "image", ["y: expected (20,) whole numbers", "float32"]),
    "one-hot labels": ((X, torch.eye(2)[Y], X, Y), "image", ["y: expected (20,)", "(20, 2)"]),
    "labels from -1": ((X, Y - 1, X, Y), "image", ["count from 0", "-1"]),
    "labels from 1": ((X, Y + 1, X, Y + 1), "image", ["every label from 0 to 2", "no 0"]),
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
