"""Addresses of the stores of MLflow and Optuna, and how their SQLite files are created."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from builders import tiny
from optstudy.errors import StudyError
from optstudy.planning.layout import StudyPaths
from optstudy.records.credentials import shown_address
from optstudy.records.databases import check_stores, same_database, tracking_uri
from optstudy.records.live import Live
from optstudy.running import stages
from record_samples import (
    entry,
    mlflow_client,
    mlflow_keys,
    mlflow_recorder,
    mlflow_runs,
    opened_mlflow,
    optuna_keys,
    optuna_recorder,
    projection,
    trials,
)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("MLFLOW_TRACKING_URI", "file:./mlruns", "schemes: sqlite, postgresql"),
        ("MLFLOW_TRACKING_URI", "mlruns", "must be the address of a database or a server"),
        ("MLFLOW_TRACKING_URI", "uc:http://localhost:8080", "must be"),
        ("MLFLOW_TRACKING_URI", "sqlite:mlflow.db", "SQLAlchemy cannot parse it"),
        ("MLFLOW_TRACKING_URI", "http://", "names no host"),
        ("OPTSTUDY_OPTUNA_STORAGE", "foo", "must be the SQLAlchemy address of a database"),
        ("OPTSTUDY_OPTUNA_STORAGE", "foo://me:secret@host/name", "Can't load plugin"),
    ],
)
def test_every_command_rejects_a_wrong_address_before_it_writes_anything(
    variable: str, value: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    paths = StudyPaths(tiny(), tmp_path / "results", tmp_path / "mlruns")
    commands: list[Callable[[], object]] = [
        lambda: stages.prepare(paths, print),
        lambda: stages.run(paths, 1, print, print),
        lambda: stages.pretrain(paths, print),
        lambda: stages.tune(paths, "sgd", 1, print),
        lambda: stages.train(paths, "sgd", 1, print),
        lambda: stages.compare_stage(paths),
        lambda: stages.report(paths, print),
    ]
    for command in commands:
        with pytest.raises(StudyError) as caught:
            command()
        message = str(caught.value)
        assert message.startswith(f"{variable}: {shown_address(value)!r}: ")
        assert words in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "value", ["http://localhost:5000", "https://me:secret@host", "databricks://profile", "databricks", "sqlite:///a.db"]
)
def test_addresses_of_servers_and_databases_are_accepted_for_mlflow(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", value)
    assert tracking_uri(Path("mlruns")) == value


def test_a_folder_is_accepted_if_mlflow_is_allowed_to_use_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:./mlruns")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert tracking_uri(Path("mlruns")) == "file:./mlruns"


STORES = {  # code that opens a store in the current folder for the study that it is given
    "mlflow.db": """
from optstudy.records.mlflow_runs import MlflowRecorder
MlflowRecorder(Path(), sys.argv[1], {}, "val/loss").open()
""",
    "optuna.db": """
from optstudy.records.optuna_trials import OptunaRecorder
recorder = OptunaRecorder(Path(), sys.argv[1], {"sgd": {}}, "val/loss")
recorder.open()
recorder._contender_study("sgd")
""",
}
TENTH_TABLE = """
import os, resource, signal, sys
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.engine import Engine

tables = []


def count(connection, cursor, statement, *rest):
    if statement.split()[0] == "CREATE":
        tables.append(statement)
        if len(tables) == 10:
            END


