"""Which contenders of a study train stacked: decided once for all their trainings, and stored.

What is decided about is first seen to work, so that a stored decision says that as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from optstudy.catalogue import OPTIMIZERS, optimizer_path
from optstudy.environment import torch_minor
from optstudy.errors import DataError, one_line
from optstudy.keys import TRAINING_VERSION, canonical, digest
from optstudy.planning.fingerprints import Decision, code_digest
from optstudy.spec import RunSpec, fields_of, group_key
from optstudy.study.schema import Contender
from optstudy.study.study import Study
from optstudy.tasks.arrays import split
from optstudy.tasks.datasets import load_arrays
from optstudy.tasks.kinds import task_of
from optstudy.training.optimizers import build_optimizer, decay_groups

if TYPE_CHECKING:
    from torch import nn


Hyperparameters = Mapping[str, float | bool]


def decisions(study: Study, data_digest: str, weights: str, stored: Mapping[str, str]) -> dict[str, Decision]:
    """Return the decision for each contender: the stored one, or else by rule, which takes torch and the network."""
    found = {}
    for contender in study.optimizers:
        spec = study.spec(contender, 0, 0, study.row(contender).defaults, weights)
        tried = tried_points(study, contender)
        parts = [
            group_key(spec),
            tried,
            study.stack,
            data_digest,
            code_digest(fields_of(spec)),
            TRAINING_VERSION,
            torch_minor(),
        ]
        key = digest(canonical(parts))
        if key not in stored:
            try_optimizer(f"optimizers: {contender.name}", spec, tried)
        found[contender.name] = Decision(key, stored[key] if key in stored else _decided(study.stack, spec))
    return found


def tried_points(study: Study, contender: Contender) -> list[Hyperparameters]:
    """Return the hyperparameters with which a contender's optimizer is tried: its defaults, and its spaces' ends.

    Only what its trainings may take: no defaults that are not run, no space that is not searched. None of a row of the
    table as it stands, which is known to work: a study of functions then need not wait for torch.
    """
    if is_row(contender):
        return []
    row = study.row(contender)
    found: list[Hyperparameters] = [row.defaults] if study.untuned else []
    if study.tuning.trials:
        middle = {name: space.at(0.5) for name, space in row.search.items()}
        found += [{**middle, name: end} for name, space in row.search.items() for end in (space.low, space.high)]
    if study.sweep is not None and contender.name in study.sweep.contenders:
        space = row.search["learning_rate"]
        found += [{**row.defaults, "learning_rate": end} for end in (space.low, space.high)]
    return [{**row.fixed, **point} for point in found]


def is_row(contender: Contender) -> bool:
    """Return whether a contender is a row of the table of optimizers as it stands there."""
    return contender.class_path is None and contender.row() == OPTIMIZERS[contender.like or contender.name]


def try_optimizer(key: str, spec: RunSpec, points: Sequence[Hyperparameters]) -> None:
    """Take one step with the optimizer of `spec` at each of the points.

    Raises DataError on `key`, the optimizer's in the study file, where its class refuses them: each value may be
    right, and yet not go with another.
    """
    for hyperparameters in points:
        try:
            _step(spec, hyperparameters)
        except Exception as error:  # torch asserts, too, and a user's class may raise anything
            given = ", ".join(f"{name} {value}" for name, value in hyperparameters.items())
            raise DataError(
                f"{key}: {optimizer_path(spec.optimizer)} cannot train with {given}: {one_line(error)}"
            ) from error


def _step(spec: RunSpec, hyperparameters: Hyperparameters) -> None:
    """Take one step over parameters like those of a training: a matrix and a bias, of a function a number."""
    import torch
    from torch import nn

    from optstudy.training.device import compute_device

    function = not task_of(spec.data["kind"]).examples
    module = nn.ParameterList([torch.zeros((), dtype=torch.float64)]) if function else nn.Linear(2, 2)
    if hyperparameters.get("capturable") and not function:
        module = module.to(compute_device())  # for GPUs alone; nothing else needs to wait for one
    given = {name: value for name, value in hyperparameters.items() if name != "weight_decay" or not function}
    optimizer = build_optimizer(spec.optimizer, given, decay_groups(module, spec.decay_all and not function))
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()


def _decided(mode: str, spec: RunSpec) -> str:
    if reason := task_of(spec.data["kind"]).solo:
        return reason
    build = partial(start, replace(spec, pretrained=None))  # weights may be yet to be made, and change nothing here
    network = build()
    if mode == "off":
        return "the study says so"
    from optstudy.tasks.datasets import inputs_of
    from optstudy.training.stacked.checks import why_solo, why_unsteady, worth_stacking

    inputs = inputs_of(spec.data)
    solo = why_solo(spec, build, inputs)
    if not solo and mode == "auto" and not worth_stacking(network, inputs, spec.batch_size):
        solo = "the work of its steps is so large that a stack wins nothing"
    return solo or why_unsteady(spec, network, inputs, _batch_sizes(spec))


def _batch_sizes(spec: RunSpec) -> list[int]:
    """Return how many examples the batches of an epoch have, the last one apart."""
    whole, rest = divmod(_training_examples(spec), spec.batch_size)
    return [spec.batch_size] * bool(whole) + [rest] * bool(rest)


def _training_examples(spec: RunSpec) -> int:
    """Return how many there are; raises DataError where the data cannot be split."""
    train, _ = split(load_arrays(spec.data).y, spec.split_seed, spec.data["validation_share"], spec.data["train_size"])
    return len(train)


def start(spec: RunSpec) -> nn.Module:
    """Return the network of a training as `train.start_network` does, once it has read some examples of the data.

    Without Lightning, which a coordinator need not wait for. Raises DataError where the data cannot be split, the
    network cannot be built, does not read them, or not the last batch, or is left with nothing to train, and where
    weights or frozen names do not fit it.
    """
    from optstudy.tasks.pretrained import give_start

    examples = _training_examples(spec)
    network = _reading(spec)
    _read_last(network, spec, examples)
    give_start(network, spec)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise DataError(f"freeze: {', '.join(spec.freeze) or 'nothing'}: must leave some of the parameters to train")
    return network


def _reading(spec: RunSpec) -> nn.Module:
    """Return a fresh network that reads the data; raises DataError for whatever goes wrong in it."""
    from optstudy.tasks.datasets import inputs_of
    from optstudy.tasks.networks import build_network

    try:
        network = build_network(spec.model, inputs_of(spec.data))
        _read(network, spec, 2)
    except DataError:
        raise
    except Exception as error:  # a user's model may raise anything, torch's layers much
        name = spec.model["name"]
        key = f"model.name: {name}" if name else f"model.class: {spec.model['class']}"
        raise DataError(f"{key}, arguments {spec.model['arguments']}: {one_line(error)}") from error
    return network


def _read_last(network: nn.Module, spec: RunSpec, examples: int) -> None:
    """Raise DataError where an epoch of `examples` ends in a batch of one that the network cannot train on.

    Batch norm has no variance of a single number.
    """
    if spec.batch_size > 1 and examples % spec.batch_size != 1:
        return
    try:
        _read(network, spec, 1)
    except Exception as error:  # as above
        raise DataError(
            f"batch_size: {spec.batch_size}: must leave no batch of one of the {examples} training examples, on which "
            f"this network cannot train ({one_line(error)})"
        ) from error


def _read(network: nn.Module, spec: RunSpec, count: int) -> None:
    """Raise ValueError where a fresh network makes no logits of `count` examples; a LightningModule need not."""
    import torch

    if spec.model["name"] is None:
        from pytorch_lightning import LightningModule

        if isinstance(network, LightningModule):
            return
    arrays = load_arrays(spec.data)
    x = torch.from_numpy(arrays.x[:count].copy())
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        logits = network(x)
    found = tuple(getattr(logits, "shape", ())) or type(logits).__name__
    if found != (len(x), arrays.classes):
        raise ValueError(f"expected logits {(len(x), arrays.classes)} of inputs {tuple(x.shape)}, found {found}")


def stored_path(mlruns: Path, study: str) -> Path:
    """Return where a study's decisions lie below the folder `mlruns`: only who holds the study writes there."""
    return mlruns / "stacking" / f"{study}.json"


def read_stored(mlruns: Path, study: str) -> dict[str, str]:
    """Return a study's stored decisions by key."""
    path = stored_path(mlruns, study)
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found
