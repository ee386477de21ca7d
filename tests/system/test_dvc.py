"""The pipeline knows every contender of its studies, and reruns what an edit touches and nothing else."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from optstudy.keys import TRAINING_MODULES
from optstudy.study.study import load_study

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "optstudy"
NOT_COPIED = (".venv", ".git", "mlruns", "results", "build", "__pycache__", ".*_cache", "cache", "tmp")


def test_pairs_are_those_of_the_study_files() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    studies = stages["prepare"]["foreach"]
    pairs = {
        f"{name}-{contender.name}": {"study": name, "contender": contender.name}
        for name in studies
        for contender in load_study(ROOT / "configs" / f"{name}.yaml").optimizers
    }
    assert stages["tune"]["foreach"] == stages["train"]["foreach"] == pairs
    assert stages["pretrain"]["foreach"] == stages["compare"]["foreach"] == studies


def test_prepare_depends_on_every_module_whose_edit_retrains() -> None:
    prepare = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["prepare"]["do"]
    assert {f"src/optstudy/{module}.py" for module in TRAINING_MODULES} <= set(prepare["deps"])


def imported(module: str) -> set[str]:
    """Return the modules of ours that a module imports, wherever in it."""
    tree = ast.parse((SOURCE / f"{module}.py").read_text())
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    named = {f"{node.module}.{alias.name}" for node in nodes for alias in node.names}  # optstudy.<module>[.<name>]
    found = {name.split(".")[1] for name in named if name.startswith("optstudy.")}
    return {name for name in found if (SOURCE / f"{name}.py").exists()}


def test_compare_depends_on_every_module_that_it_is_made_with() -> None:
    compare = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["compare"]["do"]
    listed = {Path(path).stem for path in compare["deps"] if path.endswith(".py")}
    reached, left = set[str](), {"written"}
    while left:
        reached |= left
        left = set[str]().union(*map(imported, left)) - reached
    assert {"plots", "captions", "fairness", "statistics"} < reached
    assert listed == reached


def dvc(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder.parent), "DVC_NO_ANALYTICS": "1"}
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=400)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def test_repro_does_what_changed_and_a_lost_out_costs_no_training(tmp_path: Path) -> None:
    folder = tmp_path / "clone"
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*NOT_COPIED))
    (folder / ".venv").symlink_to(sys.prefix)
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    study = folder / "configs" / "digits.yaml"
    pipeline = yaml.safe_load((folder / "dvc.yaml").read_text())
    content = yaml.safe_load(study.read_text())
    content |= {"model": "linear", "epochs": 1, "batch_size": 512, "replicates": 2}
    content["tuning"]["trials"] = 1
    content["optimizers"] = ["sgd", "adam"]  # each stage starts processes of its own: five take minutes
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

    content["optimizers"][1] = {"name": "adam", "search": {"learning_rate": {"low": 1e-3, "high": 1e-1}}}
    study.write_text(yaml.safe_dump(content))
    output = dvc(folder, "repro")
    ran = {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")}
    touched = {"prepare@digits", "pretrain@digits", "tune@digits-adam", "train@digits-adam", "compare@digits"}
    assert ran == touched  # `pretrain` looks whether the weights are there; a fresh start has none
    difference = dvc(folder, "metrics", "diff")
    assert "adam.test_accuracy_mean" in difference
    assert "sgd.test_accuracy_mean" not in difference
    assert "dvc_plots" in dvc(folder, "plots", "diff")

    commit(folder)
    output = dvc(folder, "exp", "run", "-S", "configs/digits.yaml:claims.0.margin=0.02")
    ran = {line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")}
    assert ran == {"prepare@digits", "compare@digits"}  # a claim retrains nothing
    claims = json.loads((folder / "results" / "digits" / "claims.json").read_text())
    assert (claims[0]["margin"], claims[0]["post_hoc"]) == (0.02, True)


def commit(folder: Path) -> None:
    for arguments in (["add", "-A"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "state"]):
        subprocess.run(["git", *arguments], cwd=folder, check=True)
