"""Writing files whole or not at all: a draft under another name is renamed once it is complete."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

DRAFT = re.compile(r"\..+\.\d+")


@contextmanager
def draft_of(path: Path) -> Iterator[Path]:
    """Yield the path of a draft; it becomes `path` when the body ends, and is removed if the body raises."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with name_in_errors(path):
            yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with draft_of(path) as draft:
        draft.write_bytes(content)


def write_json(path: Path, value: object) -> None:
    """Write indented JSON."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_derived(path: Path) -> dict[str, object]:
    """Return the JSON object in a file that can be written again; empty if the file is missing or damaged."""
    content = _read_if_readable(path)
    return content if isinstance(content, dict) else {}


def read_rows(path: Path) -> list[dict[str, object]]:
    """Return the JSON objects listed in a file that can be written again; none if it is missing or damaged."""
    content = _read_if_readable(path)
    return [row for row in content if isinstance(row, dict)] if isinstance(content, list) else []


def _read_if_readable(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError, ValueError, RecursionError):
        return None


def remove_drafts(paths: Iterable[Path], age: float = 0.0) -> None:
    """Remove those of the paths that are drafts, and older than `age` seconds."""
    for path in [path for path in paths if DRAFT.fullmatch(path.name) and path.is_file()]:
        if time.time() - path.stat().st_mtime >= age:
            path.unlink()


@contextmanager
def name_in_errors(path: Path) -> Iterator[None]:
    """Add the name of a file to the system's errors in the body: a full disk names none when it is written to."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise
