"""Hands groups of specs to worker processes and yields their events, then calls to others; none outlives the caller."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import threading
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

# Workers are forked off a process that has imported what they need, once for all, while the coordinator imports its
# own. A fork of the coordinator would keep its file lock, and its threads' locks in whatever state they were.
FORKSERVER = multiprocessing.get_context("forkserver")
FORKSERVER.set_forkserver_preload(["optstudy.running.executors.worker_imports"])


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    ticket: object = None
    trainings: set[int] = field(default_factory=set)  # indices of those that have not ended; none: it is free


def warm_up() -> None:
    """Begin the workers' imports, which take seconds, beside what the caller does next.

    Their server inherits that SIGINT is blocked: it ignores Ctrl-C of itself, too, but only once all is imported.
    """
    resource_tracker.ensure_running()  # the server needs it, and it unblocks the signal where it is yet to be started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Workers:
    """`count` processes that are started when `submit` first needs them and reused, each with a pipe of its own.

    `map` ends them and starts as many others.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._workers: list[_Worker] = []
        self._served = False  # whether the server runs that processes are forked off

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
        """Train `specs` as one group on a free worker; its events come with `ticket`, ends with `weights` if asked."""
        worker = next((worker for worker in self._workers if not worker.trainings), None) or self._start()
        try:
            worker.pipe.send((specs, weights))
        except (BrokenPipeError, ConnectionResetError):  # it died while it idled
            self._discard(worker)
            self.submit(ticket, specs, weights)
            return
        worker.ticket, worker.trainings = ticket, set(range(len(specs)))

    def events(self, timeout: float | None = None) -> Iterator[tuple[object, Event]]:
        """Wait for at least one event, `timeout` seconds at most, and yield all that have come.

        A worker that dies (killed for memory, say) gives its trainings the status `failed`.
        """
        for pipe in wait([worker.pipe for worker in self._workers if worker.trainings], timeout):
            worker = next(worker for worker in self._workers if worker.pipe is pipe)
            try:
                events = [worker.pipe.recv()]
            except (EOFError, ConnectionResetError):
                events = self._lost(worker)
            for event in events:
                if isinstance(event, TrainingEnded):
                    worker.trainings.discard(event.index)
                yield worker.ticket, event

    def map(self, function: Callable[[T], U], items: Iterable[T]) -> list[U]:
        """Return `function` of each item, in order: by other processes where trainings have started their server.

        Else here, for to start it takes longer than figures do; here too where one of them dies, for memory, say.
        """
        listed = list(items)
        if self._served:
            self._end()  # their memory may be needed
            with suppress(BrokenProcessPool), ProcessPoolExecutor(self.count, FORKSERVER, _tie_to_coordinator) as pool:
                return list(pool.map(function, listed))
        return [function(item) for item in listed]

    def _start(self) -> _Worker:
        assert len(self._workers) < self.count, "no worker is free"
        warm_up()
        ours, theirs = FORKSERVER.Pipe()
        process = FORKSERVER.Process(target=_work, args=(theirs,), daemon=True)
        process.start()
        self._served = True
        theirs.close()
        worker = _Worker(process, ours)
        self._workers.append(worker)
        return worker

    def _discard(self, worker: _Worker) -> None:
        worker.process.join()
        worker.pipe.close()
        self._workers.remove(worker)

    def _lost(self, worker: _Worker) -> list[TrainingEnded]:
        self._discard(worker)
        message = f"the worker process ended with exit code {worker.process.exitcode} (negative: by that signal)"
        result = RunResult("failed", {}, (), 0.0, message)
        return [TrainingEnded(index, result, 0, (), 0) for index in sorted(worker.trainings)]


def _work(pipe: Connection) -> None:
    """Train what comes through `pipe` until the coordinator closes it or dies; one thread, so that workers scale."""
    _tie_to_coordinator()
    _keep_memory()
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
    """Let a process that is forked off the server end with its coordinator, and not before, by Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the coordinator decides
    threading.Thread(target=_die_with_parent, daemon=True).start()
    gc.enable()  # see preload.py


def _keep_memory() -> None:
    """Let glibc hand no freed memory back to the system, where there is glibc: the next step needs it.

    Pages that come back cost a stack of 12 or 16 networks 3 to 8% of its time. Source: man 3 mallopt; 32 MiB is the
    most that all versions take, and where it is not taken, the other alone would turn off what glibc does of itself.
    """
    mmap_threshold, trim_threshold = -3, -1
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None and mallopt(mmap_threshold, 2**25):
        mallopt(trim_threshold, 2**31 - 1)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
