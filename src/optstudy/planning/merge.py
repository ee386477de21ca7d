"""Joins journals of one study, from shards, other machines or shipped evidence, and writes the evidence to ship."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from optstudy.errors import StudyError
from optstudy.files import draft_of, read_derived, write_bytes, write_json
from optstudy.planning import journal
from optstudy.planning.journal import Entry
from optstudy.planning.layout import StudyPaths, prices_path
from optstudy.spec import RunResult

EVIDENCE, PRICES = "journal.jsonl.gz", "prices.json"  # names in a folder of evidence


@dataclass(frozen=True)
class Source:
    """What a merge reads: a journal, and the folder of its weights and the file of its prices, which may not exist."""

    journal: Path
    weights: Path
    prices: Path


@dataclass(frozen=True)
class Merged:
    """How many trainings a merge found in its sources, how many of them are new, and how many weights it copied."""

    found: int
    new: int
    weights: int


def source_of(given: Path, study: str) -> Source:
    """Return the source that a user names: a journal, a folder of evidence, a project's folder or its `mlruns`.

    Raises StudyError if the folder has no journal of the study.
    """
    if given.is_file():
        root = given.parent.parent if given.parent.name == "journal" else given.parent
        return Source(given, root / "weights", _prices_beside(root, study))
    names = (EVIDENCE, f"journal/{study}.jsonl", f"mlruns/journal/{study}.jsonl")
    for path in (given / name for name in names):
        if path.is_file():
            return source_of(path, study)
    raise StudyError(f"{given}: has no journal of {study!r}: must be a journal, or a folder with {' or '.join(names)}")


def _prices_beside(root: Path, study: str) -> Path:
    shipped = root / PRICES
    return shipped if shipped.exists() else prices_path(root, study)


def merge(paths: StudyPaths, given: Sequence[Path]) -> Merged:
    """Add the trainings of other journals to the study's own, in the order in which they ended.

    Equal trainings count once; the earliest is kept. Kept weights are copied, and prices if the study has none.

    Raises:
        StudyError: A source has no journal of the study, no training on its data, or, under a key that another one
            has, too, other numbers. Nothing is written then.
        StudyHeld: Another process holds the study.
    """
    sources = [source_of(path, paths.study.name) for path in given]
    with journal.hold(paths.journal):
        own = _read(paths.journal, paths) if paths.journal.exists() else {}
        lines = dict(own)
        found = set[str]()
        for source in sources:
            entries = _read(source.journal, paths)
            found |= entries.keys()
            _add(lines, entries)
        ordered = sorted(lines.values(), key=lambda one: (one.entry.ended_ms, one.entry.key))
        if lines.keys() != own.keys():
            write_bytes(paths.journal, b"".join(one.line + b"\n" for one in ordered))
        copied = sum(_copy_weights(source.weights, paths.mlruns / "weights", lines) for source in sources)
        _copy_prices(sources, paths)
    return Merged(len(found), len(lines) - len(own), copied)


@dataclass(frozen=True)
class _Line:
    """A line of a journal: its bytes, its entry, and where it was read."""

    line: bytes
    entry: Entry
    path: Path


def _read(path: Path, paths: StudyPaths) -> dict[str, _Line]:
    """Return the lines of a journal by key. Raises StudyError if none was trained on the study's data."""
    lines = {entry.key: _Line(line, entry, path) for line, entry in journal.read_lines(path)}
    data = paths.study.data.resolved()
    if path != paths.journal and not any(_is_same(one.entry.spec["data"], data) for one in lines.values()):
        raise StudyError(f"{path}: has no training on the data of {paths.study.name!r}: is it another study's?")
    return lines


def _is_same(data: Mapping[str, object], other: Mapping[str, object]) -> bool:
    return all(data[name] == other[name] for name in ("name", "class", "kind"))


def _add(lines: dict[str, _Line], others: Mapping[str, _Line]) -> None:
    """Add lines to `lines`; of two with one key the earlier stays. Raises StudyError if their numbers differ."""
    for key, other in others.items():
        known = lines.setdefault(key, other)
        if _numbers(known.entry.result) != _numbers(other.entry.result):
            reason = "one of the two was trained by other code or on a faulty machine: find out which, and leave it out"
            raise StudyError(f"{known.path} and {other.path}: same key, other numbers: {key}: {reason}")
        if other.entry.ended_ms < known.entry.ended_ms:
            lines[key] = other


def _numbers(result: RunResult) -> tuple[object, ...]:
    """Return what a key determines of a result: all but its seconds."""
    return result.status, dict(result.metrics), [dict(epoch) for epoch in result.curve], result.answers


def _copy_weights(source: Path, own: Path, lines: Mapping[str, _Line]) -> int:
    """Copy the kept weights of the trainings in `lines` that are missing; return how many."""
    files = [path for path in source.glob("*.safetensors") if path.stem in lines and not (own / path.name).exists()]
    for path in files:
        with draft_of(own / path.name) as draft:
            shutil.copyfile(path, draft)
    return len(files)


def _copy_prices(sources: Sequence[Source], paths: StudyPaths) -> None:
    """Copy the first prices that a source has, unless the study has its own: figures must come from one machine."""
    own = prices_path(paths.mlruns, paths.study.name)
    for stored in (read_derived(source.prices) for source in sources):
        if stored and not own.exists():
            write_json(own, stored)


def write_evidence(paths: StudyPaths) -> Path:
    """Write the study's journal, compressed, and its prices beside its tables, as `merge` reads them; return its path.

    The file is the same to the last byte for the same journal.
    """
    path = paths.tables / EVIDENCE
    write_bytes(path, gzip.compress(paths.journal.read_bytes(), mtime=0))
    if stored := read_derived(prices_path(paths.mlruns, paths.study.name)):
        write_json(paths.tables / PRICES, stored)
    return path
