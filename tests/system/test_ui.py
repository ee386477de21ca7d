"""The MLflow UI of a finished study in a real browser: the comparison of the five parent runs, and the trials."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import psutil
import pytest

from browser import SCREENSHOTS, browse, needs_browser
from builders import tiny
from optstudy.planning.layout import StudyPaths
from optstudy.running.stages import compare, live_of
from synthetic import fill_journal

FIVE = ["sgd", "momentum", "rmsprop", "adam", "adamw"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("ui")
    paths = StudyPaths(tiny(optimizers=FIVE), root / "results", root / "mlruns")
    compare(fill_journal(paths), live_of(paths))
    return root


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "optstudy.cli", "ui", "--port", str(port)]
    environment = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    with (folder / "ui.log").open("w") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    for _ in range(300):
        try:
            urlopen(address, timeout=1).close()
            break
        except (URLError, TimeoutError, ConnectionError):
            time.sleep(1)
    yield address
    os.killpg(server.pid, signal.SIGTERM)
    server.wait(timeout=120)


def runs_of(folder: Path, stage: str) -> list[str]:
    query = "select run_uuid from tags where key = 'optstudy.stage' and value = ?"
    with closing(sqlite3.connect(folder / "mlruns" / "mlflow.db")) as database:
        return [row[0] for row in database.execute(query, (stage,))]


def shown(page: str, name: str, folder: Path, words: list[str]) -> str:
    """Return the page's text when it shows all `words`, or after the last try; save a screenshot."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    text = ""
    for seconds in (20, 60):
        wait = f"--virtual-time-budget={1000 * seconds}"
        text = browse(page, folder, "--window-size=1400,1600", wait, "--dump-dom").stdout
        if all(word in text for word in words):
            break
    browse(page, folder, "--window-size=1400,1600", wait, f"--screenshot={SCREENSHOTS / name}.png")
    return text


@needs_browser
def test_mlflow_compares_the_five_parent_runs_with_their_means(folder: Path, address: str) -> None:
    parents = runs_of(folder, "contender")
    assert len(parents) == 5
    chosen = "%2C".join(f"%22{run}%22" for run in parents)
    page = f"{address}/#/compare-runs?runs=%5B{chosen}%5D&experiments=%5B%221%22%5D"
    words = ["Comparing 5 Runs from 1 Experiment", "test/accuracy_mean", *FIVE]
    text = shown(page, "mlflow-compare", folder, words)
    assert [word for word in words if word not in text] == []


@needs_browser
def test_mlflow_plots_trials_in_parallel_coordinates_of_learning_rate_and_weight_decay(
    folder: Path, address: str
) -> None:
    chosen = "%2C".join(f"%22{run}%22" for run in runs_of(folder, "tuning")[:12])
    page = f"{address}/#/compare-runs?runs=%5B{chosen}%5D&experiments=%5B%221%22%5D"
    words = ["Parallel Coordinates Plot", "learning_rate", "weight_decay", "val/accuracy"]
    text = shown(page, "mlflow-trials", folder, words)
    assert [word for word in words if word not in text] == []


def test_the_address_of_the_store_is_in_no_command_line(folder: Path, address: str) -> None:
    urlopen(address, timeout=60).close()
    commands = [" ".join(process.cmdline()) for process in psutil.process_iter() if runs_in(folder, process)]
    assert [command for command in commands if "mlflow" in command]
    assert [command for command in commands if "sqlite" in command or "mlflow.db" in command] == []


def runs_in(folder: Path, process: psutil.Process) -> bool:
    try:
        return process.cwd() == str(folder)
    except psutil.Error:
        return False


def test_the_ui_of_a_server_that_cannot_be_reached_is_an_error_of_one_line_without_its_password(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"http://alice:hunter2@127.0.0.1:{port}"}
    command = [sys.executable, "-m", "optstudy.cli", "ui"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert done.stderr.startswith("MLflow (MLFLOW_TRACKING_URI): the store cannot be opened: ")
    assert "hunter2" not in done.stdout + done.stderr


def test_the_links_of_a_server_are_printed(folder: Path, address: str) -> None:
    environment = {**os.environ, "MLFLOW_TRACKING_URI": address.replace("://", "://alice:hunter2@")}
    command = [sys.executable, "-m", "optstudy.cli", "ui"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    first, link = done.stdout.splitlines()
    assert first == f"MLflow: {address}"
    assert link.startswith(f"  tiny: {address}/#/experiments/1/runs?workflowType=machine_learning")
    assert "hunter2" not in done.stdout + done.stderr
    assert link in (folder / "ui.log").read_text()


@needs_browser
def test_the_printed_link_shows_the_contenders_in_order_of_their_accuracy(folder: Path, address: str) -> None:
    [link] = [line for line in (folder / "ui.log").read_text().splitlines() if line.startswith("  tiny: ")]
    words = ["Model training", "5", "matching runs", "test/accuracy_mean", *FIVE]
    text = shown(link.partition(": ")[2], "mlflow-runs", folder, words)
    assert [word for word in words if word not in text] == []
