"""What people see of a study in MLflow and Optuna while it runs."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from optstudy.errors import Stopped, StudyError, in_a_line
from optstudy.journal import Entry
from optstudy.place import same_database, without_password
from optstudy.plan import Job
from optstudy.runs import EpochEnded
from optstudy.tracking import Tracker, identity, tracking_uri
from optstudy.trials import Trials, optuna_storage

MLFLOW, OPTUNA = "MLflow (MLFLOW_TRACKING_URI)", "Optuna (OPTSTUDY_OPTUNA_STORAGE)"
# Whose exceptions tell of a store, those for artifacts included.
LIBRARIES = {"mlflow", "optuna", "sqlalchemy", "sqlite3", "requests", "urllib3", "botocore", "azure", "google"}
OPENED_AFTER_MS = 5_000  # a study whose trainings end sooner opens its tracker after the last of them
LIVE_AFTER_MS = 30_000  # shorter trainings are written once, when they end: 20 ms instead of 4 ms an epoch


def check_stores(root: Path) -> None:
    """Raise StudyError where MLflow's or Optuna's store is named so that neither can open it, before they are opened.

    So it is where both are one database: each takes the other's tables for its own. `root` is where they lie unless
    they are named.
    """
    stores = [tracking_uri(root), optuna_storage(root)]
    named = [name for name in ("MLFLOW_TRACKING_URI", "OPTSTUDY_OPTUNA_STORAGE") if os.environ.get(name)]
    if named and same_database(*stores):  # those of nobody's naming differ, and to import SQLAlchemy takes 0.2 s
        values = " and ".join(dict.fromkeys(repr(without_password(store)) for store in stores))
        raise StudyError(
            f"MLFLOW_TRACKING_URI and OPTSTUDY_OPTUNA_STORAGE: {values}: must be a database each, as "
            "sqlite:///mlruns/mlflow.db and sqlite:///mlruns/optuna.db: in one, each spoils the other's tables"
        )


@contextmanager
def opening(store: str) -> Iterator[None]:
    """Raise StudyError on whatever keeps a store from being opened: no such host, no right, no folder."""
    try:
        yield
    except Stopped:
        raise
    except Exception as error:
        raise _lost(store, "opened", error) from error


@contextmanager
def writing(store: str) -> Iterator[None]:
    """Raise StudyError where the body cannot write into an open store: its disk is full, its server gone."""
    try:
        yield
    except Exception as error:
        theirs = type(error).__module__.partition(".")[0] in LIBRARIES or _nameless(error)
        if not theirs or getattr(error, "error_code", "") == "INVALID_PARAMETER_VALUE":  # a defect of ours
            raise
        raise _lost(store, "written", error) from error


def _nameless(error: Exception) -> bool:
    """Return whether it is the system's and names no file, as where a disk is full or a connection has ended."""
    return isinstance(error, OSError) and error.filename is None


def _lost(store: str, what: str, error: Exception) -> StudyError:
    cause = error.__cause__ or error  # Optuna's own words say little
    return StudyError(
        f"{store}: the store cannot be {what}: {without_password(in_a_line(cause))[:500]}\n"
        f"Nothing is lost: the journal has every training that has ended. Once the store can be {what}, optstudy "
        "run takes it up from there; where all trainings are done, optstudy report writes the rest"
    )


class Live:
    """Writes a study's trainings while others run.

    Its tracker is opened (which takes seconds) once trainings have run for `OPENED_AFTER_MS`. A finished training is
    written when there is time then (`catch_up`), the epochs of one that still runs after `LIVE_AFTER_MS`.
    """

    def __init__(self, open_tracker: Callable[[], Tracker], open_trials: Callable[[], Trials]) -> None:
        self._open_tracker, self._open_trials = open_tracker, open_trials
        self._tracker: Tracker | None = None
        self._trials: Trials | None = None
        self._epochs: dict[str, list[EpochEnded]] = {}
        self._ended = deque[tuple[Job, Entry]]()
        self._first_ms: int | None = None

    @property
    def tracker(self) -> Tracker:
        """Return the tracker, opened if it is not yet; raises StudyError where it cannot be."""
        if self._tracker is None:
            with opening(MLFLOW):
                self._tracker = self._open_tracker()
        return self._tracker

    @property
    def trials(self) -> Trials:
        """Return the trials, opened if they are not yet; raises StudyError where they cannot be."""
        if self._trials is None:
            with opening(OPTUNA):
                self._trials = self._open_trials()
        return self._trials

    @property
    def behind(self) -> bool:
        """Return whether finished trainings wait to be written, and a tracker is open or it is time for one."""
        if not self._ended or self._first_ms is None:
            return False
        return self._tracker is not None or self._ended[-1][1].ended_ms - self._first_ms >= OPENED_AFTER_MS

    def catch_up(self) -> None:
        """Write the training that has waited longest."""
        job, entry = self._ended.popleft()
        with writing(MLFLOW):
            self.tracker.add(job, entry)
        if job.stage == "tuning":
            with writing(OPTUNA):
                self.trials.add(job, entry)

    def epoch(self, job: Job, event: EpochEnded) -> None:
        """Take an epoch of a training that still runs."""
        events = self._epochs.setdefault(identity(job), [])
        events.append(event)
        if event.time_ms - events[0].time_ms >= LIVE_AFTER_MS:
            with writing(MLFLOW):
                self.tracker.epochs(job, events)

    def ended(self, job: Job, entry: Entry) -> None:
        """Take a finished training."""
        self._epochs.pop(identity(job), None)
        self._first_ms = self._first_ms or entry.started_ms
        self._ended.append((job, entry))

    def failed(self, job: Job) -> None:
        """Take a training that raised."""
        self._epochs.pop(identity(job), None)
        if self._tracker is not None:
            with writing(MLFLOW):
                self._tracker.fail(job)
