"""A study that is killed at any moment and started again gives the same tables, MLflow runs and Optuna trials."""

from __future__ import annotations

import csv
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

STUDY = """\
name: killed
data: digits
model: linear
epochs: 3
batch_size: 256
replicates: 2
optimizers:
  - sgd
  - name: nadam
    class: torch.optim.NAdam
    search:
      learning_rate: {low: 1.0e-3, high: 1.0e-1}
      weight_decay: {low: 1.0e-6, high: 1.0e-2}
tuning:
  trials: 3
  sampler: SAMPLER
sweep:
  contenders: [sgd]
  points: 3
claims:
  - statement: NAdam is better than SGD
    better: nadam
    than: sgd
"""
TRAININGS = 2 * 2 * (3 + 2) + 2 * 3
OF_SECONDS = ("provenance.json", "price.svg", "price.png")  # files that hold or draw seconds


def command(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "optstudy.cli", *arguments, str(folder / "study.yaml")]


def start(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*command(folder, "run"), *options], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(folder: Path, *options: str, code: int = 0) -> str:
    process = start(folder, *options)
    output, _ = process.communicate(timeout=600)
    assert process.returncode == code, output
    return output


def study_in(folder: Path, sampler: str = "sobol", text: str = STUDY) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "study.yaml").write_text(text.replace("SAMPLER", sampler))
    return folder


def tables(folder: Path) -> dict[str, str]:
    """Return every table and figure but those `OF_SECONDS`, without columns of seconds."""
    contents = {}
    root = folder / "results" / "killed"
    for path in sorted(root.rglob("*")):
        if path.is_dir() or path.name in OF_SECONDS:
            continue
        if path.suffix == ".png":
            contents[str(path.relative_to(root))] = path.read_bytes().hex()
            continue
        lines = path.read_text().partition('id="price"')[0].splitlines()  # a report without its last two sections
        if path.suffix == ".csv":
            header, *rows = csv.reader(lines)
            keep = [i for i, name in enumerate(header) if "seconds" not in name]
            lines = [str([row[i] for i in keep]) for row in (header, *rows)]
        contents[str(path.relative_to(root))] = "\n".join(lines)
    return contents


def query(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(sql).fetchall()


def mlflow_content(folder: Path) -> list[tuple[object, ...]]:
    """Return all live runs with their number of metric points and the distinct (name, step) among them."""
    return query(
        folder / "mlruns" / "mlflow.db",
        "select r.name, r.status, count(m.key), count(distinct m.key || '@' || m.step) from runs r "
        "left join metrics m on m.run_uuid = r.run_uuid where r.lifecycle_stage = 'active' "
        "group by r.run_uuid order by r.name",
    )


def optuna_content(folder: Path) -> list[tuple[object, ...]]:
    sql = (
        "select s.study_name, t.state, count(*) from trials t join studies s on s.study_id = t.study_id "
        "group by s.study_name, t.state order by s.study_name"
    )
    return query(folder / "mlruns" / "optuna.db", sql)


def processes_in(folder: Path) -> list[psutil.Process]:
    processes = []
    for process in psutil.process_iter():
        try:
            if process.cwd() == str(folder):
                processes.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return processes


def journal_lines(folder: Path) -> int:
    path = folder / "mlruns" / "journal" / "killed.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def kill_after(folder: Path, lines: int) -> None:
    """Kill a run when its journal has `lines` lines (`TRAININGS`: while it writes tables, Optuna and MLflow)."""
    process = start(folder)
    while journal_lines(folder) < lines and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.communicate()
    psutil.wait_procs(processes_in(folder), timeout=120)
    assert processes_in(folder) == []


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = study_in(tmp_path_factory.mktemp("whole"))
    finish(folder)
    return folder


# Sobol points are known from the start; TPE computes each point from the results in the journal.
@pytest.mark.parametrize("sampler", ["sobol", pytest.param("tpe", marks=pytest.mark.long)])
def test_a_study_that_was_killed_several_times_equals_an_uninterrupted_one(
    sampler: str, whole: Path, tmp_path: Path
) -> None:
    reference = whole
    if sampler != "sobol":
        reference = study_in(tmp_path / "whole", sampler)
        finish(reference)
    folder = study_in(tmp_path / "killed", sampler)
    for lines in (0, 1, 9, TRAININGS):
        kill_after(folder, lines)
    # The worst moment: half a line is written.
    journal = folder / "mlruns" / "journal" / "killed.jsonl"
    journal.write_bytes(journal.read_bytes()[:-40])
    finish(folder, "--workers", "1")
    assert tables(folder) == tables(reference)
    assert mlflow_content(folder) == mlflow_content(reference)
    assert optuna_content(folder) == optuna_content(reference)
    assert {state for _, state, _ in optuna_content(folder)} == {"COMPLETE"}
    assert all(points == distinct for _, _, points, distinct in mlflow_content(folder))
    assert len(mlflow_content(folder)) == TRAININGS + 2 + 1
    assert journal_lines(folder) == TRAININGS
    if sampler == "tpe":  # the tests below do this with Sobol points
        (folder / "mlruns" / "mlflow.db").unlink()
        finish(folder)
        assert tables(folder) == tables(reference)
        assert mlflow_content(folder) == mlflow_content(reference)
        assert optuna_content(folder) == optuna_content(reference)
        assert journal_lines(folder) == TRAININGS


def test_running_a_finished_study_again_trains_nothing_and_adds_no_mlflow_run(whole: Path) -> None:
    before = tables(whole), mlflow_content(whole), optuna_content(whole), journal_lines(whole)
    finish(whole)
    assert (tables(whole), mlflow_content(whole), optuna_content(whole), journal_lines(whole)) == before


def test_report_rebuilds_a_deleted_mlflow_database_from_the_journal(whole: Path) -> None:
    before = mlflow_content(whole)
    (whole / "mlruns" / "mlflow.db").unlink()
    subprocess.run(command(whole, "report"), cwd=whole, check=True, capture_output=True, timeout=600)
    assert mlflow_content(whole) == before
