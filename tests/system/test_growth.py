"""A study that another process holds, and a study that is edited or extended: only what changed is trained again."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psutil
import pytest
from test_resume import (
    STUDY,
    TRAININGS,
    finish,
    journal_lines,
    mlflow_content,
    processes_in,
    start,
    study_in,
    tables,
)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long)]
)
def test_a_second_run_of_a_study_names_the_process_that_holds_it_and_exits_75(
    number: int, code: int, tmp_path: Path
) -> None:
    folder = study_in(tmp_path / "held", text=STUDY.replace("epochs: 3", "epochs: 3000"))
    first = start(folder)
    while not (folder / "results" / "killed" / "resolved" / "sgd.json").exists():  # written when it holds the study
        assert first.poll() is None
        time.sleep(0.01)
    output = finish(folder, code=75)
    assert str(first.pid) in output
    first.send_signal(number)
    first.communicate(timeout=300)
    assert first.returncode == code
    psutil.wait_procs(processes_in(folder), timeout=120)
    assert processes_in(folder) == []


@pytest.mark.long
def test_editing_a_contender_retrains_only_that_contender_and_prints_what_changed(tmp_path: Path) -> None:
    folder = study_in(tmp_path / "edited")
    finish(folder)
    before = tables(folder)
    study_in(folder, text=STUDY.replace("high: 1.0e-1", "high: 3.0e-2"))
    output = finish(folder)
    assert "search.learning_rate.high: 0.1 -> 0.03" in output
    assert journal_lines(folder) == TRAININGS + 2 * (3 + 1)  # the untuned defaults did not change
    after = tables(folder)
    changed = {name for name in before if before[name] != after[name]}
    assert "tuning/nadam.csv" in changed
    assert not any("sgd" in name for name in changed)
    assert len(mlflow_content(folder)) == TRAININGS + 2 + 1

    longer = STUDY.replace("high: 1.0e-1", "high: 3.0e-2").replace("replicates: 2", "replicates: 3")
    study_in(folder, text=longer.replace("trials: 3", "trials: 4"))
    lines = journal_lines(folder)
    finish(folder)
    trials = tables(folder)["tuning/sgd.csv"].splitlines()
    assert [line for line in after["tuning/sgd.csv"].splitlines() if line not in trials] == []
    assert 2 * (3 * 4 + 3 * 2) - 2 * (2 * 3 + 2 * 2) <= journal_lines(folder) - lines <= 2 * (3 * 4 + 3 * 2) - 12 - 4
