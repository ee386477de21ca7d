"""MLflow and Optuna as projections: real stores, filled from journal entries and from events of running trainings."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from builders import tiny
from optstudy.errors import StudyError
from optstudy.planning.jobs import Fingerprints, Job, trial_jobs
from optstudy.planning.journal import Entry
from optstudy.planning.layout import StudyPaths
from optstudy.records.databases import same_database
from optstudy.records.live import LIVE_AFTER_MS, OPENED_AFTER_MS, Live, check_stores, writing
from optstudy.records.mlflow_runs import Tracker, metric_name, tracking_uri
from optstudy.records.optuna_trials import Trials, optuna_storage
from optstudy.running import stages
from optstudy.running.stages import project_trials
from optstudy.spec import EpochEnded, RunResult
from optstudy.study.study import Study
from synthetic import fill_journal

EPOCH = {"train/loss": 1.5, "train/accuracy": 0.5, "val/loss": 1.6, "val/accuracy": 0.4, "learning_rate": 0.01}
FINAL = {f"{part}/{name}": 0.5 for part in ("train", "val", "test") for name in ("loss", "accuracy")}


@pytest.fixture(autouse=True)
def _local_stores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("OPTSTUDY_OPTUNA_STORAGE", raising=False)


def trials() -> list[Job]:
    return [job for replicate in (0, 1) for job in trial_jobs(tiny(), "sgd", replicate, Fingerprints("digest"), {})]


def entry(job: Job, start: int = 1_000_000) -> Entry:
    result = RunResult("completed", FINAL, (EPOCH, EPOCH), 1.0)
    return Entry(
        job.key, asdict(job.spec), result, start, (start + 100, start + LIVE_AFTER_MS + 100), start + 2 * LIVE_AFTER_MS
    )


def opened_trials(root: Path, study: str) -> Trials:
    return Trials(root, study, {c.name: c.row().search for c in tiny().optimizers}, "val/accuracy")


def project(root: Path, study: str, jobs: list[Job]) -> None:
    project_trials(opened_trials(root, study), jobs, {job.key: entry(job) for job in jobs})


def client(root: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri(root))


def live_in(root: Path, study: str) -> Live:
    return Live(lambda: Tracker(root, study, {}), lambda: opened_trials(root, study))


def optuna_trials(root: Path, name: str) -> Any:
    import optuna

    return optuna.load_study(study_name=name, storage=optuna_storage(root)).trials


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("MLFLOW_TRACKING_URI", "file:./mlruns", "schemes: sqlite, postgresql"),
        ("MLFLOW_TRACKING_URI", "mlruns", "must be the address of a database or a server"),
        ("MLFLOW_TRACKING_URI", "uc:http://localhost:8080", "must be"),
        ("MLFLOW_TRACKING_URI", "sqlite:mlflow.db", "Could not parse SQLAlchemy URL"),
        ("OPTSTUDY_OPTUNA_STORAGE", "foo", "must be the SQLAlchemy address of a database"),
        ("OPTSTUDY_OPTUNA_STORAGE", "foo://me:secret@host/name", "Can't load plugin"),
    ],
)
def test_a_store_that_cannot_be_is_told_before_anything_else(
    variable: str, value: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    paths = StudyPaths(tiny(), tmp_path / "results", tmp_path / "mlruns")
    commands: list[Callable[[], object]] = [
        lambda: stages.prepare(paths, print),
        lambda: stages.run(paths, 1, print, print),
        lambda: stages.pretrain(paths, print),
        lambda: stages.tune(paths, "sgd", 1, print),
        lambda: stages.train(paths, "sgd", 1, print),
        lambda: stages.compare_stage(paths),
        lambda: stages.report(paths, print),
    ]
    for command in commands:
        with pytest.raises(StudyError) as caught:
            command()
        message = str(caught.value)
        assert message.startswith(f"{variable}: {value.replace('secret', '***')!r}: ")
        assert words in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "value", ["http://localhost:5000", "https://me:secret@host", "databricks://profile", "databricks", "sqlite:///a.db"]
)
def test_an_mlflow_that_may_be_there_is_taken_at_its_word(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", value)
    assert tracking_uri(Path("mlruns")) == value


def test_folders_are_taken_where_mlflow_is_told_to_take_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:./mlruns")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert tracking_uri(Path("mlruns")) == "file:./mlruns"


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        (
            "MLFLOW_TRACKING_URI",
            "http://127.0.0.1:9",
            r"MLflow \(MLFLOW_TRACKING_URI\): the store cannot be opened: .*",
        ),
        ("OPTSTUDY_OPTUNA_STORAGE", "sqlite:////proc/none/o.db", r"Optuna \(OPTSTUDY_.*No such file or directory.*"),
    ],
)
def test_where_a_store_does_not_open_is_said_that_nothing_is_lost(
    variable: str, value: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    live, job = live_in(tmp_path, "closed"), trials()[0]
    live.ended(job, entry(job))
    with pytest.raises(StudyError, match=rf"^{words}\nNothing is lost: .* optstudy report writes the rest$"):
        live.catch_up()


@pytest.mark.parametrize(
    ("database", "table", "store"), [("mlflow.db", "metrics", "MLflow"), ("optuna.db", "trial_params", "Optuna")]
)
def test_where_a_store_can_no_longer_be_written_as_well(database: str, table: str, store: str, tmp_path: Path) -> None:
    live, (first, second, *_) = live_in(tmp_path, "gone"), trials()
    live.ended(first, entry(first))
    live.catch_up()
    with closing(sqlite3.connect(tmp_path / database)) as file:
        file.execute(f"DROP TABLE {table}")
    live.ended(second, entry(second))
    with pytest.raises(StudyError, match=rf"^{store} .*: the store cannot be written: .*{table}.*\nNothing is lost: "):
        live.catch_up()


def test_so_is_a_full_disk_or_a_connection_that_has_ended() -> None:
    with (
        pytest.raises(StudyError, match=r"^MLflow: the store cannot be written: OSError: .*No space left"),
        writing("MLflow"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_defect_is_not_taken_for_a_stores(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), writing("MLflow"):
        _ = 1 / 0
    missing = tmp_path / "missing"
    with pytest.raises(FileNotFoundError), writing("MLflow"):
        missing.read_text()
    tracker, job = Tracker(tmp_path, "defect", {}), trials()[0]
    wrong = replace(entry(job), result=replace(entry(job).result, metrics={**FINAL, "val/x": "oops"}))
    with pytest.raises(Exception, match="oops") as caught, writing("MLflow"):
        tracker.add(job, wrong)
    assert type(caught.value).__name__ == "MlflowException"


def test_a_long_training_shows_its_epochs_while_it_runs_and_once_only_afterwards(tmp_path: Path) -> None:
    live, job = live_in(tmp_path, "live"), trials()[0]
    done = entry(job)
    for epoch, when in enumerate(done.epoch_ms, start=1):
        live.epoch(job, EpochEnded(0, epoch, EPOCH, when))
    store = client(tmp_path)
    experiment = store.get_experiment_by_name("live").experiment_id
    [run] = store.search_runs([experiment], "attributes.status = 'RUNNING'")
    assert [m.step for m in store.get_metric_history(run.info.run_id, "val/accuracy")] == [1, 2]
    live.ended(job, done)
    assert live.behind
    live.catch_up()
    assert not live.behind
    history = store.get_metric_history(run.info.run_id, "val/accuracy")
    assert [(m.step, m.value, m.timestamp) for m in history] == [
        (1, 0.4, done.epoch_ms[0]),
        (2, 0.4, done.epoch_ms[1]),
        (3, 0.5, done.ended_ms),
    ]
    assert store.get_run(run.info.run_id).info.status == "FINISHED"
    assert [trial.user_attrs["key"] for trial in optuna_trials(tmp_path, "live/sgd")] == [job.key]


def test_short_trainings_open_no_store_before_they_have_gone_on_for_a_while(tmp_path: Path) -> None:
    live, job = Live(lambda: pytest.fail("opened"), lambda: pytest.fail("opened")), trials()[0]
    live.epoch(job, EpochEnded(0, 1, EPOCH, 1_000_000))
    live.epoch(job, EpochEnded(0, 2, EPOCH, 1_000_000 + LIVE_AFTER_MS - 1))
    live.failed(job)
    start = entry(job).started_ms
    live.ended(job, replace(entry(job), ended_ms=start + OPENED_AFTER_MS - 1))
    assert not live.behind
    live.ended(job, replace(entry(job), ended_ms=start + OPENED_AFTER_MS))
    assert live.behind


NAMES = (
    "val/f1 (macro)",
    "val/größe: a-b_c.d",
    "val//f1",
    "val/",
    "test/../f1",
    "test/.",
    "val/" + 300 * "x",
    "val/a,b",
)


def test_metrics_of_any_name_are_shown_by_one_that_mlflow_takes(tmp_path: Path) -> None:
    from mlflow.utils.validation import _validate_metric_name

    for name in NAMES:
        _validate_metric_name(metric_name(name))
    assert [metric_name(name) for name in NAMES[:5]] == [
        "val/f1 _macro_",
        "val/größe: a-b_c.d",  # as it was
        "val/_/f1",
        "val/_",
        "test/_/f1",
    ]
    tracker, job = Tracker(tmp_path, "names", {}), trials()[0]
    values = dict.fromkeys(NAMES, 0.5)
    done = entry(job)
    tracker.epochs(job, [EpochEnded(0, 1, {**EPOCH, **values}, done.epoch_ms[0])])
    tracker.add(job, replace(done, result=replace(done.result, metrics={**FINAL, **values})))
    store = client(tmp_path)
    [run] = store.search_runs([store.get_experiment_by_name("names").experiment_id], "tags.`optstudy.key` != ''")
    assert {metric_name(name) for name in NAMES} < set(run.data.metrics)


def test_a_training_that_raised_is_shown_as_failed(tmp_path: Path) -> None:
    live, job = live_in(tmp_path, "raised"), trials()[0]
    for epoch in (1, 2):
        live.epoch(job, EpochEnded(0, epoch, EPOCH, epoch * LIVE_AFTER_MS))
    live.failed(job)
    store = client(tmp_path)
    runs = store.search_runs([store.get_experiment_by_name("raised").experiment_id])
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED"]  # the training, and its parent


def test_a_run_left_behind_by_a_kill_is_replaced_by_the_journals(tmp_path: Path) -> None:
    job = trials()[0]
    killed = Tracker(tmp_path, "killed", {})
    killed.epochs(job, [EpochEnded(0, 1, EPOCH, 0), EpochEnded(0, 2, EPOCH, LIVE_AFTER_MS)])
    Tracker(tmp_path, "killed", {}).add(job, entry(job))
    store = client(tmp_path)
    runs = store.search_runs([store.get_experiment_by_name("killed").experiment_id])
    named = [run for run in runs if run.data.tags["optstudy.stage"] == "tuning"]
    assert [run.info.status for run in named] == ["FINISHED"]


def test_children_carry_the_tags_and_the_parent_the_aggregates(tmp_path: Path) -> None:
    tracker, job = Tracker(tmp_path, "tags", {"mlflow.source.git.commit": "abc"}), trials()[1]
    tracker.add(job, entry(job))
    row = {"contender": "sgd", "variant": "tuned", "n": 2, "test_accuracy_mean": 0.9, "test_accuracy_ci_low": 0.8}
    for _ in range(2):
        tracker.summarise([row], {"sgd": {"epochs": 2}}, {"replicates": 2}, {"sgd": 5})
    store = client(tmp_path)
    runs = store.search_runs([store.get_experiment_by_name("tags").experiment_id])
    parent = next(run for run in runs if run.data.tags["optstudy.stage"] == "contender")
    child = next(run for run in runs if run.data.tags["optstudy.stage"] == "tuning")
    assert parent.data.metrics["test/accuracy_mean"] == 0.9
    assert len(store.get_metric_history(parent.info.run_id, "test/accuracy_mean")) == 1
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.tags["mlflow.source.git.commit"] == "abc"
    tags = {name: child.data.tags[f"optstudy.{name}"] for name in ("contender", "variant", "replicate", "trial", "key")}
    assert tags == {"contender": "sgd", "variant": "trial", "replicate": "0", "trial": "1", "key": job.key}
    assert float(child.data.params["learning_rate"]) == job.hyperparameters["learning_rate"]
    assert parent.data.tags["optstudy.n"] == "2"
    assert "n" not in parent.data.metrics  # or plots of the parents would open on it


@pytest.mark.parametrize(
    ("names", "expected"),
    [(["sgd"], ["learning_rate", "weight_decay"]), (["sgd", "adam"], ["learning_rate", "optimizer", "weight_decay"])],
)
def test_plots_of_trials_open_on_rate_and_decay_and_on_what_the_search_selects_by(
    names: list[str], expected: list[str], tmp_path: Path
) -> None:
    tracker = Tracker(tmp_path, "plots", {})
    jobs = [job for name in names for r in (0, 1) for job in trial_jobs(tiny(), name, r, Fingerprints("digest"), {})]
    for job in jobs:
        tracker.add(job, entry(job))
    store = client(tmp_path)
    runs = store.search_runs([store.get_experiment_by_name("plots").experiment_id], "tags.`optstudy.stage` = 'tuning'")
    known = {name for run in runs for name in run.data.params}
    different = [name for name in known if len({run.data.params.get(name) for run in runs}) > 1]
    assert sorted(different)[:3] == expected  # MLflow's page takes the first three
    assert {run.data.tags["optstudy.split_seed"] for run in runs} == {str(job.spec.split_seed) for job in jobs}
    assert next(iter(runs[0].data.metrics)) == "val/accuracy"  # and the first metric


def test_a_study_that_grows_keeps_its_parents(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path, "grows", {})
    for replicates in (2, 3):
        row = {"contender": "sgd", "variant": "untuned", "n": replicates, "test_accuracy_mean": 0.9}
        tracker.summarise([row], {"sgd": {"epochs": 2}}, {"replicates": replicates}, {"sgd": 5})
    store = client(tmp_path)
    [parent] = store.search_runs([store.get_experiment_by_name("grows").experiment_id], run_view_type=3)
    assert {name: parent.data.tags[f"optstudy.{name}"] for name in ("replicates", "untuned/n")} == {
        "replicates": "3",
        "untuned/n": "3",
    }


def test_a_contender_that_left_the_study_leaves_its_parent_and_its_optuna_study(tmp_path: Path) -> None:
    import optuna

    tracker, own = Tracker(tmp_path, "left", {}), trials()
    others = [job for r in (0, 1) for job in trial_jobs(tiny(), "adam", r, Fingerprints("digest"), {})]
    for job in [*own, *others]:
        tracker.add(job, entry(job))
    project(tmp_path, "left", [*own, *others])
    project(tmp_path, "left2", own)
    tracker.keep_only(own)
    project(tmp_path, "left", own)
    store = client(tmp_path)
    runs = store.search_runs([store.get_experiment_by_name("left").experiment_id])
    assert {run.data.tags["optstudy.contender"] for run in runs} == {"sgd"}
    assert sorted(optuna.get_all_study_names(optuna_storage(tmp_path))) == ["left/sgd", "left2/sgd"]


def test_the_comparison_keeps_no_file_that_has_vanished(tmp_path: Path) -> None:
    tables = tmp_path / "tables"
    (tables / "runs").mkdir(parents=True)
    for name in ("adam", "sgd"):
        (tables / "runs" / f"{name}.csv").write_text(name)
    tracker, store = Tracker(tmp_path, "vanished", {}), client(tmp_path)
    tracker.attach(tables, "both", 5)
    [before] = store.search_runs([store.get_experiment_by_name("vanished").experiment_id])
    tracker.attach(tables, "both", 5)
    (tables / "runs" / "sgd.csv").unlink()
    tracker.attach(tables, "one", 5)
    [after] = store.search_runs([store.get_experiment_by_name("vanished").experiment_id])
    assert after.info.run_id != before.info.run_id
    assert [file.path for file in store.list_artifacts(after.info.run_id, "runs")] == ["runs/adam.csv"]


def test_a_study_reports_to_nobody() -> None:
    from mlflow.telemetry.utils import is_telemetry_disabled

    assert is_telemetry_disabled()


def test_a_parent_whose_settings_changed_is_replaced_and_keeps_its_children(tmp_path: Path) -> None:
    tracker, job = Tracker(tmp_path, "grown", {}), trials()[1]
    tracker.add(job, entry(job))
    row = {"contender": "sgd", "variant": "tuned", "test_accuracy_mean": 0.9}
    for epochs in (2, 3):
        tracker.summarise([row], {"sgd": {"epochs": epochs}}, {}, {"sgd": 5})
    store = client(tmp_path)
    runs = store.search_runs([store.get_experiment_by_name("grown").experiment_id])
    [parent] = [run for run in runs if run.data.tags["optstudy.stage"] == "contender"]
    [child] = [run for run in runs if run.data.tags["optstudy.stage"] == "tuning"]
    assert parent.data.params == {"epochs": "3"}
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id


HALVES = [{"name": "digits", "arguments": {"classes": classes}} for classes in ([0, 1], [5, 6])]
# what tells a contender from `adam` -> (what its entry says, the parameters of its parent that differ)
OTHERS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "constant": ({"schedule": "constant"}, {"schedule": "constant, by epoch, no warm-up"}),
    "warm": (
        {"schedule": {"interval": "step", "warmup": 0.125}},
        {"schedule": "cosine, by step, warm-up for 0.125 of the budget"},
    ),
    "clip": ({"clip": 0.5}, {"clip": "norm 0.5"}),
    "frozen": ({"freeze": ["body"]}, {"freeze": "body"}),
    "scratch": ({"from_scratch": True}, {"starts_from": "fresh weights"}),
    "fixed": ({"fixed": {"eps": 1e-4}}, {"with": "beta1 0.9, beta2 0.999, eps 0.0001"}),
    "other": (
        {"defaults": {"learning_rate": 0.002}},
        {"defaults": "learning_rate 0.002, weight_decay 1e-05"},
    ),
    "flat": (
        {"search": {"learning_rate": {"low": 1e-5, "high": 1e-2, "log": False}}},
        {"search learning_rate": "1e-05 to 0.01, linear"},
    ),
}


def parents(root: Path, study: Study) -> dict[str, Any]:
    """Return the runs of contenders by name, as a report writes them from a journal."""
    paths = StudyPaths(study, root / "results", root / "mlruns")
    if study.kind == "function":
        stages.run(paths, 1, print, lambda _: None)
    else:
        fill_journal(paths)
        assert stages.report(paths, print) is not None
    store = client(paths.mlruns)
    experiment = store.get_experiment_by_name(study.name).experiment_id
    runs = store.search_runs([experiment], "tags.`optstudy.stage` = 'contender'")
    return {run.info.run_name: run for run in runs}


def test_contenders_that_differ_have_parents_whose_parameters_differ(tmp_path: Path) -> None:
    study = tiny(
        data=HALVES[0],
        model={"name": "mlp", "arguments": {"width": 8}, "pretrained": "pretraining"},
        pretraining={"data": HALVES[1], "optimizer": "momentum", "epochs": 1},
        optimizers=["adam", *({"name": name, "like": "adam", **entry} for name, (entry, _) in OTHERS.items())],
        tuning={"trials": 1},
    )
    found = {name: run.data.params for name, run in parents(tmp_path, study).items()}
    adam = found.pop("adam")
    assert adam == {
        "optimizer": "torch.optim.Adam",
        "with": "beta1 0.9, beta2 0.999, eps 1e-08",
        "decay": "coupled",
        "defaults": "learning_rate 0.001, weight_decay 1e-05",
        "search learning_rate": "3e-05 to 0.03",
        "search weight_decay": "1e-06 to 0.01",
        "epochs": "2",
        "schedule": "cosine, by epoch, no warm-up",
        "clip": "nothing",
        "model": "mlp: width 8",
        "batch_size": "256",
        "precision": "32-true",
        "freeze": "nothing",
        "starts_from": "pretraining",
    }
    assert found == {name: {**adam, **differing} for name, (_, differing) in OTHERS.items()}


def test_parents_of_a_function_have_no_parameters_of_networks(tmp_path: Path) -> None:
    study = tiny(data="ravine", model="point", batch_size=64, optimizers=["sgd", "momentum"])
    found = parents(tmp_path, study)
    sgd, momentum = (found[name].data.params for name in ("sgd", "momentum"))
    assert (sgd["with"], momentum["with"]) == ("momentum 0.0", "momentum 0.9")
    assert (sgd["model"], sgd["clip"], sgd["defaults"]) == ("point", "nothing", "learning_rate 0.01")
    assert not {"batch_size", "precision", "freeze", "starts_from"} & set(sgd)


def test_a_parameter_longer_than_mlflow_takes_is_cut_and_keeps_its_parent(tmp_path: Path) -> None:
    tracker = Tracker(tmp_path, "long", {})
    row = {"contender": "sgd", "variant": "tuned", "test_accuracy_mean": 0.9}
    for replicates in (2, 3):
        tracker.summarise([row], {"sgd": {"model": 7000 * "x"}}, {"replicates": replicates}, {"sgd": 5})
    store = client(tmp_path)
    [parent] = store.search_runs([store.get_experiment_by_name("long").experiment_id], run_view_type=3)
    assert parent.data.params == {"model": 6000 * "x"}


def test_optuna_gets_each_trial_once_and_forgets_those_of_an_older_space(tmp_path: Path) -> None:
    jobs = trials()
    for _ in range(2):
        project(tmp_path, "s", jobs)
    found = optuna_trials(tmp_path, "s/sgd")
    assert [(t.user_attrs["replicate"], t.value, t.params) for t in found] == [
        (job.replicate, 0.5, dict(job.hyperparameters)) for job in jobs
    ]
    project(tmp_path, "s", jobs[:1])
    assert len(optuna_trials(tmp_path, "s/sgd")) == 1


def test_trials_shown_while_a_study_runs_give_way_to_its_space(tmp_path: Path) -> None:
    # A search space was edited: what runs adds to a study that holds the older trials, until the end puts it right.
    old, new, *_ = trials()
    project(tmp_path, "edited", [old])
    live = opened_trials(tmp_path, "edited")
    live.add(new, entry(new))
    assert len(optuna_trials(tmp_path, "edited/sgd")) == 2
    project_trials(live, [new], {new.key: entry(new)})
    assert [trial.user_attrs["key"] for trial in optuna_trials(tmp_path, "edited/sgd")] == [new.key]


def test_trials_are_written_anew_for_another_objective(tmp_path: Path) -> None:
    jobs = trials()
    project(tmp_path, "s", jobs)
    by_loss = Trials(tmp_path, "s", {"sgd": tiny().optimizers[0].row().search}, "val/loss")
    low = RunResult("completed", {**FINAL, "val/loss": 0.25}, (EPOCH, EPOCH), 1.0)
    project_trials(by_loss, jobs, {job.key: replace(entry(job), result=low) for job in jobs})
    assert [trial.value for trial in optuna_trials(tmp_path, "s/sgd")] == [0.25] * len(jobs)


def test_a_copy_of_the_settled_database_is_complete(tmp_path: Path) -> None:
    # SQLite appends to a log beside the database first; whoever takes a copy of the one file must lose nothing.
    tracker, job = Tracker(tmp_path, "settled", {}), trials()[0]
    tracker.add(job, entry(job))
    tracker.settle()
    (tmp_path / "copy").mkdir()
    shutil.copy(tmp_path / "mlflow.db", tmp_path / "copy")
    store = client(tmp_path / "copy")
    runs = store.search_runs([store.get_experiment_by_name("settled").experiment_id])
    assert {run.data.tags["optstudy.stage"] for run in runs} == {"contender", "tuning"}


STORES = {  # what opens a store in the folder where it stands
    "mlflow.db": "from optstudy.records.mlflow_runs import Tracker\nTracker(Path(), sys.argv[1], {})\n",
    "optuna.db": "from optstudy.records.optuna_trials import Trials\nTrials(Path(), sys.argv[1], {}, 'val/loss')._study('sgd')\n",
}
TENTH_TABLE = """
import os, resource, signal, sys
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.engine import Engine

