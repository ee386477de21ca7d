"""`optstudy new` writes a file that `check` accepts and `run` needs no edit of; lists of the tables fit a terminal."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from optstudy.catalogue import OPTIMIZERS
from optstudy.cli import app
from optstudy.errors import StudyError
from optstudy.study.study import load_study
from optstudy.tasks.datasets import DATASETS

FIVE_PACKAGES = (
    "lion_pytorch.Lion",
    "prodigyopt.Prodigy",
    pytest.param("torch.optim.Adamax", marks=pytest.mark.long),
    pytest.param("pytorch_optimizer.AdaBelief", marks=pytest.mark.long),
    pytest.param("schedulefree.SGDScheduleFree", marks=pytest.mark.long),
)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def ended(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_a_new_study_of_a_row_is_written_once() -> None:
    assert ended("new", "--task", "digits", "--optimizer", "radam").exit_code == 0
    study = load_study(Path("digits_radam.yaml"))
    assert [contender.name for contender in study.optimizers] == ["radam", "momentum", "adamw"]
    written = Path("digits_radam.yaml").read_text()
    again = ended("new", "--task", "digits", "--optimizer", "radam", "--against", "adam")
    assert isinstance(again.exception, StudyError)
    assert "digits_radam.yaml: exists already" in str(again.exception)
    assert Path("digits_radam.yaml").read_text() == written


def test_a_class_of_a_row_of_its_own_is_that_row() -> None:
    assert ended("new", "--task", "digits", "--optimizer", "torch.optim.NAdam", "--output", "own.yaml").exit_code == 0
    assert load_study(Path("own.yaml")).contender("nadam").row() == OPTIMIZERS["nadam"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--task", "digit", "--optimizer", "adam"], "--task: 'digit': did you mean digits? must be one of"),
        (["--task", "image_folder", "--optimizer", "adam"], "--task: 'image_folder': reads your own data, and needs"),
        (
            ["--task", "table", "--optimizer", "adam"],
            "--task: 'table': reads your own data, and needs `path` and",
        ),
        (["--task", "digits", "--optimizer", "adamww"], "--optimizer: 'adamww': did you mean adamw? must be one of"),
        (["--task", "digits", "--optimizer", "adam", "--against", " ,"], "--against: ' ,': must name at least one"),
        (["--task", "digits", "--optimizer", "adam", "--against", "adam"], "--against: 'adam': is a contender already"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(arguments: list[str], words: str) -> None:
    result = ended("new", *arguments)
    assert isinstance(result.exception, StudyError)
    assert str(result.exception).startswith(words)
    assert list(Path().iterdir()) == []


@pytest.mark.slow
def test_a_class_that_is_none_is_refused() -> None:
    result = ended("new", "--task", "digits", "--optimizer", "json.JSONDecoder")
    assert str(result.exception) == ("--optimizer: 'json.JSONDecoder': must be a subclass of torch.optim.Optimizer")


@pytest.mark.slow
@pytest.mark.parametrize("path", FIVE_PACKAGES)
def test_check_accepts_a_new_study_of_an_optimizer_of_each_of_five_packages(path: str) -> None:
    pytest.importorskip(path.partition(".")[0])
    assert ended("new", "--task", "digits", "--optimizer", path, "--output", "own.yaml").exit_code == 0
    checked = ended("check", "own.yaml", "--strict")
    rate_free = "is rate-free" in checked.output
    assert checked.exit_code == int(rate_free), checked.output
    assert rate_free == (path == "prodigyopt.Prodigy")


@pytest.mark.long
def test_run_needs_no_edit_of_a_new_study() -> None:
    pytest.importorskip("lion_pytorch")
    size = ("--epochs", "2", "--trials", "2", "--replicates", "2")
    assert (
        ended("new", "--task", "digits", "--optimizer", "lion_pytorch.Lion", "--output", "own.yaml", *size).exit_code
        == 0
    )
    assert ended("run", "own.yaml").exit_code == 0
    claims = json.loads(Path("results/own/claims.json").read_text())
    assert [claim["n"] for claim in claims] == [2]


@pytest.mark.parametrize(("command", "names"), [("tasks", DATASETS), ("optimizers", OPTIMIZERS)])
def test_lists_have_every_row_and_fit_into_80_columns(command: str, names: dict[str, object]) -> None:
    result = ended(command)
    lines = result.output.splitlines()
    assert [line.split()[0] for line in lines[1 : len(names) + 1]] == list(names)
    assert max(map(len, lines)) <= 80
    assert ("Not installed" in result.output) <= (find_spec("schedulefree") is None or command == "tasks")
