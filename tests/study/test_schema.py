"""The schema of a study file: types, unknown and missing keys, and what a contender resolves to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builders import TINY, tiny
from optstudy.catalogue import OPTIMIZERS
from optstudy.errors import StudyError
from optstudy.study.study import study_of
from study_texts import GOOD, edited, missing_pieces, missing_words, with_claim, with_contender, with_model

# name -> (the file, words that its message must hold: the key, the value, and what is allowed)
WORDS: dict[str, tuple[str, list[str]]] = {
    "wrong type": (edited("epochs: 2", "epochs: many"), ["epochs", "'many'", "integer"]),
    "fraction": (edited("epochs: 2", "epochs: 2.5"), ["epochs", "2.5", "integer"]),
    "boolean count": (edited("epochs: 2", "epochs: true"), ["epochs", "True", "integer"]),
    "zero epochs": (edited("epochs: 2", "epochs: 0"), ["epochs", "0", "greater than or equal to 1"]),
    "unknown key": (edited("epochs: 2", "epochs: 2\nepoch: 3"), ["epoch", "unknown key"]),
    "missing key": (edited("epochs: 2\n", ""), ["epochs", "required"]),
    "unknown optimizer": (edited("- adam", "- adem"), ["optimizers.1", "adem", "sgd, momentum"]),
    "unknown data": (edited("data: digits", "data: digit"), ["data.name", "'digit'", "digits"]),
    "unknown model": (edited("model: linear", "model: liner"), ["model.name", "'liner'", "linear, mlp, cnn"]),
    "empty list": (
        edited("  - sgd\n  - adam\n", "").replace("optimizers:", "optimizers: []"),
        ["optimizers", "at least 1"],
    ),
    "no list": (
        edited("  - sgd\n  - adam\n", "").replace("optimizers:", "optimizers: sgd"),
        ["optimizers", "'sgd'", "must be a list"],
    ),
    "infinite rate": (
        with_contender("  - {name: adam, search: {learning_rate: {low: 0.1, high: .inf}}}\n"),
        ["optimizers.1.search.learning_rate.high", "finite"],
    ),
    "rate in words": (
        with_contender("  - {name: adam, search: {learning_rate: {low: small, high: 0.1}}}\n"),
        ["optimizers.1.search.learning_rate.low", "'small'", "number"],
    ),
    "space without high": (
        with_contender("  - {name: adam, search: {learning_rate: {low: 0.1}}}\n"),
        ["optimizers.1.search.learning_rate.high", "required"],
    ),
    "like nothing": (with_contender("  - {name: mine, like: adem}\n"), ["optimizers.1", "adem", "adamw"]),
    "path in a name": (edited("name: good", "name: ../good"), ["name", "'../good'", "pattern"]),
    "path in a contender's name": (
        with_contender("  - {name: a/b, like: adam}\n"),
        ["optimizers.1.name", "a/b", "pattern"],
    ),
    "unknown sampler": (edited("trials: 2", "trials: 2\n  sampler: grid"), ["tuning.sampler", "'grid'", "sobol"]),
    "objective on test data": (
        edited("trials: 2", "trials: 2\n  objective: test/accuracy"),
        ["tuning.objective", "test/accuracy", "val/accuracy"],
    ),
    "unknown schedule": (edited("epochs: 2", "epochs: 2\nschedule: sawtooth"), ["schedule", "linear", "cosine"]),
    "unknown stack": (GOOD + "stack: 1\n", ["stack", "1", "'auto', 'on' or 'off'"]),
    "negative clip": (edited("epochs: 2", "epochs: 2\nclip: -1"), ["clip", "-1", "greater than 0"]),
    "one replicate": (edited("replicates: 2", "replicates: 1"), ["replicates", "1", "greater than or equal to 2"]),
    "looks without a list": (
        edited("replicates: 2", "replicates: {look: [8, 12]}"),
        ["replicates.looks", "required", "replicates.look", "unknown key; allowed: looks"],
    ),
    "one look": (edited("replicates: 2", "replicates: {looks: [8]}"), ["replicates.looks", "at least 2 items"]),
    "looks in words": (
        edited("replicates: 2", "replicates: {looks: [8, x]}"),
        ["replicates.looks.1", "'x'", "integer"],
    ),
    "replicates in words": (edited("replicates: 2", "replicates: many"), ["replicates", "'many'", "integer"]),
    "sweep of two points": (
        edited("epochs: 2", "epochs: 2\nsweep: {contenders: [sgd], points: 2}"),
        ["sweep.points", "2", "greater than or equal to 3"],
    ),
    "weights beyond floats": (
        with_claim("{statement: s, weights: {adam: 1.0e+300, sgd: -1.0e+300}}"),
        ["claims.0.weights.adam", "1e+300", "less than or equal to 1000000", "claims.0.weights.sgd"],
    ),
    "claim about an unknown metric": (
        with_claim("{statement: s, better: adam, than: sgd, metric: f1}"),
        ["claims.0.metric", "f1", "test_accuracy"],
    ),
    "claim with an unknown topic": (
        with_claim("{statement: s, better: adam, than: sgd, topic: speed}"),
        ["claims.0.topic", "speed", "adam-fast"],
    ),
    "claim without margin": (
        with_claim("{statement: s, better: adam, than: sgd, margin: 0}"),
        ["claims.0.margin", "0", "greater than 0"],
    ),
    "validation share above one": (
        edited("data: digits", "data: {name: digits, validation_share: 1.5}"),
        ["data.validation_share", "1.5", "less than 1"],
    ),
    "data from the system": (
        edited("data: digits", "data: {class: os.system, kind: image, arguments: {command: touch called}}"),
        ["data.class", "'os.system'", "a LightningDataModule, or a Python function from outside the standard library"],
    ),
    "a file's deletion as data": (
        edited("data: digits", "data: {class: shutil.rmtree, kind: image, arguments: {path: .}}"),
        ["data.class", "'shutil.rmtree'", "a Python function from outside the standard library"],
    ),
    "a network as data": (
        edited("data: digits", "data: {class: torch.nn.Identity, kind: image}"),
        ["data.class", "'torch.nn.Identity'", "a LightningDataModule, or a Python function"],
    ),
    "model from the system": (
        with_model("{class: os.system, arguments: {command: touch called}}"),
        ["model.class", "'os.system'", "a subclass of torch.nn.Module"],
    ),
    "a class that is no network": (
        with_model("{class: collections.Counter}"),
        ["model.class", "'collections.Counter'", "a subclass of torch.nn.Module"],
    ),
    "weights without a name": (
        with_model("{name: linear, pretrained: ''}"),
        ["model.pretrained", "''", "at least 1 character"],
    ),
}

# name -> (the file, a piece of each line of its message: key path, value, and what is allowed)
LINES: dict[str, tuple[str, list[str]]] = {
    "unknown keys": (
        edited("trials: 2", "trials: 2\n  trails: 3"),
        ["tuning.trails: 3: unknown key; allowed: trials, sampler, objective, once"],
    ),
    "the only contender": (edited("  - sgd\n  - adam\n", "  - adm\n"), ["optimizers.0.name: 'adm': must be one of"]),
    "one as a flag": (GOOD + "untuned: 1\ndecay_all: 0\n", ["decay_all: 0: must be true or false", "untuned: 1: must"]),
    "many epochs": (edited("epochs: 2", "epochs: 1.0e+23"), ["epochs: 1e+23: must be a valid integer"]),
    "text in numbers": (GOOD + "question: 3\n", ["question: 3: must be text"]),
    "a number as a block": (edited("model: linear", "model: 3"), ["model: 3: must be a mapping of keys"]),
}


@pytest.mark.parametrize("name", WORDS)
def test_a_value_that_the_schema_rejects_is_reported_with_what_is_allowed(name: str, write: Any) -> None:
    text, words = WORDS[name]
    assert missing_words(write(text), words) == []


@pytest.mark.parametrize("name", LINES)
def test_each_schema_problem_has_a_line_and_there_are_no_others(name: str, write: Any) -> None:
    text, pieces = LINES[name]
    assert missing_pieces(write(text), pieces) == []


def test_all_problems_of_the_schema_are_reported_at_once(write: Any) -> None:
    path = write(edited("epochs: 2", "epochs: 0\nepoch: 3").replace("- adam", "- adem"))
    assert missing_pieces(path, ["epochs: 0: ", "optimizers.1.name: 'adem': ", "epoch: 3: unknown key"]) == []


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_contenders_name_alone_means_the_row_of_the_table(name: str) -> None:
    assert tiny(optimizers=[name]).contender(name).row() == OPTIMIZERS[name]


def test_fixing_a_hyperparameter_removes_it_from_the_search() -> None:
    row = tiny(optimizers=[{"name": "a", "like": "adam", "fixed": {"weight_decay": 0.0}}]).contender("a").row()
    assert set(row.search) == {"learning_rate"}
    assert row.fixed["weight_decay"] == 0.0


def test_searching_momentum_removes_it_from_what_is_fixed() -> None:
    search = {"momentum": {"low": 0.5, "high": 0.99}}
    row = tiny(optimizers=[{"name": "m", "like": "momentum", "search": search}]).contender("m").row()
    assert "momentum" not in row.fixed
    assert row.defaults["momentum"] == 0.9


@pytest.mark.parametrize("written", ["val/loss", "val_loss"])
def test_an_objective_may_be_written_as_a_claims_metric_is(written: str) -> None:
    study = tiny(tuning={"trials": 1, "objective": written})
    assert study.objective == "val/loss"
    assert study.tuning == tiny(tuning={"trials": 1, "objective": "val/loss"}).tuning


@pytest.mark.parametrize(
    ("given", "meant"), [("OneCycleLR", "one_cycle"), ("CosineAnnealingLR", "cosine"), ("StepLR", "step")]
)
def test_a_schedule_by_the_name_of_its_class_in_torch_is_told_its_own(given: str, meant: str) -> None:
    with pytest.raises(StudyError, match=f"schedule.name: '{given}': must be one of .*; did you mean {meant}\\?"):
        study_of(Path("study.yaml"), {**TINY, "schedule": given})


def test_an_unknown_key_of_a_schedule_is_told_the_keys_of_that_schedule() -> None:
    with pytest.raises(StudyError, match=r"unknown key; allowed: name, interval, warmup, at, factor$"):
        study_of(Path("study.yaml"), {**TINY, "schedule": {"name": "step", "gamma": 0.1}})
