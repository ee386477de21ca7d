"""Registration: the first training on a study's data and seed fixes the design, whatever the study is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builders import tiny
from optstudy.analysis.evaluate_claims import stated
from optstudy.planning.designs import Design, History, changed_settings, history_of, settings_of
from optstudy.planning.fingerprints import Fingerprints
from optstudy.planning.journal import Stated, append, journal_path, read_journal
from optstudy.running.training_loop import statement
from optstudy.spec import RunResult, TrainingEnded
from optstudy.study.study import Study

CLAIM = {"statement": "adam wins", "better": "adam", "than": "sgd"}
OTHER = {"statement": "sgd wins", "better": "sgd", "than": "adam", "primary": False}
NARROW = {"name": "adam", "search": {"learning_rate": {"low": 1e-4, "high": 1e-2}}}
WIDE = {"name": "adam", "search": {"learning_rate": {"low": 1e-4, "high": 1.0}}}


def study(**changes: Any) -> Study:
    return tiny(**{"claims": [CLAIM], "optimizers": ["sgd", NARROW], **changes})


def trained(mlruns: Path, one: Study, at: int, data: str = "d", claims: Stated | None = None) -> None:
    """Append a training that started `at` some time and states the study's design."""
    path = journal_path(mlruns, one.name)
    spec = one.spec(one.optimizers[0], 0, 5, {"learning_rate": 0.1})
    ended = TrainingEnded(0, RunResult("completed", {"test/accuracy": 0.5}, (), 1.0), at, (), at + 1)
    digests = {"data": data, "split": "s", "user_code": ""}
    append(path, f"{one.name} {at}", spec, digests, ended, claims or statement(one))


def history(mlruns: Path, one: Study, data: str = "d") -> History:
    return history_of(one, stated(one), Fingerprints(data), read_journal(journal_path(mlruns, one.name)), mlruns)


def test_a_study_that_has_not_trained_registers_its_own_design(tmp_path: Path) -> None:
    found = history(tmp_path, study())
    assert (found.designs, found.number, found.changed) == ((Design("tiny", 0, statement(study())),), 1, ())
    assert found.confirmed == statement(study())


@pytest.mark.parametrize("name", ["tiny", "renamed"])
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"optimizers": ["sgd", WIDE]}, "contenders.adam.search.learning_rate.high: 0.01 -> 1.0"),
        ({"tuning": {"trials": 3}}, "tuning.trials: 2 -> 3"),
        ({"replicates": 3}, "replicates: 2 -> 3"),
        ({"replicates": {"looks": [6, 8]}}, "replicates: 2 -> {'looks': [6, 8]}"),
        ({"epochs": 3}, "epochs: 2 -> 3"),
        (
            {"optimizers": ["sgd", {**NARROW, "defaults": {"learning_rate": 0.002}}]},
            "contenders.adam.defaults.learning_rate: 0.001 -> 0.002",
        ),
        ({"clip": 2.0}, "clip: None -> 2.0"),
        ({"model": "mlp"}, "model.arguments.width: None -> 128"),
    ],
)
def test_a_design_that_was_changed_after_a_training_confirms_nothing_under_any_name(
    changes: dict[str, Any], words: str, name: str, tmp_path: Path
) -> None:
    trained(tmp_path, study(), 10)
    found = history(tmp_path, study(**changes, name=name))
    assert (found.number, len(found.designs)) == (2, 2)
    assert words in found.changed
    assert found.confirmed.hashes == frozenset()
    assert found.registered.primary == stated(study()).primary


def test_other_data_or_a_fresh_seed_registers_a_design_of_its_own(tmp_path: Path) -> None:
    trained(tmp_path, study(), 10)
    changed = study(optimizers=["sgd", WIDE])
    assert history(tmp_path, changed, data="other").number == 1
    fresh = history(tmp_path, study(optimizers=["sgd", WIDE], seed=1))
    assert (fresh.number, fresh.changed, fresh.confirmed.primary) == (1, (), stated(changed).primary)


