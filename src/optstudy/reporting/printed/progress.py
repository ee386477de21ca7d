"""How far a study is: live bars on a terminal, plain lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from optstudy.metrics import counted
from optstudy.spec import Phase
from optstudy.spec import Progress as State

LINE_EVERY = 10.0  # seconds between plain lines: the log of a night stays readable


class Counts:
    """How many trainings of each contender are done, and how long the others will take."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.states: dict[str, State] = {}
        self._seconds: list[float] = []

    def add(self, state: State) -> None:
        """Take the new state of a contender."""
        self.states[state.contender] = state
        if state.seconds:
            self._seconds.append(state.seconds)

    @property
    def done(self) -> int:
        """Return how many trainings are done."""
        return sum(state.done for state in self.states.values())

    @property
    def total(self) -> int:
        """Return how many trainings there are."""
        return sum(state.total for state in self.states.values())

    @property
    def phase(self) -> str:
        """Return what happens now: workers start, trainings run for about so long, or all are done."""
        if self.done == self.total:
            return "all trainings are done"
        if not self._seconds:
            return "starting workers"
        each = sum(self._seconds) / len(self._seconds)
        return f"about {_duration((self.total - self.done) * each / self.workers)} left"


def _duration(seconds: float) -> timedelta:
    return timedelta(seconds=round(seconds))


@contextmanager
def shown(console: Console, workers: int) -> Iterator[Callable[[State | Phase], None]]:
    """Yield a function that shows each step of the study's progress, and each phase of a command on a terminal."""
    counts = Counts(workers)
    if console.is_terminal:
        with _Bars(console, counts) as bars:
            yield bars.show
        return
    last = 0.0

    def line(state: State | Phase) -> None:
        nonlocal last
        if isinstance(state, Phase):
            return
        counts.add(state)
        if state.seconds and (time.monotonic() - last > LINE_EVERY or counts.done == counts.total):
            last = time.monotonic()
            each = ", ".join(f"{name} {own.done}/{own.total}" for name, own in counts.states.items())
            console.print(f"{counts.done}/{counts.total} trainings, {counts.phase} ({each})", soft_wrap=True)

    yield line


class _Done(ProgressColumn):
    """How many trainings of how many; the line of a phase has none."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.completed:.0f}/{task.total:.0f}" if task.total else "")


class _Bars(Progress):
    """A line that says what happens now, and below it a bar for each contender and one for all."""

    def __init__(self, console: Console, counts: Counts) -> None:
        self._counts, self._phase, self._since = counts, "reading the study", time.monotonic()
        self._stopped = False
        self._contenders: dict[str, TaskID] = {}
        name = TextColumn("{task.description}", markup=False, table_column=Column(overflow="fold"))
        # Without a width of its own a bar takes what is left of the line, so that no name or number is cut.
        super().__init__(name, BarColumn(None), _Done(), console=console, expand=console.width < 60)

    def show(self, state: State | Phase) -> None:
        """Show a contender's state, or a phase."""
        if isinstance(state, Phase):
            self._phase = state.name
            return
        self._counts.add(state)
        self._phase = self._counts.phase
        for name, done, total in (
            ("all", self._counts.done, self._counts.total),
            (state.contender, state.done, state.total),
        ):
            if name not in self._contenders:
                self._contenders[name] = self.add_task(name, total=total)
            self.update(self._contenders[name], completed=done, total=total)

    def stop(self) -> None:
        """Show the last picture, which stays."""
        self._stopped = True
        super().stop()

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the line, with the time since the start, and the bars."""
        passed = _duration(time.monotonic() - self._since)
        if not self._stopped:
            yield Text(f"{self._phase}, {passed} so far")
        elif self._counts.states:
            yield Text(f"{counted(self._counts.done, 'training')} of {self._counts.total} done, {passed}")
        yield self.make_tasks_table(self.tasks)
