"""Laws of search spaces that are lists: shares, samplers, keys, tables, stores, and what an audit says of them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from builders import spec_of, tiny
from optstudy.analysis.space_audit import audit_spaces, untestable
from optstudy.analysis.tables import read_selections, write_table
from optstudy.catalogue import SAMPLERS, Choices, Space, label
from optstudy.keys import canonical
from optstudy.planning.designs import settings_of
from optstudy.planning.fingerprints import Fingerprints
from optstudy.planning.jobs import Job, resolved, trial_jobs
from optstudy.planning.new_trainings import journal_lines
from optstudy.planning.samplers import distribution, drawn_points, next_point, optuna_params
from optstudy.planning.selection import edges
from optstudy.records.optuna_trials import OptunaRecorder
from optstudy.records.parameters import contender_parameters, training_parameters
from optstudy.records.rows import selected_row
from optstudy.spec import group_key, spec_fields
from optstudy.training.optimizers import torch_arguments
from record_samples import entry, optuna_trials, projection

BETAS = Choices(((0.9, 0.99), (0.9, 0.999), (0.8, 0.99)))
FLAGS = Choices((True, False))
WORDS = Choices(("sum", "nan", "1", "true", "a, b", ""))
MIXED = Choices((0.5, "half", 2.0, (1, "x", None, True)))
SPACES = {"learning_rate": Space(1e-4, 1e-1), "betas": BETAS, "flag": FLAGS, "k": Space(1, 10, whole=True)}
ADAM: dict[str, Any] = {
    "name": "adam",
    "search": {"betas": {"choices": [[0.9, 0.99], [0.9, 0.999]]}, "amsgrad": {"choices": [True, False]}},
}


@pytest.mark.parametrize("count", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("power", [3, 4, 6])
def test_choices_have_equal_shares_of_sobol_points(count: int, power: int) -> None:
    space = Choices(tuple(f"c{number}" for number in range(count)))
    spaces = {"learning_rate": Space(1e-4, 1e-1), "choice": space}
    drawn = Counter(point["choice"] for point in drawn_points("sobol", 0, 1, 2**power, spaces))
    shares = [drawn[choice] for choice in space.choices]
    # Each of the 2^k intervals has one point, and a choice begins and ends within an interval unless 2^k is a multiple.
    assert max(abs(share - 2**power / count) for share in shares) < (1e-9 if 2**power % count == 0 else 2)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_reaches_every_choice_and_stays_inside(sampler: str) -> None:
    points = searched(sampler, 40, lambda _: 0.5)
    assert {point["betas"] for point in points} == set(BETAS.choices)
    assert {point["flag"] for point in points} == {True, False}
    assert {type(point["k"]) for point in points} == {int}
    assert all(1 <= point["k"] <= 10 and 1e-4 <= point["learning_rate"] <= 1e-1 for point in points)


def searched(sampler: str, trials: int, score: Any) -> list[dict[str, Any]]:
    if not SAMPLERS[sampler].adaptive:
        return drawn_points(sampler, 0, 0, trials, SPACES)
    history: list[tuple[dict[str, Any], float]] = []
    for _ in range(trials):
        point = next_point(sampler, 0, 0, SPACES, history, "maximize")
        history.append((point, score(point)))
    return [point for point, _ in history]


def test_tpe_finds_the_better_choice() -> None:
    def is_best(point: dict[str, Any]) -> bool:
        return point["betas"] == (0.8, 0.99) and point["flag"]

    points = searched("tpe", 40, lambda point: float(is_best(point)))
    assert sum(map(is_best, points[20:])) >= 9  # chance would find it in 20 / 6 of them


@pytest.mark.parametrize("space", [BETAS, FLAGS, WORDS, MIXED, Choices((1, 2, 4)), Choices((0.0, 1e-5, 0.1))])
def test_choices_come_back_from_a_table_as_they_were(space: Choices, tmp_path: Path) -> None:
    jobs = [Job("c", r, "trial", 0, 0, {"x": choice}, spec_of(), "") for r, choice in enumerate(space.choices)]
    write_table(tmp_path / "selected.csv", [selected_row(job.replicate, job, {"x": space}) for job in jobs])
    back = read_selections(tmp_path / "selected.csv", {"x": space})
    assert [(type(own["x"]), own["x"]) for own in back.values()] == [(type(one), one) for one in space.choices]
    assert len({label(choice) for choice in space.choices}) == len(space.choices)


def test_a_whole_number_comes_back_from_a_table_as_a_whole_number(tmp_path: Path) -> None:
    write_table(tmp_path / "selected.csv", [{"replicate": 0, "k": 3}])
    [back] = read_selections(tmp_path / "selected.csv", {"k": SPACES["k"]}).values()
    assert canonical(back) == '{"k":3}'


def test_the_middle_of_each_choices_part_is_its_position() -> None:
    assert [BETAS.at(BETAS.position(choice)) for choice in BETAS.choices] == list(BETAS.choices)
    assert [BETAS.at(u) for u in (0.0, 0.34, 1 - 1e-12, 1.0)] == [BETAS.choices[i] for i in (0, 1, 2, 2)]
    with pytest.raises(ValueError, match="is none of"):
        BETAS.index((0.1, 0.2))


def test_choices_have_no_edge() -> None:
    spaces = {"learning_rate": Space(1e-4, 1e-1), "flag": FLAGS, "momentum": Choices((0.0, 0.9))}
    assert edges({"learning_rate": 1e-4, "flag": True, "momentum": 0.9}, spaces) == ["learning_rate:low"]


def test_a_key_is_the_same_for_a_tuple_and_for_the_list_that_a_journal_has() -> None:
    spec = spec_of(ADAM["name"], {"learning_rate": 0.1, "betas": (0.9, 0.99)})
    assert canonical(json.loads(canonical(spec.hyperparameters))) == canonical(spec.hyperparameters)


def test_trainings_are_stacked_together_only_where_everything_but_numbers_agrees() -> None:
    def key(**hyperparameters: Any) -> str:
        return group_key(spec_of("adam", hyperparameters))

    assert key(learning_rate=0.1, k=1) == key(learning_rate=0.2, k=3.5)
    same, others = key(x=(0.9, 0.99)), [key(x=(0.9, 0.999)), key(x="sum"), key(x="mean"), key(x=True), key(x=False)]
    assert len({same, *others, key(x=1.0), key()}) == 8


def test_betas_given_whole_take_the_place_of_the_tables_and_are_the_same_training() -> None:
    row = tiny(optimizers=[{"name": "adam", "fixed": {"betas": [0, 0.99]}}]).optimizers[0].row()
    assert row.fixed == {"betas": (0.0, 0.99), "eps": 1e-8}
    assert canonical(row.fixed["betas"]) == "[0.0,0.99]"
    import torch

    assert torch_arguments({"betas": (0.8, 0.9)}, torch.optim.Adam) == {"betas": (0.8, 0.9)}
    with pytest.raises(ValueError, match="either betas or beta1"):
        torch_arguments({"betas": (0.8, 0.9), "beta1": 0.9}, torch.optim.Adam)


def test_studies_without_choices_state_their_design_as_before() -> None:
    search = {"learning_rate": {"low": 1e-4, "high": 1e-1}}
    stated = settings_of(tiny(optimizers=[{"name": "adam", "search": search}]))["contenders"]["adam"]
    assert stated["search"]["learning_rate"] == {"low": 1e-4, "high": 1e-1, "log": True, "whole": False}
    chosen = settings_of(tiny(optimizers=[ADAM]))["contenders"]["adam"]["search"]
    assert chosen["betas"] == {"choices": [[0.9, 0.99], [0.9, 0.999]]}


def test_a_finished_training_with_a_tuple_is_no_other_than_the_new_one() -> None:
    study, fingerprints = tiny(optimizers=[ADAM], untuned=False), Fingerprints("digest")
    jobs = trial_jobs(study, "adam", 0, fingerprints, {})
    older = replace(entry(jobs[0]), key="older", facts={"training_version": 1, "torch": "2.0", "device": "cpu"})
    older = replace(older, spec=json.loads(canonical(spec_fields(jobs[0].spec))))
    [_, line] = journal_lines(study, fingerprints, {"older": older})
    assert "torch: 2.0 -> " in line
    assert "changed" not in line
    assert json.loads(json.dumps(resolved(study, "adam", fingerprints)))["search"]["amsgrad"] == {
        "choices": [True, False]
    }


def test_optuna_has_the_choices_and_is_written_again_when_they_change(tmp_path: Path) -> None:
    def recorder(contender: dict[str, Any]) -> tuple[OptunaRecorder, list[Job]]:
        study = tiny(optimizers=[contender])
        opened = OptunaRecorder(tmp_path, "s", {"adam": study.row(study.optimizers[0]).search}, "val/accuracy")
        opened.open()
        return opened, trial_jobs(study, "adam", 0, Fingerprints("digest"), {})

    first, jobs = recorder(ADAM)
    first.complete(projection(tmp_path, "s", jobs))
    shown = optuna_trials(tmp_path, "s/adam")
    assert [trial.params for trial in shown] == [optuna_params(job.hyperparameters) for job in jobs]
    assert shown[0].distributions["betas"] == distribution(Choices(((0.9, 0.99), (0.9, 0.999))))
    assert shown[0].distributions["amsgrad"].choices == (True, False)  # type: ignore[attr-defined]
    other, jobs = recorder({**ADAM, "search": {**ADAM["search"], "betas": {"choices": [[0.9, 0.99], [0.5, 0.999]]}}})
    for job in jobs:
        other.add(job, entry(job))  # while the old choices are there, it shows nothing and raises nothing
    other.complete(projection(tmp_path, "s", jobs))
    assert {trial.params["betas"] for trial in optuna_trials(tmp_path, "s/adam")} <= {"[0.9, 0.99]", "[0.5, 0.999]"}


def test_mlflow_shows_choices_by_their_labels() -> None:
    study = tiny(optimizers=[ADAM])
    shown = contender_parameters(study, "adam")
    assert shown["search betas"] == "one of [0.9, 0.99], [0.9, 0.999]"
    assert shown["search amsgrad"] == "one of true, false"
    job = trial_jobs(study, "adam", 0, Fingerprints("digest"), {})[0]
    assert training_parameters(job)["betas"] == label(job.hyperparameters["betas"])


def audited(effect: float) -> tuple[Any, Any]:
    """Return a study and its audit; `effect` is what the second of three choices adds to the accuracy."""
    search = {"x": {"choices": ["a", "b", "c"]}}
    classes = [{"name": name, "class": "optimizer_classes.Open", "search": {"learning_rate": RATES, **search}}
               for name in ("one", "two")]  # fmt: skip
    study, rng, rows = tiny(optimizers=classes, replicates=8, tuning={"trials": 16}), np.random.default_rng(0), []
    for replicate in range(8):
        points = drawn_points("sobol", 0, replicate, 16, study.optimizers[0].row().search)
        for point in points:
            accuracy = 0.9 - 0.02 * abs(np.log10(point["learning_rate"]) + 2.5) + effect * (point["x"] == "b")
            score = accuracy + 0.005 * rng.normal()
            rows += [{"contender": name, "replicate": replicate, **point, "val_accuracy": score} for name in ("one",)]
    table = pd.DataFrame(rows)
    both = pd.concat([table, table.assign(contender="two")], ignore_index=True)
    return study, audit_spaces(study, both, {})


RATES = {"low": 1e-4, "high": 1e-1}


def test_the_audit_finds_a_choice_that_matters_though_it_has_no_order() -> None:
    _, audit = audited(0.03)
    assert audit.of("one").inert == []
    assert audit.of("one").trends["x"] < 1e-4


def test_the_audit_calls_a_choice_without_effect_inert() -> None:
    study, audit = audited(0.0)
    assert audit.of("one").inert == ["x"]
    assert untestable(study, audit) == {frozenset(("one", "two")): "one and two are trained alike"}
