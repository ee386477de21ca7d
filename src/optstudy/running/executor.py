"""What an executor is: it trains groups of specs somewhere, and yields their events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Protocol, TypeVar

from optstudy.spec import Event, RunSpec

T = TypeVar("T")
U = TypeVar("U")


class Executor(Protocol):
    """Trains groups of specs on up to `count` workers."""

    count: int

    def __enter__(self) -> Executor:
        """Return the executor."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all workers: nothing outlives the caller."""

    @property
    def free(self) -> int:
        """Return how many more groups can be submitted now."""

    def submit(self, ticket: object, specs: list[RunSpec], weights: bool = False) -> None:
        """Train `specs` as one group; its events come with `ticket`, and ends with the weights if they are asked for.

        How specs are grouped changes no result.
        """

    def events(self, timeout: float | None = None) -> Iterator[tuple[object, Event]]:
        """Wait up to `timeout` seconds for an event (without one, until there is one), and yield all that have come.

        A training whose worker is lost ends with the status `failed`.
        """

    def map(self, function: Callable[[T], U], items: Iterable[T]) -> list[U]:
        """Return `function` of each item, in order."""
