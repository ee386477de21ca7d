"""Finished trials in persistent Optuna studies."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import optuna

from builders import tiny
from optstudy.records.databases import optuna_storage
from optstudy.records.optuna_trials import OptunaRecorder, _intermediate
from record_samples import EPOCH, FINAL, entry, opened_optuna, optuna_keys, optuna_trials, projection, trials


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


def test_trials_are_in_the_order_of_replicates_in_whatever_order_they_end(tmp_path: Path) -> None:
    jobs = trials()
    count = sum(job.replicate == 0 for job in jobs)
    spaces = {contender.name: contender.row().search for contender in tiny().optimizers}
    recorder = OptunaRecorder(tmp_path, "ordered", spaces, "val/accuracy", count)
    recorder.open()
    for job in reversed(jobs[1:]):
        recorder.add(job, entry(job))
    assert optuna_keys(tmp_path, "ordered") == []
    recorder.add(jobs[0], entry(jobs[0]))
    shown = [trial.user_attrs["key"] for trial in optuna_trials(tmp_path, "ordered/sgd")]
    assert shown == [job.key for job in jobs]


def test_an_optuna_study_names_its_value_and_says_that_it_pools_replicates(tmp_path: Path) -> None:
    opened_optuna(tmp_path, "named").complete(projection(tmp_path, "named", trials()))
    study = optuna.load_study(study_name="named/sgd", storage=optuna_storage(tmp_path))
    assert study.metric_names == ["val/accuracy"]
    assert (study.user_attrs["study"], study.user_attrs["contender"]) == ("named", "sgd")
    assert "pools the trials of all replicates" in study.user_attrs["note"]
    assert study.trials[0].intermediate_values == {1: EPOCH["val/accuracy"], 2: EPOCH["val/accuracy"]}


def test_a_trial_has_at_most_five_intermediate_values_and_the_last_is_one_of_them() -> None:
    job = trials()[0]
    curve = tuple({"val/accuracy": epoch / 100} for epoch in range(1, 22))
    long = replace(entry(job), result=replace(entry(job).result, curve=curve))
    assert _intermediate(long, "val/accuracy") == {epoch: epoch / 100 for epoch in (1, 6, 11, 16, 21)}
    assert _intermediate(long, "val/f1") == {}
