"""What a study's names stand for: its data, its weights, who stacks; and whether they go together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from optstudy.datasets import data_digest
from optstudy.errors import said_of
from optstudy.place import MLRUNS
from optstudy.plan import Content, Job, pretraining_job
from optstudy.pretrained import weights_digest
from optstudy.runs import RunSpec
from optstudy.stacking import decisions, read_stored, start
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
        return Content(data, weights, decisions(study, data, weights, read_stored(mlruns, study.name)))


def check_start(study: Study, content: Content) -> None:
    """Build what a pretraining starts from, or else contenders from given weights, before anything is written.

    Raises DataError where weights do not fit the network, or the pretraining's data do not.
    """
    if study.model.pretrained is None:
        return
    if study.pretraining is not None:
        specs = [study.pretraining_spec()]
    else:
        specs = [spec_without_pretraining(study, contender.name, content) for contender in study.optimizers]
    with said_of(study.name):
        for spec in {spec.pretrained is None: spec for spec in specs}.values():
            start(spec)


def spec_without_pretraining(study: Study, name: str, content: Content) -> RunSpec:
    """Return a contender's training of its defaults, without weights that are yet to be made; they fit anyhow."""
    contender = study.contender(name)
    defaults, stacked = study.row(contender).defaults, content.stacked(name)
    spec = study.spec(contender, 0, 0, defaults, content.weights, stacked)
    return spec if study.pretraining is None else replace(spec, pretrained=None)


def job_before(study: Study) -> Job:
    """Return the training that comes before all others: the study's pretraining."""
    assert study.pretraining is not None
    return pretraining_job(study, data_digest(study.pretraining.data.resolved()))