tables = []


def count(connection, cursor, statement, *rest):
    if statement.split()[0] == "CREATE":
        tables.append(statement)
        if len(tables) == 10:
            END


event.listen(Engine, "before_cursor_execute", count)
"""
ENDS = {  # how a process ends at its tenth table -> its exit code
    "os.kill(os.getpid(), signal.SIGKILL)": -signal.SIGKILL,
    "os.kill(os.getpid(), signal.SIGINT)": -signal.SIGINT,
    "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))": 1,  # no file gets longer, as where a disk is full
}


def opening(code: str, folder: Path, study: str) -> subprocess.Popen[str]:
    code = f"import sys\nfrom pathlib import Path\n{code}"
    return subprocess.Popen(
        [sys.executable, "-c", code, study], cwd=folder, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", STORES)
def test_a_store_whose_making_was_cut_short_is_made_anew(name: str, end: str, tmp_path: Path) -> None:
    cut = opening(TENTH_TABLE.replace("END", end) + STORES[name], tmp_path, "cut")
    _, said = cut.communicate(timeout=120)
    assert cut.returncode == ENDS[end], said
    assert not (tmp_path / name).exists()
    whole = opening(STORES[name], tmp_path, "whole")
    _, said = whole.communicate(timeout=120)
    assert whole.returncode == 0, said
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, f"{name}.lock"]
    with closing(sqlite3.connect(tmp_path / name)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("name", STORES)
def test_studies_that_start_at_the_same_moment_share_a_store(name: str, tmp_path: Path) -> None:
    code = "import mlflow.tracking, optuna.storages, alembic.command\ninput()\n" + STORES[name]
    studies = [opening(code, tmp_path, f"study{number}") for number in range(4)]
    for study in studies:
        assert study.stdin is not None
        study.stdin.write("\n")
        study.stdin.flush()
    for study in studies:
        _, said = study.communicate(timeout=120)
        assert study.returncode == 0, said
    table, column = ("experiments", "name") if name == "mlflow.db" else ("studies", "study_name")
    with closing(sqlite3.connect(tmp_path / name)) as database:
        found = [value for (value,) in database.execute(f"select {column} from {table} where {column} like 'study%'")]
    assert sorted(value.partition("/")[0] for value in found) == ["study0", "study1", "study2", "study3"]


def test_a_named_sqlite_file_is_made_whole_too_and_keeps_sqlites_own_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its options are the user's, and it may lie where a write-ahead log cannot.
    folder = tmp_path / "of größe"
    for variable, name in (("MLFLOW_TRACKING_URI", "a.db"), ("OPTSTUDY_OPTUNA_STORAGE", "b.db")):
        monkeypatch.setenv(variable, f"sqlite:///{folder / name}?timeout=30")
    live, job = live_in(tmp_path / "mlruns", "named"), trials()[0]
    live.ended(job, entry(job))
    live.catch_up()
    assert sorted(path.name for path in folder.iterdir()) == ["a.db", "a.db.lock", "b.db", "b.db.lock"]
    for name in ("a.db", "b.db"):
        with closing(sqlite3.connect(folder / name)) as database:
            assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert client(tmp_path).get_experiment_by_name("named") is not None


@pytest.mark.parametrize(
    ("mlflow", "optuna", "shown"),
    [
        ("sqlite:///a.db", "sqlite:///a.db", "'sqlite:///a.db'"),
        ("sqlite:///a.db", "sqlite:///mlruns/../a.db", "'sqlite:///a.db' and 'sqlite:///mlruns/../a.db'"),
        ("", "sqlite:///mlruns/mlflow.db", "/mlruns/mlflow.db' and 'sqlite:///mlruns/mlflow.db'"),
        ("sqlite:///mlruns/optuna.db", "", "'sqlite:///mlruns/optuna.db' and "),
    ],
)
def test_one_database_for_both_is_refused_before_it_is_opened(
    mlflow: str, optuna: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow)
    monkeypatch.setenv("OPTSTUDY_OPTUNA_STORAGE", optuna)
    with pytest.raises(
        StudyError, match=r"^MLFLOW_TRACKING_URI and OPTSTUDY_OPTUNA_STORAGE: .*a database each"
    ) as told:
        check_stores(Path("mlruns"))
    assert shown in str(told.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("postgresql://me:secret@host/name", "postgresql+psycopg2://you@host/name", True),
        ("postgresql://host/name", "postgresql://host/another", False),
        ("postgresql://host/name", "mysql://host/name", False),
        ("postgresql://host/name", "sqlite:///name", False),
        ("sqlite:///name", "postgresql://host/name", False),
        ("sqlite://", "sqlite://", False),
        ("http://localhost:5000", "sqlite:///a.db", False),
        ("databricks", "sqlite:///a.db", False),
    ],
)
def test_addresses_name_one_database_whoever_asks_and_through_whatever_driver(one: str, other: str, same: bool) -> None:
    assert same_database(one, other) is same
