"""Shows a study to people while it runs: passes finished trainings and epochs on to its recorders."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from optstudy.errors import Stopped, StudyError, one_line
from optstudy.planning.jobs import Job
from optstudy.planning.journal import Entry
from optstudy.records.databases import without_password
from optstudy.records.recorder import Projection, Recorder
from optstudy.spec import EpochEnded

# Libraries whose exceptions mean that a store has failed; the last five connect to servers and keep artifacts.
LIBRARIES = {"mlflow", "optuna", "sqlalchemy", "sqlite3", "requests", "urllib3", "botocore", "azure", "google"}
OPENED_AFTER_MS = 5_000  # recorders of a shorter study are opened after its last training
LIVE_AFTER_MS = 30_000  # shorter trainings are written once, when they end: 20 ms instead of 4 ms per epoch


@contextmanager
def opening(store: str) -> Iterator[None]:
    """Raise StudyError if the body cannot open a store, for any reason: unknown host, no permission, missing folder."""
    try:
        yield
    except Stopped:
        raise
    except Exception as error:
        raise _store_error(store, "opened", error) from error


@contextmanager
def writing(store: str) -> Iterator[None]:
    """Raise StudyError if the body cannot write to an open store: its disk is full, its server is gone."""
    try:
        yield
    except Exception as error:
        if _is_defect(error):
            raise
        raise _store_error(store, "written", error) from error


def _is_defect(error: Exception) -> bool:
    """Return whether a store is not to blame: no library raised the error, or it rejects a value of optstudy's."""
    from_library = type(error).__module__.partition(".")[0] in LIBRARIES
    from_system = isinstance(error, OSError) and error.filename is None  # full disk, closed connection
    return not (from_library or from_system) or getattr(error, "error_code", "") == "INVALID_PARAMETER_VALUE"


def _store_error(store: str, verb: str, error: Exception) -> StudyError:
    cause = error.__cause__ or error  # Optuna's own message has no details
    return StudyError(
        f"{store}: the store cannot be {verb}: {without_password(one_line(cause))[:500]}\n"
        f"Nothing is lost: every finished training is in the journal. Once the store can be {verb} again, optstudy run "
        "continues, and optstudy report completes the store if all trainings are finished"
    )


class Live:
    """Shows a study's trainings in its recorders while others run.

    Recorders are opened, which takes seconds, once trainings have run for `OPENED_AFTER_MS`. From then on a finished
    training is shown when there is time for it (`catch_up`), and so are the epochs of a training that has run for
    `LIVE_AFTER_MS`.
    """

    def __init__(self, recorders: Sequence[Recorder]) -> None:
        self._recorders = recorders
        self._opened = False
        self._epochs: dict[tuple[str, str], list[EpochEnded]] = {}  # of running trainings, by contender and key
        self._waiting = deque[tuple[Job, Entry]]()
        self._first_ms: int | None = None

    def _write(self, write: Callable[[Recorder], None]) -> None:
        """Let `write` write to each recorder; open them first. Raises StudyError if a store fails."""
        if not self._opened:
            for recorder in self._recorders:
                with opening(recorder.store):
                    recorder.open()
            self._opened = True
        for recorder in self._recorders:
            with writing(recorder.store):
                write(recorder)

    @property
    def behind(self) -> bool:
        """Return whether finished trainings wait to be shown, and recorders are open or it is time to open them."""
        if not self._waiting or self._first_ms is None:
            return False
        return self._opened or self._waiting[-1][1].ended_ms - self._first_ms >= OPENED_AFTER_MS

    def catch_up(self) -> None:
        """Show the training that has waited longest."""
        job, entry = self._waiting.popleft()
        self._write(lambda recorder: recorder.add(job, entry))

    def epoch(self, job: Job, event: EpochEnded) -> None:
        """Take an epoch of a running training."""
        events = self._epochs.setdefault((job.contender, job.key), [])
        events.append(event)
        if event.time_ms - events[0].time_ms >= LIVE_AFTER_MS:
            self._write(lambda recorder: recorder.epochs(job, events))

    def ended(self, job: Job, entry: Entry) -> None:
        """Take a finished training."""
        self._epochs.pop((job.contender, job.key), None)
        self._first_ms = self._first_ms or entry.started_ms
        self._waiting.append((job, entry))

    def failed(self, job: Job) -> None:
        """Take a training that raised."""
        self._epochs.pop((job.contender, job.key), None)
        if self._opened:
            self._write(lambda recorder: recorder.fail(job))

    def complete(self, projection: Projection) -> None:
        """Bring all recorders in line with the finished study."""
        self._write(lambda recorder: recorder.complete(projection))
