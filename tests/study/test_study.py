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
from optstudy.study.study import load_study, study_of
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


def test_the_example_that_the_documentation_begins_with_is_valid() -> None:
    page = (Path(__file__).parents[2] / "docs" / "study-file.md").read_text()
    study = study_of(Path("page"), parse_yaml(page.split("```yaml\n")[1].split("```")[0]))
    assert [contender.name for contender in study.optimizers] == ["momentum", "adamw", "adamw-average", "adamax"]


def test_the_documented_contenders_are_valid() -> None:
    page = (Path(__file__).parents[2] / "docs" / "study-file.md").read_text()
    [block] = [text for text in page.split("```yaml\n") if "- name: adam-constant" in text.split("```")[0]]
    study = tiny(**parse_yaml(block.split("```")[0]))
    assert [contender.name for contender in study.optimizers] == ["sgd", "adam-constant", "heavy", "adamax"]


def test_the_documented_search_spaces_are_valid() -> None:
    page = (Path(__file__).parents[2] / "docs" / "study-file.md").read_text()
    search = parse_yaml(page.split("### Search spaces")[1].split("```yaml\n")[1].split("```")[0])["search"]
    update = search.pop("update_every")
    row = tiny(optimizers=[{"name": "n", "class": "torch.optim.SGD", "search": no_betas(search)}]).optimizers[0].row()
    assert row.search["nesterov"].at(0.7) is False
    own = {"name": "own", "class": "optimizer_classes.Open", "search": {"learning_rate": search["learning_rate"]}}
    own["search"] |= {"betas": search["betas"], "update_every": update}
    row = tiny(optimizers=[own]).optimizers[0].row()
    assert row.search["betas"].at(0.9) == (0.9, 0.999)
    assert {row.search["update_every"].at(u / 100) for u in range(100)} == set(range(1, 11))


def no_betas(search: dict[str, Any]) -> dict[str, Any]:
    return {name: space for name, space in search.items() if name != "betas"}


def test_the_documented_claims_are_valid() -> None:
    page = (Path(__file__).parents[2] / "docs" / "study-file.md").read_text()
    [block] = [text for text in page.split("```yaml\n") if text.startswith("sweep:") and "claims:" in text]
    study = tiny(**parse_yaml(block.split("```")[0]), optimizers=["sgd", "momentum", "adam", "adamw"])
    assert study.claims[0].contrasts("tuned") == ({("momentum", "tuned"): 1.0, ("adam", "tuned"): -1.0},)
    assert len(study.claims[1].contrasts("tuned")) == 2
    assert len(study.claims[2].contrasts("tuned", [contender.name for contender in study.optimizers])) == 3
    assert study.claims[3].contrasts("tuned")[0]["momentum", "tuned"] == -0.5


def test_every_key_of_a_study_file_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "study-file.md").read_text()
    blocks = (StudyFile, Data, Model, Contender, Tuning, Sweep, Pretraining, ClaimSpec)
    keys = [field.alias or name for block in blocks for name, field in block.model_fields.items()]
    assert [key for key in keys if f"`{key}`" not in page and f"`tuning.{key}`" not in page and key != "tuning"] == []


def test_a_study_with_looks_has_the_replicates_of_its_last_look_until_another_is_chosen() -> None:
    claim = {"statement": "adam wins", "better": "adam", "than": "sgd"}
    study = tiny(replicates={"looks": [8, 12, 16]}, claims=[claim])
    assert (study.looks, study.replicates, study.at_look(12).replicates) == ((8, 12, 16), 16, 12)
    assert study.at_look(12).looks == study.looks
    assert (tiny(replicates=7).looks, tiny(replicates=7).replicates) == ((7,), 7)
