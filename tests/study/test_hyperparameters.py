"""Optimizer classes in a study file, and their hyperparameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from optstudy.catalogue import Space
from optstudy.errors import StudyError
from optstudy.study.study import load_study
from study_texts import CLASS, NADAM, contender, missing_pieces, missing_words, with_contender, with_pretraining

# name -> (the file, words that its message must hold: the key, the value, and what is allowed)
WORDS: dict[str, tuple[str, list[str]]] = {
    "unknown hyperparameter": (
        with_contender("  - {name: adam, fixed: {momentun: 0.9}}\n"),
        ["optimizers.1", "momentun", "amsgrad"],
    ),
    "fixed and searched": (
        with_contender(
            "  - {name: adam, fixed: {learning_rate: 0.1}, search: {learning_rate: {low: 0.1, high: 1.0}}}\n"
        ),
        ["optimizers.1", "learning_rate", "both"],
    ),
    "class that is no optimizer": (
        with_contender(NADAM.replace("torch.optim.NAdam", "torch.nn.Linear")),
        ["optimizers.1", "torch.nn.Linear", "torch.optim.Optimizer"],
    ),
    "class that is not there": (
        with_contender(NADAM.replace("torch.optim.NAdam", "torch.optim.Nadam")),
        ["optimizers.1", "Nadam"],
    ),
    "module that is not there": (
        with_contender(NADAM.replace("torch.optim.NAdam", "no_such.Thing")),
        ["optimizers.1", "no_such", "imported"],
    ),
}

# name -> (the file, a piece of each line of its message: key path, value, and what is allowed)
LINES: dict[str, tuple[str, list[str]]] = {
    "a momentum of one": (
        contender("{name: m, like: momentum, search: {momentum: {low: 0.5, high: 1.0}}}"),
        ["optimizers.1.search.momentum.high: 1.0: must be at least 0 and below 1"],
    ),
    "values that no optimizer means": (
        contender("{name: adam, fixed: {learning_rate: -1, beta1: 2.0, eps: 0}, defaults: {weight_decay: -1}}"),
        [
            "optimizers.1.defaults.weight_decay: -1.0: must be 0 or more",
            "optimizers.1.fixed.learning_rate: -1.0: must be above 0",
            "optimizers.1.fixed.beta1: 2.0: must be at least 0 and below 1",
            "optimizers.1.fixed.eps: 0.0: must be above 0",
        ],
    ),
    "torch's names": (
        contender("{name: adam, fixed: {lr: 0.5, betas: 1, params: 2}}"),
        [
            "fixed.lr: 0.5: is torch's name: write learning_rate",
            "fixed.betas: 1.0: must be a list of 2",
            "fixed.params: 2.0: is",
        ],
    ),
    "betas, whole and one by one": (
        contender("{name: adam, fixed: {betas: [0.9, 0.99], beta1: 0.8}}"),
        ["fixed.betas: are all of them, and there is beta1, too: write one or the other"],
    ),
    "betas of another length, or outside their range": (
        contender("{name: adam, search: {betas: {choices: [[0.9, 0.99], [0.9, 0.99, 0.999], [0.9, 1.0]]}}}"),
        [
            "search.betas.choices.1: (0.9, 0.99, 0.999): must be a list of 2 numbers, one for each beta",
            "search.betas.choices.2: (0.9, 1.0): must be numbers; each must be at least 0 and below 1",
        ],
    ),
    "choices of another kind": (
        contender("{name: adam, search: {amsgrad: {choices: [true, 1.5]}, eps: {choices: [1.0e-8, small]}}}"),
        [
            "search.amsgrad.choices.1: 1.5: must be true or false",
            "search.eps.choices.1: 'small': must be a number, not text",
        ],
    ),
    "choices that are no choice": (
        contender("{name: adam, search: {eps: {choices: [1.0e-8]}, amsgrad: {choices: [true, true], log: true}}}"),
        [
            "search.eps.choices: [1e-08]: must have at least 2 items",
            "search.amsgrad.log: True: unknown key; allowed: choices",
        ],
    ),
    "choices twice": (
        contender("{name: adam, search: {eps: {choices: [1.0e-8, 1.0e-6, 1.0e-8]}}}"),
        ["search.eps.choices.2: 1e-08: is there already"],
    ),
    "learning rates from a list": (
        contender("{name: adam, search: {learning_rate: {choices: [0.1, 0.2]}}}"),
        ["search.learning_rate: [0.1, 0.2]: must be an interval"],
    ),
    "whole numbers that are not whole": (
        contender("{name: adam, search: {eps: {low: 0.5, high: 4, whole: true}}}"),
        ["search.eps.low: 0.5: must be a whole number, because of `whole: true`"],
    ),
    "flags and numbers": (
        contender("{name: adam, fixed: {learning_rate: true, amsgrad: 1}}"),
        ["fixed.learning_rate: True: must be a number", "fixed.amsgrad: 1.0: must be true or false"],
    ),
    "steps up the loss": (
        contender("{name: adam, fixed: {maximize: true}}").replace("- sgd", "- {name: sgd, fixed: {maximize: false}}"),
        ["optimizers.1.fixed.maximize: True: must be false: it would maximise the loss"],
    ),
    "steps up the loss, by a class": (
        contender(CLASS.replace("search", "fixed: {maximize: true}, search") % "torch.optim.NAdam"),
        ["optimizers.1.fixed.maximize: True: must be false"],
    ),
    "a default that would be lost": (
        contender("{name: momentum, defaults: {momentum: 0.5}}"),
        ["optimizers.1.defaults.momentum: 0.5: is fixed"],
    ),
    "a whole number with a fraction": (
        contender(CLASS.replace("search", "fixed: {k: 2.5, every: 1.5}, search") % "optimizer_classes.Whole"),
        ["fixed.k: 2.5: must be a whole number", "fixed.every: 1.5: must be a whole number"],
    ),
    "a space of whole numbers with a fraction": (
        contender("{name: n, class: optimizer_classes.Whole, search: {k: {low: 1.5, high: 10}}}"),
        ["search.k.low: 1.5: must be a whole number"],
    ),
    "a fourth beta": (
        contender(CLASS.replace("search", "fixed: {beta4: 0.9}, search") % "optimizer_classes.ThreeBetas"),
        ["fixed.beta4: 0.9: optimizer_classes.ThreeBetas has no beta4; allowed: learning_rate, beta1, beta2, beta3"],
    ),
    "matrices alone": (
        contender(CLASS % "torch.optim.Muon"),
        ["optimizers.1.class: 'torch.optim.Muon': trains only matrices: name the optimizer of the other parameters in"],
    ),
    "sparse": (
        contender(CLASS % "torch.optim.SparseAdam"),
        ["optimizers.1.class: 'torch.optim.SparseAdam': cannot be"],
    ),
    "no optimizer": (
        contender(CLASS % "torch.optim.Optimizer"),
        ["optimizers.1.class: 'torch.optim.Optimizer': must be"],
    ),
    "no path": (contender(CLASS % "..X"), ["optimizers.1.class: '..X': '..X' is not a path"]),
    "decay without class": (
        contender("{name: adam, decay: decoupled}"),
        ["optimizers.1.decay: 'decoupled': goes with"],
    ),
    "decay against torch": (
        contender(CLASS.replace("search", "decay: coupled, search") % "torch.optim.AdamW"),
        ["optimizers.1.decay: 'coupled': torch.optim.AdamW has decoupled decay"],
    ),
}


@pytest.mark.parametrize("name", WORDS)
def test_a_wrong_optimizer_class_or_hyperparameter_is_reported_with_what_is_allowed(name: str, write: Any) -> None:
    text, words = WORDS[name]
    assert missing_words(write(text), words) == []


@pytest.mark.parametrize("name", LINES)
def test_each_problem_with_a_hyperparameter_has_a_line_and_there_are_no_others(name: str, write: Any) -> None:
    text, pieces = LINES[name]
    assert missing_pieces(write(text), pieces) == []


MODULES = {
    "an error of syntax": "class Mine(",
    "an exception": "raise RuntimeError('no')",
    "an exit": "raise SystemExit(3)",
}


@pytest.mark.parametrize("name", MODULES)
def test_a_class_whose_module_cannot_be_imported_is_reported(
    name: str, write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "broken_" + name.replace(" ", "_")
    (tmp_path / f"{module}.py").write_text(MODULES[name])
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(StudyError, match=f"optimizers.1.class: '{module}.Mine': .*cannot be imported"):
        load_study(write(contender(CLASS % f"{module}.Mine")))


OWN = """\
import torch


