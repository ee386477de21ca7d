"""Which contenders of a study train stacked: decided once for all their trainings, and stored.

What is decided about is first seen to work, so that a stored decision says that as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from optstudy.datasets import load_arrays, split
from optstudy.errors import DataError
from optstudy.runs import RunSpec, canonical, code_digest, digest, group_key, own_digest, torch_version
from optstudy.study import Study

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Decision:
    """Why a contender's trainings run one by one, empty where they stack; `key` is of all that it rests on."""

    key: str
    solo: str


def decisions(study: Study, data_digest: str, weights: str, stored: Mapping[str, str]) -> dict[str, Decision]:
    """Return the decision for each contender: the stored one, or else by rule, which takes torch and the network."""
    found = {}
    for contender in study.optimizers:
        spec = study.spec(contender, 0, 0, study.row(contender).defaults, weights)
        own = [own_digest(path) for path in (spec.optimizer, spec.model["network"])]
        parts = [group_key(spec), study.stack, data_digest, own, code_digest(), torch_version()]
        key = digest(canonical(parts))
        found[contender.name] = Decision(key, stored[key] if key in stored else _decided(study.stack, spec))
    return found


def _decided(mode: str, spec: RunSpec) -> str:
    if spec.data["kind"] == "function":
        return "a function is not trained in batches"
    network = start(replace(spec, pretrained=None))  # weights may be yet to be made, and change nothing here
    if mode == "off":
        return "the study says so"
    from optstudy.networks import inputs_of
    from optstudy.stackable import why_solo, worth_stacking

    inputs = inputs_of(spec.data)
    if mode == "auto" and worth_stacking(spec, network, inputs):
        return ""
    large = "the work of its steps is so large that a stack wins nothing"
    return why_solo(spec, network, inputs) or ("" if mode == "on" else large)


def start(spec: RunSpec) -> nn.Module:
    """Return the network of a training as `train.start_network` does, once it has read two examples of the data.

    Without Lightning, which a coordinator need not wait for. Raises DataError where the data cannot be split, the
    network cannot be built, does not read them, or is left with nothing to train, and where weights or frozen names
    do not fit it.
    """
    from optstudy.pretrained import give_start

    split(load_arrays(spec.data).y, spec.split_seed, spec.data["validation_share"], spec.data["train_size"])
    network = _reading(spec)
    give_start(network, spec)
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise DataError(f"freeze: {', '.join(spec.freeze) or 'nothing'}: must leave some of the parameters to train")
    return network


def _reading(spec: RunSpec) -> nn.Module:
    """Return a fresh network that reads the data; raises DataError for whatever goes wrong in it."""
    from optstudy.networks import build_network, inputs_of

    try:
        network = build_network(spec.model, inputs_of(spec.data))
        _read_two(network, spec)
    except DataError:
        raise
    except Exception as error:  # a user's model may raise anything, torch's layers much
        name, words = spec.model["name"], " ".join(str(error).split())
        key = f"model.name: {name}" if name else f"model.class: {spec.model['network']}"
        raise DataError(f"{key}, arguments {spec.model['arguments']}: {type(error).__name__}: {words}") from error
    return network


def _read_two(network: nn.Module, spec: RunSpec) -> None:
    """Raise ValueError where the network makes no logits of two examples; a LightningModule need not have any."""
    import torch

    if spec.model["name"] is None:
        from pytorch_lightning import LightningModule

        if isinstance(network, LightningModule):
            return
    arrays = load_arrays(spec.data)
    x = torch.from_numpy(arrays.x[:2].copy())
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
