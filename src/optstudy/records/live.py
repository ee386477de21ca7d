"""Shows a study to people while it runs: each recorder writes in a thread of its own, which holds up no training."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from optstudy.errors import Stopped, StoreIncomplete, StudyError, one_line
from optstudy.planning.jobs import Job
from optstudy.planning.journal import Entry
from optstudy.records.credentials import without_credentials
from optstudy.records.recorder import Projection, Recorder
from optstudy.spec import EpochEnded

# Libraries whose exceptions mean that a store has failed; the last five connect to servers and keep artifacts.
LIBRARIES = {"mlflow", "optuna", "sqlalchemy", "sqlite3", "requests", "urllib3", "botocore", "azure", "google"}
OPENED_AFTER_MS = 5_000  # recorders of a shorter study are opened after its last training
LIVE_AFTER_MS = 30_000  # shorter trainings are written once, when they end: 20 ms instead of 4 ms per epoch
RETRY_AFTER_S = 5.0  # after a store has failed
PATIENCE_S = 90.0  # how long a finished study tries to complete a store that fails: a server may be starting again
CLOSING_S = 30.0  # how long a stage waits for what its recorders are still writing

Write = Callable[[Recorder], None]
_opening = threading.Lock()  # two threads that import libraries at the same time may see half of a module


@contextmanager
def opening(store: str) -> Iterator[None]:
    """Raise StudyError if the body cannot open a store, for any reason: unknown host, no permission, missing folder."""
    try:
        yield
    except Stopped:
        raise
    except Exception as error:
        raise StudyError(f"{store}: the store cannot be opened: {cause_of(error)}") from None


def cause_of(error: Exception) -> str:
    """Return in one line why a store failed, without credentials."""
    if isinstance(error, Stopped):
        return str(error)
    return without_credentials(one_line(error.__cause__ or error)[:5000])[:500]  # Optuna's own message has no details


def _is_defect(error: Exception) -> bool:
    """Return whether a store is not to blame: no library raised the error, or it rejects a value of optstudy's."""
    if isinstance(error, Stopped):
        return False
    from_library = type(error).__module__.partition(".")[0] in LIBRARIES
    from_system = isinstance(error, OSError) and error.filename is None  # full disk, closed connection
    return not (from_library or from_system) or getattr(error, "error_code", "") == "INVALID_PARAMETER_VALUE"


