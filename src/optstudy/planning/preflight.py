"""Resolves a study's data and weights to digests, and checks before training that data, model and optimizers fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from optstudy.errors import DataError, collecting, error_prefix
from optstudy.keys import canonical
from optstudy.planning.dry_run import (
    call_network,
    call_optimizer,
    is_table_row,
    network_key,
    start_from_pretraining,
)
from optstudy.planning.fingerprints import Decision, Fingerprints, accepted_keys, recorded_keys
from optstudy.planning.jobs import unit_jobs, units
from optstudy.planning.journal import Entry
from optstudy.planning.layout import MLRUNS
from optstudy.planning.stack_decisions import decisions, read_stored
from optstudy.spec import RunSpec
from optstudy.study.schema import Data, Pretraining
from optstudy.study.study import Study
from optstudy.tasks.arrays import Arrays
from optstudy.tasks.datasets import data_digest, hand_over, load_arrays
from optstudy.tasks.pretrained import PRETRAINING, weights_digest
from optstudy.user_process import UserProcess


def fingerprints_of(
    study: Study, mlruns: Path = MLRUNS, entries: Mapping[str, Entry] | None = None, accept: int | None = None
) -> Fingerprints:
    """Return the digests of what the study's names stand for; loads its data, and tries its parts on them once.

    A user's code runs in another process. With `accept`, finished trainings among `entries` of that training version
    are used as if they were current. Raises DataError, with a line for each problem, if data or weights are missing, or
    if data, model, weights and contenders do not fit.
    """
    recorded = {} if accept is None else accepted_keys(entries or {}, accept)
    stored = read_stored(mlruns, study.name)
    stacking, problems = dict[str, Decision](), list[str]()
    with error_prefix(study.name), UserProcess(study.timeout) as process:
        _load_custom_data(study, process)
        data, source = data_digest(study.data.resolved()), study.model.pretrained
        key = "" if study.pretraining is None else pretraining_data(study, recorded).key(study.pretraining_spec())
        with error_prefix("model.pretrained"):
            weights = "" if source is None else weights_digest(source, key)
        with collecting(problems):
            stacking = decisions(study, data, weights, stored, process)
        if not {decision.key for decision in stacking.values()} <= stored.keys() or problems:
            with collecting(problems):
                _check_repeatable(study, process)  # a stored decision rests on the same data in another process
            with collecting(problems):
                _check_start(study, Fingerprints(data, weights, stacking), process)
        if problems:
            raise DataError("\n".join(dict.fromkeys(problems)))
        return Fingerprints(data, weights, stacking, recorded)


def _load_custom_data(study: Study, process: UserProcess) -> None:
    """Load a user's own data in `process`, and take over the arrays, or the error that `load_arrays` is to raise."""
    loaded = list[tuple[Mapping[str, Any], Arrays | DataError]]()
    for prefix, data in _custom_data(study):
        source = data.resolved()
        try:
            with error_prefix(prefix):
                loaded.append((source, process.call(f"data.class: {data.class_path}", load_arrays, source)))
        except DataError as error:
            loaded.append((source, error))
    hand_over(loaded)


def _custom_data(study: Study) -> list[tuple[str, Data]]:
    """Return the data of the study, and of its pretraining, that a user's code loads, each with its key's prefix."""
    before = [] if study.pretraining is None else [(PRETRAINING, study.pretraining.data)]
    return [(prefix, data) for prefix, data in [("", study.data), *before] if data.class_path is not None]


def pretraining_data(study: Study, recorded: Mapping[str, str] | None = None) -> Fingerprints:
    """Return the digests of what the study's pretraining is trained on; loads its data."""
    assert study.pretraining is not None
    return Fingerprints(data_digest(study.pretraining.data.resolved()), recorded=recorded or {})


def recorded_fingerprints(study: Study, entries: Mapping[str, Entry]) -> Fingerprints:
    """Return the digests with which a journal's trainings were made: a report needs neither their code nor their data.

    The data's digest is that of the data on this machine, or, if they cannot be loaded, of the journal's last training.
    """
    mine = [entry for entry in entries.values() if canonical(entry.spec["data"]) == canonical(study.data.resolved())]
    with UserProcess(study.timeout) as process:
        _load_custom_data(study, process)
    try:
        data = data_digest(study.data.resolved())
    except DataError:
        data = mine[-1].digests["data"] if mine else ""
    starts = [entry.spec["pretrained"]["digest"] for entry in mine if entry.spec["pretrained"] is not None]
    weights = starts[-1] if starts else ""
    fingerprints = Fingerprints(data, weights, {}, recorded_keys(entries), report_only=True)
    return replace(fingerprints, stacking=_recorded_stacking(study, fingerprints, entries))


