"""A user's own data and models: the code of docs/extending.md is run, from the study file to the comparison table."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from optstudy.planning.layout import StudyPaths
from optstudy.running import stages
from optstudy.study.study import load_study
from optstudy.tasks import datasets
from optstudy.user_code import user_code_digest

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
SECTIONS = {
    section.splitlines()[0]: dict(re.findall(r"```(python|yaml)\n(.*?)```", section, re.DOTALL))
    for section in PAGE.split("\n## ")[1:]
}


# The score of sections that are not about accuracy, and its value at chance.
CHANCES = {"A metric": ("test_true_share", 0.1), "A regression": ("test_r2", 0.1), "A segmentation": ("test_iou", 0.2)}


def write_study(folder: Path, section: str, **changes: Any) -> None:
    blocks = SECTIONS[section]
    (folder / "mine.py").write_text(blocks["python"])
    study: dict[str, Any] = {
        "name": "own",
        "data": "digits",
        "model": "linear",
        "epochs": 3,
        "batch_size": 64,
        "replicates": 2,
        "optimizers": [{"name": "adam", "defaults": {"learning_rate": 0.01}}],
        "tuning": {"trials": 1},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump({**study, **yaml.safe_load(blocks["yaml"]), **changes}))


def run_study(folder: Path) -> subprocess.CompletedProcess[str]:
    # The console script: Python does not add the current folder to the path of imports for it.
    command = [str(Path(sys.executable).parent / "optstudy"), "run", "study.yaml", "--workers", "1"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Change to an empty folder in which no other module `mine` has been imported, as in a new process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    datasets._loaded.cache_clear()
    user_code_digest.cache_clear()
    yield tmp_path
    sys.modules.pop("mine", None)


@pytest.mark.parametrize("section", [name for name in SECTIONS if name != "An optimizer"])
def test_the_code_of_each_section_of_the_page_trains(section: str, here: Path) -> None:
    write_study(here, section)
    if section == "A model: nn.Module":
        ended = run_study(here)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    paths = StudyPaths(load_study(here / "study.yaml"), here / "results")
    table = stages.run(paths, 1, lambda _: None, lambda _: None)
    untuned = table[table["variant"] == "untuned"].iloc[0]
    score, chance = CHANCES.get(section, ("test_accuracy", 0.5 if section.startswith("Data") else 0.1))
    assert untuned[f"{score}_mean"] > 1.2 * chance  # three epochs of adam


def test_a_module_that_does_not_log_the_objective_fails_with_what_it_logs(tmp_path: Path) -> None:
    write_study(tmp_path, "A model: LightningModule", tuning={"trials": 1, "objective": "val/loss"})
    ended = run_study(tmp_path)
    assert ended.returncode == 1
    assert "the model must log val/loss, by which the search selects; it logs val/accuracy" in ended.stderr


MODULE = SECTIONS["A model: LightningModule"]
LOGS_LOSS = MODULE["python"].split("    def test_step")[0].replace("val/accuracy", "val/loss")
LOGS_NOTHING = MODULE["python"].split("    def validation_step")[0]
CLAIM = {"statement": "s", "better": "adam", "than": "sgd"}
QUIET: dict[str, Any] = {
    "optimizers": ["sgd", "adam"],
    "sweep": {"contenders": ["sgd", "adam"], "points": 3},
    "target": 0.5,
    "tuning": {"trials": 1, "objective": "val/loss"},
}


def test_a_module_is_compared_on_what_it_logs_and_a_claim_on_another_metric_exits_2(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SECTIONS, "quiet", {"python": LOGS_LOSS, "yaml": MODULE["yaml"]})
    write_study(here, "quiet", **QUIET)
    table = stages.run(StudyPaths(load_study(here / "study.yaml"), here / "results"), 1, lambda _: None, lambda _: None)
    assert [name for name in table if name.endswith("_mean")] == ["val_loss_mean"]
    for metric, side in (("epochs_to_target", "adam/tuned"), ("learning_rate_tolerance", "adam/sweep")):
        write_study(here, "quiet", **QUIET, claims=[{**CLAIM, "metric": metric}])
        ended = run_study(here)
        assert (ended.returncode, "Traceback" in ended.stderr) == (2, False)
        assert f"own: claims.0.metric: '{metric}': {side} " in ended.stderr


@pytest.mark.parametrize("part", ["val", pytest.param("test", marks=pytest.mark.long)])
def test_a_training_that_logs_an_accuracy_in_percent_fails(
    part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    percent = MODULE["python"].replace(f'"{part}/accuracy", ', f'"{part}/accuracy", 100 * ')
    monkeypatch.setitem(SECTIONS, "percent", {"python": percent, "yaml": MODULE["yaml"]})
    write_study(tmp_path, "percent")
    ended = run_study(tmp_path)
    assert (ended.returncode, "Traceback" in ended.stderr) == (1, False)
    [line] = ended.stderr.strip().splitlines()
    words = rf"the model logs {part}/accuracy \d\d?(\.\d+)?: an accuracy must be a fraction from 0 to 1"
    assert re.fullmatch(rf"adam, replicate 0, trial 0: {words} \(and in 3 more of its trainings\)", line), line
    assert not (tmp_path / "mlruns" / "journal" / "own.jsonl").exists()  # none of them counts as finished


def test_a_module_that_logs_nothing_exits_2_with_the_metrics_that_can_be_compared(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SECTIONS, "silent", {"python": LOGS_NOTHING, "yaml": MODULE["yaml"]})
    write_study(here, "silent", tuning={"trials": 0})
    ended = run_study(here)
    assert (ended.returncode, "Traceback" in ended.stderr) == (2, False)
    assert "own: model.class: 'mine.Own': must log test/accuracy, val/accuracy or val/loss" in ended.stderr


def test_a_data_function_that_returns_the_wrong_form_exits_2_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {"python": "def data():\n    return 1, 2\n", "yaml": "data: {class: mine.data, kind: image}\n"}
    monkeypatch.setitem(SECTIONS, "wrong", wrong)
    write_study(tmp_path, "wrong")
    ended = run_study(tmp_path)
    assert ended.returncode == 2
    assert "expected a LightningDataModule, or a function that returns (x, y, test_x, test_y)" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "results").exists()
