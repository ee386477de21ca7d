"""The cost of a study: recorded seconds if there are any, else timed steps; nothing is written."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from builders import tiny
from optstudy.planning.layout import StudyPaths
from optstudy.running.cost import cost_of
from optstudy.running.session import read_session
from synthetic import fill_journal


def test_a_finished_study_costs_the_recorded_seconds(tmp_path: Path) -> None:
    paths = StudyPaths(tiny(), tmp_path / "results", tmp_path / "mlruns")
    fill_journal(paths)
    cost = cost_of(read_session(paths), workers=2)
    assert (cost.recorded, cost.timed) == (("sgd", "adam"), "")
    for name in cost.recorded:
        tables = [pd.read_csv(paths.tables / stage / f"{name}.csv") for stage in ("tuning", "runs")]
        assert cost.each[name] == pytest.approx(pd.concat(tables)["seconds"].mean())
    assert cost.seconds > sum(cost.each.values()) * 6 / 2


def test_a_new_study_is_timed_by_its_first_contender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cost = cost_of(read_session(StudyPaths(tiny(), Path("results"))), workers=1)
    assert (cost.recorded, cost.timed) == ((), "sgd")
    assert set(cost.each) == {"sgd", "adam"}
    assert cost.each["sgd"] > 0
    assert not list(tmp_path.iterdir())  # nothing is written
