"""What a study's names stand for: its data, its weights, who stacks; and whether they go together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from optstudy.blocks import Data, Pretraining
from optstudy.datasets import data_digest, load_arrays
from optstudy.errors import DataError, said_of
from optstudy.place import MLRUNS
from optstudy.plan import Content, Job, pretraining_job
from optstudy.pretrained import PRETRAINING, fill, weights_digest
from optstudy.runs import RunSpec
from optstudy.stacking import decisions, is_row, read_stored, start, try_optimizer
from optstudy.study import Study


def content_of(study: Study, mlruns: Path = MLRUNS) -> Content:
    """Return what the study's names stand for; loads its data, and tries its networks on them once.

    Raises DataError where data or weights are missing, or data, model and contenders do not go together.
    """
    with said_of(study.name):
        data, source = data_digest(study.data.resolved()), study.model.pretrained
        key = "" if study.pretraining is None else job_before(study).key
        with said_of("model.pretrained"):
            weights = "" if source is None else weights_digest(source, key)
        stored = read_stored(mlruns, study.name)
        stacking = decisions(study, data, weights, stored)
        if not {decision.key for decision in stacking.values()} <= stored.keys():
            _check_steady(study)  # a stored decision rests on the same data in another process
        return Content(data, weights, stacking)


def _check_steady(study: Study) -> None:
    """Load a user's own data once more; raises DataError where they have become others.

    Each worker loads them for itself, and would train on other data than the digest says.
    """
    _same_again(study.data)
    if study.pretraining is not None:
        with said_of(PRETRAINING):
            _same_again(study.pretraining.data)


def _same_again(data: Data) -> None:
    if data.class_path is None:
        return
    from optstudy.own_data import own_arrays

    source = data.resolved()
    first, again = load_arrays(source), own_arrays(source["load"], source["arguments"], source["kind"])
    parts = ("x", "y", "test_x", "test_y")
    if not all(np.array_equal(getattr(first, part), getattr(again, part)) for part in parts):
        raise DataError(f"data.class: {data.class_path}: differs from call to call: seed its generator")


def check_start(study: Study, content: Content) -> None:
    """Build what a pretraining starts from, or else contenders from given weights, before anything is written.

    Raises DataError where weights do not fit the network, or the pretraining's data or optimizer do not.
    """
    if study.model.pretrained is None:
        return
    with said_of(study.name):
        if study.pretraining is not None:
            _check_pretraining(study, study.pretraining, content)
            return
        specs = [spec_without_pretraining(study, contender.name, content) for contender in study.optimizers]
        for spec in {spec.pretrained is None: spec for spec in specs}.values():
            start(spec)


def _check_pretraining(study: Study, block: Pretraining, content: Content) -> None:
    """Raise DataError where the pretraining cannot be trained, or contenders cannot start from what comes out of it."""
    spec = study.pretraining_spec()
    with said_of(PRETRAINING):
        points = [] if is_row(block.optimizer) else [spec.hyperparameters]
        try_optimizer(f"optimizer: {block.optimizer.name}", spec, points)
        network = start(spec)
        _numbers_words_alike(study.data, block.data)
    own = start(spec_without_pretraining(study, study.optimizers[0].name, content))  # all have the same network
    with said_of("model.pretrained"):
        fill(own, network.state_dict(), PRETRAINING)


def _numbers_words_alike(data: Data, before: Data) -> None:
    """Raise DataError where a number of the pretraining's texts is another word in those of the study."""
    numbering, numbering_before = _numbering(data), _numbering(before)
    if None not in (numbering, numbering_before) and numbering != numbering_before:
        tokenizer = before.resolved()["arguments"]["tokenizer"]
        raise DataError(
            f"data.arguments.tokenizer: {tokenizer!r}: gives words other numbers than the study's data do, so that the "
            "weights would be of other words; name one transformer's tokenizer in both, or the same training part"
        )


def _numbering(data: Data) -> object:
    """Return what decides which numbers words get; None where that is not known, or no text.

    `words` counts those of the training part, whatever their labels, and a transformer's tokenizer knows its own.
    """
    source = data.resolved()
    tokenizer = source["arguments"].get("tokenizer") if data.name is not None else None
    if tokenizer != "words":
        return tokenizer
    rest = {name: value for name, value in source["arguments"].items() if name not in ("test", "label", "length")}
    return source["load"], rest


def spec_without_pretraining(study: Study, name: str, content: Content) -> RunSpec:
    """Return a contender's training of its defaults, without weights that are yet to be made."""
    contender = study.contender(name)
    defaults, stacked = study.row(contender).defaults, content.stacked(name)
    spec = study.spec(contender, 0, 0, defaults, content.weights, stacked)
    return spec if study.pretraining is None else replace(spec, pretrained=None)


def job_before(study: Study) -> Job:
    """Return the training that comes before all others: the study's pretraining."""
    assert study.pretraining is not None
    return pretraining_job(study, data_digest(study.pretraining.data.resolved()))
