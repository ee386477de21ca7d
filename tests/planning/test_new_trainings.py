"""What is left to train, and why: how new trainings differ from those of the journal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from builders import tiny
from optstudy.environment import torch_minor
from optstudy.planning import fingerprints, new_trainings
from optstudy.planning.journal import read_journal
from optstudy.planning.layout import StudyPaths
from optstudy.planning.new_trainings import journal_lines
from optstudy.planning.preflight import fingerprints_of
from synthetic import FACTS, fill_journal

WIDER = {"name": "adam", "search": {"learning_rate": {"low": 1.0e-5, "high": 1.0}}}


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyPaths:
    """Return a finished study: two contenders with two replicates of two trials and two final runs each."""
    monkeypatch.setitem(FACTS, "torch", f"{torch_minor()}.0")
    paths = StudyPaths(tiny(), tmp_path / "results", tmp_path / "mlruns")
    fill_journal(paths)
    return paths


def lines_of(paths: StudyPaths, **changes: Any) -> list[str]:
    study = tiny(**changes)
    return journal_lines(study, fingerprints_of(study, paths.mlruns), read_journal(paths.journal))


# name -> (what differs from the finished study, the lines)
CHANGED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "nothing": ({}, ["16 of 16 trainings are in the journal, none to train"]),
    "epochs": (
        {"epochs": 3},
        ["0 of 16 trainings are in the journal, 16 to train"]
        + [f"{name}: 8 of 8 trainings are new: epochs: 2 -> 3" for name in ("sgd", "adam")],
    ),
    "a space": (
        {"optimizers": ["sgd", WIDER]},
        [
            "10 of 16 trainings are in the journal, 6 to train",  # those of the defaults are the same
            "adam: 6 of 8 trainings are new: its search space or sampler changed (other values of learning_rate)",
        ],
    ),
    "defaults": (
        {"optimizers": ["sgd", {"name": "adam", "defaults": {"learning_rate": 0.02}}]},
        [
            "14 of 16 trainings are in the journal, 2 to train",
            "adam: 2 of 8 trainings are new: its defaults changed (other values of learning_rate)",
        ],
    ),
    "a contender": (
        {"optimizers": ["sgd", "adam", "rmsprop"]},
        [
            "16 of 24 trainings are in the journal, 8 to train",
            "rmsprop: 8 of 8 trainings are new: not trained yet",
        ],
    ),
    "a contender's name": (
        {"optimizers": ["sgd", {"name": "my-adam", "like": "adam"}]},
        ["16 of 16 trainings are in the journal, none to train"],  # keys do not contain it
    ),
    "replicates": (
        {"replicates": 3},
        ["16 of 24 trainings are in the journal, 8 to train"]
        + [f"{name}: 4 of 12 trainings are new: not trained yet" for name in ("sgd", "adam")],
    ),
    "data": (
        {"data": {"name": "digits", "arguments": {"classes": [0, 1, 2]}, "train_size": 300}, "optimizers": ["sgd"]},
        ["0 of 8 trainings are in the journal, 8 to train", "sgd: 8 of 8 trainings are new: data.arguments.classes: "],
    ),
}


@pytest.mark.parametrize("name", CHANGED)
def test_new_trainings_are_counted_with_the_reason(name: str, paths: StudyPaths) -> None:
    changes, expected = CHANGED[name]
    lines = lines_of(paths, **changes)
    assert len(lines) == len(expected)
    assert all(line.startswith(start) for line, start in zip(lines, expected, strict=True)), lines


def test_another_training_version_is_named(paths: StudyPaths, monkeypatch: pytest.MonkeyPatch) -> None:
    study = tiny()
    before = fingerprints_of(study, paths.mlruns)
    for module in (fingerprints, new_trainings):
        monkeypatch.setattr(module, "TRAINING_VERSION", 99)
    lines = journal_lines(study, before, read_journal(paths.journal))
    version = FACTS["training_version"]
    assert lines[1:] == [
        f"{name}: 8 of 8 trainings are new: training_version: {version} -> 99" for name in ("sgd", "adam")
    ]
