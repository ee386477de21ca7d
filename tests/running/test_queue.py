"""Each training is taken once, in groups that can stack, and counted for each contender that it belongs to."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from builders import tiny
from optstudy.planning.fingerprints import Decision, Fingerprints
from optstudy.planning.jobs import Job, jobs_in, named_jobs, trials_in, unit_jobs, units
from optstudy.planning.journal import Entry
from optstudy.running.queue import MAX_GROUP, MIN_GROUP, JobQueue
from optstudy.spec import RunResult, group_key

NAMES = ["sgd", "twin", "adam"]
TWIN = {"name": "twin", "like": "sgd"}  # does prints sgd does: the two share every training


def fingerprints(stacked: bool) -> Fingerprints:
    return Fingerprints("digest", "", {name: Decision("key", "" if stacked else "alone") for name in NAMES})


def ended(job: Job) -> Entry:
    metrics = {"val/accuracy": job.hyperparameters["learning_rate"], "val/loss": 1.0}
    return Entry(job.key, asdict(job.spec), {}, {}, RunResult("completed", metrics, (), 1.0), 0, (), 1)


def drain(queue: JobQueue, done: dict[str, Entry], workers: int) -> list[list[Job]]:
    """Train as a coordinator would: groups for all workers, then the ends, the last group's first."""
    taken: list[list[Job]] = []
    while groups := [group for _ in range(workers) if (group := queue.take(workers))]:
        taken += groups
        for job in (job for group in reversed(groups) for job in group):
            assert job.key not in done
            done[job.key] = ended(job)
            queue.ended(job)
    return taken


@pytest.mark.parametrize("workers", [1, 2, 5])
@pytest.mark.parametrize("stacked", [True, False])
@pytest.mark.parametrize(
    "tuning",
    [{"trials": 5}, {"trials": 3, "once": True}, {"trials": 4, "sampler": "tpe"}, {"trials": 0}],
    ids=["random", "once", "tpe", "none"],
)
def test_each_training_is_taken_once_and_counted_for_each_contender_that_shares_it(
    workers: int, stacked: bool, tuning: dict[str, Any]
) -> None:
    study = tiny(optimizers=["sgd", TWIN, "adam"], replicates=10, tuning=tuning)
    prints, done = fingerprints(stacked), dict[str, Entry]()
    queue = JobQueue(study, units(study, NAMES), prints, done)
    groups = drain(queue, done, workers)
    taken = [job.key for group in groups for job in group]
    assert sorted(taken) == sorted({job.key for job in named_jobs(study, NAMES, prints, done)})
    assert queue.finished == {name: jobs_in(study, name) for name in NAMES}
    assert len(taken) == jobs_in(study, "sgd") + jobs_in(study, "adam")
    for group in groups:
        assert len({(job.contender, group_key(job.spec)) for job in group}) == 1
        assert len(group) <= (MAX_GROUP if stacked else 1)


def test_a_finished_training_is_counted_and_not_taken_again() -> None:
    study, done = tiny(replicates=3), dict[str, Entry]()
    prints, todo = fingerprints(True), units(tiny(replicates=3), ["sgd"])
    searches = JobQueue(study, todo, prints, done, finals=False)
    drain(searches, done, 1)
    assert searches.finished == {"sgd": trials_in(study)}
    rest = JobQueue(study, todo, prints, done)
    assert rest.finished == {"sgd": trials_in(study)}
    assert {job.variant for group in drain(rest, done, 1) for job in group} == {"tuned", "untuned"}
    assert rest.finished == {"sgd": jobs_in(study, "sgd")}


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_worker_gets_a_share_of_the_jobs_that_stack(workers: int) -> None:
    study = tiny(replicates=10, tuning={"trials": 5})
    todo = units(study, ["sgd", "adam"])
    queue = JobQueue(study, todo, fingerprints(True), {})
    groups = []
    while group := queue.take(workers):
        groups.append(group)
    jobs = [job for unit in todo for job in unit_jobs(study, unit, fingerprints(True), {}, None, True)]
    assert sorted(job.key for group in groups for job in group) == sorted(job.key for job in jobs)
    assert len(groups) >= 2 * workers
    assert all(len(group) >= MIN_GROUP for group in groups[:workers])
