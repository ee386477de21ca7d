"""Why a command ends early, in words for its user, each with its exit code; light, so that `--help` stays quick."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar


class Stopped(Exception):
    """A command cannot go on; the message says why, and nothing is lost."""

    code: ClassVar[int]


class TrainingFailed(Stopped):
    """Some trainings failed for a reason of their own; the message has a line for each."""

    code = 1


class StudyError(Stopped):
    """The input is wrong; the message has one line per mistake, each with file, key, value and what is allowed."""

    code = 2


class StudyHeld(Stopped):
    """Another process holds the study; the message says which (75 is sysexits' EX_TEMPFAIL: try again later)."""

    code = 75


class DataError(StudyError):
    """A data set or file of weights is missing, cut short or altered; the message says which, and what to do."""


def one_line(error: BaseException) -> str:
    """Return the type and the words of an error that is not ours, whose text may have several lines."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


@contextmanager
def error_prefix(name: str) -> Iterator[None]:
    """Put a study's name, or a key, before what a DataError says: neither data nor weights know whose they are."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{name}: {error}") from error
