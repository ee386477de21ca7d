"""Runs a user's code in a process of its own, so that it may end, crash or hang there, and never in the coordinator.

Workers are processes of the same kind: they are forked from one server, and none outlives the coordinator.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.forkserver import ensure_running
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import TypeVar

from optstudy.errors import DataError, Stopped, one_line

T = TypeVar("T")

LIMIT = 1800.0  # seconds for each step of a dry run, unless the study file has a `timeout`
GRACE = 10.0  # seconds that a process may take to end

# Processes are forked from a server that has imported what workers need, once for all of them, while the coordinator
# does its own imports. A fork of the coordinator would keep its file lock, and locks that its threads hold.
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["optstudy.running.executors.worker_imports"])
SERVER_KILLED = (EOFError, ConnectionError)  # what starting a process raises then


def warm_up() -> None:
    """Start the server's imports, which take seconds, in the background.

    SIGINT is blocked while the server starts, and stays blocked in it: Ctrl-C is for the coordinator.
    """
    resource_tracker.ensure_running()  # the server needs it, and starting it would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def start(serve: Callable[[Connection], None]) -> tuple[BaseProcess, Connection]:
    """Start a process that calls `serve` with its end of a pipe; return it, and the coordinator's end.

    It has the current folder and environment of the coordinator, not those that the server was started with.
    """
    warm_up()
    ours, theirs = FORKSERVER.Pipe()
    process = FORKSERVER.Process(target=_begin, args=(serve, theirs, os.getcwd(), dict(os.environ)), daemon=True)
    _start(process)
    theirs.close()
    return process, ours


def _start(process: BaseProcess) -> None:
    """Start a process; again if its server was killed meanwhile: once the server has ended, another is started."""
    for seconds in (0.1, 1.0):
        try:
            with script_left_alone():
                process.start()
            return
        except SERVER_KILLED:
            time.sleep(seconds)
    with script_left_alone():
        process.start()


@contextmanager
def script_left_alone() -> Iterator[None]:
    """Keep processes that are started meanwhile from importing the user's script, as multiprocessing has them do.

    They need nothing of it. It would be run again in each of them, unless it has a guard, and one that is read from
    standard input cannot be imported.
    """
    script = sys.modules["__main__"].__dict__
    names: tuple[str, ...] = ("__file__", "__spec__")
    before = {name: script[name] for name in names if name in script}
    script.pop("__file__", None)
    script["__spec__"] = None
    try:
        yield
    finally:
        script.update(before)


def _begin(serve: Callable[[Connection], None], pipe: Connection, folder: str, environment: dict[str, str]) -> None:
    tie_to_coordinator()
    os.chdir(folder)
    os.environ.update(environment)
    serve(pipe)


def tie_to_coordinator() -> None:
    """Make this process end with the coordinator, and not before it by Ctrl-C, which reaches the whole group."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def ending(process: BaseProcess) -> str:
    """Wait until a process that has closed its pipe has ended, and return how, in words."""
    process.join(GRACE)
    process.kill()  # a user's code may have closed the pipe
    process.join()
    code = process.exitcode or 0
    if code >= 0:
        return f"its process ended with exit code {code} (as os._exit does)"
    with suppress(ValueError):
        memory = " (if nobody killed it, memory ran out)" if code == -signal.SIGKILL else ""
        return f"its process was ended by {signal.Signals(-code).name}{memory}"
    return f"its process was ended by signal {-code}"


def end_of(error: BaseException) -> str:
    """Return in words what a user's code raised to end its process, such as SystemExit.

    Lightning calls `sys.exit` when it is interrupted; what it handled is the reason.
    """
    if isinstance(error, SystemExit) and isinstance(error.__context__, KeyboardInterrupt):
        error = error.__context__
    return one_line(error).removesuffix(": ")


class UserProcess:
    """A process that calls functions, one after the other; started when it is first needed, and again when it ended.

    A step that takes longer than `limit` seconds ends it, too.
    """

    def __init__(self, limit: float | None = None) -> None:
        self.limit = limit or LIMIT
        self._process: BaseProcess | None = None
        self._pipe: Connection
        self._ended: dict[str, str] = {}  # by key of what ended the process: it is not tried again

    def __enter__(self) -> UserProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def call(self, key: str, function: Callable[..., T], *arguments: object) -> T:
        """Return what the function returns.

        `key` is the key of the study file whose code it runs. Raises a Stopped that the function raises, and DataError
        if that code ends the process or does not answer.
        """
        if key not in self._ended:
            try:
                how, value = self._answer(function, arguments)
            except (EOFError, ConnectionError):
                assert self._process is not None
                how, value = "ended", ending(self._process)
                self._end()
            if how == "returned":
                return value  # type: ignore[return-value]
            if isinstance(value, Stopped):
                raise value
            if how == "defect":
                raise RuntimeError(f"in another process:\n{value}")
            self._ended[key] = str(value)
        raise DataError(f"{key}: {self._ended[key]}")

    def _answer(self, function: Callable[..., object], arguments: tuple[object, ...]) -> tuple[str, object]:
        if self._process is None:
            self._process, self._pipe = start(_serve)
            self._pipe.recv()  # the limit is not for our own imports
        self._pipe.send((function, arguments))
        if self._pipe.poll(self.limit):
            answer: tuple[str, object] = self._pipe.recv()
            return answer
        self._end()
        return "ended", f"no answer within {self.limit:g} s; if it needs longer, set `timeout` in the study file"

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None


def _serve(pipe: Connection) -> None:
    pipe.send(None)
    while True:
        try:
            function, arguments = pipe.recv()
        except EOFError:
            return
        pipe.send(_outcome(function, arguments))


def _outcome(function: Callable[..., object], arguments: tuple[object, ...]) -> tuple[str, object]:
    try:
        return "returned", function(*arguments)
    except Stopped as error:
        return "raised", error
    except Exception:
        return "defect", traceback.format_exc()
    except BaseException as error:  # of a user's code, as Ctrl-C does not reach this process
        return "ended", end_of(error)