def test_claims_that_are_added_or_withdrawn_make_a_design_and_leave_the_others_registered(tmp_path: Path) -> None:
    trained(tmp_path, study(), 10)
    found = history(tmp_path, study(claims=[CLAIM, OTHER]))
    assert (found.number, found.changed) == (2, ())
    assert found.confirmed.hashes == stated(study()).hashes
    renamed = history(tmp_path, study(claims=[OTHER], name="renamed"))
    assert (renamed.changed, renamed.confirmed.primary) == ((), stated(study()).primary)


def test_a_contender_that_only_one_design_has_changes_no_other() -> None:
    more = study(optimizers=["sgd", NARROW, "momentum"])
    assert changed_settings(settings_of(study()), settings_of(more)) == []
    assert changed_settings(settings_of(more), settings_of(study())) == []


@pytest.mark.parametrize(
    "changes", [{"question": "q"}, {"timeout": 60.0}, {"untuned": False}, {"target": 0.9}, {"stack": "off"}]
)
def test_settings_that_change_no_comparison_are_no_design(changes: dict[str, Any]) -> None:
    assert settings_of(study(**changes)) == settings_of(study())


def test_designs_are_in_the_order_of_their_first_trainings_and_each_appears_once(tmp_path: Path) -> None:
    wide, third = study(optimizers=["sgd", WIDE], name="wide"), study(epochs=7)
    trained(tmp_path, third, 30)
    trained(tmp_path, wide, 20)
    trained(tmp_path, study(), 10)
    trained(tmp_path, wide, 40)
    found = history(tmp_path, third)
    assert [(design.study, design.started_ms) for design in found.designs] == [("tiny", 10), ("wide", 20), ("tiny", 30)]
    assert (found.number, found.changed) == (3, ("epochs: 2 -> 7",))
    back = history(tmp_path, study())
    assert (back.number, back.changed) == (1, ())  # as it was registered before the others


def test_the_first_training_alone_records_the_design_of_a_command(tmp_path: Path) -> None:
    trained(tmp_path, study(), 10)
    trained(tmp_path, study(), 20, claims=Stated(stated(study()).primary, (), 2, 0, {}))
    assert history(tmp_path, study(epochs=3)).registered.design == settings_of(study())
    assert len(history(tmp_path, study(epochs=3)).designs) == 2


def test_journals_from_before_designs_were_recorded_count_their_own_claims_alone(tmp_path: Path) -> None:
    old = Stated(("p",), ("e",), 8)
    trained(tmp_path, study(), 10, claims=old)
    found = history(tmp_path, study(epochs=3))
    assert (found.number, found.changed, found.confirmed) == (1, (), old)
    assert history(tmp_path, study(epochs=3, name="renamed")).confirmed == statement(study(epochs=3))


def test_a_damaged_journal_of_another_study_is_that_studys_own_problem(tmp_path: Path) -> None:
    trained(tmp_path, study(name="other", epochs=9), 10)
    path = journal_path(tmp_path, "other")
    path.write_bytes(path.read_bytes()[:-40] + b"\n" + b'{"design": {"}, "d"\n')
    assert history(tmp_path, study()).number == 1


def test_two_functions_are_different_data_although_neither_has_values(tmp_path: Path) -> None:
    ravine = tiny(data="ravine", model="point", batch_size=64)
    trained(tmp_path, ravine, 10, data="function")
    other = tiny(data="rosenbrock", model="point", batch_size=64, name="other")
    assert history(tmp_path, other, data="function").number == 1
    assert history(tmp_path, tiny(data="ravine", model="point", batch_size=64, epochs=3), data="function").number == 2


@pytest.mark.parametrize("written", ["cosine", {"name": "cosine", "end": 0.0}, {"interval": "epoch"}])
def test_a_schedule_that_is_written_down_as_it_is_by_default_changes_no_design(written: Any) -> None:
    own = {**NARROW, "schedule": written}
    assert settings_of(study(schedule=written)) == settings_of(study())
    assert settings_of(study(optimizers=["sgd", own])) == settings_of(
        study(optimizers=["sgd", {**NARROW, "schedule": {}}])
    )


def test_another_schedule_is_another_design() -> None:
    for other in ("constant", {"end": 0.1}, {"name": "step", "at": [0.3]}):
        assert changed_settings(settings_of(study()), settings_of(study(schedule=other))) != []
