"""A study with a whole number, a category and a tuple: it runs, resumes, reports, and its page shows the choices."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from builders import tiny
from optstudy.planning import journal
from optstudy.planning.layout import StudyPaths
from optstudy.running import stages

CHOSEN = {"betas": {"choices": [[0.9, 0.99], [0.8, 0.999]]}, "amsgrad": {"choices": [True, False]}}
STUDY = tiny(
    optimizers=[
        {"name": "adam", "search": CHOSEN, "defaults": {"betas": [0.9, 0.999]}},
        {
            "name": "whole",
            "class": "optimizer_classes.Whole",
            "search": {"learning_rate": {"low": 0.01, "high": 1.0}, "k": {"low": 1, "high": 8}},
        },
    ],
    tuning={"trials": 4},
)


def test_a_study_with_choices_runs_resumes_and_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = StudyPaths(STUDY, Path("results"))
    first = stages.run(paths, 2, print, lambda _: None)
    entries = journal.read_journal(paths.journal)
    assert len(entries) == 2 * 2 * (4 + 2)
    tables = {path: path.read_bytes() for path in paths.tables.rglob("*.csv")}

    # A second run, the stages of a pipeline, which read the selected values from tables, and a report train nothing.
    stages.run(paths, 2, print, lambda _: None)
    for name in paths.contenders:
        stages.tune(paths, name, 1, lambda _: None)
        stages.train(paths, name, 1, lambda _: None)
    again = stages.report(paths, print)
    assert journal.read_journal(paths.journal) == entries
    pd.testing.assert_frame_equal(first, again)
    assert {path: path.read_bytes() for path in tables} == tables

    trials = pd.read_csv(paths.tables / "tuning" / "adam.csv", dtype=str)
    assert set(trials["betas"]) == {"[0.9, 0.99]", "[0.8, 0.999]"}
    assert set(trials["amsgrad"]) == {"true", "false"}
    given = [entry.spec["hyperparameters"] for entry in entries.values() if "betas" in entry.spec["hyperparameters"]]
    assert all("beta1" not in one for one in given)
    assert sum(one["betas"] == [0.9, 0.999] for one in given) == 2  # the untuned runs
    assert all(isinstance(one.spec["hyperparameters"].get("k", 1), int) for one in entries.values())
    page = (paths.tables / "report.html").read_text()
    assert "[0.8, 0.999] (" in page
    assert (paths.tables / "figures" / "choices.svg").exists()
    assert json.loads((paths.tables / "study.json").read_text())["contenders"]["adam"]["search"]["amsgrad"] == {
        "choices": [True, False]
    }
