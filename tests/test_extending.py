"""A user's own data and models: the very lines of docs/extending.md, run from a study file as a user would."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

PAGE = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
SECTIONS = {
    section.splitlines()[0]: dict(re.findall(r"```(python|yaml)\n(.*?)```", section, re.DOTALL))
    for section in PAGE.split("\n## ")[1:]
}


def run_study(folder: Path, section: str, **changes: Any) -> subprocess.CompletedProcess[str]:
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
    # The console script, which does not put the current folder on the path by itself.
    command = [str(Path(sys.executable).parent / "optstudy"), "run", "study.yaml", "--workers", "1"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("section", [name for name in SECTIONS if name != "An optimizer"])
def test_the_documented_lines_run(section: str, tmp_path: Path) -> None:
    ended = run_study(tmp_path, section)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    table = pd.read_csv(tmp_path / "results" / "own" / "comparison.csv")
    untuned = table[table["variant"] == "untuned"].iloc[0]
    chance = 0.5 if section.startswith("Data") else 0.1
    assert untuned["test_accuracy_mean"] > 1.2 * chance  # three epochs of adam


def test_a_module_that_does_not_log_the_objective_is_told_so(tmp_path: Path) -> None:
    ended = run_study(tmp_path, "A model: LightningModule", tuning={"trials": 1, "objective": "val/loss"})
    assert ended.returncode == 1
    assert "the model must log val/loss, by which the search selects; it logs val/accuracy" in ended.stderr


def test_data_of_the_wrong_form_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def data():\n    return 1, 2\n")
    SECTIONS["wrong"] = {"python": "def data():\n    return 1, 2\n", "yaml": "data: {class: mine.data, kind: image}\n"}
    ended = run_study(tmp_path, "wrong")
    assert ended.returncode == 2
    assert "expected a LightningDataModule, or a function that returns (x, y, test_x, test_y)" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "results").exists()
