"""The append-only record of finished trainings, by key: the one truth, of which all else is a projection."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optstudy.errors import StudyError, StudyHeld
from optstudy.runs import RunResult, RunSpec, TrainingEnded, fields_of


@dataclass(frozen=True)
class Stated:
    """What a study file stated when a training ended: the hashes of its claims, and its number of replicates.

    Entries of before primacy was recorded have one list, of which each hash is taken as of a primary claim: that
    corrects for too many rather than for too few. Their number of replicates is 0: not known.
    """

    primary: tuple[str, ...] = ()
    exploratory: tuple[str, ...] = ()
    replicates: int = 0

    @property
    def hashes(self) -> frozenset[str]:
        """Return the hashes of all claims."""
        return frozenset((*self.primary, *self.exploratory))


@dataclass(frozen=True)
class Entry:
    """One finished training: its key, what was trained, what came out, and when (milliseconds since 1970).

    `claims` says what the study file stated when it was trained.
    """

    key: str
    spec: Mapping[str, Any]
    result: RunResult
    started_ms: int
    epoch_ms: tuple[int, ...]
    ended_ms: int
    claims: Stated = Stated()


def journal_path(root: Path, study: str) -> Path:
    """Return where the journal of `study` lies below the folder `mlruns`."""
    return root / "journal" / f"{study}.jsonl"


def read_journal(path: Path) -> dict[str, Entry]:
    """Return the journal's entries by key; a torn last line is dropped."""
    if not path.exists():
        return {}
    entries = [_read(path, *numbered) for numbered in enumerate(path.read_bytes().split(b"\n")[:-1], start=1)]
    return {entry.key: entry for entry in entries}


def _read(path: Path, number: int, line: bytes) -> Entry:
    """Return the entry in a line; raises StudyError where it is none: a disk's fault, or an editor's."""
    try:
        return _entry(line)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"line {number} is no record of a training ({type(error).__name__}: {error})"
        raise StudyError(f"{path}: {what}: delete it, and what it recorded is trained again") from error


def _entry(line: bytes) -> Entry:
    record = json.loads(line)
    result = record.pop("result")
    result["curve"] = tuple(result["curve"])
    record["epoch_ms"] = tuple(record["epoch_ms"])
    record["claims"] = _stated(record.get("claims", []))
    return Entry(result=RunResult(**result), **record)


def _stated(claims: Any) -> Stated:
    if isinstance(claims, list):
        return Stated(tuple(claims))
    return Stated(tuple(claims["primary"]), tuple(claims["exploratory"]), claims["replicates"])


def first_stated(entries: Mapping[str, Entry]) -> Stated:
    """Return what the study file stated at the journal's first training."""
    return next(iter(entries.values())).claims


def append(path: Path, key: str, spec: RunSpec, ended: TrainingEnded, claims: Stated = Stated()) -> Entry:
    """Append one finished training and flush it to disk; return its entry as it will be read."""
    entry = Entry(key, fields_of(spec), ended.result, ended.started_ms, ended.epoch_ms, ended.ended_ms, claims)
    record = {**fields_of(entry), "result": fields_of(ended.result), "claims": fields_of(claims)}
    line = json.dumps(record, allow_nan=False).encode() + b"\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(line)
        file.flush()
        os.fsync(file.fileno())
    return _entry(line)


def mend(path: Path) -> None:
    """Cut off a torn last line, so that the next entry starts on a line of its own."""
    if path.exists():
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold the study while the body runs; the kernel lets go of it when the process ends, however it ends.

    Raises StudyHeld where another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise StudyHeld(f"study {path.stem!r} is held by process {file.read().strip() or 'unknown'}") from error
        file.truncate(0)
        file.write(f"{os.getpid()} on {os.uname().nodename}")
        file.flush()
        mend(path)
        yield
