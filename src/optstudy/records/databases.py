"""records.databases."""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path


def without_password(address: str) -> str:
    """Return the address of a database or server as it can be shown: messages end in logs."""
    return re.sub(r"(//[^/@:\s]*):[^/\s]*@", r"\1:***@", address)


def unreachable(database: str) -> str:
    """Return what keeps SQLAlchemy from a database, as far as its address and what is installed say, else nothing."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        make_url(database).get_dialect().import_dbapi()
    except (ArgumentError, ImportError) as error:
        return str(error)
    return ""


def make_whole(address: str, make: Callable[[str], None]) -> None:
    """Let `make` fill a SQLite file that is not there yet under another name; it gets its own once it is whole.

    Of what a kill or a full disk leaves half-made, or two that make it at once, MLflow and Optuna open nothing ever
    after. Who comes second waits for the first, and finds it made.
    """
    path = _sqlite_file(address)
    if path is None or os.path.lexists(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel lets go of it when the process ends, however it ends
        if os.path.lexists(path):
            return
        draft = path.with_name(f"{path.name}.new")
        for suffix in ("", "-journal", "-wal", "-shm"):  # of an earlier attempt
            draft.with_name(draft.name + suffix).unlink(missing_ok=True)
        _set_log(draft, "WAL")  # the disk is waited for once a transaction: MLflow's hundred take a second, not five
        name, mark, options = address.partition("?")
        make(f"{name}.new{mark}{options}")
        _set_log(draft, "DELETE")  # what is in the log comes into the one file that gets the name, or this raises
        draft.replace(path)


def _set_log(database: Path, mode: str) -> None:
    """Set how SQLite keeps its log (https://sqlite.org/pragma.html#pragma_journal_mode)."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(f"PRAGMA journal_mode={mode}")


def same_database(one: str, other: str) -> bool:
    """Return whether two addresses name one database, whatever driver, user and password they name it with."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    file = _sqlite_file(one)
    if file is not None:
        return file == _sqlite_file(other)
    try:
        urls = [make_url(address) for address in (one, other)]
    except (ArgumentError, ValueError):  # databricks, say, or a server's
        return False
    first, second = [(url.get_backend_name(), url.host, url.port, url.database, url.query) for url in urls]
    return first == second and first[0] != "sqlite"  # in memory each has its own


def _sqlite_file(address: str) -> Path | None:
    """Return the file of a SQLite database; None of one in memory, and of any other address."""
    from sqlalchemy.engine import make_url

    if not address.startswith("sqlite"):
        return None
    name = make_url(address).database
    return None if not name or name.startswith((":memory:", "file:")) else Path(name).resolve()