class _Writer:
    """Lets one recorder write, in a thread of its own.

    What is to be shown waits here: of each training only the latest. After an error the recorder is opened again, which
    reads what its store has, and the same is tried again.
    """

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.error: Exception | None = None  # why the last try failed
        self.defective = False  # the error is optstudy's own
        self._failing_since = 0.0
        self._patience: float | None = None  # None until no more comes
        self._given_up = False
        self._waiting: dict[object, Write] = {}
        self._changed = threading.Condition()
        self.thread: threading.Thread | None = None

    def show(self, what: object, write: Write) -> None:
        """Let the recorder write `what` soon, in place of an earlier state of the same."""
        with self._changed:
            self._waiting[what] = write
            self._start()

    def close(self, patience: float, last: Write | None = None) -> None:
        """End the thread once everything is written, or once the store has failed for `patience` seconds.

        `last` takes the place of everything that waits.
        """
        with self._changed:
            self._patience = patience
            if last is not None:
                self._waiting = {None: last}
                self._start()
            self._changed.notify_all()

    def _start(self) -> None:
        if self.thread is None:
            self.thread = threading.Thread(target=self._run, daemon=True, name=self.recorder.store)
            self.thread.start()
        self._changed.notify_all()

    def _run(self) -> None:
        opened = False
        while waiting := self._next():
            what, write = waiting
            try:
                if not opened:
                    with _opening:
                        self.recorder.open()
                    opened = True
                write(self.recorder)
            except Exception as error:
                self.defective = opened and _is_defect(error)  # any error of opening a store is the store's
                opened = False
                self._failed(error)
            else:
                self._written(what, write)

    def _next(self) -> tuple[object, Write] | None:
        """Wait for something to write, and return it; None if the thread is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._patience is not None)
            return None if self._hopeless() or not self._waiting else next(iter(self._waiting.items()))

    def _written(self, what: object, write: Write) -> None:
        with self._changed:
            self.error = None
            if self._waiting.get(what) is write:
                del self._waiting[what]

    def _failed(self, error: Exception) -> None:
        """Remember an error, and wait before the next try; there is none if it would fail in the same way."""
        with self._changed:
            if self.error is None:
                self._failing_since = time.monotonic()
            self.error = error
            self._given_up = isinstance(error, Stopped) or self.defective
            self._changed.wait_for(self._hopeless, RETRY_AFTER_S)

    def _hopeless(self) -> bool:
        """Return whether a store that fails is not tried again."""
        if self.error is None:
            return False
        failing = time.monotonic() - self._failing_since
        return self._given_up or (self._patience is not None and failing >= self._patience)


class Live:
    """Shows a study's trainings in its recorders while others run. Nothing here waits for a store, but for `complete`.

    Recorders are opened, which takes seconds, once trainings have run for `OPENED_AFTER_MS`. From then on a finished
    training is shown, and so are the epochs of a training that has run for `LIVE_AFTER_MS`.

    Args:
        recorders: What shows the study.
        say: Prints a line.
        patience: How many seconds `complete` tries again while a store fails.
    """

    def __init__(
        self,
        recorders: Sequence[Recorder],
        say: Callable[[str], None] = lambda _: None,
        patience: float = PATIENCE_S,
    ) -> None:
        self._writers = [_Writer(recorder) for recorder in recorders]
        self._say, self._patience = say, patience
        self._due = False
        self._epochs: dict[tuple[str, str], list[EpochEnded]] = {}  # of running trainings, by contender and key
        self._ended: list[tuple[Job, Entry]] = []  # before the recorders were due
        self._first_ms: int | None = None

    def __enter__(self) -> Live:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let the recorders finish what they were given, unless their store fails."""
        for writer in self._writers:
            writer.close(patience=0)
        for writer in self._writers:
            if writer.thread is not None:
                writer.thread.join(CLOSING_S)

    def check(self) -> None:
        """Raise StudyError if a name that a recorder writes is taken in its store; a store that fails is only named."""
        for writer in self._writers:
            try:
                writer.recorder.check()
            except Stopped:
                raise
            except Exception as error:
                self._say(
                    f"{writer.recorder.store}: the store cannot be read: {cause_of(error)}; trainings go on without it"
                )

    def epoch(self, job: Job, event: EpochEnded) -> None:
        """Take an epoch of a running training."""
        events = self._epochs.setdefault((job.contender, job.key), [])
        events.append(event)
        if event.time_ms - events[0].time_ms >= LIVE_AFTER_MS:
            so_far = tuple(events)
            self._show(job, lambda recorder: recorder.epochs(job, so_far))

    def ended(self, job: Job, entry: Entry) -> None:
        """Take a finished training."""
        self._epochs.pop((job.contender, job.key), None)
        if self._first_ms is None:
            self._first_ms = entry.started_ms
        self._ended.append((job, entry))
        if self._due or entry.ended_ms - self._first_ms >= OPENED_AFTER_MS:
            for ended in self._ended:
                self._show_ended(*ended)
            self._ended.clear()

    def _show_ended(self, job: Job, entry: Entry) -> None:
        self._show(job, lambda recorder: recorder.add(job, entry))

    def failed(self, job: Job) -> None:
        """Take a training that raised."""
        self._epochs.pop((job.contender, job.key), None)
        if self._due:
            self._show(job, lambda recorder: recorder.fail(job))

    def _show(self, job: Job, write: Write) -> None:
        self._due = True
        for writer in self._writers:
            writer.show((job.contender, job.key), write)

    def complete(self, projection: Projection) -> None:
        """Bring all recorders in line with the finished study; nothing can be shown afterwards.

        Raises StoreIncomplete, after all others are complete, if a store fails for longer than the patience.
        """
        for writer in self._writers:
            writer.close(self._patience, lambda recorder: recorder.complete(projection))
        for writer in self._writers:
            self._wait_for(writer)
        failed = [(writer, writer.error) for writer in self._writers if writer.error is not None]
        for writer, error in failed:
            if writer.defective:
                raise error
        if failed:
            raise StoreIncomplete("\n".join(_incomplete(writer.recorder.store, error) for writer, error in failed))

    def _wait_for(self, writer: _Writer) -> None:
        """Wait for the end of a thread; say once that its store fails."""
        assert writer.thread is not None
        said = False
        while writer.thread.is_alive():
            writer.thread.join(0.5)
            error = writer.error
            if error is not None and not said and writer.thread.is_alive():
                said = True
                self._say(f"{writer.recorder.store}: {cause_of(error)}; it is tried again for {self._patience:.0f} s")


def _incomplete(store: str, error: Exception) -> str:
    return (
        f"{store}: the store is not complete: {cause_of(error)}. Nothing is lost: all trainings are done and in the "
        "journal; once the store can be written again, optstudy report completes it"
    )
