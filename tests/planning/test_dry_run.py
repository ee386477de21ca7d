"""What one step of an optimizer shows before anything is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from builders import spec_of, tiny
from optstudy.errors import DataError
from optstudy.planning.dry_run import (
    group_lines,
    names_own_parts,
    points_to_try,
    try_groups,
    try_network,
    try_optimizer,
    weight_decay_of,
)
from optstudy.planning.preflight import fingerprints_of
from optstudy.user_code import import_class
from optstudy.user_process import UserProcess


def tried(name: str, **given: Any) -> None:
    path = f"optimizer_classes.{name}" if "." not in name else name
    hyperparameters = {"learning_rate": 0.1, **given}
    try_optimizer("optimizers: own", replace(spec_of(), optimizer=path), [hyperparameters])


@pytest.mark.parametrize(
    ("name", "given"),
    [("Open", {"slwo": 1.0}), ("Passing", {"amsgard": True}), ("pytorch_optimizer.Lion", {"weight_decoupl": False})],
)
def test_a_misspelt_argument_of_a_class_that_accepts_any_is_refused(name: str, given: dict[str, Any]) -> None:
    pytest.importorskip(name.partition(".")[0] if "." in name else "torch")
    with pytest.raises(DataError, match=f"optimizers: own: .*{next(iter(given))}"):
        tried(name, **given)


@pytest.mark.parametrize(("name", "given"), [("Open", {"slow": 1.0}), ("Passing", {"amsgrad": True}), ("Sam", {})])
def test_arguments_that_a_class_reads_are_accepted(name: str, given: dict[str, Any]) -> None:
    tried(name, **given)


def test_betas_without_a_default_must_all_be_given() -> None:
    with pytest.raises(DataError, match="give all betas: OwnBetas has no default"):
        tried("OwnBetas", beta4=0.9)


@pytest.mark.parametrize(
    ("changes", "decay"),
    [
        ({"class": "optimizer_classes.Passing"}, "decoupled"),
        ({"class": "optimizer_classes.Odd"}, ""),
        ({"class": "optimizer_classes.Odd", "decay": "coupled"}, "coupled"),
        ({"class": "torch.optim.NAdam", "fixed": {"decoupled_weight_decay": True}}, "decoupled"),
        ({"like": "adam"}, "coupled"),
    ],
)
def test_the_decay_of_a_contender_is_known_stated_or_found(changes: dict[str, Any], decay: str) -> None:
    search = {"search": {"learning_rate": {"low": 0.01, "high": 0.1}}}
    study = tiny(optimizers=["sgd", {"name": "own", **search, **changes}])
    with UserProcess() as process:
        assert weight_decay_of(study, study.contender("own"), process) == decay


def test_a_decay_that_trying_does_not_show_is_asked_for(tmp_path: Path) -> None:
    rates = {"learning_rate": {"low": 0.01, "high": 0.1}}
    odd = {
        "name": "own",
        "class": "optimizer_classes.Odd",
        "search": {**rates, "weight_decay": {"low": 0.1, "high": 1}},
    }
    with pytest.raises(DataError, match=r"decay: trying .* does not show"):
        fingerprints_of(tiny(optimizers=["sgd", odd]), tmp_path)
    fingerprints_of(tiny(optimizers=["sgd", {**odd, "decay": "decoupled"}]), tmp_path)
    fingerprints_of(tiny(optimizers=["sgd", {**odd, "search": rates}]), tmp_path)  # nothing decays


MUON = {"name": "muon", "class": "torch.optim.Muon", "hidden": True, "ndim": 2}


def tried_groups(*groups: dict[str, Any], model: str = "mlp", **contender: Any) -> str:
    """Try a contender's groups on a network as `check` does, in this process."""
    study = tiny(model=model, optimizers=[{"name": "own", "like": "adamw", "groups": list(groups), **contender}])
    own = study.optimizers[0]
    spec = study.spec(own, 0, 0, study.row(own).defaults)
    return try_groups("optimizers: own", spec, points_to_try(study, own))


