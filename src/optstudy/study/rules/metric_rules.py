"""The rules about metrics of a study file: which are declared, and which objectives and claims can be about."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from optstudy.metrics import COMPUTED, METRICS, Metric, declared_rows
from optstudy.study.schema import StudyFile
from optstudy.study.validation import NOTHING, Problem, Rule
from optstudy.tasks.kinds import task_of


def row_of(study: StudyFile, column: str) -> Metric | None:
    """Return the row of a metric of the tables, or of one that the study declares; None for another."""
    return METRICS.get(column) or declared_rows(study.new_metrics).get(column)


def _objective_is_a_metric_of_the_task(study: StudyFile) -> Iterator[Problem]:
    task = task_of(study.kind)
    on_validation = [name for name in study.columns if name.startswith("val_")]
    allowed = list(dict.fromkeys([*task.objectives, *(name.replace("_", "/", 1) for name in on_validation)]))
    if study.objective not in allowed:
        further = ["val/ and the name of a metric that is declared under `metrics`"] if task.examples else []
        message = f"must be one of {', '.join([*allowed, *further])} for data of kind {study.kind}"
        yield Problem(("tuning", "objective"), study.tuning.objective or NOTHING, message)


def _declared_metrics_are_distinct(study: StudyFile) -> Iterator[Problem]:
    counts = Counter(own.name for own in study.metrics)
    if twice := [name for name, count in counts.items() if count > 1]:
        yield Problem(("metrics",), twice, "must be declared once")


def _declared_metrics_are_complete(study: StudyFile) -> Iterator[Problem]:
    """Report metrics whose direction or value at chance is not known, and what the tables say already."""
    task = task_of(study.kind)
    if study.metrics and not task.examples:
        yield Problem(("metrics",), NOTHING, f"have no effect, because {study.data.name} is an analytic function")
        return
    for number, own in enumerate(study.metrics):
        path = ("metrics", number)
        known = METRICS.get(f"val_{own.name}")
        if known is None:
            if own.better is None:
                message = "is required: `higher` or `lower`, because no table has this metric"
                yield Problem((*path, "better"), NOTHING, message)
        else:
            right = "higher" if known.higher else "lower"
            if own.better not in (None, right):
                yield Problem((*path, "better"), own.better, f"is {right} of {own.name}")
            if own.margin is not None:
                message = f"goes into a claim: that of {own.name} is {known.margin:g} without"
                yield Problem((*path, "margin"), own.margin, message)
        of_task = f"val_{own.name}" in task.metrics
        if own.chance is None and not of_task and (own.name not in COMPUTED or not task.classifies):
            message = "is required: the value that diverged trainings get"
            yield Problem((*path, "chance"), NOTHING, message)
        if study.model.class_path is None and not of_task and (own.name not in COMPUTED or not task.classifies):
            computed = f": {', '.join(COMPUTED)} are computed" if task.classifies else ""
            message = (
                f"is not computed on data of kind {study.kind}{computed}; others need a LightningModule that logs them"
            )
            yield Problem((*path, "name"), own.name, message)


def _claims_have_a_margin(study: StudyFile) -> Iterator[Problem]:
    """Report claims on a metric without a default margin that give none: what matters depends on the study."""
    for number, claim in enumerate(study.claims):
        row = row_of(study, claim.metric)
        if row is not None and claim.margin is None and not row.margin:
            unit = row.unit or "its own unit"
            message = f"is required with `metric: {claim.metric}`: the smallest difference that matters, in {unit}"
            yield Problem(("claims", number, "margin"), NOTHING, message)


def _validation_metrics_have_a_validation_part(study: StudyFile) -> Iterator[Problem]:
    examples = task_of(study.kind).examples
    if examples and study.data.validation_share:
        return
    message = "needs data with a validation part: `validation_share` above 0"
    if study.target is not None:
        yield Problem(("target",), study.target, message)
    for number, claim in enumerate(study.claims):
        row = row_of(study, claim.metric)
        if examples and row is not None and row.validation:
            yield Problem(("claims", number, "metric"), claim.metric, message)


def _target_can_be_reached(study: StudyFile) -> Iterator[Problem]:
    """Report a target that no value of a fraction reaches, or every one."""
    row = row_of(study, study.score)
    if study.target is not None and row is not None and row.share and not 0 < study.target <= 1:
        yield Problem(("target",), study.target, f"must be above 0 and at most 1, as a {row.label}")


METRIC_RULES: tuple[Rule, ...] = (
    _objective_is_a_metric_of_the_task,
    _declared_metrics_are_distinct,
    _declared_metrics_are_complete,
    _claims_have_a_margin,
    _validation_metrics_have_a_validation_part,
    _target_can_be_reached,
)
