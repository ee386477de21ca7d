"""Loading whole study files: those that ship, those of the documentation, and bad ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from builders import tiny
from optstudy.study.claim import ClaimSpec
from optstudy.study.schema import Contender, Data, Model, Pretraining, StudyFile, Sweep, Tuning
from optstudy.study.study import load_study
from optstudy.study.study_yaml import parse_yaml
from study_texts import NADAM, edited, with_contender

BAD = {
    "a wrong type": edited("epochs: 2", "epochs: many"),
    "a class that is not an optimizer": with_contender(NADAM.replace("torch.optim.NAdam", "torch.nn.Linear")),
    "invalid YAML": "name: [good\n",
    "a missing file": None,
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_exits_2_without_traceback_and_writes_nothing(name: str, write: Any, tmp_path: Path) -> None:
    path = tmp_path / "none.yaml" if BAD[name] is None else write(BAD[name])
    before = sorted(tmp_path.rglob("*"))
    command = [sys.executable, "-m", "optstudy.cli", "run", str(path)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert str(path) in ended.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("path", sorted(Path("configs").glob("*.yaml")), ids=str)
def test_shipped_studies_are_valid_and_named_as_their_files(path: Path) -> None:
    assert load_study(path).name == path.stem


def test_the_documented_contenders_are_valid() -> None:
    page = (Path(__file__).parents[2] / "docs" / "study-file.md").read_text()
    block = page.split("```yaml\n")[1].split("```")[0]
    study = tiny(**parse_yaml(block))
    assert [contender.name for contender in study.optimizers] == ["sgd", "adam-constant", "heavy", "nadam"]


def test_the_documented_claims_are_valid() -> None:
    page = (Path(__file__).parents[2] / "docs" / "study-file.md").read_text()
    block = page.split("```yaml\n")[2].split("```")[0]
    study = tiny(**parse_yaml(block), optimizers=["sgd", "momentum", "adam", "adamw"])
    assert study.claims[0].contrasts("tuned") == ({("momentum", "tuned"): 1.0, ("adam", "tuned"): -1.0},)
    assert len(study.claims[1].contrasts("tuned")) == 2
    assert len(study.claims[2].contrasts("tuned", [contender.name for contender in study.optimizers])) == 3
    assert study.claims[3].contrasts("tuned")[0]["momentum", "tuned"] == -0.5


def test_every_key_of_a_study_file_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "study-file.md").read_text()
    blocks = (StudyFile, Data, Model, Contender, Tuning, Sweep, Pretraining, ClaimSpec)
    keys = [field.alias or name for block in blocks for name, field in block.model_fields.items()]
    assert [key for key in keys if f"`{key}`" not in page and f"`tuning.{key}`" not in page and key != "tuning"] == []
