"""In a shared store a project changes and deletes only what it wrote."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import optuna
import pytest

from builders import tiny
from optstudy.errors import StudyError
from optstudy.planning.layout import StudyPaths
from optstudy.records.databases import check_stores, optuna_storage, tracking_uri
from optstudy.records.ownership import OWNER, make_project, name_prefix, project_path, read_project
from optstudy.running import stages
from record_samples import (
    entry,
    mlflow_client,
    mlflow_keys,
    mlflow_recorder,
    mlflow_runs,
    opened_mlflow,
    opened_optuna,
    optuna_recorder,
    projection,
    trials,
)
from synthetic import fill_journal


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let both stores be databases that several projects share."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/shared-mlflow.db")
    monkeypatch.setenv("OPTSTUDY_OPTUNA_STORAGE", f"sqlite:///{tmp_path}/shared-optuna.db")
    return tmp_path


def test_studies_that_start_at_the_same_moment_have_one_id(tmp_path: Path) -> None:
    start, ids = Barrier(8), list[str]()

    def first_run() -> None:
        start.wait()
        ids.append(make_project(tmp_path / "mlruns"))

    threads = [Thread(target=first_run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(ids) == {read_project(tmp_path / "mlruns")}
    assert project_path(tmp_path / "mlruns").read_text() == f"{ids[0]}\n"


def test_the_environment_gives_a_fresh_checkout_its_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_project(tmp_path) == ""
    monkeypatch.setenv("OPTSTUDY_PROJECT", "mine")
    assert read_project(tmp_path) == "mine"
    assert not project_path(tmp_path).exists()
    assert make_project(tmp_path) == "mine"
    monkeypatch.delenv("OPTSTUDY_PROJECT")
    assert read_project(tmp_path) == "mine"


@pytest.mark.parametrize(
    ("variable", "value", "kept", "words"),
    [
        ("OPTSTUDY_PROJECT", "other", "mine", "OPTSTUDY_PROJECT: 'other': must be 'mine', the id in "),
        ("OPTSTUDY_PROJECT", "no id", "", "OPTSTUDY_PROJECT: 'no id': must be 1 to 64 letters"),
        ("OPTSTUDY_PREFIX", "/x", "", "OPTSTUDY_PREFIX: '/x': must be at most 100 letters"),
        ("OPTSTUDY_PREFIX", "a b", "", "OPTSTUDY_PREFIX: 'a b': must be at most 100 letters"),
        ("OPTSTUDY_PREFIX", "", "{}", "'{}': must be 1 to 64 letters"),
    ],
)
def test_a_wrong_id_or_prefix_is_rejected_before_anything_is_written(
    variable: str, value: str, kept: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    if kept:
        project_path(tmp_path).write_text(kept)
    with pytest.raises(StudyError) as caught:
        check_stores(tmp_path)
    assert words in str(caught.value)


def optuna_names() -> list[str]:
    return sorted(optuna.get_all_study_names(optuna_storage(Path("mlruns"))))


def test_a_project_that_shares_a_store_neither_deletes_nor_changes_what_others_wrote(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = (StudyPaths(tiny(), shared / name / "results", shared / name / "mlruns") for name in "ab")
    other = StudyPaths(tiny(optimizers=["sgd"]), other.results, other.mlruns)
    for paths in (mine, other):
        fill_journal(paths)
    assert stages.report(mine, print) is not None
    made = optuna.create_study(study_name="tiny/notebook", storage=optuna_storage(shared))
    made.add_trial(optuna.trial.create_trial(value=1.0))
    keys = mlflow_keys(shared, "tiny"), optuna_keys_of(mine)
    before = list(shared.rglob("b/**/*"))
    commands: list[Callable[[], object]] = [
        lambda: stages.report(other, print),
        lambda: stages.run(other, 1, print, print),
        lambda: stages.pretrain(other, print),
        lambda: stages.tune(other, "sgd", 1, print),
    ]
    for command in commands:
        with pytest.raises(StudyError, match="OPTSTUDY_PREFIX=NAME-") as caught:
            command()
        assert read_project(mine.mlruns) in str(caught.value)  # the way out for a fresh checkout
    assert list(shared.rglob("b/**/*")) == before

    monkeypatch.setenv("OPTSTUDY_PREFIX", "team-b-")
    assert stages.report(other, print) is not None
    monkeypatch.delenv("OPTSTUDY_PREFIX")
    assert optuna_names() == ["team-b-tiny/sgd", "tiny/adam", "tiny/notebook", "tiny/sgd"]
    assert (mlflow_keys(shared, "tiny"), optuna_keys_of(mine)) == keys
    assert {run.data.tags[OWNER] for run in mlflow_runs(shared, "team-b-tiny")} == {read_project(other.mlruns)}

    without_adam = StudyPaths(tiny(optimizers=["sgd"]), mine.results, mine.mlruns)
    assert stages.report(without_adam, print) is not None  # its own contender that left is deleted
    assert optuna_names() == ["team-b-tiny/sgd", "tiny/notebook", "tiny/sgd"]


def optuna_keys_of(paths: StudyPaths) -> list[str]:
    storage = optuna_storage(paths.mlruns)
    names = [f"{paths.study.name}/{contender}" for contender in paths.contenders]
    studies = [optuna.load_study(study_name=name, storage=storage) for name in names]
    return [trial.user_attrs["key"] for study in studies for trial in study.trials]


def test_a_fresh_checkout_with_the_projects_id_continues_its_experiment(
    shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = trials()[0]
    opened_mlflow(shared / "a", "ci").add(job, entry(job))
    with pytest.raises(StudyError, match="OPTSTUDY_PROJECT="):
        mlflow_recorder(shared / "b", "ci").check()
    monkeypatch.setenv("OPTSTUDY_PROJECT", read_project(shared / "a"))
    mlflow_recorder(shared / "b", "ci").check()
    opened_mlflow(shared / "b", "ci").add(job, entry(job))
    assert mlflow_keys(shared, "ci") == [job.key]


def test_an_experiment_that_nobody_signed_is_refused_in_a_shared_store(shared: Path) -> None:
    recorder = mlflow_recorder(shared / "a", "hand")
    recorder.check()  # there is no database yet
    client = mlflow_client(shared)
    experiment = client.create_experiment("hand")
    for stage in ("active", "deleted"):
        if stage == "deleted":
            client.delete_experiment(experiment)
        with pytest.raises(StudyError, match="the experiment 'hand' was not written by optstudy"):
            recorder.check()
        with pytest.raises(StudyError):
            recorder.open()
    assert client.get_experiment(experiment).lifecycle_stage == "deleted"


def test_an_optuna_study_that_nobody_signed_is_refused_in_a_shared_store_unless_it_is_empty(shared: Path) -> None:
    recorder, job = optuna_recorder(shared / "a", "hand"), trials()[0]
    recorder.check()
    storage = optuna_storage(shared)
    made = optuna.create_study(study_name="hand/adam", storage=storage, direction="maximize")
    made.add_trial(optuna.trial.create_trial(value=1.0))
    optuna.create_study(study_name="hand/sgd", storage=storage, direction="maximize")
    with pytest.raises(StudyError, match="the Optuna study 'hand/adam' was not written by optstudy"):
        recorder.check()
    recorder.open()
    recorder.add(job, entry(job))  # of sgd: a killed process may have left the empty one
    assert optuna.load_study(study_name="hand/sgd", storage=storage).user_attrs == {OWNER: read_project(shared / "a")}


def remove_ids(root: Path) -> None:
    """Make stores look as an earlier version wrote them."""
    for name, tables in (("mlflow.db", ("tags", "experiment_tags")), ("optuna.db", ("study_user_attributes",))):
        with closing(sqlite3.connect(root / name)) as database:
            for table in tables:
                database.execute(f"DELETE FROM {table} WHERE key = ?", (OWNER,))
            database.commit()
    project_path(root).unlink()


def test_what_an_earlier_version_wrote_into_the_default_databases_is_the_projects_own(tmp_path: Path) -> None:
    jobs = trials("sgd", "adam")
    for recorder in (opened_mlflow(tmp_path, "old"), opened_optuna(tmp_path, "old")):
        recorder.complete(projection(tmp_path, "old", jobs))
    made = optuna.create_study(study_name="old/notebook", storage=optuna_storage(tmp_path))
    made.add_trial(optuna.trial.create_trial(value=1.0))
    remove_ids(tmp_path)
    kept = trials()
    openers: tuple[Callable[..., Any], ...] = (opened_mlflow, opened_optuna)
    for opened in openers:
        opened(tmp_path, "old").complete(projection(tmp_path, "old", kept))
    assert mlflow_keys(tmp_path, "old") == sorted(job.key for job in kept)
    assert sorted(optuna.get_all_study_names(optuna_storage(tmp_path))) == ["old/notebook", "old/sgd"]
    assert len(optuna.load_study(study_name="old/notebook", storage=optuna_storage(tmp_path)).trials) == 1


def test_runs_that_people_add_to_a_studys_experiment_stay(tmp_path: Path) -> None:
    recorder = opened_mlflow(tmp_path, "mixed")
    client, experiment = mlflow_client(tmp_path), recorder._experiment
    run = client.create_run(experiment, tags={"optstudy.identity": "run x", OWNER: "somebody"}, run_name="theirs")
    hand = client.create_run(experiment, run_name="by hand")
    again = opened_mlflow(tmp_path, "mixed")
    again.complete(projection(tmp_path, "mixed", trials()))
    names = {found.info.run_name: found for found in mlflow_runs(tmp_path, "mixed")}
    assert names["theirs"].info.run_id == run.info.run_id
    assert names["by hand"].info.run_id == hand.info.run_id
    assert names["theirs"].data.tags == client.get_run(run.info.run_id).data.tags


def test_the_prefix_is_empty_by_default() -> None:
    assert name_prefix() == ""
    assert tracking_uri(Path("mlruns")).endswith("/mlruns/mlflow.db")
