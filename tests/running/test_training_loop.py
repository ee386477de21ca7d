"""The training loop: which results are failures, and how failures are reported."""

from __future__ import annotations

from itertools import permutations

import pytest

from builders import tiny
from optstudy.planning.fingerprints import Fingerprints
from optstudy.planning.jobs import Job, unit_jobs, units
from optstudy.running.training_loop import failure_lines, failure_of
from optstudy.spec import RunResult


@pytest.mark.parametrize(
    ("final", "epoch", "words"),
    [
        ({"test/accuracy": 0.0, "val/accuracy": 1.0, "val/loss": 72.2, "val/f1": 72.2}, {"val/accuracy": 1.0}, ""),
        ({"val/accuracy": 1 + 2**-23}, {"val/accuracy": -(2**-24)}, ""),  # rounding in single precision
        ({"test/accuracy": 72.2222}, {}, "test/accuracy 72.2222"),
        ({"test/accuracy": -0.5}, {}, "test/accuracy -0.5"),
        ({"val/accuracy": 0.1}, {"val/accuracy": 72.2}, "val/accuracy 72.2"),  # diverged later: scored at chance
    ],
)
def test_an_accuracy_is_a_fraction_in_every_epoch_and_at_the_end(
    final: dict[str, float], epoch: dict[str, float], words: str
) -> None:
    study = tiny(tuning={"trials": 0})
    [job] = unit_jobs(study, units(study, ["sgd"])[0], Fingerprints("digest"), {}, None, True)
    failure = failure_of(job, RunResult("completed", final, (epoch,), 1.0), "val/accuracy")
    allowed = f"the model logs {words}: an accuracy must be a fraction from 0 to 1" if words else ""
    assert failure == allowed


def test_a_model_that_logs_a_name_with_an_underscore_is_told_to_write_a_slash() -> None:
    job = unit_jobs(tiny(), units(tiny(), ["adam"])[0], Fingerprints("digest"), {}, None, True)[0]
    failure = failure_of(job, RunResult("completed", {"val_iou": 0.5}, (), 1.0), "val/iou")
    assert failure.endswith("it logs val_iou; write `val/iou` in place of `val_iou`")


def test_a_failure_is_reported_by_its_first_training_in_the_studys_order() -> None:
    study = tiny(sweep={"contenders": ["adam"], "points": 3})

    def jobs_of(contender: str, replicate: int) -> list[Job]:
        return unit_jobs(study, units(study, [contender])[replicate], Fingerprints("digest"), {}, None, True)

    adam = jobs_of("adam", 1)
    jobs = [adam[0], adam[2], adam[3], *jobs_of("sgd", 0)[:2]]
    assert {job.variant for job in jobs} == {"trial", "untuned", "sweep"}
    for order in permutations(jobs):
        assert failure_lines([(job, "no memory") for job in order], ["sgd", "adam"]) == [
            "sgd, replicate 0, trial 0: no memory (and in 1 more of its trainings)",
            "adam, replicate 1, trial 0: no memory (and in 2 more of its trainings)",
        ]


def test_failures_that_differ_in_numbers_alone_are_one_line() -> None:
    study = tiny(tuning={"trials": 0})
    jobs = [unit_jobs(study, unit, Fingerprints("digest"), {}, None, True)[0] for unit in units(study, ["sgd"])]
    failures = list(zip(reversed(jobs), ["it logs 7e-05", "it logs -72.2"], strict=True))
    words = "sgd, replicate 0, untuned -1: it logs -72.2 (and in 1 more of its trainings)"
    assert failure_lines(failures, ["sgd", "adam"]) == [words]
