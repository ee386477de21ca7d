"""Measures what a step of each contender costs, apart from the trainings: these share their time with others.

The figures are stored in `mlruns/prices`, because a report measures nothing, and figures of one table must come from
one device.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from optstudy.analysis.price import TIMED, TRAININGS, Price, seconds_of_trainings
from optstudy.errors import DataError, Stopped, TrainingFailed, one_line
from optstudy.files import read_derived, write_json
from optstudy.keys import canonical, digest
from optstudy.planning.dry_run import training_examples
from optstudy.planning.fingerprints import code_digest, device_of
from optstudy.planning.journal import Entry
from optstudy.planning.layout import prices_path
from optstudy.planning.preflight import spec_without_pretraining
from optstudy.running.session import Say, Session
from optstudy.spec import RunSpec, group_key, spec_fields
from optstudy.tasks.kinds import task_of
from optstudy.user_process import UserProcess

if TYPE_CHECKING:
    import pandas as pd

ROUNDS = 3  # contenders take turns, so that a busy moment of the machine meets no one of them alone; medians count
MACHINE = ("device", "cpu", "gpu", "torch")  # facts that seconds depend on


def measure_prices(session: Session, contenders: Sequence[str], say: Say) -> None:
    """Measure and store what a step of these contenders costs, unless it is stored.

    If one of them has to be measured on another machine than the stored ones, all stored ones are dropped. What cannot
    be measured is said and left out: no training depends on it.
    """
    study, path = session.study, prices_path(session.paths.mlruns, session.study.name)
    specs = {name: _spec(session, name) for name in contenders}
    codes = {name: code_digest(spec_fields(spec)) for name, spec in specs.items()}
    stored = {
        name: row
        for name, row in _stored(path).items()
        if name not in specs or (row["spec"], row["code"]) == (_key(specs[name]), codes[name])
    }
    missing = [name for name in contenders if name not in stored]
    if not missing:
        return
    with UserProcess(study.timeout) as process:
        try:
            machine = process.call("machine", _machine, device_of(study.kind))
            if any(row["machine"] != machine for row in stored.values()):
                stored, missing = {}, list(contenders)
            costs = [
                {name: process.call(f"{study.name}: {name}", _cost, name, specs[name]) for name in missing}
                for _ in range(ROUNDS)
            ]
            for name in missing:
                seconds = median(cost[name]["seconds"] for cost in costs)
                row = {"spec": _key(specs[name]), "code": codes[name], "machine": machine}
                stored[name] = {**row, **costs[-1][name], "seconds": seconds}
        except Stopped as error:
            say(f"{study.name}: seconds per step are taken from the trainings: {error}")
    write_json(path, stored)


def _spec(session: Session, name: str) -> RunSpec:
    """Return the training whose steps are timed: the contender's defaults, alone, from fresh weights."""
    return replace(spec_without_pretraining(session.study, name, session.fingerprints), pretrained=None, stacked=False)


def _key(spec: RunSpec) -> str:
    return digest(canonical(group_key(spec)))


def _machine(device: str) -> dict[str, str | int]:
    """Return what the seconds of this process depend on; it computes with one thread from now on, as workers do."""
    import torch

    from optstudy.environment import training_facts

    torch.set_num_threads(1)
    facts = training_facts(device)
    return {name: facts[name] for name in MACHINE}


def _cost(name: str, spec: RunSpec) -> dict[str, float]:
    """Return the fields of a step's cost. Raises TrainingFailed for anything that the timed steps raise."""
    from optstudy.training.timing import step_cost

    try:
        return asdict(step_cost(spec))
    except Stopped:
        raise
    except Exception as error:
        raise TrainingFailed(f"{name}: cannot be timed: {one_line(error)}") from error


def _stored(path: Path) -> dict[str, dict[str, Any]]:
    """Return the stored rows by contender; rows that cannot be read are left out."""
    return {name: row for name, row in read_derived(path).items() if isinstance(row, dict) and _is_readable(row)}


def _is_readable(row: Mapping[str, Any]) -> bool:
    numbers = [row.get(name) for name in ("seconds", "steps_per_epoch", "parameter_bytes", "state_bytes", "peak_bytes")]
    known = {"spec", "code", "machine"} <= row.keys() and isinstance(row["machine"], dict)
    return known and all(isinstance(number, int | float) for number in numbers)


def prices(session: Session, runs: pd.DataFrame, entries: Sequence[Entry]) -> dict[str, Price]:
    """Return the price of each contender: the stored one, if all of them were measured on one machine.

    Otherwise seconds come from the trainings in `runs`, if `entries` say that one machine made them.
    """
    stored, names = _stored(prices_path(session.paths.mlruns, session.study.name)), session.paths.contenders
    keys = {name: _key(_spec(session, name)) for name in names}
    current = {name: stored[name] for name in names if name in stored and stored[name]["spec"] == keys[name]}
    if len(current) == len(names) and len({canonical(row["machine"]) for row in current.values()}) == 1:
        return {name: _measured(row) for name, row in current.items()}
    machines = {canonical({name: entry.facts.get(name, "") for name in MACHINE}): entry.facts for entry in entries}
    device = device_in_words(next(iter(machines.values()))) if len(machines) == 1 else ""
    return {name: _from_trainings(session, name, runs[runs["contender"] == name], device) for name in names}


def _measured(row: Mapping[str, Any]) -> Price:
    return Price(
        device=device_in_words(row["machine"]),
        source=TIMED,
        steps_per_epoch=row["steps_per_epoch"],
        seconds_per_step=row["seconds"],
        parameter_bytes=row["parameter_bytes"],
        state_bytes=row["state_bytes"],
        peak_bytes=row["peak_bytes"] or math.nan,
    )


def _from_trainings(session: Session, name: str, runs: pd.DataFrame, device: str) -> Price:
    """Return what is known of a contender without timed steps; `device` is empty if several made its trainings."""
    spec = _spec(session, name)
    try:
        examples = training_examples(spec) if task_of(spec.data["kind"]).examples else 1
    except DataError:  # a report can be made without the data
        return Price()
    steps = -(-examples // spec.batch_size) if task_of(spec.data["kind"]).examples else 1
    if not device:
        return Price(steps_per_epoch=steps)
    seconds = seconds_of_trainings(runs, steps * spec.epochs)
    return Price(device, TRAININGS, steps, seconds)


def device_in_words(facts: Mapping[str, str | int]) -> str:
    """Return the device of a training with its hardware: "cpu (AMD EPYC 9R45, AVX512)"."""
    device = str(facts.get("device", "unknown"))
    hardware = str(facts.get("gpu" if device == "cuda" else "cpu", ""))
    return f"{device} ({hardware})" if hardware else device
