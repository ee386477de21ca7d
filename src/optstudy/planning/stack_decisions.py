"""Decides which contenders of a study are trained stacked: once for all their trainings, and stored.

What a decision rests on has been tried first, so that a stored decision also says that it works.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from optstudy.environment import torch_minor
from optstudy.errors import DataError, collecting
from optstudy.files import read_derived
from optstudy.keys import TRAINING_VERSION, canonical, digest
from optstudy.planning.dry_run import (
    call_optimizer,
    check_decay,
    network_key,
    points_to_try,
    training_examples,
    try_network,
)
from optstudy.planning.fingerprints import Decision, code_digest
from optstudy.spec import RunSpec, group_key, spec_fields
from optstudy.study.study import Study
from optstudy.tasks.datasets import inputs_of
from optstudy.tasks.kinds import task_of
from optstudy.user_process import UserProcess


def decisions(
    study: Study, data_digest: str, weights: str, stored: Mapping[str, str], process: UserProcess
) -> dict[str, Decision]:
    """Return the decision for each contender: the stored one, else a new one, which `process` tries.

    Raises DataError, with a line for each problem, if optimizers or the network do not work.
    """
    decided, problems = dict[str, Decision](), list[str]()
    for contender in study.optimizers:
        row = study.row(contender)
        # What is searched without a default counts: the stacked form may lack it.
        middle = {name: space.at(0.5) for name, space in row.search.items() if name not in row.defaults}
        spec = study.spec(contender, 0, 0, {**middle, **row.defaults}, weights)
        points = points_to_try(study, contender)
        versions = [code_digest(spec_fields(spec)), TRAINING_VERSION, torch_minor()]
        key = digest(canonical([group_key(spec), points, study.stack, data_digest, versions]))
        reason = stored.get(key, task_of(spec.data["kind"]).not_stacked_because)
        if key not in stored:
            with collecting(problems):
                call_optimizer(process, f"optimizers: {contender.name}", spec, points)
                check_decay(study, contender, process)
            with collecting(problems):
                reason = reason or process.call(network_key(spec), _reason_alone, study.stack, spec)
        decided[contender.name] = Decision(key, reason)
    if problems:
        raise DataError("\n".join(dict.fromkeys(problems)))
    return decided


def _reason_alone(mode: str, spec: RunSpec) -> str:
    """Return why the trainings of `spec` run one by one, empty if they are stacked; `mode` is the study's `stack`."""
    build = partial(try_network, replace(spec, pretrained=None))  # weights may not be made yet, and change nothing here
    network = build()
    if mode == "off":
        return "the study says so"
    from optstudy.training.stacked.checks import why_bits_would_differ, why_not_stacked, worth_stacking

    inputs = inputs_of(spec.data)
    reason = why_not_stacked(spec, build, inputs)
    if not reason and mode == "auto" and not worth_stacking(network, inputs, spec.batch_size):
        reason = "its steps are so large that stacking saves no time"
    return reason or why_bits_would_differ(spec, network, inputs, _batch_sizes(spec))


def _batch_sizes(spec: RunSpec) -> list[int]:
    """Return the sizes that batches of an epoch have: the common one, and that of the last batch if it is smaller."""
    whole, rest = divmod(training_examples(spec), spec.batch_size)
    return [spec.batch_size] * bool(whole) + [rest] * bool(rest)


def stored_path(mlruns: Path, study: str) -> Path:
    """Return the path of a study's stored decisions; only the process that holds the study writes it."""
    return mlruns / "stacking" / f"{study}.json"


def read_stored(mlruns: Path, study: str) -> dict[str, str]:
    """Return a study's stored decisions by key."""
    stored = read_derived(stored_path(mlruns, study))
    return {key: reason for key, reason in stored.items() if isinstance(reason, str)}
