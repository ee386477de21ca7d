"""RunSpec, RunResult, events and keys: plain data without torch, so that it crosses processes and lands in JSON."""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

Status = Literal["completed", "diverged", "failed"]
Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")

# What a training's outcome depends on besides its RunSpec. A change of comments or docstrings is no change.
TRAINING_MODULES = ("optimizers", "datasets", "batches", "networks", "models", "classifier", "train")
# Tables whose rows reach a training through its RunSpec: editing one row must not retrain the others.
TABLES_IN_SPEC = frozenset({"OPTIMIZERS"})


@dataclass(frozen=True)
class RunSpec:
    """Everything one training needs; equal specs give equal bits on one kind of machine.

    `data` and `model` are {"name": ..., **arguments}; `hyperparameters` use the study file's names
    (`learning_rate`, `weight_decay`, `momentum`, ...); `schedule` is {"name", "interval", "warmup"};
    `split_seed` draws the train/validation split, `seed` the initial weights and the order of the data.
    """

    data: Mapping[str, Any]
    model: Mapping[str, Any]
    optimizer: str
    hyperparameters: Mapping[str, float | bool]
    schedule: Mapping[str, Any]
    epochs: int
    batch_size: int
    precision: str
    clip: float | None
    decay_all: bool
    split_seed: int
    seed: int


@dataclass(frozen=True)
class RunResult:
    """The outcome of one training.

    `curve` has one mapping per finished epoch; `metrics` are those of the final weights; accuracies are fractions,
    `seconds` wall time. A diverged training is scored at chance; `message` says how it ended, if not `completed`.
    """

    status: Status
    metrics: Mapping[str, float]
    curve: tuple[Mapping[str, float], ...]
    seconds: float
    message: str = ""


@dataclass(frozen=True)
class EpochEnded:
    """One epoch of a running training is over."""

    index: int
    epoch: int
    metrics: Mapping[str, float]
    time_ms: int


@dataclass(frozen=True)
class TrainingEnded:
    """A training is over, whatever its status. `started_ms` and `ended_ms` are milliseconds since 1970, UTC."""

    index: int
    result: RunResult
    started_ms: int
    epoch_ms: tuple[int, ...]
    ended_ms: int


Event = EpochEnded | TrainingEnded


def canonical(value: object) -> str:
    """Return JSON that is equal for equal values: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(text: str) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def derive_seed(*parts: int | str) -> int:
    """Return a seed in [0, 2**31) that depends on all `parts`, and on nothing else."""
    return int(digest(canonical(list(parts))), 16) % 2**31


def run_key(spec: RunSpec, data_digest: str) -> str:
    """Return the key of a training: a hash of spec, data, training code and torch version."""
    return digest(canonical([asdict(spec), data_digest, code_digest(), torch_version()]))


def torch_version() -> str:
    """Return torch's version without importing it; the build (`+cpu`, `+cu130`) is part of it."""
    return importlib.metadata.version("torch")


@cache
def code_digest() -> str:
    """Return the hash of the training modules' syntax trees."""
    folder = Path(__file__).parent
    return digest("\n".join(normalized_source((folder / f"{name}.py").read_text()) for name in TRAINING_MODULES))


def normalized_source(source: str) -> str:
    """Return `source` without comments, docstrings and the tables that reach a training through its spec."""
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if not _is_table(node)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _is_table(node: ast.stmt) -> bool:
    if isinstance(node, ast.AnnAssign):
        targets = [node.target]
    elif isinstance(node, ast.Assign):
        targets = [target for target in node.targets if isinstance(target, ast.Name)]
    else:
        return False
    return any(isinstance(target, ast.Name) and target.id in TABLES_IN_SPEC for target in targets)
