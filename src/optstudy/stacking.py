"""Which contenders of a study train stacked: decided once for all their trainings, and stored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from optstudy.runs import RunSpec, canonical, code_digest, digest, group_key, own_digest, torch_version
from optstudy.study import Study

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
    if mode == "off":
        return "the study says so"
    if spec.data["kind"] == "function":
        return "a function is not trained in batches"
    from optstudy.networks import build_network, inputs_of
    from optstudy.pretrained import freeze
    from optstudy.stackable import why_solo, worth_stacking

    inputs = inputs_of(spec.data)
    network = build_network(spec.model, inputs)
    freeze(network, spec.freeze)
    if mode == "auto" and worth_stacking(spec, network, inputs):
        return ""
    large = "the work of its steps is so large that a stack wins nothing"
    return why_solo(spec, network, inputs) or ("" if mode == "on" else large)


def stored_path(mlruns: Path, study: str) -> Path:
    """Return where a study's decisions lie below the folder `mlruns`: only who holds the study writes there."""
    return mlruns / "stacking" / f"{study}.json"


def read_stored(mlruns: Path, study: str) -> dict[str, str]:
    """Return a study's stored decisions by key."""
    path = stored_path(mlruns, study)
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found
