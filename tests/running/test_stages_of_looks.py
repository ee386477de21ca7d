"""Studies that stop when they know: a look shows its replicates alone, and the journal decides which is the last."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from builders import tiny
from optstudy.planning.fingerprints import Fingerprints
from optstudy.planning.jobs import Job, named_jobs
from optstudy.planning.journal import read_journal
from optstudy.planning.layout import StudyPaths
from optstudy.running import stages
from optstudy.spec import RunResult
from optstudy.study.study import Study
from synthetic import fill_journal, synthetic

LOOKS = [6, 8]


def claimed(margin: float, **changes: Any) -> Study:
    """Return a study with looks at 6 and 8 replicates, whose one claim is decided if the margin is wide."""
    claim = {"statement": "adam wins", "better": "adam", "than": "sgd", "margin": margin}
    data = {"name": "digits", "arguments": {"classes": [0, 1]}}
    return tiny(**{"replicates": {"looks": LOOKS}, "data": data, "epochs": 1, "claims": [claim], **changes})


def close(job: Job) -> RunResult:
    """Return a result whose test accuracy differs from that of other contenders by at most a point."""
    result = synthetic(job)
    accuracy = 0.9 + int(job.key[:4], 16) / 0xFFFF / 100
    return replace(result, status="completed", metrics={**result.metrics, "test/accuracy": accuracy}, answers="")


def filled(study: Study, folder: Path, replicates: int) -> StudyPaths:
    """Return a study of which `replicates` are in the journal."""
    paths = StudyPaths(study, folder / "results", folder / "mlruns")
    fill_journal(replace(paths, study=study.at_look(replicates)), result_of=close)
    return paths


def test_the_trainings_of_a_look_are_the_first_of_those_of_the_next() -> None:
    fingerprints = Fingerprints("data")
    six, eight = (
        [job.key for job in named_jobs(study, ["sgd"], fingerprints, {})]
        for study in (claimed(0.5).at_look(6), claimed(0.5))
    )
    assert eight[: len(six)] == six
    assert six == [job.key for job in named_jobs(claimed(0.5, replicates=6), ["sgd"], fingerprints, {})]


def test_a_report_of_an_undecided_look_says_what_the_next_one_lacks(tmp_path: Path) -> None:
    paths, said = filled(claimed(1e-9), tmp_path, 6), list[str]()
    assert stages.report(paths, said.append) is None
    assert said[-1] == "tiny: 16 trainings are missing from the journal: optstudy run completes them"


@pytest.mark.slow
@pytest.mark.parametrize(("margin", "filled_to", "n", "trained"), [(0.5, 8, 6, 0), (1e-9, 6, 8, 16)])
def test_the_same_command_goes_on_with_an_undecided_study_and_shows_a_decided_one_at_its_look(
    margin: float, filled_to: int, n: int, trained: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal of a decided study may have more replicates than its look: what they would show does not matter."""
    monkeypatch.chdir(tmp_path)
    paths, said = filled(claimed(margin), tmp_path, filled_to), list[str]()
    before = read_journal(paths.journal)
    table = stages.run(paths, 1, said.append, lambda _: None)
    assert len(read_journal(paths.journal)) == len(before) + trained
    [claim] = json.loads((paths.tables / "claims.json").read_text())
    assert claim["n"] == n
    assert set(table["n"]) == {n}
    assert set(pd.read_csv(paths.tables / "runs" / "sgd.csv")["replicate"]) == set(range(n))
    decided = "all primary claims are decided"
    undecided = "1 primary claim undecided, so replicates are added up to 8"
    assert said[-1] == f"tiny: 6 replicates: {undecided if trained else decided}"
