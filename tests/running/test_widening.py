"""Spaces that cut the response off are widened by a decade, at most twice, by validation values alone."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builders import tiny
from optstudy.catalogue import Space
from optstudy.planning import journal
from optstudy.planning.designs import settings_of
from optstudy.planning.fingerprints import Fingerprints
from optstudy.planning.jobs import Job, trial_jobs, units
from optstudy.planning.layout import StudyPaths
from optstudy.records.provenance import design_rows, provenance
from optstudy.running.session import Session
from optstudy.running.training_loop import statement
from optstudy.running.widening import with_wider_spaces
from optstudy.spec import RunResult, TrainingEnded

RATES = {"learning_rate": {"low": 1e-4, "high": 1e-1}}
FACTS = {"training_version": 2, "torch": "2", "scikit-learn": "1", "python": "3", "device": "cpu"}


def study(**tuning: Any) -> Any:
    contender = {"name": "adam", "fixed": {"weight_decay": 0.0}, "search": RATES}
    claim = {"statement": "adam wins", "better": "adam", "than": "sgd"}
    search = {"trials": 6, "widen": True, **tuning}
    return tiny(replicates=8, optimizers=["sgd", contender], tuning=search, claims=[claim])


def opened(folder: Path, **tuning: Any) -> Session:
    paths = StudyPaths(study(**tuning), folder / "results", folder / "mlruns")
    return Session(paths, Fingerprints("d"), journal.read_journal(paths.journal))


def searching(best: float, test: float = 1.0) -> Callable[[Session], None]:
    """Return a function that ends all searches of Adam, whose validation accuracy is highest at the rate `best`.

    `test` is what the test accuracy is multiplied by.
    """

    def result(job: Job) -> RunResult:
        noise = random.Random(job.key).gauss(0, 0.01)
        off = abs(math.log10(job.hyperparameters["learning_rate"] / best))
        accuracy = 0.9 - 0.1 * min(off, 6.0) + noise
        return RunResult(
            "completed", {"val/accuracy": accuracy, "test/accuracy": test * accuracy, "val/loss": off}, (), 1
        )

    def search(session: Session) -> None:
        for unit in units(session.study, ["adam"]):
            for job in trial_jobs(session.study, "adam", unit.replicates[0], session.fingerprints, session.entries):
                if job.key not in session.entries:
                    ended = TrainingEnded(0, result(job), 10, (), 20, facts=FACTS)
                    digests = {"data": "d", "split": "s", "user_code": ""}
                    entry = journal.append(
                        session.paths.journal, job.key, job.spec, digests, ended, statement(session.study)
                    )
                    session.entries[job.key] = entry

    return search


@pytest.mark.parametrize(
    ("best", "low", "high", "searches"),
    [(0.003, 1e-4, 1e-1, 1), (0.1, 1e-4, 1.0, 2), (1e4, 1e-4, 10.0, 2), (1e-6, 1e-6, 1e-1, 2)],
)
def test_a_space_is_widened_by_decades_towards_the_best_rates_at_most_twice(
    best: float, low: float, high: float, searches: int, tmp_path: Path
) -> None:
    said, session = list[str](), opened(tmp_path)
    wider = with_wider_spaces(session, ["adam"], said.append, searching(best))
    space = wider.study.row(wider.study.contender("adam")).search["learning_rate"]
    assert (space.low, space.high) == pytest.approx((low, high))
    assert len(said) == round(math.log10(space.high / space.low)) - 3
    assert len(session.entries) == 8 * 6 * searches  # the searches of the last space come with the rest of the study
    assert wider.study.replicates == session.study.replicates


def test_the_journal_alone_gives_the_same_spaces_again_and_test_values_change_nothing(tmp_path: Path) -> None:
    wider = with_wider_spaces(opened(tmp_path / "a"), ["adam"], search=searching(0.1)).study.spaces
    again = opened(tmp_path / "a")
    assert with_wider_spaces(again, ["adam"]).study.spaces == wider != {}
    other = with_wider_spaces(opened(tmp_path / "b"), ["adam"], search=searching(0.1, test=-1.0))
    assert other.study.spaces == wider


def test_unfinished_searches_and_studies_that_announce_nothing_are_not_widened(tmp_path: Path) -> None:
    searching(0.1)(opened(tmp_path))
    assert with_wider_spaces(opened(tmp_path, trials=7), ["adam"]).study.spaces == {}
    assert with_wider_spaces(opened(tmp_path, widen=False), ["adam"]).study.spaces == {}
    assert with_wider_spaces(opened(tmp_path), ["adam"]).study.spaces != {}


def test_a_wider_space_is_a_design_that_was_announced_and_confirms_what_was_stated(tmp_path: Path) -> None:
    session = with_wider_spaces(opened(tmp_path), ["adam"], search=searching(0.1))
    searching(0.1)(session)
    assert settings_of(session.study) == settings_of(study())
    history = session.history()
    assert (history.number, history.changed) == (1, ())
    assert history.confirmed.primary == statement(study()).primary
    rows = provenance(session.study, session.fingerprints, list(session.entries.values()), history)["designs"]
    assert isinstance(rows, list)
    assert [(row["number"], row["own"]) for row in rows] == [(1, False), (2, True)]
    words = "contenders.adam.search.learning_rate: 0.0001 to 1, as `tuning.widen` announced"
    assert rows[1]["changed"] == [words]
    assert [row["own"] for row in design_rows(history)] == [True]


def test_other_hyperparameters_and_contenders_keep_their_spaces() -> None:
    one = study()
    wider = one.with_spaces({"adam": Space(1e-4, 1.0)})
    assert wider.row(wider.contender("sgd")) == one.row(one.contender("sgd"))
    assert wider.row(wider.contender("adam")).fixed == one.row(one.contender("adam")).fixed
    assert (one.spaces, set(wider.spaces)) == ({}, {"adam"})
