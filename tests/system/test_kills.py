"""The kill matrix: at any of many moments, SIGKILL for the coordinator, for all its processes, or for a worker.

After each, the command is run again to the end, and everything is as if nothing had happened. `make test-kills`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from test_resume import (
    command,
    finish,
    journal_lines,
    mlflow_content,
    optuna_content,
    processes_in,
    query,
    study_in,
    tables,
)

pytestmark = pytest.mark.kills

STUDY = """\
name: killed
data: digits
model: linear
epochs: 1
batch_size: 512
replicates: 2
optimizers: [sgd, adam]
tuning: {trials: 2}
"""
TRAININGS = 2 * 2 * (2 + 2)
RESULTS = Path("results") / "killed"
FILES = (  # in the order in which they appear
    RESULTS / "resolved" / "adam.json",
    RESULTS / "runs" / "sgd.csv",
    RESULTS / "comparison.csv",
    RESULTS / "figures" / "headline.png",
    RESULTS / "report.html",
    Path("mlruns") / "optuna.db",
    Path("mlruns") / "mlflow.db",
    Path("mlruns") / "artifacts" / "killed",
)


def seconds(duration: float) -> Callable[[Path], bool]:
    end = time.monotonic() + duration
    return lambda _: time.monotonic() > end


MOMENTS: dict[str, Callable[[], Callable[[Path], bool]]] = {
    **{f"after {number} s": (lambda number=number: seconds(number)) for number in (0.1, 0.5, 1.0, 2.0, 4.0)},
    **{
        f"with {number} lines": (lambda number=number: lambda folder: journal_lines(folder) >= number)
        for number in (1, 2, 5, 8, 11, 14, TRAININGS)
    },
    **{f"with {file}": (lambda file=file: lambda folder: (folder / file).exists()) for file in FILES},
}
TARGETS = ("coordinator", "group", "worker")


def kill(process: subprocess.Popen[bytes], target: str) -> None:
    """Kill the coordinator, all its processes, or a worker."""
    if target == "coordinator":
        process.kill()
    elif target == "group":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        while process.poll() is None and not (victims := workers_of(process)):
            time.sleep(0.02)
        victims[0].kill()


def workers_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Return the worker processes, or the server that starts them if there are none."""
    below = psutil.Process(process.pid).children(recursive=True)
    servers = [one for one in below if "multiprocessing.forkserver" in " ".join(one.cmdline())]
    return [one for one in servers if one.parent() in servers] or servers


def models(folder: Path) -> list[tuple[object, ...]]:
    sql = "select name, count(*) from logged_models where lifecycle_stage = 'active' group by name order by name"
    return query(folder / "mlruns" / "mlflow.db", sql)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = study_in(tmp_path_factory.mktemp("whole"), text=STUDY)
    finish(folder, "--workers", "2")
    return folder


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_study_that_was_killed_ends_as_an_undisturbed_one(
    moment: str, target: str, whole: Path, tmp_path: Path
) -> None:
    folder = study_in(tmp_path / "killed", text=STUDY)
    with (folder / "output.txt").open("w") as output:
        run = [*command(folder, "run"), "--workers", "2"]
        process = subprocess.Popen(run, cwd=folder, stdout=output, stderr=output, start_new_session=True)
        reached = MOMENTS[moment]()
        while process.poll() is None and not reached(folder):
            time.sleep(0.02)
        assert process.poll() is None, (folder / "output.txt").read_text()
        kill(process, target)
        process.wait(timeout=600)
    # The server of workers notices once it has imported torch: up to a quarter of a minute on a busy machine.
    psutil.wait_procs(processes_in(folder), timeout=60)
    assert processes_in(folder) == []
    finish(folder, "--workers", "2")
    assert tables(folder) == tables(whole)
    assert mlflow_content(folder) == mlflow_content(whole)
    assert optuna_content(folder) == optuna_content(whole)
    assert models(folder) == models(whole) == [("adam", 1), ("sgd", 1)]
    assert journal_lines(folder) == TRAININGS
