"""Prices of steps: measured once, all on one machine, and taken from the trainings where they were not measured."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builders import tiny
from optstudy.analysis.price import TIMED, TRAININGS, Price
from optstudy.analysis.tables import stacked
from optstudy.planning.layout import StudyPaths
from optstudy.running.session import Session
from optstudy.running.step_prices import measure_prices, prices, prices_path
from optstudy.study.study import Study
from synthetic import fill_journal

MACHINE = {"device": "cpu", "cpu": "a processor", "gpu": "", "torch": "2"}


def finished(tmp_path: Path, study: Study | None = None) -> Session:
    return fill_journal(StudyPaths(study or tiny(), tmp_path / "results", tmp_path / "mlruns"))


def priced(session: Session) -> dict[str, Price]:
    runs = stacked(session.paths.tables, "runs", session.paths.contenders)
    return prices(session, runs, list(session.entries.values()))


def silent(message: str) -> None:
    raise AssertionError(message)


def stored(session: Session) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = json.loads(prices_path(session.paths.mlruns, "tiny").read_text())
    return rows


def store(session: Session, changes: Mapping[str, Mapping[str, Any]]) -> None:
    rows = {name: {**row, **changes.get(name, {})} for name, row in stored(session).items()}
    prices_path(session.paths.mlruns, "tiny").write_text(json.dumps(rows))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Session:
    session = finished(tmp_path_factory.mktemp("prices"))
    measure_prices(session, session.paths.contenders, silent)
    return session


def test_prices_are_measured_once(measured: Session) -> None:
    before = stored(measured)
    measure_prices(measured, measured.paths.contenders, silent)
    assert stored(measured) == before
    own = priced(measured)
    assert {price.source for price in own.values()} == {TIMED}
    assert [own[name].seconds_per_step for name in own] == [before[name]["seconds"] for name in own]
    assert own["adam"].state_bytes > own["sgd"].state_bytes == 0


def test_what_was_measured_on_another_machine_is_measured_again_with_the_rest(measured: Session) -> None:
    for changes in ({"adam": {"machine": MACHINE}}, {"adam": {"machine": MACHINE}, "sgd": {"spec": "other"}}):
        store(measured, changes)
        assert {price.source for price in priced(measured).values()} == {TRAININGS}  # two machines, or not current
    before = stored(measured)
    measure_prices(measured, measured.paths.contenders, silent)
    after = stored(measured)
    assert after["adam"]["machine"] == after["sgd"]["machine"] != before["adam"]["machine"]
    assert {price.source for price in priced(measured).values()} == {TIMED}


def test_a_batch_size_of_its_own_has_its_own_price(measured: Session) -> None:
    other = replace(measured, paths=replace(measured.paths, study=tiny(batch_size=128)))
    assert {price.source for price in priced(other).values()} == {TRAININGS}
    assert (priced(measured)["adam"].steps_per_epoch, priced(other)["adam"].steps_per_epoch) == (5, 9)


@pytest.mark.parametrize("text", ["", "[1]", '{"adam": 3, "sgd": {"spec": 1}}', '{"adam": {"machine": "x"}}'])
def test_a_damaged_file_counts_as_none(text: str, measured: Session, tmp_path: Path) -> None:
    session = replace(measured, paths=replace(measured.paths, mlruns=tmp_path))
    path = prices_path(session.paths.mlruns, "tiny")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert {price.source for price in priced(session).values()} == {TRAININGS}


def test_without_a_measurement_the_seconds_are_those_of_the_trainings(tmp_path: Path) -> None:
    session = finished(tmp_path)
    own = priced(session)["adam"]
    steps = own.steps_per_epoch
    assert (own.source, own.device) == (TRAININGS, "cpu")
    assert own.seconds_per_step == pytest.approx(1.0 / (2 * steps))  # one second for two epochs
    assert math.isnan(own.state_bytes)


def test_trainings_of_two_machines_have_no_common_seconds(tmp_path: Path) -> None:
    session = finished(tmp_path)
    first, *_ = session.entries
    session.entries[first] = replace(session.entries[first], facts={**session.entries[first].facts, "cpu": "another"})
    own = priced(session)["adam"]
    assert (own.source, own.device, math.isnan(own.seconds_per_step)) == ("", "", True)
    assert own.steps_per_epoch > 0


def test_a_contender_that_cannot_be_timed_leaves_the_seconds_to_the_trainings(tmp_path: Path) -> None:
    fast = {"name": "fast", "like": "sgd", "defaults": {"learning_rate": 1e30, "weight_decay": 1.0}}
    session, said = finished(tmp_path, tiny(optimizers=["adam", fast], batch_size=1000)), list[str]()
    measure_prices(session, session.paths.contenders, said.append)
    [words] = said
    assert words.startswith("tiny: seconds per step are taken from the trainings: fast: cannot be timed: ")
    assert {price.source for price in priced(session).values()} == {TRAININGS}
