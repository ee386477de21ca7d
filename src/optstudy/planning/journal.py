"""The append-only record of finished trainings, by key: the one truth, of which everything else is a projection.

Each line is the JSON of one training and ends in a checksum of the rest, so that an altered line is never read.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from optstudy.errors import StudyError, StudyHeld
from optstudy.files import name_in_errors
from optstudy.metrics import is_fraction
from optstudy.spec import RunResult, RunSpec, TrainingEnded, fields_of, pack, spec_fields, unpack
from optstudy.tasks.kinds import KINDS

CHECKSUM = re.compile(rb', "checksum": "([0-9a-f]{16})"}$')
# What is read of an entry's mappings without asking whether it is there.
READ = {
    "data": ("name", "class", "kind", "arguments", "validation_share", "train_size"),
    "model": ("name", "class", "arguments"),
    "pretrained": ("source", "digest"),
    "digests": ("data", "split", "user_code"),
}


@dataclass(frozen=True)
class Stated:
    """What a study file stated when a training ended.

    Attributes:
        primary: Hashes of its primary claims.
        exploratory: Hashes of its other claims.
        replicates: Its number of replicates.
        seed: Its seed; None in lines from before it was recorded.
        design: Its other settings (see `designs.settings_of`); empty if the command had recorded them already.
    """

    primary: tuple[str, ...] = ()
    exploratory: tuple[str, ...] = ()
    replicates: int = 0
    seed: int | None = None
    design: Mapping[str, Any] = field(default_factory=dict)

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


# The keys of a line, and of the mappings in it.
PARTS = {"": Entry, "spec": RunSpec, "result": RunResult, "claims": Stated}
KNOWN = {name: {"checksum", *(one.name for one in fields(kind))} for name, kind in PARTS.items()}


def journal_path(root: Path, study: str) -> Path:
    """Return the path of a study's journal in the folder `root` (`mlruns`)."""
    return journal_folder(root) / f"{study}.jsonl"


def journal_folder(root: Path) -> Path:
    """Return the folder of the journals of all studies in the folder `root` (`mlruns`)."""
    return root / "journal"


def read_journal(path: Path) -> dict[str, Entry]:
    """Return the journal's entries by key, in their order; a torn last line is dropped.

    Raises StudyError for a line that was altered or that another version of optstudy wrote.
    """
    return {entry.key: entry for _, entry in read_lines(path)} if path.exists() else {}


def read_lines(path: Path) -> Iterator[tuple[bytes, Entry]]:
    """Yield the lines of a journal, each with its entry; `path` may be compressed by gzip. Raises as `read_journal`."""
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(path.read_bytes())
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise StudyError(f"{path}: is no whole gzip file ({error}): restore it") from error
    else:
        content = path.read_bytes()
    for number, line in enumerate(content.split(b"\n")[:-1], start=1):
        yield line, _read(path, number, line)


def _read(path: Path, number: int, line: bytes) -> Entry:
    try:
        return _entry(line)
    except ValueError as error:
        raise StudyError(f"{path}: line {number}: {error}") from error


def _entry(line: bytes) -> Entry:
    """Return the entry in a line. Raises ValueError with the reason and what to do."""
    checksum = CHECKSUM.search(line)
    if checksum is None or checksum[1].decode() != _checksum(line[: checksum.start()]):
        reason = (
            "its checksum does not match: it was altered, or written by a version of optstudy that wrote no checksums"
        )
        raise ValueError(f"{reason}; restore the line, or delete it: its training is then repeated")
    try:
        entries, specs = _parsers()
        entry, spec = entries.validate_json(line, strict=True), specs.validate_json(line, strict=True).spec
        problem = _missing_keys(spec, entry) or _senseless_value(spec, entry)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        problem = f"{'.'.join(map(str, first['loc']))}: {str(first['input'])[:80]!r}: {first['msg']}"
    if problem:
        raise ValueError(f"{problem}; use the version of optstudy that wrote this line, or restore the line")
    if unknown := _unknown_keys(json.loads(line)):
        raise ValueError(f"written by a newer version of optstudy, with {', '.join(unknown)}: use that version")
    return entry


