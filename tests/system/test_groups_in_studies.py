"""A whole study with groups of parameters: it runs, resumes and reports, and shows the groups' hyperparameters."""

from __future__ import annotations

from pathlib import Path

import mlflow
import optuna
import pandas as pd
import pytest
from mlflow.entities import Run

from optstudy.planning.layout import StudyPaths
from optstudy.running import stages
from optstudy.study.study import load_study

pytestmark = pytest.mark.slow

STUDY = """\
name: groups
data: {name: digits, train_size: 300}
model: {name: mlp, arguments: {width: 16}}
epochs: 1
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
  trials: 2
  sampler: tpe
claims:
  - statement: Muon is better than momentum
    better: muon-adamw
    than: momentum
"""
SEARCHED = ["learning_rate", "weight_decay", "muon.learning_rate"]


def trainings_in_mlflow(folder: Path) -> list[dict[str, str]]:
    """Return the parameters of the MLflow runs of muon-adamw's trainings."""
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlruns' / 'mlflow.db'}")
    runs = mlflow.search_runs(experiment_names=["groups"], output_format="list")
    mine = [one for one in runs if isinstance(one, Run) and one.data.tags.get("optstudy.contender") == "muon-adamw"]
    return [one.data.params for one in mine if "optstudy.key" in one.data.tags]


def test_a_study_with_groups_runs_resumes_and_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(STUDY)
    paths, said = StudyPaths(load_study(Path("study.yaml")), tmp_path / "results"), list[str]()
    stages.run(paths, 1, said.append, lambda _: None)
    assert "muon-adamw, hidden: trained one by one: its parameters are in groups" in said
    tables = tmp_path / "results" / "groups"
    trials = pd.read_csv(tables / "tuning" / "muon-adamw.csv")
    assert list(trials.columns[3:6]) == SEARCHED
    assert trials["muon.learning_rate"].between(0.01, 1.0).all()
    selected = pd.read_csv(tables / "selected" / "muon-adamw.csv").set_index("replicate")
    runs = pd.read_csv(tables / "runs" / "muon-adamw.csv")
    tuned = runs[runs["variant"] == "tuned"].set_index("replicate")
    assert tuned["muon.learning_rate"].equals(selected["muon.learning_rate"])
    assert "muon.learning rate" in (tables / "report.html").read_text()

    shown = trainings_in_mlflow(tmp_path)
    assert len(shown) == 2 * (2 + 2)
    assert {"muon.learning_rate", "learning_rate"} <= shown[0].keys()
    database = f"sqlite:///{tmp_path / 'mlruns' / 'optuna.db'}"
    in_optuna = optuna.load_study(study_name="groups/muon-adamw", storage=database).trials
    rates = sorted(one.params["muon.learning_rate"] for one in in_optuna)
    assert rates == pytest.approx(sorted(trials["muon.learning_rate"]))

    journal = tmp_path / "mlruns" / "journal" / "groups.jsonl"
    lines, before = journal.read_text().splitlines(keepends=True), (tables / "selected" / "muon-adamw.csv").read_text()
    journal.write_text("".join(lines[: len(lines) // 2]))  # as if the study had been killed
    stages.run(paths, 1, said.append, lambda _: None)
    assert len(journal.read_text().splitlines()) == len(lines)
    assert (tables / "selected" / "muon-adamw.csv").read_text() == before