def test_groups_say_how_many_parameters_they_have() -> None:
    # 64 pixels, 128 units in each of two hidden layers, 10 classes
    low = {"name": "low", "names": ["body.1."], "multiply": {"learning_rate": 0.1}}
    assert tried_groups(low, MUON) == (
        "group low (torch.optim.AdamW): 2 parameters, 8,320 numbers; "
        "group muon (torch.optim.Muon): 1 parameter, 16,384 numbers; "
        "the rest (torch.optim.AdamW): 3 parameters, 1,418 numbers"
    )
    assert not names_own_parts(tiny())
    assert group_lines(tiny()) == []


@pytest.mark.parametrize(
    ("groups", "changes", "words"),
    [
        (
            [{"name": "far", "names": ["layers"]}],
            {},
            r"optimizers: own: groups: far: means no parameter .* are body\.1\.weight \(Linear, ndim 2\), body",
        ),
        ([MUON], {"model": "linear"}, "groups: muon: means no parameter"),
        ([MUON], {"model": "mlp", "freeze": ["body.3"]}, "groups: muon: means no parameter"),
        (
            [{**MUON, "ndim": []}],
            {"model": "cnn"},
            "groups: muon: torch.optim.Muon trains matrices only, and body.3.weight has ndim 4: write `ndim: 2`",
        ),
        (
            [{"name": "rest", "like": "adamw", "names": ["head"]}],
            {"like": None, "class": "torch.optim.Muon", "search": {"learning_rate": {"low": 0.1, "high": 1.0}}},
            "outside of its groups: torch.optim.Muon trains matrices only, and body.1.bias has ndim 1",
        ),
        (
            [{"name": "one", "class": "torch.optim.LBFGS", "ndim": 2}],
            {},
            "torch.optim.AdamW with its groups cannot train with .*LBFGS needs a closure",
        ),
        (
            [{"name": "one", "class": "optimizer_classes.Open", "ndim": 2}],
            {"fixed": {"one.slwo": 1.0}},
            "cannot train with .*one.slwo 1.0.*: ValueError: slwo is no argument of the class",
        ),
    ],
)
def test_groups_that_cannot_train_are_reported_with_contender_and_group(
    groups: list[dict[str, Any]], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        tried_groups(*groups, **changes)


@pytest.mark.parametrize("step", ["training_step", "validation_step", "test_step"])
def test_a_step_of_a_users_module_that_raises_is_found_before_anything_is_trained(
    step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise IndexError(f"{step} is broken")

    spec = spec_of(study={"model": {"class": "golden.inputs.OwnModule"}})
    assert try_network(spec)
    monkeypatch.setattr(import_class("golden.inputs.OwnModule"), step, broken)
    with pytest.raises(DataError, match=f"model.class: golden.inputs.OwnModule, .*: {step} is broken"):
        try_network(spec)


def test_groups_are_tried_on_parameters_with_the_dimensions_of_the_network() -> None:
    kernels = {"name": "kernels", "ndim": 4, "class": "optimizer_classes.Open"}
    assert "group kernels (optimizer_classes.Open): 2 parameters" in tried_groups(kernels, model="cnn")
    assert tried_groups(MUON, fixed={"muon.ns_steps": 3}, search={"muon.learning_rate": {"low": 0.01, "high": 1.0}})


@pytest.mark.parametrize(
    ("study", "words"),
    [
        (
            {"model": {"class": "torch.nn.Flatten"}, "metrics": [{"name": "iou", "better": "higher", "chance": 0}]},
            "only a LightningModule logs the metric iou; computed are f1, precision",
        ),
        (
            {
                "data": {"class": "golden.inputs.masks", "kind": "own"},
                "model": {"class": "torch.nn.Flatten"},
                "metrics": [{"name": "iou", "better": "higher", "chance": 0}],
                "tuning": {"trials": 1, "objective": "val/iou"},
            },
            "data of kind own need a LightningModule, which knows what to do with them",
        ),
        (
            {
                "data": {"class": "golden.inputs.plane", "kind": "tabular"},
                "model": {"class": "torch.nn.Flatten"},
            },
            "expected outputs (2, 1) of inputs (2, 5), found (2, 5)",
        ),
    ],
)
def test_a_network_that_cannot_give_what_the_study_asks_for_is_an_input_error(
    study: dict[str, object], words: str
) -> None:
    with pytest.raises(DataError) as error:
        try_network(spec_of(study=study))
    assert words in str(error.value)
