"""Finished trials in persistent Optuna studies."""

from __future__ import annotations

from pathlib import Path

import optuna

from optstudy.records.databases import optuna_storage
from record_samples import FINAL, entry, opened_optuna, optuna_keys, optuna_trials, projection, trials


def test_optuna_has_each_trial_once_and_none_of_an_older_search_space(tmp_path: Path) -> None:
    jobs = trials()
    for _ in range(2):
        opened_optuna(tmp_path, "s").complete(projection(tmp_path, "s", jobs))
    shown = optuna_trials(tmp_path, "s/sgd")
    assert [(t.user_attrs["replicate"], t.value, t.params) for t in shown] == [
        (job.replicate, 0.5, dict(job.hyperparameters)) for job in jobs
    ]
    opened_optuna(tmp_path, "s").complete(projection(tmp_path, "s", jobs[:1]))
    assert optuna_keys(tmp_path, "s") == [jobs[0].key]


def test_trials_that_were_added_to_those_of_an_older_search_space_remain_alone(tmp_path: Path) -> None:
    # Between the edit of a search space and the end of the study, trials of both spaces are in one Optuna study.
    old, new, *_ = trials()
    opened_optuna(tmp_path, "edited").complete(projection(tmp_path, "edited", [old]))
    recorder = opened_optuna(tmp_path, "edited")
    recorder.add(new, entry(new))
    assert len(optuna_trials(tmp_path, "edited/sgd")) == 2
    recorder.complete(projection(tmp_path, "edited", [new]))
    assert optuna_keys(tmp_path, "edited") == [new.key]


def test_trials_are_written_again_for_another_objective(tmp_path: Path) -> None:
    jobs = trials()
    opened_optuna(tmp_path, "s").complete(projection(tmp_path, "s", jobs))
    by_loss = projection(tmp_path, "s", jobs, metrics={**FINAL, "val/loss": 0.25})
    opened_optuna(tmp_path, "s", "val/loss").complete(by_loss)
    assert [trial.value for trial in optuna_trials(tmp_path, "s/sgd")] == [0.25] * len(jobs)


def test_the_optuna_study_of_a_former_contender_is_deleted(tmp_path: Path) -> None:
    opened_optuna(tmp_path, "left").complete(projection(tmp_path, "left", trials("sgd", "adam")))
    opened_optuna(tmp_path, "left2").complete(projection(tmp_path, "left2", trials()))
    opened_optuna(tmp_path, "left").complete(projection(tmp_path, "left", trials()))
    assert sorted(optuna.get_all_study_names(optuna_storage(tmp_path))) == ["left/sgd", "left2/sgd"]