event.listen(Engine, "before_cursor_execute", count)
"""
ENDS = {  # what ends a process at its tenth table, with its exit code
    "os.kill(os.getpid(), signal.SIGKILL)": -signal.SIGKILL,
    "os.kill(os.getpid(), signal.SIGINT)": -signal.SIGINT,
    "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))": 1,  # no file can grow, as if the disk were full
}


def start(code: str, folder: Path, study: str) -> subprocess.Popen[str]:
    code = f"import sys\nfrom pathlib import Path\n{code}"
    return subprocess.Popen(
        [sys.executable, "-c", code, study], cwd=folder, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("name", STORES)
def test_a_store_whose_creation_was_interrupted_is_created_again(name: str, end: str, tmp_path: Path) -> None:
    cut = start(TENTH_TABLE.replace("END", end) + STORES[name], tmp_path, "cut")
    _, errors = cut.communicate(timeout=120)
    assert cut.returncode == ENDS[end], errors
    assert not (tmp_path / name).exists()
    whole = start(STORES[name], tmp_path, "whole")
    _, errors = whole.communicate(timeout=120)
    assert whole.returncode == 0, errors
    assert sorted(path.name for path in tmp_path.iterdir()) == [name, f"{name}.lock", "project", "project.lock"]
    with closing(sqlite3.connect(tmp_path / name)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.parametrize("name", STORES)
def test_studies_that_start_at_the_same_moment_create_one_store(name: str, tmp_path: Path) -> None:
    code = "import mlflow.tracking, optuna.storages, alembic.command\ninput()\n" + STORES[name]
    studies = [start(code, tmp_path, f"study{number}") for number in range(4)]
    for study in studies:
        assert study.stdin is not None
        study.stdin.write("\n")
        study.stdin.flush()
    for study in studies:
        _, errors = study.communicate(timeout=120)
        assert study.returncode == 0, errors
    table, column = ("experiments", "name") if name == "mlflow.db" else ("studies", "study_name")
    with closing(sqlite3.connect(tmp_path / name)) as database:
        names = [name for (name,) in database.execute(f"select {column} from {table} where {column} like 'study%'")]
    assert sorted(name.partition("/")[0] for name in names) == ["study0", "study1", "study2", "study3"]


def test_sqlite_files_that_the_user_names_are_created_and_keep_their_journal_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Options of the address are the user's. The file may be on a network disk, where a write-ahead log does not work.
    folder = tmp_path / "of größe"
    for variable, name in (("MLFLOW_TRACKING_URI", "a.db"), ("OPTSTUDY_OPTUNA_STORAGE", "b.db")):
        monkeypatch.setenv(variable, f"sqlite:///{folder / name}?timeout=30")
    root, job = tmp_path / "mlruns", trials()[0]
    live = Live([optuna_recorder(root, "named"), mlflow_recorder(root, "named")])
    with live:
        live.ended(job, entry(job))
    assert sorted(path.name for path in folder.iterdir()) == ["a.db", "a.db.lock", "b.db", "b.db.lock"]
    for name in ("a.db", "b.db"):
        with closing(sqlite3.connect(folder / name)) as database:
            assert database.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert mlflow_client(tmp_path).get_experiment_by_name("named") is not None


@pytest.mark.parametrize(
    ("mlflow", "optuna", "shown"),
    [
        ("sqlite:///a.db", "sqlite:///a.db", "'sqlite:///a.db'"),
        ("sqlite:///a.db", "sqlite:///mlruns/../a.db", "'sqlite:///a.db' and 'sqlite:///mlruns/../a.db'"),
        ("", "sqlite:///mlruns/mlflow.db", "/mlruns/mlflow.db' and 'sqlite:///mlruns/mlflow.db'"),
        ("sqlite:///mlruns/optuna.db", "", "'sqlite:///mlruns/optuna.db' and "),
    ],
)
def test_one_database_for_mlflow_and_optuna_is_rejected_before_it_is_opened(
    mlflow: str, optuna: str, shown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow)
    monkeypatch.setenv("OPTSTUDY_OPTUNA_STORAGE", optuna)
    with pytest.raises(StudyError, match=r"^MLFLOW_TRACKING_URI and OPTSTUDY_OPTUNA_STORAGE: ") as caught:
        check_stores(Path("mlruns"))
    assert shown in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("postgresql://me:secret@host/name", "postgresql+psycopg2://you@host/name", True),
        ("postgresql://host/name", "postgresql://host/another", False),
        ("postgresql://host/name", "mysql://host/name", False),
        ("postgresql://host/name", "sqlite:///name", False),
        ("sqlite:///name", "postgresql://host/name", False),
        ("sqlite://", "sqlite://", False),
        ("http://localhost:5000", "sqlite:///a.db", False),
        ("databricks", "sqlite:///a.db", False),
    ],
)
def test_driver_user_and_password_do_not_distinguish_databases(one: str, other: str, same: bool) -> None:
    assert same_database(one, other) is same


NAMES = (
    "50%25off",
    "My%20Study",
    "My Study",
    "what?x=1",
    "a#b",
    "[b]",
    "ü ñ",
    "x@y:z",
    "{key}",
    "a'b",
    "back\\slash",
    "%",
    "mlflow.db?mode=ro",
)


@pytest.mark.parametrize("name", NAMES)
def test_stores_and_artifacts_are_in_the_project_whatever_its_folder_is_called(name: str, tmp_path: Path) -> None:
    root, jobs = tmp_path / name / "mlruns", trials()[:1]
    Live([mlflow_recorder(root, "paths"), optuna_recorder(root, "paths")]).complete(projection(root, "paths", jobs))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert sorted(path.name for path in (tmp_path / name).iterdir()) == ["mlruns"]
    assert {"mlflow.db", "optuna.db", "artifacts"} <= {path.name for path in root.iterdir()}
    assert mlflow_keys(root, "paths") == optuna_keys(root, "paths") == [jobs[0].key]
    [comparison] = mlflow_runs(root, "paths", "comparison")
    files = mlflow_client(root).list_artifacts(comparison.info.run_id)
    assert [file.path for file in files] == ["comparison.csv"]
    assert [path.name for path in (root / "artifacts").rglob("*.csv")] == ["comparison.csv"]


def test_an_empty_file_in_the_place_of_the_database_is_filled(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    recorder, job = opened_mlflow(tmp_path, "empty"), trials()[0]
    recorder.add(job, entry(job))
    assert mlflow_keys(tmp_path, "empty") == [job.key]


def forget_artifact_folders() -> None:
    """Make MLflow read again where a run's artifacts are, as another process would."""
    from mlflow.tracking._tracking_service import utils

    utils._artifact_repos_cache.clear()


