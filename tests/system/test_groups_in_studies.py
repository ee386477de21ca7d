"""A whole study with groups of parameters: it runs, resumes and reports, and shows the groups' hyperparameters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import mlflow
import optuna
import pandas as pd
import pytest
from mlflow.entities import Run

pytestmark = pytest.mark.long

STUDY = """\
name: groups
data: {name: digits, train_size: 300}
model: {name: mlp, arguments: {width: 32}}
epochs: 2
batch_size: 64
replicates: 2
optimizers:
  - momentum
  - name: muon-adamw
    like: adamw
    groups: [{name: muon, class: torch.optim.Muon, ndim: 2, hidden: true}]
    search: {muon.learning_rate: {low: 1.0e-2, high: 1.0}}
  - name: hidden
    like: adamw
    groups: [{name: hidden, hidden: true}]
    fixed: {learning_rate: 0.001, weight_decay: 0.0}
    search: {hidden.learning_rate: {low: 1.0e-4, high: 1.0e-1}}
tuning:
  trials: TRIALS
  sampler: tpe
claims:
  - statement: Muon is better than momentum
    better: muon-adamw
    than: momentum
"""
SEARCHED = ["learning_rate", "weight_decay", "muon.learning_rate"]


def command(folder: Path, name: str, *options: str) -> str:
    arguments = [sys.executable, "-m", "optstudy.cli", name, "study.yaml", *options]
    ended = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def parameters(folder: Path) -> list[dict[str, str]]:
    """Return the parameters of the MLflow runs of muon-adamw's trainings."""
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}")
    runs = mlflow.search_runs(experiment_names=["groups"], output_format="list")
    mine = [one for one in runs if isinstance(one, Run) and one.data.tags.get("optstudy.contender") == "muon-adamw"]
    return [one.data.params for one in mine if "optstudy.key" in one.data.tags]


def test_a_study_with_groups_runs_resumes_and_reports(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY.replace("TRIALS", "16"))
    checked = command(tmp_path, "check")
    words = "muon-adamw: group muon (torch.optim.Muon): 1 parameter, 1,024 numbers; the rest (torch.optim.AdamW): 5"
    assert words in checked
    assert "rule 1" not in checked  # `hidden` searches a learning rate, that of its group
    output = command(tmp_path, "run", "--workers", "1")
    assert "muon-adamw, hidden: trained one by one: its parameters are in groups" in output
    assert "muon.lr" in output
    tables = tmp_path / "results" / "groups"
    trials = pd.read_csv(tables / "tuning" / "muon-adamw.csv")
    assert list(trials.columns[3:6]) == SEARCHED
    assert trials["muon.learning_rate"].between(0.01, 1.0).all()
    selected = pd.read_csv(tables / "selected" / "muon-adamw.csv").set_index("replicate")
    runs = pd.read_csv(tables / "runs" / "muon-adamw.csv")
    tuned = runs[runs["variant"] == "tuned"].set_index("replicate")
    assert tuned["muon.learning_rate"].equals(selected["muon.learning_rate"])
    assert "muon.learning rate" in (tables / "report.html").read_text()
    audit = pd.read_json(tables / "audit.json", typ="series")["contenders"]
    assert set(audit[1]["shares"]) == {"weight_decay", "muon.learning_rate"}

    shown = parameters(tmp_path)
    assert len(shown) == 2 * (16 + 2)
    assert {"muon.learning_rate", "learning_rate"} <= shown[0].keys()
    database = f"sqlite:///{tmp_path / 'mlruns' / 'optuna.db'}"
    in_optuna = optuna.load_study(study_name="groups/muon-adamw", storage=database).trials
    assert sorted(one.params["muon.learning_rate"] for one in in_optuna) == pytest.approx(
        sorted(trials["muon.learning_rate"])
    )

    journal = tmp_path / "mlruns" / "journal" / "groups.jsonl"
    lines, before = journal.read_text().splitlines(keepends=True), (tables / "selected" / "muon-adamw.csv").read_text()
    journal.write_text("".join(lines[: len(lines) // 2]))  # as if the study had been killed
    command(tmp_path, "run", "--workers", "1")
    assert len(journal.read_text().splitlines()) == len(lines)
    assert (tables / "selected" / "muon-adamw.csv").read_text() == before
    command(tmp_path, "report")
