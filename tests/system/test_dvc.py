"""The DVC pipeline lists every contender of its studies, and an edit reruns only the stages that it touches."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from test_imports import MODULES, SOURCE, imports_of

from optstudy.study.study import load_study

ROOT = Path(__file__).parents[2]
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
NOT_COPIED = (".venv", ".git", "mlruns", "results", "build", "__pycache__", ".*_cache", "cache", "tmp")
DECIDING = ("planning", "study", "tasks", "training")  # the packages that decide what is trained


def test_the_pipeline_has_a_stage_for_every_contender_of_its_studies() -> None:
    studies = STAGES["prepare"]["foreach"]
    pairs = {
        f"{name}-{contender.name}": {"study": name, "contender": contender.name}
        for name in studies
        for contender in load_study(ROOT / "configs" / f"{name}.yaml").optimizers
    }
    assert STAGES["tune"]["foreach"] == STAGES["train"]["foreach"] == pairs
    assert STAGES["pretrain"]["foreach"] == STAGES["compare"]["foreach"] == studies


def dependencies(stage: str) -> set[str]:
    """Return the modules that a stage depends on, by file or by package."""
    paths = [ROOT / path for path in STAGES[stage]["do"]["deps"] if path.startswith("src/")]
    return {module for module, path in MODULES.items() if {path, *path.parents}.intersection(paths)} - INITS


def needed_by(modules: set[str]) -> set[str]:
    """Return these modules and all modules of optstudy that they import, directly or not."""
    needed, left = set[str](), modules
    while left:
        needed |= left
        left = set[str]().union(*map(imports_of, left)) - needed
    return needed - INITS


INITS = {module for module, path in MODULES.items() if path.name == "__init__.py"}


def test_prepare_depends_on_the_code_that_decides_what_is_trained_and_on_no_other() -> None:
    assert dependencies("prepare") == needed_by({one for one in MODULES if one.startswith(DECIDING)} - INITS)


def test_compare_depends_on_the_code_that_makes_tables_and_pages_and_not_on_training() -> None:
    needed = {one for one in needed_by({"running.outputs"}) if not one.startswith("training")}
    assert {"reporting.plots", "reporting.captions", "analysis.findings", "inference.intervals"} < needed
    assert needed <= dependencies("compare")
    assert {one.partition(".")[0] for one in needed} == {one.partition(".")[0] for one in dependencies("compare")}
    assert "src/optstudy/reporting" in STAGES["compare"]["do"]["deps"]  # the templates are in it
    assert (SOURCE / "reporting" / "templates").is_dir()


def dvc(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder.parent), "DVC_NO_ANALYTICS": "1"}
    environment["PYTHONPATH"] = str(folder / "src")
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1200)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def stages_run(output: str) -> set[str]:
    return {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")}


@pytest.mark.long
def test_repro_reruns_the_stages_that_an_edit_touches_and_repeats_no_training(tmp_path: Path) -> None:
    folder = tmp_path / "clone"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_COPIED))
    (folder / ".venv").symlink_to(sys.prefix)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    study = folder / "configs" / "digits.yaml"
    pipeline = yaml.safe_load((folder / "dvc.yaml").read_text())
    content = yaml.safe_load(study.read_text())
    content |= {"model": "linear", "epochs": 1, "batch_size": 512, "replicates": 2}
    content["tuning"]["trials"] = 1
    content["optimizers"] = ["sgd", "adam"]  # each stage starts its own processes: five contenders take minutes
    content["claims"] = [{"statement": "adam wins", "better": "adam", "than": "sgd", "margin": 0.01}]
    content["sweep"] = {"contenders": ["sgd"], "points": 3}
    study.write_text(yaml.safe_dump(content))
    for stage in ("prepare", "pretrain", "compare"):
        pipeline["stages"][stage]["foreach"] = ["digits"]
    for stage in ("tune", "train"):
        pairs = pipeline["stages"][stage]["foreach"]
        pipeline["stages"][stage]["foreach"] = {name: pairs[name] for name in ("digits-sgd", "digits-adam")}
    (folder / "dvc.yaml").write_text(yaml.safe_dump(pipeline))

    dvc(folder, "repro")
    journal = folder / "mlruns" / "journal" / "digits.jsonl"
    lines = journal.read_bytes().count(b"\n")
    assert lines == 2 * 2 * (1 + 2) + 2 * 3
    assert "Running stage" not in dvc(folder, "repro")
    assert "test_accuracy_mean" in dvc(folder, "metrics", "show")
    assert "dvc_plots" in dvc(folder, "plots", "show")
    commit(folder)

    (folder / "results" / "digits" / "runs" / "sgd.csv").unlink()
    dvc(folder, "repro", "--no-run-cache")
    assert journal.read_bytes().count(b"\n") == lines

    for module, stage in (("reporting/plots.py", "compare@digits"), ("training/train.py", "prepare@digits")):
        with (folder / "src" / "optstudy" / module).open("a") as file:
            file.write("# An edit that changes no number.\n")
        assert stages_run(dvc(folder, "repro")) == {stage}
    assert journal.read_bytes().count(b"\n") == lines

    content["optimizers"][1] = {"name": "adam", "search": {"learning_rate": {"low": 1e-3, "high": 1e-1}}}
    study.write_text(yaml.safe_dump(content))
    output = dvc(folder, "repro")
    touched = {"prepare@digits", "pretrain@digits", "tune@digits-adam", "train@digits-adam", "compare@digits"}
    assert stages_run(output) == touched  # `pretrain` checks the weights of a fine-tuning study; this one has none
    difference = dvc(folder, "metrics", "diff")
    assert "adam.test_accuracy_mean" in difference
    assert "sgd.test_accuracy_mean" not in difference
    assert "dvc_plots" in dvc(folder, "plots", "diff")

    commit(folder)
    output = dvc(folder, "exp", "run", "-S", "configs/digits.yaml:claims.0.margin=0.02")
    assert stages_run(output) == {"prepare@digits", "compare@digits"}  # a claim retrains nothing
    claims = json.loads((folder / "results" / "digits" / "claims.json").read_text())
    assert (claims[0]["margin"], claims[0]["post_hoc"]) == (0.02, True)


def commit(folder: Path) -> None:
    for arguments in (["add", "-A"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "state"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
