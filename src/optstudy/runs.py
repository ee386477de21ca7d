"""RunSpec, RunResult, events and keys: plain data without torch, so that it crosses processes and lands in JSON."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from optstudy.sources import normalized_source, own_sources

Status = Literal["completed", "diverged", "failed"]
Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")

# What a training's outcome depends on besides its RunSpec. A change of comments or docstrings is no change.
TRAINING_MODULES = (
    "optimizers",
    "datasets",
    "device",
    "batches",
    "augment",
    "networks",
    "classifier",
    "descent",
    "own",
    "pretrained",
    "updates",
    "layers",
    "stack",
    "stackable",
    "train",
)
# Tables whose rows reach a training through its RunSpec: editing one row must not retrain the others.
TABLES_IN_SPEC = frozenset({"OPTIMIZERS", "DATASETS"})


@dataclass(frozen=True)
class RunSpec:
    """Everything one training needs; equal specs give equal bits on one kind of machine.

    `data` is {"name", "kind", "load", "arguments", "validation_share", "train_size", "scaling", "augment"}, where
    `load` is the path of the function that loads it; `model` is {"name", "network", "arguments"}, where `network` is
    the path of its class; a user's own have the name None. `hyperparameters` use the study file's names
    (`learning_rate`, `weight_decay`, `momentum`, ...); `schedule` is {"name", "interval", "warmup"}; `pretrained` is
    {"source", "digest"} of the weights to start from, `freeze` has prefixes of names of parameters that are not
    trained; `split_seed` draws the train/validation split (for a function the starting point), `seed` the initial
    weights, the order of the data and augmentation. `stacked` trainings of one group (see `group_key`) are trained
    together as one model where that is possible: a little else in the last bits than alone, and the same in any group.
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
    freeze: tuple[str, ...]
    pretrained: Mapping[str, str] | None
    split_seed: int
    seed: int
    stacked: bool


@dataclass(frozen=True)
class Outcome:
    """How a training ended and the metrics of its final weights; `answers` as in `RunResult`."""

    status: Status
    metrics: Mapping[str, float]
    answers: str = ""


@dataclass(frozen=True)
class RunResult:
    """The outcome of one training.

    `curve` has one mapping per finished epoch; `metrics` are those of the final weights; accuracies are fractions,
    `seconds` wall time, of a stacked training the stack's until its end, divided by the number that began it. A
    diverged training is scored at chance; `message` says how it ended, if not `completed`. `answers` says which test
    examples were answered rightly, in the test set's order (see `pack`).
    """

    status: Status
    metrics: Mapping[str, float]
    curve: tuple[Mapping[str, float], ...]
    seconds: float
    message: str = ""
    answers: str = ""


@dataclass(frozen=True)
class EpochEnded:
    """One epoch of a running training is over."""

    index: int
    epoch: int
    metrics: Mapping[str, float]
    time_ms: int


@dataclass(frozen=True)
class TrainingEnded:
    """A training is over, whatever its status. `started_ms` and `ended_ms` are milliseconds since 1970, UTC.

    `weights` (numpy arrays by name) are there where they were asked for.
    """

    index: int
    result: RunResult
    started_ms: int
    epoch_ms: tuple[int, ...]
    ended_ms: int
    weights: Mapping[str, Any] | None = None


Event = EpochEnded | TrainingEnded


def pack(right: Sequence[bool]) -> str:
    """Return booleans as text: their number, a colon, and base64 of them, eight to a byte, the first one highest."""
    return f"{len(right)}:" + base64.b64encode(np.packbits(np.asarray(right, dtype=bool)).tobytes()).decode()


def unpack(text: str) -> NDArray[np.bool_]:
    """Return what `pack` was given."""
    count, _, packed = text.partition(":")
    return np.unpackbits(np.frombuffer(base64.b64decode(packed), dtype=np.uint8), count=int(count)).astype(bool)


def canonical(value: object) -> str:
    """Return JSON that is equal for equal values: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def digest(text: str) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def derive_seed(*parts: int | str) -> int:
    """Return a seed in [0, 2**31) that depends on all `parts`, and on nothing else."""
    return int(digest(canonical(list(parts))), 16) % 2**31


def fields_of(record: object) -> dict[str, Any]:
    """Return what a dataclass holds, by name; `asdict` copies all in it as well, which takes a hundred times longer."""
    return dict(vars(record))


def group_key(spec: RunSpec) -> str:
    """Return text that two specs share if they can be stacked together.

    They may differ in seeds, and in the values of numbers among their hyperparameters.
    """
    shared = fields_of(spec)
    del shared["seed"], shared["split_seed"]
    shared["hyperparameters"] = {
        name: value if isinstance(value, bool) else "number" for name, value in spec.hyperparameters.items()
    }
    return canonical(shared)


def run_key(spec: RunSpec, data_digest: str) -> str:
    """Return the key of a training: a hash of spec, data, training code (a user's own, too) and torch version."""
    own = [own_digest(path) for path in (spec.optimizer, spec.model["network"])]
    return digest(canonical([fields_of(spec), data_digest, code_digest(), own, torch_version()]))


@cache
def torch_version() -> str:
    """Return torch's version without importing it; the build (`+cpu`, `+cu130`) is part of it."""
    return importlib.metadata.version("torch")


@cache
def code_digest() -> str:
    """Return the hash of the training modules' syntax trees."""
    folder = Path(__file__).parent
    sources = ((folder / f"{name}.py").read_text(encoding="utf-8") for name in TRAINING_MODULES)
    return digest("\n".join(normalized_source(source, without=TABLES_IN_SPEC) for source in sources))


@cache
def own_digest(path: str) -> str:
    """Return the hash of the module that holds a user's own class, and of his modules that it imports; else none."""
    module = path.rpartition(".")[0]
    if module.split(".")[0] in {"torch", "torchvision", "optstudy"}:
        return ""
    sources = own_sources(module)
    return digest(canonical(sources)) if sources else ""
