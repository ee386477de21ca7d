"""A study goes on while its stores are away, loses and repeats no training, and shows no credential."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

pytestmark = pytest.mark.outage

STUDY = """\
name: away
data: digits
model: linear
epochs: 60
batch_size: 32
stack: "off"
replicates: 2
optimizers: [sgd, adam]
tuning:
  trials: 4
"""
TRAININGS = 2 * 2 * (4 + 2)
RUNS = TRAININGS + 2 + 1  # with a run of each contender, and the comparison
SECRET = "hunter2"


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait for what processes do, as long as this one runs."""
    for _ in range(6000):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    pytest.fail("waited for 10 minutes")


@contextmanager
def server(folder: Path, port: int) -> Iterator[None]:
    """Run an MLflow server, and kill it."""
    options = ["--backend-store-uri", "sqlite:///server.db", "--artifacts-destination", "kept", "--workers", "1"]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), *options]
    with (folder / "server.log").open("a") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True, text=True)

    def answers() -> bool:
        try:
            urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
        except (URLError, TimeoutError, ConnectionError):
            return False
        return True

    try:
        wait_until(answers, process)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def optstudy(folder: Path, command: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "optstudy.cli", command, "study.yaml"],
        cwd=folder,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished_runs(database: Path) -> int:
    query = "select count(*) from runs where lifecycle_stage = 'active' and status = 'FINISHED'"
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            return int(connection.execute(query).fetchone()[0])
    except sqlite3.OperationalError:  # it is not there yet, or it is held by another process
        return 0


def journal(folder: Path) -> list[str]:
    path = folder / "mlruns" / "journal" / "away.jsonl"
    return [json.loads(line)["key"] for line in path.read_text().splitlines()] if path.exists() else []


def assert_each_training_happened_once(folder: Path) -> None:
    keys = journal(folder)
    assert len(keys) == len(set(keys)) == TRAININGS


def test_an_mlflow_server_that_is_away_for_a_minute_delays_and_repeats_no_training(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = {"MLFLOW_TRACKING_URI": f"http://alice:{SECRET}@127.0.0.1:{port}"}
    database, process = tmp_path / "server.db", None
    with server(tmp_path, port):
        process = optstudy(tmp_path, "run", **address)
        wait_until(lambda: finished_runs(database) >= 3, process)
        before = len(journal(tmp_path))
    assert before < TRAININGS, "the study ended before the server was killed"
    time.sleep(60)
    assert len(journal(tmp_path)) == TRAININGS or len(journal(tmp_path)) > before + 1
    with server(tmp_path, port):
        output, _ = process.communicate(timeout=600)
        assert process.returncode in (0, 4), output
        assert_each_training_happened_once(tmp_path)
        rebuilt = optstudy(tmp_path, "report", **address)
        said, _ = rebuilt.communicate(timeout=600)
        assert rebuilt.returncode == 0, said
        assert_each_training_happened_once(tmp_path)
        assert finished_runs(database) == RUNS
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert SECRET not in output + said
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []


def test_a_server_that_never_comes_ends_in_exit_code_4_with_all_trainings_and_results(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY.replace("epochs: 60", "epochs: 2"))
    address = {"MLFLOW_TRACKING_URI": f"http://alice:{SECRET}@127.0.0.1:9", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    process = optstudy(tmp_path, "run", **address)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 4, output
    assert "MLflow (MLFLOW_TRACKING_URI): the store cannot be read: " in output  # before the first training
    lines = [line for line in output.splitlines() if "the store is not complete" in line]
    assert len(lines) == 1
    assert "optstudy report completes it" in lines[0]
    assert "test accuracy" in output  # the answer is printed all the same
    assert_each_training_happened_once(tmp_path)
    assert SECRET not in output
    rebuilt = optstudy(tmp_path, "report", MLFLOW_TRACKING_URI="")
    said, _ = rebuilt.communicate(timeout=600)
    assert rebuilt.returncode == 0, said
    assert finished_runs(tmp_path / "mlruns" / "mlflow.db") == RUNS


def test_a_database_that_another_process_holds_for_a_minute_delays_no_training(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    database = tmp_path / "mlruns" / "mlflow.db"
    process = optstudy(tmp_path, "run", MLFLOW_TRACKING_URI="")
    wait_until(lambda: finished_runs(database) >= 1, process)
    with closing(sqlite3.connect(database, timeout=60)) as other:
        other.execute("begin exclusive")
        before = len(journal(tmp_path))
        time.sleep(60)
        assert len(journal(tmp_path)) == TRAININGS or len(journal(tmp_path)) > before + 1
        other.rollback()
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert_each_training_happened_once(tmp_path)
    assert finished_runs(database) == RUNS
