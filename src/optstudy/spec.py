"""What a training needs and what comes of it: plain data without torch, which crosses processes and becomes JSON."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from optstudy.catalogue import Hyperparameters
from optstudy.keys import canonical

Status = Literal["completed", "diverged", "failed"]
Part = Literal["train", "val", "test"]
PARTS: tuple[Part, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class RunSpec:
    """Everything one training needs. Equal specs give equal bits on one kind of machine.

    Rows of optstudy's tables are given by their name, classes of the user by their path (`package.module.Name`), so
    that moving or renaming code of optstudy changes no spec.

    Attributes:
        data: {"name", "class", "kind", "arguments", "validation_share", "train_size", "scaling", "augment"}. Of `name`
            and `class` one is None. "batches" is "by_length" if examples of a batch have about the same length.
        model: {"name", "class", "arguments"}. Of `name` and `class` one is None.
        optimizer: The name of a row of the optimizer table, or the path of a class.
        hyperparameters: Values by the study file's names (`learning_rate`, `weight_decay`, `momentum`, ...):
            numbers, true or false, text, or tuples of these.
        schedule: {"name", "interval", "warmup"}, and arguments of its row that differ from their defaults.
        epochs: Number of epochs, for an analytic function of steps.
        batch_size: Number of examples per step.
        precision: "32-true" or "bf16-mixed".
        clip: Largest gradient norm, None for no clipping.
        decay_all: Whether biases and norm parameters are decayed, too.
        freeze: Prefixes of names of parameters that are not trained.
        pretrained: {"source", "digest"} of the weights to start from, None for fresh weights.
        split_seed: Draws the train/validation split, for an analytic function the starting point.
        seed: Draws the initial weights, the order of the data and the augmentation.
        stacked: Whether specs of one group (see `group_key`) are trained together as one model. The last bits differ
            from training alone, and are the same in any group.
        clip_value: Largest magnitude of each element of the gradient, None for no clipping by value.
        accumulate: In how many parts the gradient of a batch is computed, one after the other.
        metrics: {name: value at chance} of further metrics: those of `metrics.COMPUTED` are computed, and diverged
            trainings get the values, None for those of predictions without training. None if there are no such metrics.
        average: {"name": "ema", "decay"} or {"name": "swa", "start"} (see `averaging`), None for no averaging.
        groups: {"name", "optimizer", "ndim", "names", "modules", "hidden", "multiply"} of each group of parameters (see
            `catalogue.ParameterGroup`), without what is not given. A hyperparameter of the group `muon` is named
            `muon.learning_rate`.
        lora: {"rank", "alpha", "targets"} of the adapters that are trained in place of the weights that the network
            starts from (see `adapters`), None for none.
    """

    data: Mapping[str, Any]
    model: Mapping[str, Any]
    optimizer: str
    hyperparameters: Hyperparameters
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
    clip_value: float | None = None
    accumulate: int = 1
    average: Mapping[str, Any] | None = None
    metrics: Mapping[str, float | None] | None = None
    groups: tuple[Mapping[str, Any], ...] = ()
    lora: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Outcome:
    """How a training ended, and the metrics of its final weights; `answers` is as in `RunResult`."""

    status: Status
    metrics: Mapping[str, float]
    answers: str = ""


@dataclass(frozen=True)
class RunResult:
    """The result of one training.

    Attributes:
        status: "completed"; "diverged", which is scored at chance; or "failed", which has no metrics.
        metrics: Metrics of the final weights, by name. Accuracies are fractions in [0, 1].
        curve: Metrics of each finished epoch.
        seconds: Wall time. Of a stacked training: the stack's until this training's end, divided by its size at the
            start.
        message: Why it failed; empty otherwise.
        answers: Which test examples were classified correctly, in the order of the test set (see `pack`).
    """

    status: Status
    metrics: Mapping[str, float]
    curve: tuple[Mapping[str, float], ...]
    seconds: float
    message: str = ""
    answers: str = ""


@dataclass(frozen=True)
class EpochEnded:
    """An epoch of a running training is over. `time_ms` is in milliseconds since 1970, UTC."""

    index: int
    epoch: int
    metrics: Mapping[str, float]
    time_ms: int


@dataclass(frozen=True)
class TrainingEnded:
    """A training is over, whatever its status. `started_ms` and `ended_ms` are milliseconds since 1970, UTC.

    `weights` (numpy arrays by name) are given if they were asked for. `facts` says which machine and versions trained
    (see `environment.training_facts`); it is empty if no worker reported.
    """

    index: int
    result: RunResult
    started_ms: int
    epoch_ms: tuple[int, ...]
    ended_ms: int
    weights: Mapping[str, Any] | None = None
    facts: Mapping[str, str | int] = field(default_factory=dict)


Event = EpochEnded | TrainingEnded


@dataclass(frozen=True)
class Progress:
    """How far one contender is: counts of trainings, and the seconds of the one that has just ended."""

    contender: str
    done: int
    total: int
    seconds: float


@dataclass(frozen=True)
class Phase:
    """What a command does besides trainings, in words: `writing MLflow and Optuna`."""

    name: str


def pack(right: Sequence[bool]) -> str:
    """Return booleans as text: their number, a colon, and the base64 of their bits, most significant bit first."""
    return f"{len(right)}:" + base64.b64encode(np.packbits(np.asarray(right, dtype=bool)).tobytes()).decode()


def unpack(text: str) -> NDArray[np.bool_]:
    """Return the booleans (n,) that `pack` was given."""
    count, _, packed = text.partition(":")
    return np.unpackbits(np.frombuffer(base64.b64decode(packed), dtype=np.uint8), count=int(count)).astype(bool)


def fields_of(record: object) -> dict[str, Any]:
    """Return the fields of a dataclass by name, not copied: `dataclasses.asdict` takes a hundred times longer."""
    return dict(vars(record))


def defaults_of(spec: RunSpec) -> dict[str, Any]:
    """Return the defaults of a spec's fields by name, of those that have one."""
    return {field.name: field.default for field in fields(spec) if field.default is not MISSING}


def spec_fields(spec: RunSpec) -> dict[str, Any]:
    """Return the fields of a spec that keys hash and the journal keeps: those with their default value are left out.

    So a new field that has a default changes no key of a training that does not use it.
    """
    defaults = defaults_of(spec)
    return {name: value for name, value in fields_of(spec).items() if name not in defaults or value != defaults[name]}


def group_key(spec: RunSpec) -> str:
    """Return text that two specs share if they can be stacked together.

    They may differ in their seeds and in the values of hyperparameters that are numbers.
    """
    shared = spec_fields(spec)
    del shared["seed"], shared["split_seed"]
    shared["hyperparameters"] = {
        name: "number" if isinstance(value, int | float) and not isinstance(value, bool) else value
        for name, value in spec.hyperparameters.items()
    }
    return canonical(shared)
