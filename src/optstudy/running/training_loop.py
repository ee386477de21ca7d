"""Trains what a study's journal lacks: hands jobs to an executor, journals what ends, and shows it to recorders."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import cast

from optstudy.analysis.evaluate_claims import stated
from optstudy.errors import TrainingFailed
from optstudy.metrics import is_fraction
from optstudy.planning import journal
from optstudy.planning.designs import settings_of
from optstudy.planning.jobs import VARIANTS, Job, Unit, jobs_in, pretraining_job, trials_in
from optstudy.planning.journal import Entry, Stated
from optstudy.planning.layout import keeps_weights, weights_path
from optstudy.planning.preflight import pretraining_data
from optstudy.planning.selection import Selections
from optstudy.records.live import Live
from optstudy.running.executor import Executor
from optstudy.running.queue import JobQueue
from optstudy.running.session import Say, Session
from optstudy.spec import Event, Phase, Progress, RunResult, TrainingEnded
from optstudy.study.study import Study
from optstudy.tasks.pretrained import are_weights, save_weights, weights_file

NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")


OnProgress = Callable[[Progress | Phase], None]


def complete(
    session: Session,
    todo: Sequence[Unit],
    executor: Executor,
    live: Live,
    on_progress: OnProgress,
    *,
    selections: Selections | None = None,
    finals: bool = True,
) -> None:
    """Train what the journal lacks of the units' jobs.

    Each finished training is journalled before anything else. Final runs take their hyperparameters from `selections`,
    or from the journal's trials if it is None; without `finals` only searches are run. Raises TrainingFailed, after all
    others have ended, if trainings failed.
    """
    study, failures = session.study, list[tuple[Job, str]]()
    queue = JobQueue(study, todo, session.fingerprints, session.entries, selections, finals)
    claims = statement(study)

    def tell(contender: str, seconds: float) -> None:
        total = _total(study, contender, selections, finals)
        on_progress(Progress(contender, queue.finished[contender], total, seconds))

    for contender in dict.fromkeys(unit.contender for unit in todo):
        tell(contender, 0.0)
    for job, event in _events(study, queue, executor):
        if not isinstance(event, TrainingEnded):
            live.epoch(job, event)
        elif failure := failure_of(job, event.result, study.objective):
            failures.append((job, failure))
            live.failed(job)
        else:
            session.entries[job.key] = _record(session, job, event, claims)
            claims = replace(claims, design={})  # one line of a command has it: it is as long as all else
            live.ended(job, session.entries[job.key])
            for contender in queue.ended(job):
                tell(contender, event.result.seconds)
    if failures:
        raise TrainingFailed("\n".join(failure_lines(failures, session.paths.contenders)))


def statement(study: Study) -> Stated:
    """Return all that a study file states, as the first training of a command records it."""
    return replace(stated(study), seed=study.seed, design=settings_of(study))


def _events(study: Study, queue: JobQueue, executor: Executor) -> Iterator[tuple[Job, Event]]:
    """Hand out the jobs of the queue, and yield each event with its job."""
    running = 0
    while True:
        while executor.free and (group := queue.take(executor.count)):
            running += len(group)
            keep_weights = any(keeps_weights(study, job) for job in group)
            executor.submit(group, [job.spec for job in group], keep_weights)
        if not running:
            return
        for ticket, event in executor.events():
            running -= isinstance(event, TrainingEnded)
            yield cast(list[Job], ticket)[event.index], event


def _total(study: Study, contender: str, selections: Selections | None, finals: bool) -> int:
    """Return how many trainings a stage consists of: the searches, what follows them, or both."""
    trials = trials_in(study)
    if not finals:
        return trials
    return jobs_in(study, contender) - (trials if selections is not None else 0)


def _record(session: Session, job: Job, ended: TrainingEnded, claims: Stated) -> Entry:
    """Write a finished training into the journal, and before it the weights that are kept; return its entry."""
    if ended.weights is not None and keeps_weights(session.study, job):
        save_weights(weights_path(session.paths, job), ended.weights)
    if job.stage != "final":  # only the answers of final runs are compared
        ended = replace(ended, result=replace(ended.result, answers=""))
    digests = session.fingerprints.digests(job.spec)
    return journal.append(session.paths.journal, job.key, job.spec, digests, ended, claims)


def run_pretraining(session: Session, executor: Executor, say: Say) -> RunResult:
    """Return the result of the study's pretraining; train it first if its entry or readable weights are missing.

    Its weights are written before its line in the journal. Raises TrainingFailed if it failed or diverged.
    """
    study = session.study
    job = pretraining_job(study, session.fingerprints)
    path = weights_file(job.key)
    if job.key in session.entries and are_weights(path):
        return session.entries[job.key].result
    executor.submit(job, [job.spec], weights=True)
    ended = next(event for event in _until_ended(executor) if isinstance(event, TrainingEnded))
    result = ended.result
    if ended.weights is None or result.status != "completed":
        raise TrainingFailed(f"pretraining: {result.status}: {result.message or 'lower its learning rate'}")
    if failure := _not_a_fraction(result):
        raise TrainingFailed(f"pretraining: {failure}")
    save_weights(path, ended.weights)
    digests = pretraining_data(study).digests(job.spec)
    entry = journal.append(session.paths.journal, job.key, job.spec, digests, ended, statement(study))
    session.entries[job.key] = entry
    say(f"pretraining by {study.pretrained_by}: {_outcome(result.metrics)} on its data")
    return result


def _until_ended(executor: Executor) -> Iterator[Event]:
    while True:
        yield from (event for _, event in executor.events())


def _outcome(metrics: Mapping[str, float]) -> str:
    """Return the scores on the test part in words, or all metrics if a user's LightningModule has no test_step."""
    scores = {name: value for name, value in metrics.items() if name.startswith("test/") and name != "test/loss"}
    shown = scores or metrics
    return ", ".join(f"{name.replace('/', ' ')} {value:.4f}" for name, value in shown.items()) or "it logs nothing"


