"""Groups of parameters in a study file: the row that they make, and what is reported."""

from __future__ import annotations

from typing import Any

import pytest

from builders import tiny
from optstudy.catalogue import OPTIMIZERS, Space
from optstudy.spec import spec_fields
from optstudy.study.study import load_study
from study_texts import contender, missing_pieces, of_ravine

MUON = "{name: muon, class: torch.optim.Muon, hidden: true, ndim: 2%s}"
ADAMW = "{name: own, like: adamw, groups: [%s]%s}"


def own(groups: str, rest: str = "") -> str:
    return contender(ADAMW % (groups, rest))


# name -> (the file, a piece of each line of its message: key path, value, and what is allowed)
LINES: dict[str, tuple[str, list[str]]] = {
    "a group that means everything": (own("{name: all}"), ["optimizers.1.groups.0: give `ndim`, `names`, `modules`"]),
    "two optimizers": (
        own("{name: a, ndim: 2, like: adam, class: torch.optim.SGD}"),
        ["groups.0.like: 'adam': give `like` or `class`, not both"],
    ),
    "an unknown row and key": (
        own("{name: a, ndim: 2, like: adamm, search: {}}"),
        ["groups.0.like: 'adamm': must be one of sgd, momentum,", "groups.0.search: {}: unknown key; allowed: name,"],
    ),
    "two groups of one name": (
        own("{name: a, ndim: 2}, {name: a, ndim: 1}"),
        ["optimizers.1.groups: ['a']: groups of a contender must have distinct names"],
    ),
    "a hyperparameter of no group": (
        own(MUON % "", ", fixed: {moun.momentum: 0.9}, search: {muon.momentun: {low: 0.5, high: 0.9}}"),
        [
            "optimizers.1.fixed.moun.momentum: 0.9: there is no group 'moun'; groups: muon",
            "optimizers.1.search.muon.momentun.low: 0.5: torch.optim.Muon has no momentun; allowed: learning_rate,",
        ],
    ),
    "a hyperparameter of a group without groups": (
        contender("{name: adamw, fixed: {muon.momentum: 0.9}}"),
        ["optimizers.1.fixed.muon.momentum: 0.9: there is no group 'muon'; the contender has none"],
    ),
    "values that make no sense": (
        own(MUON % "", ", fixed: {muon.momentum: 1.0, muon.nesterov: 1}, defaults: {muon.learning_rate: 0}"),
        [
            "optimizers.1.defaults.muon.learning_rate: 0.0: must be above 0",
            "optimizers.1.fixed.muon.momentum: 1.0: must be at least 0 and below 1",
            "optimizers.1.fixed.muon.nesterov: 1.0: must be true or false",
        ],
    ),
    "a multiple of what is given, too": (
        own(MUON % ", multiply: {weight_decay: 1.0}", ", fixed: {muon.weight_decay: 0.0}"),
        ["optimizers.1.fixed.muon.weight_decay: the group muon has 1 times the contender's weight_decay already"],
    ),
    "a second value in a row with groups": (
        contender("{name: m, like: muon, search: {muon.weight_decay: {low: 0.1, high: 1}}}"),
        ["optimizers.1.search.muon.weight_decay: the group muon has 1 times the contender's weight_decay already"],
    ),
    "groups of a row with groups": (
        contender("{name: muon, groups: [{name: a, ndim: 2}]}"),
        ["optimizers.1.groups: muon has groups of its own: choose `like` another row"],
    ),
    "a group like a row with groups": (
        own("{name: a, ndim: 2, like: muon}"),
        ["groups.0.like: 'muon': has groups of its own: name the optimizer of this group alone"],
    ),
    "a multiple of what the contender has not": (
        contender(
            "{name: n, class: optimizer_classes.Averaged, search: {learning_rate: {low: 0.1, high: 1}}, groups: "
            "[{name: a, like: adamw, ndim: 2, multiply: {weight_decay: 1.0, learning_rate: 2.0}}]}"
        ),
        ["groups.0.multiply.weight_decay: 1.0: the contender has no value of weight_decay to multiply"],
    ),
    "a default of what a row fixes": (
        own("{name: a, like: momentum, ndim: 2}", ", defaults: {a.momentum: 0.5}"),
        ["optimizers.1.defaults.a.momentum: 0.5: is fixed: give it in `fixed`, or search it"],
    ),
    "a class that needs a value": (
        own("{name: a, class: optimizer_classes.Needing, ndim: 2}"),
        ["optimizers.1: the group a needs a.learning_rate: in `fixed`, or in `search` and in `defaults`"],
    ),
    "sparse": (
        own("{name: a, class: torch.optim.SparseAdam, ndim: 2}"),
        ["groups.0.class: 'torch.optim.SparseAdam': cannot be used: it needs sparse gradients"],
    ),
    "of a function": (
        of_ravine("  - adam\n", "  - {name: own, like: adamw, groups: [{name: x, names: [x]}]}\n"),
        ["optimizers.1.groups: ['x']: has no effect, because ravine is an analytic function"],
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_each_problem_with_groups_has_a_line_and_there_are_no_others(name: str, write: Any) -> None:
    text, pieces = LINES[name]
    assert missing_pieces(write(text), pieces) == []


def test_hyperparameters_of_a_group_are_those_of_its_optimizer_with_the_groups_name(write: Any) -> None:
    text = own(
        f"{MUON % ', multiply: {weight_decay: 0.5}'}, {{name: e, modules: [Embedding], like: momentum}}",
        ", search: {muon.learning_rate: {low: 0.001, high: 1}, e.momentum: {low: 0.1, high: 0.9, log: false}}"
        ", fixed: {muon.ns_steps: 4, e.learning_rate: 0.1}",
    )
    study = load_study(write(text))
    row, adamw, momentum = study.row(study.optimizers[1]), OPTIMIZERS["adamw"], OPTIMIZERS["momentum"]
    assert row.search == {
        **adamw.search,
        "e.weight_decay": momentum.search["weight_decay"],
        "muon.learning_rate": Space(0.001, 1.0),
        "e.momentum": Space(0.1, 0.9, log=False),
    }
    assert row.fixed == {**adamw.fixed, "muon.ns_steps": 4, "e.learning_rate": 0.1}
    assert type(row.fixed["muon.ns_steps"]) is int
    # torch's default of Muon's rate, and what `momentum` fixes and this study searches
    assert row.defaults == {**adamw.defaults, "muon.learning_rate": 1e-3, "e.weight_decay": 1e-4, "e.momentum": 0.9}
    spec = study.spec(study.optimizers[1], 0, 0, row.defaults)
    assert spec.groups == (
        {
            "name": "muon",
            "optimizer": "torch.optim.Muon",
            "ndim": [2],
            "hidden": True,
            "multiply": {"weight_decay": 0.5},
        },
        {"name": "e", "optimizer": "momentum", "modules": ["Embedding"]},
    )


def test_a_group_with_the_contenders_optimizer_adds_only_what_the_file_gives() -> None:
    groups = [{"name": "low", "names": ["body"], "multiply": {"learning_rate": 0.1}}]
    study = tiny(optimizers=[{"name": "own", "like": "adam", "groups": groups, "fixed": {"low.weight_decay": 0}}])
    row, adam = study.row(study.optimizers[0]), OPTIMIZERS["adam"]
    assert (row.search, row.defaults) == (adam.search, adam.defaults)
    assert row.fixed == {**adam.fixed, "low.weight_decay": 0.0}


def test_a_row_with_groups_is_changed_like_any_other_row() -> None:
    search = {"muon.learning_rate": {"low": 0.01, "high": 0.1}}
    study = tiny(optimizers=["muon", {"name": "own", "like": "muon", "search": search, "fixed": {"muon.ns_steps": 3}}])
    row, changed = OPTIMIZERS["muon"], study.row(study.optimizers[1])
    assert study.row(study.optimizers[0]) == row
    assert (changed.groups, changed.defaults) == (row.groups, row.defaults)
    assert changed.fixed == {**row.fixed, "muon.ns_steps": 3}
    assert type(changed.fixed["muon.ns_steps"]) is int
    assert changed.search == {**row.search, "muon.learning_rate": Space(0.01, 0.1)}


def test_contenders_without_groups_have_the_spec_that_they_had() -> None:
    study = tiny()
    assert all("groups" not in spec_fields(study.spec(one, 0, 0, {})) for one in study.optimizers)
