"""The errors that end a command early: a message for the user, and an exit code each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar


class Stopped(Exception):
    """A command cannot continue. The message says why; finished trainings are saved."""

    code: ClassVar[int]

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows: the message alone. It is about the user's input, not about our code."""
        return [f"{type(self).__name__}: {self}"]


class TrainingFailed(Stopped):
    """Trainings failed for a reason of their own. The message has a line for each."""

    code = 1


class StudyError(Stopped):
    """The input is wrong. The message has one line per mistake, with file, key, value and what is allowed."""

    code = 2


class StudyHeld(Stopped):
    """Another process holds the study. The message says which (75 is EX_TEMPFAIL of sysexits.h: try again later)."""

    code = 75


class StoreIncomplete(Stopped):
    """All trainings are done and in the journal, but MLflow or Optuna could not be completed.

    The message has a line for each. `comparison` is the table that a study ends in.
    """

    code = 4
    comparison: Any = None


class DataError(StudyError):
    """A data set or a file of weights is missing, incomplete or altered. The message says which, and what to do."""


def message_of(error: BaseException) -> str:
    """Return the message of a library's error in one line; its type if it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def one_line(error: BaseException) -> str:
    """Return the type and the message of a library's error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


@contextmanager
def error_prefix(name: str) -> Iterator[None]:
    """Put a study's name, or a key, before each line of a DataError: the code that loads data knows neither.

    An empty name leaves it as it is.
    """
    try:
        yield
    except DataError as error:
        prefix = f"{name}: " if name else ""
        raise DataError("\n".join(f"{prefix}{line}" for line in str(error).splitlines())) from error


@contextmanager
def collecting(problems: list[str]) -> Iterator[None]:
    """Add the lines of a DataError to `problems`, so that what follows is checked, too."""
    try:
        yield
    except DataError as error:
        problems += str(error).splitlines()
