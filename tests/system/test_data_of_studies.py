"""Whole studies: images keep their content, and data that cannot be trained on end a study by their name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

pytestmark = pytest.mark.slow
FOLDERS = {"name": "image_folder", "arguments": {"train": "train", "test": "test", "size": 16}}


def pictures(root: Path, classes: dict[str, int], dtype: type = np.uint16) -> None:
    """Write grey images of 16 bits around a level for each class, as 40 training and 20 test files."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 40), ("test", 20)):
        for name, level in classes.items():
            folder = root / "data" / part / name
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = (level + rng.integers(-4000, 4000, (16, 16))).astype(dtype)
                Image.fromarray(pixels).save(folder / f"{index}.{'png' if dtype is np.uint16 else 'tiff'}")


def run_study(folder: Path, **changes: Any) -> subprocess.CompletedProcess[str]:
    study: dict[str, Any] = {
        "name": "own",
        "data": FOLDERS,
        "model": "linear",
        "epochs": 5,
        "batch_size": 16,
        "replicates": 2,
        "optimizers": ["adam"],
        "tuning": {"trials": 2},
    }
    (folder / "own.yaml").write_text(yaml.safe_dump({**study, **changes}))
    command = [str(Path(sys.executable).parent / "optstudy"), "run", "own.yaml", "--workers", "1"]
    environment = {**os.environ, "OPTSTUDY_DATA": "data"}  # below the study's folder, wherever a user's own data are
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize("dtype", [np.uint16, pytest.param(np.int32, marks=pytest.mark.long)])
def test_images_of_more_than_8_bits_are_learned(dtype: type, tmp_path: Path) -> None:
    pictures(tmp_path, {"dim": 12_000, "bright": 50_000}, dtype)
    ended = run_study(tmp_path, data={**FOLDERS, "scaling": "standardised"})
    assert ended.returncode == 0, ended.stderr
    table = pd.read_csv(tmp_path / "results" / "own" / "comparison.csv")
    assert table["test_accuracy_mean"].max() > 0.95


MINE = """
import numpy as np
X, Y = np.random.default_rng(0).random((40, 1, 4, 4)), np.arange(40) % 2
def huge_label(): return X, np.where(np.arange(40) == 3, 10**9, Y), X, Y
def beyond_float32(): return X * 1e300, Y, X, Y
def pixels(): return (X * 255).astype("uint8"), Y, (X * 255).astype("uint8"), Y
def zeros(): return X * 0, Y, X, Y
def leaves(): raise SystemExit(0)
"""
# name -> (what differs in the study, words of its only line)
REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "one class": ({"data": FOLDERS}, ["own: data.name: image_folder", "40 training examples of one class"]),
    "a label of 1e9": ({}, ["data.class: mine.huge_label: ", "at most 39 of 40 examples; found 1000000000"]),
    "numbers beyond float32": ({}, ["data.class: mine.beyond_float32: x: ", "to 3.40282e+38"]),
    "pixels": ({}, ["data.class: mine.pixels: inputs from 0 to 25", "pixels / 255"]),
    "zeros": ({}, ["data.class: mine.zeros: ", "40 training inputs that are all the same"]),
    "an exit": ({}, ["data.class: mine.leaves: SystemExit"]),
    "a command as data": (
        {"data": {"class": "os.system", "kind": "image", "arguments": {"command": "touch called"}}},
        ["own.yaml: data.class: 'os.system': must be a LightningDataModule, or a Python function"],
    ),
    "a command as model": (
        {"model": {"class": "os.system", "arguments": {"command": "touch called"}}},
        ["own.yaml: model.class: 'os.system': must be a subclass of torch.nn.Module"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_data_that_cannot_be_trained_on_end_a_study_before_anything_is_written(name: str, tmp_path: Path) -> None:
    changes, words = REFUSED[name]
    (tmp_path / "mine.py").write_text(MINE)
    if name == "one class":
        pictures(tmp_path, {"all": 20_000})
        (tmp_path / "data" / "train" / "all" / "round").symlink_to("..")
    function = words[0].removeprefix("data.class: ").removesuffix(": ").partition(":")[0]
    ended = run_study(tmp_path, **(changes or {"data": {"class": function, "kind": "image"}}))
    assert ended.returncode == 2
    [line] = ended.stderr.strip().splitlines()
    assert [word for word in words if word not in line] == []
    assert not {"results", "called"} & {path.name for path in tmp_path.iterdir()}
    assert list(tmp_path.rglob("*.jsonl")) == []
