"""The executor of one machine: worker processes, each with a pipe of its own. None outlives the coordinator."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.forkserver import ensure_running
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import TypeVar

from optstudy.spec import Event, RunResult, RunSpec, TrainingEnded

T = TypeVar("T")
U = TypeVar("U")

# Workers are forked from a server that has imported what they need, once for all of them, while the coordinator does
# its own imports. A fork of the coordinator would keep its file lock, and locks that its threads hold.
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["optstudy.running.executors.worker_imports"])
SERVER_KILLED = (EOFError, ConnectionError)  # what starting a process raises then


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    ticket: object = None
    trainings: set[int] = field(default_factory=set)  # indices of those that have not ended


def warm_up() -> None:
    """Start the workers' imports, which take seconds, in the background.

    SIGINT is blocked while the server starts, and stays blocked in it: Ctrl-C is for the coordinator.
    """
    resource_tracker.ensure_running()  # the server needs it, and starting it would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Workers:
    """`count` worker processes, started when they are first needed and reused. See `Executor` for the contract."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._workers: list[_Worker] = []
        self._server_runs = False

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.pipe.close()
        self._workers = []

    @property
    def free(self) -> int:
        """Return how many more groups can be submitted now."""
        return self.count - sum(bool(worker.trainings) for worker in self._workers)

    def submit(self, ticket: object, specs: list[RunSpec], weights: bool = False) -> None:
        """Train `specs` as one group on a free worker."""
        worker = next((worker for worker in self._workers if not worker.trainings), None) or self._start()
        try:
            worker.pipe.send((specs, weights))
        except (BrokenPipeError, ConnectionResetError):  # it died while it was idle
            self._discard(worker)
            self.submit(ticket, specs, weights)
            return
        worker.ticket, worker.trainings = ticket, set(range(len(specs)))

    def events(self, timeout: float | None = None) -> Iterator[tuple[object, Event]]:
        """Wait for at least one event, up to `timeout` seconds, and yield all that have come.

        The trainings of a worker that dies, for example because the system is out of memory, end as `failed`.
        """
        for pipe in wait([worker.pipe for worker in self._workers if worker.trainings], timeout):
            worker = next(worker for worker in self._workers if worker.pipe is pipe)
            try:
                events = [worker.pipe.recv()]
            except (EOFError, ConnectionResetError):
                events = self._ends_of_lost(worker)
            for event in events:
                if isinstance(event, TrainingEnded):
                    worker.trainings.discard(event.index)
                yield worker.ticket, event

    def map(self, function: Callable[[T], U], items: Iterable[T]) -> list[U]:
        """Return `function` of each item, in order, computed by other processes if the server runs already.

        Otherwise, and if one of the processes dies, it is computed here: starting the server takes longer.
        """
        listed = list(items)
        if self._server_runs:
            self._end()  # their memory may be needed
            pool = ProcessPoolExecutor(self.count, FORKSERVER, _tie_to_coordinator)
            with suppress(BrokenProcessPool, *SERVER_KILLED), pool:
                return list(pool.map(function, listed))
        return [function(item) for item in listed]

    def _start(self) -> _Worker:
        assert len(self._workers) < self.count, "no worker is free"
        warm_up()
        ours, theirs = FORKSERVER.Pipe()
        process = FORKSERVER.Process(target=_work, args=(theirs,), daemon=True)
        _start_process(process)
        self._server_runs = True
        theirs.close()
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker

    def _discard(self, worker: _Worker) -> None:
        worker.process.join()
        worker.pipe.close()
        self._workers.remove(worker)

    def _ends_of_lost(self, worker: _Worker) -> list[TrainingEnded]:
        self._discard(worker)
        message = f"the worker process ended with exit code {worker.process.exitcode} (negative: by that signal)"
        result = RunResult("failed", {}, (), 0.0, message)
        return [TrainingEnded(index, result, 0, (), 0) for index in sorted(worker.trainings)]


def _start_process(process: BaseProcess) -> None:
    """Start a process; again if its server was killed meanwhile: once the server has ended, another is started."""
    for seconds in (0.1, 1.0):
        try:
            process.start()
            return
        except SERVER_KILLED:
            time.sleep(seconds)
    process.start()


def _work(pipe: Connection) -> None:
    """Train what comes through `pipe` until the coordinator closes it or dies; one thread, so that workers scale."""
    _tie_to_coordinator()
    import torch

    from optstudy.training.train import train

    torch.set_num_threads(1)
    while True:
        try:
            specs, weights = pipe.recv()
        except EOFError:
            return
        train(specs, pipe.send, weights)


def _tie_to_coordinator() -> None:
    """Make this process end with the coordinator, and not before it by Ctrl-C, which reaches the whole group."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
