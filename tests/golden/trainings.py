"""Trainings of golden cases: a RunSpec with changes, trained on the CPU with one thread, as plain values."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from golden.store import Bits
from optstudy.spec import Event, RunSpec, TrainingEnded
from optstudy.tasks.datasets import DATASETS
from optstudy.training.train import train

DATA: Mapping[str, Any] = {
    "class": None,
    "arguments": {},
    "validation_share": 0.2,
    "train_size": None,
    "scaling": "unit",
    "augment": (),
}
# 80 examples to train on and 20 to validate: three steps an epoch, the last one of a smaller batch.
DIGITS = {**DATA, "name": "digits", "kind": "image", "arguments": {"classes": list(range(10))}, "train_size": 100}
MOMENTUM = {"learning_rate": 0.05, "momentum": 0.9, "weight_decay": 0.001}


@contextmanager
def golden_conditions() -> Iterator[None]:
    """Compute on the CPU with one thread, and read data from an empty folder.

    Golden values are the CPU's, so a machine with a GPU hides it: `torch.cuda.is_available` answers no.
    """
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        paths = {"OPTSTUDY_DATA": f"{folder}/data", "XDG_CACHE_HOME": f"{folder}/cache"}
        Path(paths["OPTSTUDY_DATA"]).mkdir()
        with patch.dict(os.environ, paths), patch("torch.cuda.is_available", return_value=False):
            torch.set_num_threads(1)
            gc.freeze()  # `train` collects garbage after each training, and would look through all modules each time
            try:
                yield
            finally:
                gc.unfreeze()
                torch.set_num_threads(threads)


def spec(**changes: Any) -> RunSpec:
    """Return the spec of a small training on digits, with changes."""
    fields: dict[str, Any] = {
        "data": DIGITS,
        "model": model("cnn", width=4),
        "optimizer": "momentum",
        "hyperparameters": MOMENTUM,
        "schedule": schedule("cosine"),
        "epochs": 2,
        "batch_size": 32,
        "precision": "32-true",
        "clip": None,
        "decay_all": False,
        "freeze": (),
        "pretrained": None,
        "split_seed": 7,
        "seed": 11,
        "stacked": False,
    }
    return RunSpec(**{**fields, **changes})


def model(name: str, **arguments: Any) -> dict[str, Any]:
    """Return `RunSpec.model` for a row of the table of models."""
    return {"name": name, "class": None, "arguments": arguments}


def schedule(name: str, interval: str = "epoch", warmup: float = 0.0) -> dict[str, Any]:
    """Return `RunSpec.schedule`."""
    return {"name": name, "interval": interval, "warmup": warmup}


def function_data(name: str) -> dict[str, Any]:
    """Return `RunSpec.data` for an analytic function with the arguments of its row."""
    arguments = dict(DATASETS[name].arguments)
    return {**DATA, "name": name, "kind": "function", "arguments": arguments, "validation_share": 0.0}


def custom_data(function: str, kind: str, **changes: Any) -> dict[str, Any]:
    """Return `RunSpec.data` for a function of golden/inputs.py."""
    return {**DATA, "name": None, "class": f"golden.inputs.{function}", "kind": kind, **changes}


def descent(name: str, **changes: Any) -> RunSpec:
    """Return the spec of a few steps on an analytic function, with changes."""
    hyperparameters = {"learning_rate": 0.001, "momentum": 0.9}
    given = {"data": function_data(name), "model": model("point"), "epochs": 6, "batch_size": 1}
    return spec(**{**given, "hyperparameters": hyperparameters, **changes})


def trained(**changes: Any) -> dict[str, Any]:
    """Return how a small training with these changes ends."""
    return ends(spec(**changes))


def trained_in_a_stack(**changes: Any) -> dict[str, Any]:
    """Return how three trainings end that are stacked; they differ in their seeds and rates."""
    base = spec(**changes)
    rates = [base.hyperparameters["learning_rate"] * factor for factor in (1.0, 0.5, 2.0)]
    members = [
        spec(
            **{
                **changes,
                "stacked": True,
                "seed": seed,
                "hyperparameters": {**base.hyperparameters, "learning_rate": rate},
            }
        )
        for seed, rate in enumerate(rates)
    ]
    return ends(*members)


def ends(*specs: RunSpec) -> dict[str, Any]:
    """Return how each training ends: its status, curve, final metrics, answers and final weights."""
    weights: dict[int, Mapping[str, Any]] = {}

    def keep(event: Event) -> None:
        if isinstance(event, TrainingEnded) and event.weights is not None:
            weights[event.index] = event.weights

    values: dict[str, Any] = {}
    for index, result in enumerate(train(specs, keep, weights=True)):
        assert result.status != "failed", result.message
        names = dict.fromkeys(name for epoch in result.curve for name in epoch)
        one = {
            "status": result.status,
            **{f"curve {name}": [epoch.get(name) for epoch in result.curve] for name in names},
            **{f"final {name}": value for name, value in result.metrics.items()},
            "answers": Bits(result.answers),
            "weights": np.concatenate([tensor.ravel() for tensor in weights[index].values()]),
        }
        values |= {f"{index} {name}" if len(specs) > 1 else name: value for name, value in one.items()}
    return values
