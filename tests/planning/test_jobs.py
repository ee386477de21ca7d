"""Which trainings a study consists of: paired across contenders, equal in budget, and nothing moves when it grows."""

from __future__ import annotations

import pytest

from builders import tiny
from optstudy.planning.fingerprints import Fingerprints
from optstudy.planning.jobs import (
    Job,
    changes,
    final_jobs,
    jobs_in,
    resolved,
    trial_jobs,
    trials_in,
    unit_jobs,
    units,
)

FINGERPRINTS = Fingerprints("digest")
FIVE = ["sgd", "momentum", "rmsprop", "adam", "adamw"]


def jobs(**study: object) -> list[Job]:
    made = tiny(optimizers=FIVE, **study)
    return [job for unit in units(made, FIVE) for job in unit_jobs(made, unit, FINGERPRINTS, {}, None, True)]


def test_contenders_are_paired_in_each_replicate_and_equal_in_budget() -> None:
    made = jobs()
    for place in {(job.replicate, job.variant, job.trial) for job in made}:
        paired = [job for job in made if (job.replicate, job.variant, job.trial) == place]
        assert [job.contender for job in paired] == FIVE
        assert len({(job.spec.seed, job.spec.split_seed, job.spec.epochs) for job in paired}) == 1
    assert len({job.key for job in made}) == len(made)


def test_replicates_and_purposes_share_no_seed() -> None:
    one = [job for job in jobs() if job.contender == "sgd" and job.variant != "untuned"]
    assert len({job.seed for job in one}) == len(one)
    assert len({job.spec.split_seed for job in one}) == 2


@pytest.mark.parametrize("growth", [{"replicates": 3}, {"tuning": {"trials": 5}}])
def test_a_study_that_grows_keeps_every_training_that_it_had(growth: dict[str, object]) -> None:
    assert {job.key for job in jobs()} < {job.key for job in jobs(**growth)}


def test_one_search_for_all_replicates_is_replicate_zeros() -> None:
    made = jobs(tuning={"trials": 2, "once": True})
    assert {job.replicate for job in made if job.variant == "trial"} == {0}
    assert {job.replicate for job in made if job.variant == "untuned"} == {0, 1}


@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("untuned", [False, True])
def test_the_count_of_trainings_is_that_of_the_jobs(once: bool, untuned: bool) -> None:
    study = tiny(optimizers=["sgd"], tuning={"trials": 2, "once": once}, untuned=untuned)
    point = {"learning_rate": 0.1, "weight_decay": 1e-4}
    searches = [unit.replicates[0] for unit in units(study, ["sgd"])]
    trials = [job for replicate in searches for job in trial_jobs(study, "sgd", replicate, FINGERPRINTS, {})]
    finals = [job for replicate in range(2) for job in final_jobs(study, "sgd", replicate, FINGERPRINTS, point)]
    assert jobs_in(study, "sgd") == len(trials) + len(finals)
    assert trials_in(study) == len(trials)


def test_a_sweep_runs_from_end_to_end_of_the_space_with_the_rest_at_its_defaults() -> None:
    made = jobs(sweep={"contenders": ["sgd"], "points": 3})
    study = tiny(optimizers=FIVE, sweep={"contenders": ["sgd"], "points": 3})
    row = study.row(study.contender("sgd"))
    space = row.search["learning_rate"]
    for replicate in range(2):
        points = [job for job in made if job.variant == "sweep" and job.replicate == replicate]
        assert {job.contender for job in points} == {"sgd"}
        rates = [job.hyperparameters["learning_rate"] for job in points]
        assert rates == pytest.approx([space.low, (space.low * space.high) ** 0.5, space.high])
        assert {job.hyperparameters["weight_decay"] for job in points} == {row.defaults["weight_decay"]}
        assert len({job.seed for job in points}) == 1  # the rate alone differs
    assert jobs_in(study, "sgd") == jobs_in(study, "adam") + 2 * 3
    assert len([job for job in made if job.contender == "sgd"]) == jobs_in(study, "sgd") - 2  # tuned: not yet known


def test_claims_change_no_training() -> None:
    claim = {"statement": "adam wins", "better": "adam", "than": "sgd"}
    assert {job.key for job in jobs(claims=[claim])} == {job.key for job in jobs()}


def test_what_changed_is_named_by_its_path() -> None:
    one = resolved(tiny(), "sgd", FINGERPRINTS)
    other = resolved(tiny(epochs=3), "sgd", FINGERPRINTS)
    assert changes(one, one) == []
    assert changes(one, other) == ["epochs: 2 -> 3"]
