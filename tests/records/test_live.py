"""Recorders while a study runs: laws of all recorders, when they are opened, and errors of their stores."""

from __future__ import annotations

import errno
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from optstudy.errors import StoreIncomplete
from optstudy.planning.jobs import Job
from optstudy.planning.journal import Entry
from optstudy.records.live import LIVE_AFTER_MS, OPENED_AFTER_MS, Live
from optstudy.records.recorder import Projection, Recorder
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


def live_in(root: Path, study: str, patience: float = 0) -> Live:
    return Live([optuna_recorder(root, study), mlflow_recorder(root, study)], patience=patience)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread or process does."""
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("waited for 5 minutes")


def wait_for_writers(live: Live) -> None:
    wait_until(lambda: not any(writer._waiting for writer in live._writers))


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
    with live:
        pass
    assert not root.exists()


class Noted:
    """A recorder that notes what it is asked to do."""

    store = "none"

    def __init__(self) -> None:
        self.done: list[str] = []

    def check(self) -> None:
        self.done.append("check")

    def open(self) -> None:
        self.done.append("open")

    def epochs(self, _: Job, events: Sequence[EpochEnded]) -> None:
        self.done.append(f"epochs {len(events)}")

    def fail(self, _: Job) -> None:
        self.done.append("fail")

    def add(self, job: Job, _: Entry) -> None:
        self.done.append(f"add {job.key}")

    def complete(self, _: Projection) -> None:
        self.done.append("complete")


def test_short_trainings_open_no_recorder_until_enough_time_has_passed() -> None:
    recorder = Noted()
    live, (first, second, *_) = Live([recorder]), trials()
    with live:
        live.epoch(first, EpochEnded(0, 1, EPOCH, 1_000_000))
        live.epoch(first, EpochEnded(0, 2, EPOCH, 1_000_000 + LIVE_AFTER_MS - 1))
        live.failed(first)
        start = entry(first).started_ms
        live.ended(first, replace(entry(first), ended_ms=start + OPENED_AFTER_MS - 1))
        assert all(writer.thread is None for writer in live._writers)
        live.ended(second, replace(entry(second), ended_ms=start + OPENED_AFTER_MS))
    assert recorder.done == ["open", f"add {first.key}", f"add {second.key}"]


def test_a_long_training_shows_its_epochs_while_it_runs_and_each_of_them_once(tmp_path: Path) -> None:
    live, job = live_in(tmp_path, "live"), trials()[0]
    done, store = entry(job), mlflow_client(tmp_path)
    for epoch, when in enumerate(done.epoch_ms, start=1):
        live.epoch(job, EpochEnded(0, epoch, EPOCH, when))
    wait_for_writers(live)
    [run] = [run for run in mlflow_runs(tmp_path, "live") if run.info.status == "RUNNING"]
    assert [m.step for m in store.get_metric_history(run.info.run_id, "val/accuracy")] == [1, 2]
    live.ended(job, done)
    wait_for_writers(live)
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
    wait_for_writers(live)
    live.failed(job)
    wait_for_writers(live)
    runs = mlflow_runs(tmp_path, "raised")
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED"]  # the training, and its parent
    assert [r.data.tags["optstudy.status"] for r in runs if r.info.status == "FAILED"] == ["failed"]


def incomplete(live: Live, finished: Projection) -> str:
    """Return the line about the store that cannot be completed; it must say that nothing is lost."""
    with pytest.raises(StoreIncomplete) as caught:
        live.complete(finished)
    reason, advice = str(caught.value).split(". Nothing is lost: ")
    assert "optstudy report completes it" in advice
    return reason


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("MLFLOW_TRACKING_URI", "http://127.0.0.1:9", "refused"),
        ("OPTSTUDY_OPTUNA_STORAGE", "sqlite:////proc/none/o.db", "No such file or directory"),
    ],
)
def test_a_store_that_cannot_be_opened_holds_up_no_other_and_is_named_at_the_end(
    variable: str, value: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    live, jobs = live_in(tmp_path, "closed"), trials()
    with live:
        for job in jobs:
            live.ended(job, entry(job))
        reason = incomplete(live, projection(tmp_path, "closed", jobs))
    assert f"({variable}): the store is not complete: " in reason
    assert words in reason
    monkeypatch.delenv(variable)
    keys = optuna_keys if variable == "MLFLOW_TRACKING_URI" else mlflow_keys
    assert keys(tmp_path, "closed") == sorted(job.key for job in jobs)


@pytest.mark.parametrize(
    ("database", "table", "store"), [("mlflow.db", "metrics", "MLflow"), ("optuna.db", "trial_params", "Optuna")]
)
def test_a_store_that_can_no_longer_be_written_is_named_at_the_end(
    database: str, table: str, store: str, tmp_path: Path
) -> None:
    live, (first, second, *_) = live_in(tmp_path, "gone"), trials()
    live.ended(first, entry(first))
    wait_for_writers(live)
    with closing(sqlite3.connect(tmp_path / database)) as file:
        file.execute(f"DROP TABLE {table}")
    live.ended(second, entry(second))
    reason = incomplete(live, projection(tmp_path, "gone", [first, second]))
    assert reason.startswith(f"{store} (")
    assert table in reason


class Failing(Noted):
    """A recorder whose store fails some times before it works."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.left = times

    def add(self, job: Job, entry: Entry) -> None:
        self.left -= 1
        if self.left >= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().add(job, entry)

    def complete(self, projection: Projection) -> None:
        for job in projection.trainings:
            self.add(job, projection.entries[job.key])


