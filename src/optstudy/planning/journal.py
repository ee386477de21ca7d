"""The append-only record of finished trainings, by key: the one truth, of which everything else is a projection.

Each line is the JSON of one training and ends in a checksum of the rest, so that an altered line is never read.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from optstudy.errors import StudyError, StudyHeld
from optstudy.spec import RunResult, RunSpec, TrainingEnded, fields_of, spec_fields

CHECKSUM = re.compile(rb', "checksum": "([0-9a-f]{16})"}$')


@dataclass(frozen=True)
class Stated:
    """What a study file stated when a training ended: the hashes of its claims, and its number of replicates."""

    primary: tuple[str, ...] = ()
    exploratory: tuple[str, ...] = ()
    replicates: int = 0

    @property
    def hashes(self) -> frozenset[str]:
        """Return the hashes of all claims."""
        return frozenset((*self.primary, *self.exploratory))


@dataclass(frozen=True)
class Entry:
    """One finished training.

    Attributes:
        key: Its key (see `keys.training_key`).
        spec: The fields of its RunSpec.
        digests: Digests of the `data`, the `split` and the `user_code`, as they are in the key.
        facts: Machine and versions that trained it (see `environment.training_facts`).
        result: What came out.
        started_ms: When it started, in milliseconds since 1970, UTC.
        epoch_ms: When each of its epochs ended.
        ended_ms: When it ended.
        claims: What the study file stated at that time.
    """

    key: str
    spec: Mapping[str, Any]
    digests: Mapping[str, str]
    facts: Mapping[str, str | int]
    result: RunResult
    started_ms: int
    epoch_ms: tuple[int, ...]
    ended_ms: int
    claims: Stated = field(default_factory=Stated)


def journal_path(root: Path, study: str) -> Path:
    """Return the path of a study's journal in the folder `root` (`mlruns`)."""
    return root / "journal" / f"{study}.jsonl"


def read_journal(path: Path) -> dict[str, Entry]:
    """Return the journal's entries by key, in their order; a torn last line is dropped.

    Raises StudyError for a line that was altered or that another version of optstudy wrote.
    """
    if not path.exists():
        return {}
    entries = [_read(path, *numbered) for numbered in enumerate(path.read_bytes().split(b"\n")[:-1], start=1)]
    return {entry.key: entry for entry in entries}


def _read(path: Path, number: int, line: bytes) -> Entry:
    checksum = CHECKSUM.search(line)
    if checksum is None or checksum[1].decode() != _checksum(line[: checksum.start()]):
        reason = "it was altered, or written by a version of optstudy that wrote no checksums"
        advice = "restore the line, or delete it: its training is then repeated"
        raise StudyError(f"{path}: line {number}: its checksum does not match: {reason}; {advice}")
    try:
        return _entry(line)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"another version of optstudy wrote this line ({type(error).__name__}: {error})"
        raise StudyError(f"{path}: line {number}: {reason}; use that version, or move the journal away") from error


def _entry(line: bytes) -> Entry:
    record = json.loads(line)
    del record["checksum"]
    result, claims = record.pop("result"), record.pop("claims")
    result["curve"], record["epoch_ms"] = tuple(result["curve"]), tuple(record["epoch_ms"])
    stated = Stated(tuple(claims["primary"]), tuple(claims["exploratory"]), claims["replicates"])
    return Entry(result=RunResult(**result), claims=stated, **record)


def _checksum(content: bytes) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a line without its checksum and closing brace."""
    return hashlib.sha256(content).hexdigest()[:16]


def first_stated(entries: Mapping[str, Entry]) -> Stated:
    """Return what the study file stated at the journal's first training."""
    return next(iter(entries.values())).claims


def append(
    path: Path, key: str, spec: RunSpec, digests: Mapping[str, str], ended: TrainingEnded, claims: Stated
) -> Entry:
    """Append one finished training and flush it to disk; return its entry as it will be read."""
    entry = Entry(
        key=key,
        spec=spec_fields(spec),
        digests=digests,
        facts=ended.facts,
        result=ended.result,
        started_ms=ended.started_ms,
        epoch_ms=ended.epoch_ms,
        ended_ms=ended.ended_ms,
        claims=claims,
    )
    record = {**fields_of(entry), "result": fields_of(ended.result), "claims": fields_of(claims)}
    content = json.dumps(record, allow_nan=False).encode()[:-1]
    line = content + f', "checksum": "{_checksum(content)}"}}'.encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return _entry(line)


def drop_torn_line(path: Path) -> None:
    """Cut off an incomplete last line, so that the next entry starts on a line of its own."""
    if path.exists():
        content = path.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(path, content.rfind(b"\n") + 1)


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold the study while the body runs. The operating system releases it when the process ends, however it ends.

    Raises StudyHeld if another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = path.with_suffix(".holder")
    try:
        with FileLock(path.with_suffix(".lock"), timeout=0):
            holder.write_text(f"{os.getpid()} on {os.uname().nodename}", encoding="utf-8")
            drop_torn_line(path)
            yield
    except Timeout as error:
        name = holder.read_text(encoding="utf-8").strip() if holder.exists() else ""
        raise StudyHeld(f"study {path.stem!r} is held by process {name or 'unknown'}") from error