@dataclass(frozen=True)
class _Spec:
    """The part of a line that is a RunSpec."""

    spec: RunSpec


@cache
def _parsers() -> tuple[TypeAdapter[Entry], TypeAdapter[_Spec]]:
    """Return what reads a line as each dataclass. They check each field's type and ignore unknown keys."""
    return TypeAdapter(Entry), TypeAdapter(_Spec)


def _missing_keys(spec: RunSpec, entry: Entry) -> str:
    """Return which of the keys in READ are missing; empty if none is."""
    parts = {"data": spec.data, "model": spec.model, "pretrained": spec.pretrained, "digests": entry.digests}
    given = {name: part for name, part in parts.items() if part is not None}
    missing = [f"{name}.{key}" for name, part in given.items() for key in READ[name] if key not in part]
    return f"{', '.join(missing)}: missing" if missing else ""


def _senseless_value(spec: RunSpec, entry: Entry) -> str:
    """Return which value has the right type and makes no sense; empty if all do."""
    result = entry.result
    if spec.data["kind"] not in KINDS:
        return f"spec.data.kind: {spec.data['kind']!r}: must be one of {', '.join(KINDS)}"
    rate = spec.hyperparameters.get("learning_rate", 0.0)
    if isinstance(rate, bool) or not isinstance(rate, int | float):
        return f"spec.hyperparameters.learning_rate: {rate!r}: must be a number"
    if not isinstance(entry.facts.get("training_version", 0), int):
        return f"facts.training_version: {entry.facts['training_version']!r}: must be a number"
    if len(entry.epoch_ms) != len(result.curve):
        return f"epoch_ms: {len(entry.epoch_ms)} times of {len(result.curve)} epochs"
    for metrics in ({"seconds": result.seconds}, result.metrics, *result.curve):
        for name, value in metrics.items():
            if not math.isfinite(value) or (name.endswith("/accuracy") and not is_fraction(value)):
                return f"result: {name}: {value}: must be a number, of an accuracy one from 0 to 1"
    return "" if not result.answers or _is_packed(result.answers) else f"result.answers: {result.answers[:80]!r}"


def _is_packed(answers: str) -> bool:
    """Return whether `pack` wrote this text."""
    try:
        return pack(unpack(answers).tolist()) == answers
    except ValueError:
        return False


def _unknown_keys(record: Mapping[str, Any]) -> list[str]:
    """Return the keys of a line that this version does not know."""
    parts = {"": record, **{name: record[name] for name in ("spec", "result", "claims")}}
    unknown = [(name, key) for name, part in parts.items() for key in part if key not in KNOWN[name]]
    return [f"{name}.{key}".strip(".") for name, key in unknown]


def _checksum(content: bytes) -> str:
    """Return the first 16 hexadecimal digits of the SHA-256 of a line without its checksum and closing brace."""
    return hashlib.sha256(content).hexdigest()[:16]


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
    with name_in_errors(path), path.open("ab") as file:
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return _parsers()[0].validate_json(line, strict=True)


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
    holder, lock = path.with_suffix(".holder"), path.with_suffix(".lock")
    for file in (holder, lock):
        if file.is_symlink():  # what it points to would be overwritten
            raise StudyError(f"{file}: is a link to {os.readlink(file)}: must be a file of its own; remove the link")
    held = FileLock(lock, timeout=0)
    try:
        held.acquire()
    except Timeout as error:
        name = holder.read_text(encoding="utf-8").strip() if holder.exists() else ""
        raise StudyHeld(f"study {path.stem!r} is held by process {name or 'unknown'}") from error
    except OSError as error:
        if error.filename is not None:
            raise
        raise StudyError(f"{lock}: cannot be locked ({error.strerror}): keep `mlruns` on a local disk") from error
    try:
        with name_in_errors(holder):
            holder.write_text(f"{os.getpid()} on {os.uname().nodename}", encoding="utf-8")
        drop_torn_line(path)
        yield
    finally:
        held.release()
