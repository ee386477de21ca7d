"""What people see of a study in MLflow and Optuna while it runs."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from optstudy.errors import Stopped, StudyError, one_line
from optstudy.planning.jobs import Job
from optstudy.planning.journal import Entry
from optstudy.records.databases import same_database, without_password
from optstudy.records.mlflow_runs import tracking_uri
from optstudy.records.optuna_trials import optuna_storage
from optstudy.records.projection import Projection, Recorder
from optstudy.spec import EpochEnded

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
        f"{store}: the store cannot be {what}: {without_password(one_line(cause))[:500]}\n"
        f"Nothing is lost: the journal has every training that has ended. Once the store can be {what}, optstudy "
        "run takes it up from there; where all trainings are done, optstudy report writes the rest"
    )


class Live:
    """Shows a study's trainings while others run.

    Recorders are opened, which takes seconds, once trainings have run for `OPENED_AFTER_MS`. From then on a finished
    training is shown when there is time for it (`catch_up`), and the epochs of one that still runs after
    `LIVE_AFTER_MS`.
    """

    def __init__(self, recorders: Sequence[Recorder]) -> None:
        self._recorders = recorders
        self._opened = False
        self._epochs: dict[tuple[str, str], list[EpochEnded]] = {}
        self._ended = deque[tuple[Job, Entry]]()
        self._first_ms: int | None = None

    def _open(self) -> Sequence[Recorder]:
        """Return the recorders, opened; raises StudyError if one cannot be."""
        if not self._opened:
            for recorder in self._recorders:
                with opening(recorder.store):
                    recorder.open()
            self._opened = True
        return self._recorders

    @property
    def behind(self) -> bool:
        """Return whether finished trainings wait to be shown, and recorders are open or it is time to open them."""
        if not self._ended or self._first_ms is None:
            return False
        return self._opened or self._ended[-1][1].ended_ms - self._first_ms >= OPENED_AFTER_MS

    def catch_up(self) -> None:
        """Show the training that has waited longest."""
        job, entry = self._ended.popleft()
        for recorder in self._open():
            with writing(recorder.store):
                recorder.add(job, entry)

    def epoch(self, job: Job, event: EpochEnded) -> None:
        """Take an epoch of a training that still runs."""
        events = self._epochs.setdefault(_identity(job), [])
        events.append(event)
        if event.time_ms - events[0].time_ms >= LIVE_AFTER_MS:
            for recorder in self._open():
                with writing(recorder.store):
                    recorder.epochs(job, events)

    def ended(self, job: Job, entry: Entry) -> None:
        """Take a finished training."""
        self._epochs.pop(_identity(job), None)
        self._first_ms = self._first_ms or entry.started_ms
        self._ended.append((job, entry))

    def failed(self, job: Job) -> None:
        """Take a training that raised."""
        self._epochs.pop(_identity(job), None)
        for recorder in self._recorders if self._opened else ():
            with writing(recorder.store):
                recorder.fail(job)

    def complete(self, projection: Projection) -> None:
        """Bring all recorders in line with the finished study."""
        for recorder in self._open():
            with writing(recorder.store):
                recorder.complete(projection)


def _identity(job: Job) -> tuple[str, str]:
    return job.contender, job.key