def test_a_store_that_fails_is_opened_and_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optstudy.records.live.RETRY_AFTER_S", 0.01)
    recorder, job = Failing(3), trials()[0]
    live = Live([recorder])
    live.ended(job, entry(job))
    wait_for_writers(live)
    assert recorder.done == ["open"] * 4 + [f"add {job.key}"]


def test_a_finished_study_waits_for_a_store_that_fails_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("optstudy.records.live.RETRY_AFTER_S", 0.01)
    recorder, job = Failing(3), trials()[0]
    Live([recorder]).complete(projection(tmp_path, "again", [job]))
    assert recorder.done[-1] == f"add {job.key}"
    full = Live([Failing(3)], patience=0)
    assert "No space left" in incomplete(full, projection(tmp_path, "again", [job]))


class Stuck(Noted):
    """A recorder whose store never answers."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = Event()

    def open(self) -> None:
        self.answer.wait()


def test_trainings_do_not_wait_for_a_store_that_does_not_answer() -> None:
    recorder = Stuck()
    live, jobs = Live([recorder]), trials()
    for job in jobs:
        live.epoch(job, EpochEnded(0, 1, EPOCH, 0))
        live.epoch(job, EpochEnded(0, 2, EPOCH, LIVE_AFTER_MS))
        live.ended(job, entry(job))
    recorder.answer.set()
    wait_for_writers(live)
    shown = [f"add {job.key}" for job in jobs]
    # At most the epochs that were there when the thread started: those of an ended training are not written before it.
    assert recorder.done in (shown, ["epochs 2", *shown])


def test_a_store_that_cannot_be_read_is_named_before_the_first_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    said: list[str] = []
    Live([mlflow_recorder(tmp_path, "down")], said.append).check()
    assert len(said) == 1
    assert said[0].startswith("MLflow (MLFLOW_TRACKING_URI): the store cannot be read: ")
    assert said[0].endswith("; trainings go on without it")


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
    class Defective(Noted):
        def complete(self, _: Projection) -> None:
            defect(tmp_path)

    with pytest.raises(Exception, match=words) as caught:
        Live([Defective()]).complete(projection(tmp_path, "defect", trials()))
    assert type(caught.value).__name__ == raised
