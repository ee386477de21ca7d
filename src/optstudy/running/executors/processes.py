"""The executor of one machine: worker processes, each with a pipe of its own. None outlives the coordinator."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import TypeVar

from optstudy.spec import Event, RunResult, RunSpec, TrainingEnded
from optstudy.user_process import (
    FORKSERVER,
    SERVER_KILLED,
    end_of,
    ending,
    script_left_alone,
    start,
    tie_to_coordinator,
)

T = TypeVar("T")
U = TypeVar("U")


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    ticket: object = None
    trainings: set[int] = field(default_factory=set)  # indices of those that have not ended
    until: float | None = None  # when they must have ended, by time.monotonic


class Workers:
    """`count` worker processes, started when they are first needed and reused. See `Executor` for the contract.

    A training may take `timeout` seconds, and those that are trained as one group as many times that; None for ever.
    """

    def __init__(self, count: int, timeout: float | None = None) -> None:
        self.count, self.timeout = count, timeout
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
        worker.until = None if self.timeout is None else time.monotonic() + self.timeout * len(specs)

    def events(self, timeout: float | None = None) -> Iterator[tuple[object, Event]]:
        """Wait for at least one event, up to `timeout` seconds, and yield all that have come.

        The trainings of a worker that dies, for example because the system is out of memory, end as `failed`, and so do
        those that take too long.
        """
        busy = [worker for worker in self._workers if worker.trainings]
        ready = wait([worker.pipe for worker in busy], _shortest(timeout, [worker.until for worker in busy]))
        for worker in busy:
            events: list[Event] = []
            if worker.pipe in ready:
                try:
                    events = [worker.pipe.recv()]
                except (EOFError, ConnectionResetError):
                    events = self._ends_of(worker, ending(worker.process))
            elif worker.until is not None and time.monotonic() >= worker.until:
                worker.process.kill()
                events = self._ends_of(worker, f"it took longer than the {self.timeout:g} s of `timeout`")
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
            pool = ProcessPoolExecutor(self.count, FORKSERVER, tie_to_coordinator)
            with suppress(BrokenProcessPool, *SERVER_KILLED), script_left_alone(), pool:
                return list(pool.map(function, listed))
        return [function(item) for item in listed]

    def _start(self) -> _Worker:
        assert len(self._workers) < self.count, "no worker is free"
        worker = _Worker(*start(_work))
        self._server_runs = True
        self._workers.append(worker)
        return worker

    def _discard(self, worker: _Worker) -> None:
        worker.process.join()
        worker.pipe.close()
        self._workers.remove(worker)

    def _ends_of(self, worker: _Worker, message: str) -> list[Event]:
        """Discard a worker that has ended, and return the ends of its trainings."""
        self._discard(worker)
        return [_failed(index, message) for index in sorted(worker.trainings)]


def _shortest(timeout: float | None, ends: Iterable[float | None]) -> float | None:
    """Return how long to wait for an event: `timeout`, or less if a training must end before; None for ever."""
    left = [max(0.0, end - time.monotonic()) for end in ends if end is not None]
    return min([*left, *([] if timeout is None else [timeout])], default=None)


def _failed(index: int, message: str) -> TrainingEnded:
    return TrainingEnded(index, RunResult("failed", {}, (), 0.0, message), 0, (), 0)


def _work(pipe: Connection) -> None:
    """Train what comes through `pipe` until the coordinator closes it; one thread, so that workers scale."""
    import torch

    from optstudy.training.train import train

    torch.set_num_threads(1)
    while True:
        try:
            specs, weights = pipe.recv()
        except EOFError:
            return
        left = set(range(len(specs)))

        def report(event: Event, left: set[int] = left) -> None:
            left -= {event.index} if isinstance(event, TrainingEnded) else set()
            pipe.send(event)

        try:
            train(specs, report, weights)
        except BaseException as error:  # `sys.exit` of a user's code, say: `train` itself reports exceptions
            for index in sorted(left):
                pipe.send(_failed(index, end_of(error)))