def _recorded_stacking(study: Study, fingerprints: Fingerprints, entries: Mapping[str, Entry]) -> dict[str, Decision]:
    """Return for each contender whether its finished trainings were stacked."""
    stacking: dict[str, Decision] = {}
    for unit in units(study, [contender.name for contender in study.optimizers]):
        if unit.contender not in stacking:
            jobs = unit_jobs(study, unit, fingerprints, entries, None, True)
            stacked = any(entries[job.key].spec["stacked"] for job in jobs if job.key in entries)
            stacking[unit.contender] = Decision("", "" if stacked else "its trainings ran one by one")
    return stacking


def _check_repeatable(study: Study, process: UserProcess) -> None:
    """Load a user's own data once more in `process`. Raises DataError if they differ.

    Each worker loads them for itself, and would train on other data than the digest says.
    """
    for prefix, data in _custom_data(study):
        with error_prefix(prefix):
            if not process.call(f"data.class: {data.class_path}", _loads_the_same_again, data.resolved()):
                raise DataError(f"data.class: {data.class_path}: differs from call to call: seed its generator")


def _loads_the_same_again(source: Mapping[str, Any]) -> bool:
    """Return whether a user's code gives the same data as when this process loaded them first."""
    from optstudy.tasks.custom_data import custom_arrays

    first, again = load_arrays(source), custom_arrays(source["class"], source["arguments"], source["kind"])
    parts = ("x", "y", "test_x", "test_y")
    return all(np.array_equal(getattr(first, part), getattr(again, part)) for part in parts)


def _check_start(study: Study, fingerprints: Fingerprints, process: UserProcess) -> None:
    """Check that contenders can start from the pretrained weights, or from those that a pretraining will make.

    Raises DataError if weights do not fit the network, or if the pretraining's data or optimizer do not.
    """
    if study.model.pretrained is None:
        return
    if study.pretraining is not None:
        _check_pretraining(study, study.pretraining, fingerprints, process)
        return
    specs = [spec_without_pretraining(study, contender.name, fingerprints) for contender in study.optimizers]
    for spec in {spec.pretrained is None: spec for spec in specs}.values():
        call_network(process, spec)


def _check_pretraining(study: Study, block: Pretraining, fingerprints: Fingerprints, process: UserProcess) -> None:
    """Raise DataError if the pretraining cannot be trained, or if contenders cannot start from its weights."""
    before = study.pretraining_spec()
    with error_prefix(PRETRAINING):
        points = [] if is_table_row(block.optimizer) else [before.hyperparameters]
        call_optimizer(process, f"optimizer: {block.optimizer.name}", before, points)
        _check_word_numbers(study.data, block.data)
    spec = spec_without_pretraining(study, study.optimizers[0].name, fingerprints)
    process.call(network_key(spec), start_from_pretraining, before, spec)


def _check_word_numbers(data: Data, before: Data) -> None:
    """Raise DataError if the same token id means different words in the pretraining's texts and in the study's."""
    numbering, numbering_before = _numbering(data), _numbering(before)
    if None not in (numbering, numbering_before) and numbering != numbering_before:
        tokenizer = before.resolved()["arguments"]["tokenizer"]
        raise DataError(
            f"data.arguments.tokenizer: {tokenizer!r}: gives words other numbers than the study's data do, so the "
            "weights would belong to other words; use one transformer's tokenizer for both, or the same training part"
        )


def _numbering(data: Data) -> object:
    """Return what decides which token ids words get; None if that is not known, or if the data are not text.

    The tokenizer `words` counts the words of the training part, whatever their labels.
    """
    source = data.resolved()
    tokenizer = source["arguments"].get("tokenizer") if data.name is not None else None
    if tokenizer != "words":
        return tokenizer
    rest = {name: value for name, value in source["arguments"].items() if name not in ("test", "label", "length")}
    return source["name"], rest


def spec_without_pretraining(study: Study, name: str, fingerprints: Fingerprints) -> RunSpec:
    """Return the training of a contender's defaults, without weights that the pretraining has yet to make."""
    contender = study.contender(name)
    defaults, stacked = study.row(contender).defaults, fingerprints.stacked(name)
    spec = study.spec(contender, 0, 0, defaults, fingerprints.weights, stacked)
    return spec if study.pretraining is None else replace(spec, pretrained=None)
