"""Recorders while a study runs: laws of all recorders, when they are opened, and errors of their stores."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from optstudy.errors import StudyError
from optstudy.records.live import LIVE_AFTER_MS, OPENED_AFTER_MS, Live, writing
from optstudy.records.recorder import Recorder
from optstudy.spec import EpochEnded
from record_samples import (
    EPOCH,
    FINAL,
    entry,
    mlflow_client,
    mlflow_keys,
    mlflow_recorder,
    mlflow_runs,
    opened_mlflow,
    optuna_keys,
    optuna_recorder,
    optuna_trials,
    projection,
    trials,
)

Make = Callable[[Path, str], Recorder]
Keys = Callable[[Path, str], list[str]]
# What makes a recorder, and what returns the keys of the finished trainings that its store shows.
RECORDERS: dict[str, tuple[Make, Keys]] = {
    "mlflow": (mlflow_recorder, mlflow_keys),
    "optuna": (optuna_recorder, optuna_keys),
}
for_each_recorder = pytest.mark.parametrize(("make", "keys"), RECORDERS.values(), ids=RECORDERS)


def live_in(root: Path, study: str) -> Live:
    return Live([optuna_recorder(root, study), mlflow_recorder(root, study)])


@for_each_recorder
def test_a_training_that_is_added_twice_is_shown_once(make: Make, keys: Keys, tmp_path: Path) -> None:
    job = trials()[0]
    first, second = make(tmp_path, "twice"), make(tmp_path, "twice")
    first.open()
    first.add(job, entry(job))
    first.add(job, entry(job))
    second.open()
    second.add(job, entry(job))
    assert keys(tmp_path, "twice") == [job.key]


@for_each_recorder
def test_opening_a_recorder_twice_is_harmless(make: Make, keys: Keys, tmp_path: Path) -> None:
    recorder, (running, finished, *_) = make(tmp_path, "open"), trials()
    recorder.open()
    recorder.epochs(running, [EpochEnded(0, 1, EPOCH, entry(running).epoch_ms[0])])
    recorder.add(finished, entry(finished))
    recorder.open()
    recorder.add(running, entry(running))
    recorder.add(finished, entry(finished))
    assert keys(tmp_path, "open") == sorted([running.key, finished.key])


@for_each_recorder
def test_completing_shows_exactly_the_trainings_of_the_study(make: Make, keys: Keys, tmp_path: Path) -> None:
    recorder, jobs = make(tmp_path, "complete"), trials("sgd", "adam")
    recorder.open()
    recorder.complete(projection(tmp_path, "complete", jobs))
    assert keys(tmp_path, "complete") == sorted(job.key for job in jobs)
    other, [*kept, last] = make(tmp_path, "other"), trials()
    other.open()
    other.complete(projection(tmp_path, "other", [*kept, last]))
    for _ in range(2):  # adam has left, and sgd has fewer trials
        recorder.complete(projection(tmp_path, "complete", kept))
        assert keys(tmp_path, "complete") == sorted(job.key for job in kept)
    assert keys(tmp_path, "other") == sorted(job.key for job in [*kept, last])


@for_each_recorder
def test_a_recorder_that_is_not_needed_is_never_opened(make: Make, keys: Keys, tmp_path: Path) -> None:
    root = tmp_path / "mlruns"
    live, (short, raised, *_) = Live([make(root, "short")]), trials()
    live.epoch(raised, EpochEnded(0, 1, EPOCH, 0))
    live.failed(raised)
    live.ended(short, replace(entry(short), ended_ms=entry(short).started_ms + OPENED_AFTER_MS - 1))
    assert not live.behind
    assert not root.exists()


class Unopened:
    store = "none"

    def open(self) -> None:
        pytest.fail("opened")

    epochs = fail = add = complete = open


def test_short_trainings_open_no_recorder_until_enough_time_has_passed() -> None:
    live, job = Live([Unopened()]), trials()[0]
    live.epoch(job, EpochEnded(0, 1, EPOCH, 1_000_000))
    live.epoch(job, EpochEnded(0, 2, EPOCH, 1_000_000 + LIVE_AFTER_MS - 1))
    live.failed(job)
    start = entry(job).started_ms
    live.ended(job, replace(entry(job), ended_ms=start + OPENED_AFTER_MS - 1))
    assert not live.behind
    live.ended(job, replace(entry(job), ended_ms=start + OPENED_AFTER_MS))
    assert live.behind


def test_a_long_training_shows_its_epochs_while_it_runs_and_each_of_them_once(tmp_path: Path) -> None:
    live, job = live_in(tmp_path, "live"), trials()[0]
    done, store = entry(job), mlflow_client(tmp_path)
    for epoch, when in enumerate(done.epoch_ms, start=1):
        live.epoch(job, EpochEnded(0, epoch, EPOCH, when))
    [run] = [run for run in mlflow_runs(tmp_path, "live") if run.info.status == "RUNNING"]
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


def test_a_training_that_raised_is_shown_as_failed(tmp_path: Path) -> None:
    live, job = live_in(tmp_path, "raised"), trials()[0]
    for epoch in (1, 2):
        live.epoch(job, EpochEnded(0, epoch, EPOCH, epoch * LIVE_AFTER_MS))
    live.failed(job)
    runs = mlflow_runs(tmp_path, "raised")
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED"]  # the training, and its parent
    assert [r.data.tags["optstudy.status"] for r in runs if r.info.status == "FAILED"] == ["failed"]


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("MLFLOW_TRACKING_URI", "http://127.0.0.1:9", "the store cannot be opened: "),
        ("OPTSTUDY_OPTUNA_STORAGE", "sqlite:////proc/none/o.db", "No such file or directory"),
    ],
)
def test_a_store_that_cannot_be_opened_is_an_error_that_says_that_nothing_is_lost(
    variable: str, value: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    live, job = live_in(tmp_path, "closed"), trials()[0]
    live.ended(job, entry(job))
    with pytest.raises(StudyError) as caught:
        live.catch_up()
    reason, advice = str(caught.value).split("\n")
    assert f"({variable}): " in reason
    assert words in reason
    assert advice.startswith("Nothing is lost: ")
    assert "optstudy report" in advice


@pytest.mark.parametrize(
    ("database", "table", "store"), [("mlflow.db", "metrics", "MLflow"), ("optuna.db", "trial_params", "Optuna")]
)
def test_a_store_that_can_no_longer_be_written_is_an_error_that_says_that_nothing_is_lost(
    database: str, table: str, store: str, tmp_path: Path
) -> None:
    live, (first, second, *_) = live_in(tmp_path, "gone"), trials()
    live.ended(first, entry(first))
    live.catch_up()
    with closing(sqlite3.connect(tmp_path / database)) as file:
        file.execute(f"DROP TABLE {table}")
    live.ended(second, entry(second))
    with pytest.raises(StudyError, match=rf"^{store} .*: the store cannot be written: .*{table}.*\nNothing is lost: "):
        live.catch_up()


def test_a_full_disk_while_a_store_is_written_is_an_error_of_the_store() -> None:
    with (
        pytest.raises(StudyError, match=r"^MLflow: the store cannot be written: OSError: .*No space left"),
        writing("MLflow"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def raise_zero_division(_: Path) -> None:
    _ = 1 / 0


def read_missing_file(root: Path) -> None:
    (root / "missing").read_text()


def log_text_as_metric(root: Path) -> None:
    job = trials()[0]
    opened_mlflow(root, "defect").add(job, entry(job, metrics={**FINAL, "val/x": "oops"}))


@pytest.mark.parametrize(
    ("defect", "words", "raised"),
    [
        (raise_zero_division, "division by zero", "ZeroDivisionError"),
        (read_missing_file, "missing", "FileNotFoundError"),
        (log_text_as_metric, "oops", "MlflowException"),
    ],
)
def test_a_defect_is_not_reported_as_an_error_of_the_store(
    defect: Callable[[Path], None], words: str, raised: str, tmp_path: Path
) -> None:
    with pytest.raises(Exception, match=words) as caught, writing("MLflow"):
        defect(tmp_path)
    assert type(caught.value).__name__ == raised