@pytest.mark.parametrize("move", [shutil.move, shutil.copytree])
def test_artifacts_follow_a_folder_that_was_moved_or_copied(
    move: Callable[[Path, Path], object], tmp_path: Path
) -> None:
    old, new, jobs = tmp_path / "old" / "mlruns", tmp_path / "new 50%" / "mlruns", trials()[:1]
    opened_mlflow(old, "moved").complete(projection(old, "moved", jobs))
    opened_mlflow(old, "without-runs")
    client = mlflow_client(old)
    experiment = client.get_experiment_by_name("moved").experiment_id
    model = client.create_logged_model(experiment, "model")
    elsewhere = client.create_experiment("by-hand", artifact_location="file:///elsewhere/artifacts/by-hand")
    new.parent.mkdir()
    move(old, new)
    before = sorted(old.rglob("*"))
    forget_artifact_folders()
    recorder = opened_mlflow(new, "moved")
    [comparison] = mlflow_runs(new, "moved", "comparison")
    files = mlflow_client(new).list_artifacts(comparison.info.run_id)
    assert [file.path for file in files] == ["comparison.csv"]
    finished = projection(new, "moved", jobs)
    (finished.paths.tables / "claims.json").write_text("[]")
    recorder.complete(finished)
    assert sorted(path.name for path in (new / "artifacts").rglob("*.*")) == ["claims.json", "comparison.csv"]
    assert sorted(old.rglob("*")) == before  # nothing was written to the former place
    client = mlflow_client(new)
    for name in ("moved", "without-runs"):
        assert client.get_experiment_by_name(name).artifact_location == f"{(new / 'artifacts').as_uri()}/{name}"
    assert client.get_logged_model(model.model_id).artifact_location.startswith((new / "artifacts").as_uri())
    assert client.get_experiment(elsewhere).artifact_location == "file:///elsewhere/artifacts/by-hand"
