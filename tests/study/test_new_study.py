"""A new study file is valid as it is written, for each row of the table and for classes from outside."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from optstudy.analysis.design_findings import design_findings
from optstudy.catalogue import OPTIMIZERS, Space
from optstudy.errors import StudyError
from optstudy.study.new_study import (
    Budget,
    NewContender,
    around,
    contender_of_class,
    contender_of_row,
    possible_tasks,
    start_of,
    study_name,
    study_text,
)
from optstudy.study.study import Study, validated
from optstudy.study.study_yaml import parse_yaml
from optstudy.tasks.datasets import DATASETS
from optstudy.tasks.models import MODELS


def study_of(task: str, contenders: list[NewContender]) -> Study:
    return validated(Path("new.yaml"), parse_yaml(study_text(task, contenders, Budget(), "new.yaml")))


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("task", ["digits", "ravine"])
def test_a_study_of_a_row_has_its_spaces_and_no_objection_that_can_be_avoided(name: str, task: str) -> None:
    pytest.importorskip(OPTIMIZERS[name].optimizer.partition(".")[0])
    rivals = [rival for rival in ("momentum", "adamw") if rival != name]
    if OPTIMIZERS[name].groups and task == "ravine":
        with pytest.raises(StudyError, match="has no effect, because ravine is an analytic function"):
            study_of(task, [contender_of_row(one) for one in (name, *rivals)])
        return
    study = study_of(task, [contender_of_row(one) for one in (name, *rivals)])
    assert study.contender(name).row() == OPTIMIZERS[name]
    found = [finding.finding for finding in design_findings(study) if "rate-free" not in finding.finding]
    assert found == []


@pytest.mark.parametrize("task", possible_tasks())
def test_each_task_has_a_model_that_reads_it_and_a_claim_with_a_margin(task: str) -> None:
    assert DATASETS[task].kind in MODELS[start_of(task).model].kinds
    [claim] = study_of(task, [contender_of_row("adam"), contender_of_row("momentum")]).claims
    assert (claim.better, claim.than_each) == ("adam", ("momentum",))
    assert claim.margin is not None
    assert claim.primary


@pytest.mark.parametrize("rate", [1e-4, 1e-3, 2.5e-3, 0.06, 1.0, 3.0])
def test_the_space_around_a_rate_is_three_decades_with_the_rate_in_its_middle(rate: float) -> None:
    space = around(rate)
    assert math.log10(space.high / space.low) == pytest.approx(3.0, abs=0.1)
    assert space.position(rate) == pytest.approx(0.5, abs=0.03)


def test_a_class_is_searched_around_its_default_and_by_its_kind_of_decay() -> None:
    coupled = contender_of_class("torch.optim.Rprop", "none", [])
    assert study_of("digits", [coupled, contender_of_row("adam")]).contender("rprop").row().search == {
        "learning_rate": Space(3e-4, 0.3)
    }
    for decay, space in (("coupled", Space(1e-6, 1e-2)), ("decoupled", Space(1e-4, 1.0))):
        own = contender_of_class("torch.optim.ASGD", decay, [])
        assert study_of("digits", [own, contender_of_row("adam")]).contender("asgd").row().search == {
            "learning_rate": Space(3e-4, 0.3),
            "weight_decay": space,
        }


def test_a_class_whose_decay_cannot_be_told_does_not_decay() -> None:
    own = contender_of_class("torch.optim.ASGD", "", [])
    row = study_of("digits", [own, contender_of_row("adam")]).contender("asgd").row()
    assert (row.fixed["weight_decay"], set(row.search)) == (0.0, {"learning_rate"})


def test_nothing_decays_on_a_function() -> None:
    own = contender_of_class("torch.optim.ASGD", "coupled", [], decays=False)
    study = study_of("rosenbrock", [own, contender_of_row("momentum")])
    assert set(study.row(study.contender("asgd")).search) == {"learning_rate"}
    assert study.claims[0].metric == "steps_to_tolerance"


def test_a_rate_free_class_keeps_its_factor_and_a_schedule_free_class_a_constant_rate() -> None:
    pytest.importorskip("pytorch_optimizer")
    free = contender_of_class("pytorch_optimizer.DAdaptAdam", "decoupled", [])
    row = study_of("digits", [free, contender_of_row("adam")]).contender(free.name).row()
    assert (row.fixed["learning_rate"], set(row.search)) == (1.0, {"weight_decay"})
    own = contender_of_class("pytorch_optimizer.ScheduleFreeSGD", "decoupled", [])
    study = study_of("digits", [own, contender_of_row("adam")])
    assert study.contender(own.name).schedule is not None
    assert design_findings(study) == []


def test_names_of_classes_are_no_rows_and_no_other_contenders() -> None:
    assert contender_of_class("torch.optim.ASGD", "coupled", ["asgd"]).name == "torch-asgd"
    assert contender_of_class("torch.optim.Adam", "coupled", ["torch-adam"]).name == "torch-adam-2"
    assert study_name("digits", "torch-adam") == "digits_torch_adam"


def test_a_class_without_anything_to_search_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to search"):
        contender_of_class("optimizer_classes.NothingToChoose", "none", [])