class Open(torch.optim.SGD):
    def __init__(self, params, **more):
        super().__init__(params, **more)


class Strict(torch.optim.AdamW):
    def __init__(self, params, lr, rho=2.0):
        super().__init__(params, lr)
"""


def test_the_hyperparameters_of_a_users_optimizer_are_those_of_its_signature(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_optimizers.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    for text, words in (
        (CLASS % "own_optimizers.Strict", "own_optimizers.Strict needs learning_rate: in `fixed`, or in `search` and"),
        (
            CLASS.replace("search", "fixed: {anything: 3, learning_rate: true}, search") % "own_optimizers.Open",
            "number",
        ),
    ):
        with pytest.raises(StudyError, match=words):
            load_study(write(contender(text)))
    text = (
        CLASS.replace("search", "fixed: {rho: 2.5}, defaults: {learning_rate: 0.1}, search") % "own_optimizers.Strict"
    )
    row = load_study(write(contender(text))).contender("n").row()
    assert (row.decay, row.fixed, row.defaults) == (None, {"rho": 2.5}, {"learning_rate": 0.1})
    text = CLASS.replace("search", "fixed: {nesterov: true, momentum: 0.9}, search") % "own_optimizers.Open"
    assert load_study(write(contender(text))).contender("n").row().decay is None  # it is tried


@pytest.mark.parametrize(
    ("path", "fixed", "decay"),
    [
        ("torch.optim.AdamW", "{}", "decoupled"),
        ("torch.optim.Adafactor", "{}", "decoupled"),
        ("torch.optim.NAdam", "{}", "coupled"),
        ("torch.optim.NAdam", "{decoupled_weight_decay: true}", "decoupled"),
        ("torch.optim.Adagrad", "{}", "coupled"),
    ],
)
def test_the_decay_of_a_class_of_torch_is_named_as_torch_applies_it(
    path: str, fixed: str, decay: str, write: Any
) -> None:
    import torch

    text = CLASS.replace("search", f"fixed: {fixed}, search") % path
    row = load_study(write(contender(text))).contender("n").row()
    theta = torch.nn.Parameter(torch.tensor([[3.0]]))
    theta.grad = torch.zeros_like(theta)
    given = {"lr": 0.1, "weight_decay": 0.5, **row.fixed}
    cls = getattr(torch.optim, path.rpartition(".")[2])
    cls([theta], **given).step()
    decoupled = abs(theta.item() - 3.0 * (1 - 0.1 * 0.5)) < 1e-6  # multiplied by the rate; no gradient, no other step
    assert row.decay == decay == ("decoupled" if decoupled else "coupled")


def test_whole_numbers_of_a_class_stay_whole(write: Any) -> None:
    text = CLASS.replace("search: {", "fixed: {every: 3.0}, search: {k: {low: 1, high: 10, log: false}, ")
    study = load_study(write(contender(text % "optimizer_classes.Whole")))
    row = study.contender("n").row()
    assert (row.fixed, type(row.fixed["every"])) == ({"every": 3}, int)
    values = [row.search["k"].at(u / 1000) for u in range(1000)]
    assert {type(value) for value in values} == {int}
    assert {values.count(k) for k in range(1, 11)} <= {99, 100, 101}  # each has the same share


def test_whole_numbers_on_a_log_scale_cover_both_ends() -> None:
    values = [Space(1, 64, whole=True).at(u / 5000) for u in range(5000)]
    assert sorted(set(values)) == list(range(1, 65))
    assert values == sorted(values)


def test_a_pretraining_can_use_an_optimizer_class_without_a_search(write: Any) -> None:
    study = load_study(write(with_pretraining("{name: n, class: torch.optim.NAdam, fixed: {learning_rate: 0.01}}")))
    assert study.pretraining_spec().hyperparameters == {"learning_rate": 0.01, "weight_decay": 0.0}


def test_a_class_in_the_study_file_has_the_defaults_of_its_signature(write: Any) -> None:
    row = load_study(write(with_contender(NADAM))).contender("nadam").row()
    assert row.optimizer == "torch.optim.NAdam"
    assert row.defaults == {"learning_rate": 0.002, "weight_decay": 0.0}
    assert row.fixed == {"momentum_decay": 0.004}