def failure_of(job: Job, result: RunResult, objective: str) -> str:
    """Return what went wrong in a training, empty if nothing did."""
    if result.status == "failed":
        return result.message or "failed without an error message"
    if job.stage == "tuning" and objective not in result.metrics:
        meant = objective.replace("/", "_")
        hint = f"; write `{objective}` in place of `{meant}`" if meant in result.metrics else ""
        logged = ", ".join(result.metrics)
        return f"the model must log {objective}, by which the search selects; it logs {logged}{hint}"
    return _not_a_fraction(result)


def _not_a_fraction(result: RunResult) -> str:
    """Return which accuracy is not a fraction, such as one logged in percent; empty if all are."""
    for metrics in (result.metrics, *result.curve):
        for name, value in metrics.items():
            if name.endswith("/accuracy") and not is_fraction(value):
                return f"the model logs {name} {value:g}: an accuracy must be a fraction from 0 to 1"
    return ""


def failure_lines(failures: Sequence[tuple[Job, str]], contenders: Sequence[str]) -> list[str]:
    """Return one line per contender and message (numbers in it are ignored), about the first training that failed so.

    The first in the study's order: which one ended first depends on chance.
    """

    def place_in_study(failure: tuple[Job, str]) -> tuple[int, int, int, int, str]:
        job, message = failure
        return contenders.index(job.contender), job.replicate, VARIANTS.index(job.variant), job.trial, message

    alike = defaultdict[tuple[str, str], list[tuple[Job, str]]](list)
    for job, message in sorted(failures, key=place_in_study):
        alike[job.contender, NUMBER.sub("", message)].append((job, message))
    return [
        f"{job.contender}, replicate {job.replicate}, {job.variant} {job.trial}: {message}"
        + (f" (and in {len(others)} more of its trainings)" if others else "")
        for (job, message), *others in alike.values()
    ]
