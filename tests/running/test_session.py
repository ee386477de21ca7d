"""A session: which finished trainings count, after a change of version, machine, data or user code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from builders import tiny
from optstudy import environment
from optstudy.analysis.study_results import read_study_results
from optstudy.errors import DataError, StudyError, StudyHeld
from optstudy.planning import fingerprints, journal
from optstudy.planning.jobs import named_jobs
from optstudy.planning.layout import StudyPaths
from optstudy.reporting.printed.closing_table import closing_of
from optstudy.reporting.summary import notes
from optstudy.running import session as sessions
from optstudy.running.session import Session, open_session, read_session
from optstudy.running.stages import report
from optstudy.tasks.kinds import TASKS
from synthetic import FACTS, fill_journal

ALL = 2 * 2 * (2 + 2)  # contenders, replicates, trials and final runs


@pytest.fixture
def paths(tmp_path: Path) -> StudyPaths:
    paths = StudyPaths(tiny(), tmp_path / "results", tmp_path / "mlruns")
    fill_journal(paths)
    return paths


def finished(session: Session) -> int:
    """Return how many trainings of the study count as finished."""
    names = session.paths.contenders
    jobs = named_jobs(session.study, names, session.fingerprints, session.entries)
    return sum(job.key in session.entries for job in jobs)


def bump(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "TRAINING_VERSION", FACTS["training_version"] + 1)


def other_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "torch_minor", lambda: "9.99")


def other_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "device_kind", lambda: "cuda" if environment.device_kind() == "cpu" else "cpu")


def other_split(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "split_digest", lambda *_: "drawn by another scikit-learn")


CHANGES = (bump, other_torch, other_device, other_split)


def test_a_finished_study_has_nothing_left_to_train(paths: StudyPaths) -> None:
    assert finished(read_session(paths)) == ALL


@pytest.mark.parametrize("change", CHANGES)
def test_another_version_torch_device_or_split_trains_again(
    paths: StudyPaths, change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(monkeypatch)
    assert finished(read_session(paths)) == 0


@pytest.mark.parametrize("change", CHANGES)
def test_a_report_needs_only_spec_and_data(paths: StudyPaths, change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    change(monkeypatch)
    assert finished(read_session(paths, report_only=True)) == ALL


def test_a_report_needs_no_data_on_this_machine(paths: StudyPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(data: object) -> str:
        raise DataError("data: the files are missing")

    monkeypatch.setattr("optstudy.planning.preflight.data_digest", missing)
    with pytest.raises(DataError):
        read_session(paths)
    assert finished(read_session(paths, report_only=True)) == ALL


def test_a_report_does_not_show_trainings_on_other_data(paths: StudyPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optstudy.planning.preflight.data_digest", lambda _: "altered")
    assert finished(read_session(paths, report_only=True)) == 0


def test_an_accepted_version_counts_as_current(paths: StudyPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    bump(monkeypatch)
    assert finished(read_session(paths, accept=FACTS["training_version"])) == ALL


@pytest.mark.parametrize("change", [other_torch, other_device, other_split])
def test_an_accepted_version_must_agree_in_everything_else(
    paths: StudyPaths, change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    bump(monkeypatch)
    change(monkeypatch)
    assert finished(read_session(paths, accept=FACTS["training_version"])) == 0


def test_a_version_that_the_journal_does_not_have_cannot_be_accepted(paths: StudyPaths) -> None:
    with pytest.raises(StudyError, match=r"--accept-version: 7: must be a version in the journal: \d+$"):
        read_session(paths, accept=7)


def test_current_trainings_are_preferred_to_accepted_ones(paths: StudyPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    bump(monkeypatch)
    current = fill_journal(paths)
    session = read_session(paths, accept=FACTS["training_version"])
    keys = [job.key for job in named_jobs(session.study, ["sgd"], session.fingerprints, session.entries)]
    assert keys == [job.key for job in named_jobs(current.study, ["sgd"], current.fingerprints, current.entries)]


def test_trainings_of_another_version_are_named_in_every_output(
    paths: StudyPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("analysis.findings", "reporting.summary"):
        monkeypatch.setattr(f"optstudy.{module}.TRAINING_VERSION", FACTS["training_version"] + 1)
    table = report(paths, lambda _: None)
    assert table is not None
    findings = json.loads((paths.tables / "findings.json").read_text())
    old, new = FACTS["training_version"], FACTS["training_version"] + 1
    words = f"training version {old} are shown, but this code has version {new}"
    assert [finding["rule"] for finding in findings if words in finding["finding"]] == [16]
    sentence = f"rained by training version {old}, while this code is version {new}"
    assert sentence in (paths.tables / "report.html").read_text()
    assert sentence in closing_of(paths.study, paths.tables, table).caption
    assert sentence in notes(read_study_results(paths.tables))[""]  # what MLflow shows


def test_functions_are_always_computed_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    study = tiny(data="ravine", model="point", batch_size=64)
    spec = study.spec(study.optimizers[0], 0, 1, {"learning_rate": 0.1})
    before = fingerprints.Fingerprints("function").key(spec)
    monkeypatch.setattr(fingerprints, "device_kind", lambda: "cuda")
    assert fingerprints.Fingerprints("function").key(spec) == before
    assert TASKS["descent"].device == "cpu"


def test_a_study_that_another_session_holds_is_not_opened(paths: StudyPaths) -> None:
    with open_session(paths), pytest.raises(StudyHeld), open_session(paths):
        raise AssertionError("opened twice")


def test_trainings_that_end_while_a_session_is_opened_are_read(
    paths: StudyPaths, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = paths.journal.read_bytes()
    first = whole[: whole.index(b"\n") + 1]
    paths.journal.write_bytes(first)
    resolve = sessions.fingerprints_of

    def resolve_while_another_process_writes(*arguments: Any) -> fingerprints.Fingerprints:
        paths.journal.write_bytes(whole)
        return resolve(*arguments)

    monkeypatch.setattr(sessions, "fingerprints_of", resolve_while_another_process_writes)
    with open_session(paths) as session:
        assert session.entries == journal.read_journal(paths.journal)
        assert len(session.entries) == ALL


def test_wrong_input_writes_nothing(tmp_path: Path) -> None:
    study = tiny(data={"name": "digits", "train_size": 5000})
    with pytest.raises(DataError), open_session(StudyPaths(study, tmp_path / "results", tmp_path / "mlruns")):
        raise AssertionError("opened")
    assert list(tmp_path.iterdir()) == []
