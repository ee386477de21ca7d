"""The databases of MLflow and Optuna: their addresses, and how SQLite files are created."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Set
from contextlib import closing
from importlib.metadata import entry_points
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock

from optstudy.errors import StudyError
from optstudy.records.credentials import shown_address
from optstudy.records.ownership import name_prefix, read_project

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")  # schemes of the databases that MLflow supports
ESCAPES = "in a user name or password write / as %2F, : as %3A, @ as %40 and # as %23"
PYSQLITE = "sqlite+pysqlite://"  # the address of a SQLite database, with its driver
HTTP = ("http", "https")
SERVERS = (*HTTP, "databricks")

# Where the experiments that optstudy wrote keep their artifacts; those of earlier versions have no tag of their own.
PLACES_OF_ARTIFACTS = """
    SELECT artifact_location, name FROM experiments WHERE artifact_location LIKE 'file:%' AND (
        experiment_id IN (SELECT experiment_id FROM experiment_tags WHERE key = 'optstudy.project')
        OR experiment_id IN (SELECT experiment_id FROM runs JOIN tags USING (run_uuid) WHERE key = 'optstudy.identity')
    )
"""
ARTIFACT_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
)


def default_database(root: Path, name: str) -> Path:
    """Return the path of the SQLite file that is used if the environment names no store."""
    return (root / f"{name}.db").absolute()


def _address_of(file: Path, address: str = PYSQLITE) -> str:
    """Return the address of a SQLite file, with the options of `address`; its path may contain any character.

    The driver is named because MLflow creates folders for addresses that start with `sqlite:///`, and takes `%25` in
    them literally.
    """
    from sqlalchemy.engine import make_url

    url = make_url(address).set(database=str(file))
    driver = PYSQLITE.partition(":")[0] if url.drivername == "sqlite" else url.drivername
    return url.set(drivername=driver).render_as_string(hide_password=False)


def tracking_uri(root: Path) -> str:
    """Return the address of the MLflow store: `MLFLOW_TRACKING_URI`, or a SQLite file in `root` (`mlruns`).

    Raises StudyError if MLflow does not support such a store. MLflow is not imported, which takes seconds.
    """
    address = os.environ.get("MLFLOW_TRACKING_URI")
    if not address:
        return _address_of(default_database(root, "mlflow"))
    scheme = address.partition(":")[0].partition("+")[0]  # sqlite:///file, postgresql+psycopg2://host/name, databricks
    reason = _problem(address) if scheme in DATABASES else _problem_of_server(address) if scheme in HTTP else ""
    if reason or not (scheme in DATABASES + SERVERS or _is_installed(scheme)):
        raise StudyError(
            f"MLFLOW_TRACKING_URI: {shown_address(address)!r}: must be the address of a database or a server, such "
            f"as sqlite:///mlruns/mlflow.db or http://localhost:5000{f' ({reason})' if reason else ''}; "
            f"schemes: {', '.join(DATABASES + SERVERS)}"
        )
    return address


def _is_installed(scheme: str) -> bool:
    """Return whether an installed package adds MLflow stores of this scheme, or MLflow is allowed to use folders."""
    folders = os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("true", "1")
    return folders or any(point.name == scheme for point in entry_points(group="mlflow.tracking_store"))


def optuna_storage(root: Path) -> str:
    """Return the address of the Optuna store: `OPTSTUDY_OPTUNA_STORAGE`, or a SQLite file in `root` (`mlruns`).

    Raises StudyError if it is not the address of a database, or if the database's driver is not installed.
    """
    address = os.environ.get("OPTSTUDY_OPTUNA_STORAGE")
    if not address:
        return _address_of(default_database(root, "optuna"))
    if reason := _problem(address):
        raise StudyError(
            f"OPTSTUDY_OPTUNA_STORAGE: {shown_address(address)!r}: must be the SQLAlchemy address of a database, "
            f"such as sqlite:///mlruns/optuna.db or postgresql+psycopg2://host/name ({reason})"
        )
    return address


def check_stores(root: Path) -> None:
    """Raise StudyError if what the environment says of the stores is wrong, or if MLflow and Optuna share one database.

    Nothing is opened or written. `root` is the folder of the default databases.
    """
    read_project(root)
    name_prefix()
    if not (os.environ.get("MLFLOW_TRACKING_URI") or os.environ.get("OPTSTUDY_OPTUNA_STORAGE")):
        return  # the defaults differ, and importing SQLAlchemy takes 0.2 s
    stores = [tracking_uri(root), optuna_storage(root)]
    if same_database(*stores):
        values = " and ".join(dict.fromkeys(repr(shown_address(store)) for store in stores))
        raise StudyError(
            f"MLFLOW_TRACKING_URI and OPTSTUDY_OPTUNA_STORAGE: {values}: must be two databases, such as "
            "sqlite:///mlruns/mlflow.db and sqlite:///mlruns/optuna.db: in one, each breaks the other's schema version"
        )


def _problem(address: str) -> str:
    """Return why SQLAlchemy cannot use an address: its syntax, or a missing driver; empty if it can.

    SQLAlchemy's own words may contain parts of a password.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        make_url(address).get_dialect().import_dbapi()
    except NoSuchModuleError as error:
        return str(error)
    except (ArgumentError, ValueError):  # a ValueError if what follows the `:` of the host is no number
        return f"SQLAlchemy cannot parse it; {ESCAPES}"
    except ImportError as error:
        return f"its driver is not installed: {error}"
    return ""


def _problem_of_server(address: str) -> str:
    """Return why an address of http has no host or no number as its port; empty if it has both."""
    try:
        parts = urlsplit(address)
        return "" if parts.hostname and (parts.port is None or parts.port) else f"it names no host; {ESCAPES}"
    except ValueError:  # its words may contain parts of a password
        return f"its port is no number; {ESCAPES}"


def same_database(first: str, second: str) -> bool:
    """Return whether two addresses mean the same database; driver, user and password may differ."""
    database = _database(first)
    return database is not None and database == _database(second)


def _database(address: str) -> object:
    """Return what all addresses of one database share; None for a database in memory and for a server of MLflow."""
    if address.startswith("sqlite"):
        return sqlite_file(address)
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(address)
    except (ArgumentError, ValueError):  # `databricks`, for instance
        return None
    return url.get_backend_name(), url.host, url.port, url.database, url.query


def sqlite_file(address: str) -> Path | None:
    """Return the file of a SQLite database; None if it is in memory, and for other databases."""
    from sqlalchemy.engine import make_url

    name = make_url(address).database if address.startswith("sqlite") else None
    return None if not name or name.startswith((":memory:", "file:")) else Path(name).resolve()


def create_missing(address: str, create_tables: Callable[[str], None]) -> None:
    """Create a SQLite file with its tables if it is missing; do nothing for other databases.

    Neither MLflow nor Optuna can open a half-created file again. So the file is created under a temporary name and
    renamed when it is complete; other processes wait meanwhile. `create_tables` is called with the temporary address.
    """
    path = sqlite_file(address)
    if path is None or os.path.lexists(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if os.path.lexists(path):
            return
        draft = path.with_name(f"{path.name}.new")
        for suffix in ("", "-journal", "-wal", "-shm"):  # left by a process that was killed
            draft.with_name(draft.name + suffix).unlink(missing_ok=True)
        run_pragma(draft, "journal_mode=WAL")  # one flush per transaction: MLflow's tables take one second, not five
        create_tables(_address_of(draft, address))
        run_pragma(draft, "journal_mode=DELETE")  # moves the log into the file; raises OperationalError if it cannot
        draft.replace(path)


def run_pragma(database: Path, pragma: str) -> None:
    """Run one of the commands of https://sqlite.org/pragma.html on a SQLite file."""
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(f"PRAGMA {pragma}")


def has_tables(database: Path, names: Set[str]) -> bool:
    """Return whether a SQLite file has these tables; it is opened read-only."""
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as connection:
        return names <= {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}


def artifacts_address(root: Path) -> str:
    """Return the address of the folder of artifacts that belongs to the default database, with a `/` at its end."""
    return f"{(root / 'artifacts').absolute().as_uri()}/"


def follow_moved_folder(root: Path) -> None:
    """Correct where MLflow's default database says that artifacts are, if the project's folder was moved or copied.

    MLflow keeps absolute paths, and offers no way to change them.
    """
    new = artifacts_address(root)
    with closing(sqlite3.connect(default_database(root, "mlflow"))) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master")}
        if not tables >= {name for name, _ in ARTIFACT_COLUMNS}:
            return  # an empty file, which MLflow fills, or the database of an older MLflow, which it refuses
        ends = [(place, f"/artifacts/{name}") for place, name in database.execute(PLACES_OF_ARTIFACTS)]
        former = {f"{place.removesuffix(end)}/artifacts/" for place, end in ends if place.endswith(end)}
        for old in former - {new}:
            for table, column in ARTIFACT_COLUMNS:
                update = f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?"
                database.execute(update, (new, len(old) + 1, len(old), old))
        database.commit()
