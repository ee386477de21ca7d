"""The stages: a pretraining happens once and is named everywhere, and MLflow holds the answer and models."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch

from builders import tiny
from optstudy.errors import TrainingFailed
from optstudy.planning import journal
from optstudy.planning.layout import StudyPaths
from optstudy.planning.preflight import fingerprints_of
from optstudy.running import stages
from optstudy.study.study import Study
from optstudy.tasks.datasets import load_arrays
from optstudy.tasks.pretrained import WEIGHTS

HALF = {"name": "digits", "arguments": {"classes": [5, 6]}}
OTHER_HALF = {"name": "digits", "arguments": {"classes": [0, 1]}}


def transfer() -> Study:
    return tiny(
        name="transfer",
        data=HALF,
        model={"name": "linear", "pretrained": "pretraining"},
        pretraining={"data": OTHER_HALF, "optimizer": "momentum", "epochs": 1},
        optimizers=["sgd", {"name": "scratch", "like": "sgd", "from_scratch": True}],
        tuning={"trials": 1},
    )


def run(study: Study) -> tuple[StudyPaths, list[str]]:
    said: list[str] = []
    paths = StudyPaths(study, Path("results"))
    stages.run(paths, 1, said.append, lambda _: None)
    return paths, said


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("transfer")


def test_a_pretraining_happens_once_and_its_optimizer_is_named_in_every_output(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    paths, said = run(transfer())
    assert any("pretraining by momentum" in line for line in said)
    weights = [(path, path.stat().st_mtime_ns) for path in WEIGHTS.iterdir()]
    entries = journal.read_journal(paths.journal)
    paths, said = run(transfer())
    assert [(path, path.stat().st_mtime_ns) for path in WEIGHTS.iterdir()] == weights
    assert journal.read_journal(paths.journal) == entries
    assert len(entries) == 1 + 2 * 2 * (1 + 2)

    start = json.loads((paths.tables / "start.json").read_text())
    assert start["pretrained_by"] == "momentum"
    assert weights[0][0].stem == start["digest"]
    assert set(pd.read_csv(paths.tables / "comparison.csv")["pretrained_by"]) == {"momentum"}
    with closing(sqlite3.connect("mlruns/mlflow.db")) as database:
        query = "select run_uuid from tags where key = 'optstudy.pretrained_by' and value = 'momentum'"
        named = database.execute(query).fetchall()
        assert len(named) == len(entries) + 2 + 1  # and two parents, and the comparison
        query = "select count(*) from tags where key = 'optstudy.stage' and value = 'pretraining'"
        assert database.execute(query).fetchone() == (1,)


class Untested(pl.LightningModule):
    """It logs no test/accuracy, for it has no test_step."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = torch.nn.Linear(64, 8), torch.nn.Linear(8, 10)

    def loss(self, batch: Any) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self.head(self.body(batch[0].flatten(1))), batch[1])

    def training_step(self, batch: Any) -> torch.Tensor:
        return self.loss(batch)

    def validation_step(self, batch: Any) -> None:
        self.log("val/loss", self.loss(batch))


def test_a_pretraining_without_a_test_step_reports_the_metrics_that_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    study = tiny(
        model={"class": "test_stages.Untested", "pretrained": "pretraining"},
        pretraining={"data": "digits", "optimizer": "adam", "epochs": 1},
    )
    said: list[str] = []
    paths = StudyPaths(study, Path("results"))
    stages.pretrain(paths, said.append)
    metrics = json.loads((paths.tables / "start.json").read_text())["metrics"]
    assert said == [f"pretraining by adam: val loss {metrics['val/loss']:.4f} on its data"]


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-9])])
def test_weights_of_a_pretraining_that_are_gone_or_damaged_are_made_again(
    damage: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = StudyPaths(transfer(), Path("results"))
    stages.pretrain(paths, lambda _: None)
    [path] = WEIGHTS.iterdir()
    before = path.read_bytes()
    damage(path)
    stages.pretrain(paths, lambda _: None)
    assert path.read_bytes() == before


class Percent(Untested):
    def validation_step(self, batch: Any) -> None:
        self.log("val/accuracy", 72.25, batch_size=len(batch[1]))


def test_a_pretraining_that_logs_percent_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = tiny(
        model={"class": "test_stages.Percent", "pretrained": "pretraining"},
        pretraining={"data": "digits", "optimizer": "adam", "epochs": 1},
    )
    words = "^pretraining: the model logs val/accuracy 72.25: an accuracy must be a fraction from 0 to 1$"
    with pytest.raises(TrainingFailed, match=words):
        stages.pretrain(StudyPaths(study, Path("results")), lambda _: None)
    assert not WEIGHTS.exists()


def test_mlflow_holds_the_answer_the_data_and_models_that_predict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    study = tiny(name="served", claims=[{"statement": "adam wins", "better": "adam", "than": "sgd"}])
    paths, _ = run(study)

    import mlflow
    from mlflow import MlflowClient

    from optstudy.records.mlflow_runs import tracking_uri

    client = MlflowClient(tracking_uri(paths.mlruns))
    experiment = client.get_experiment_by_name("served")
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    parents = {r.info.run_name: r for r in runs if r.data.tags["optstudy.stage"] in ("contender", "comparison")}
    assert set(parents) == {"sgd", "adam", "comparison"}
    content = fingerprints_of(study)
    for name, parent in parents.items():
        note = parent.data.tags["mlflow.note.content"]
        assert "Tuned with 2 trials each" in note
        assert [given.dataset.digest for given in parent.inputs.dataset_inputs] == [content.data], name
    assert "adam wins: **" in experiment.tags["mlflow.note.content"]
    attached = {item.path for item in client.list_artifacts(parents["comparison"].info.run_id)}
    assert {"report.html", "figures", "comparison.csv", "claims.json", "runs"} <= attached

    arrays = load_arrays(study.data.resolved())
    finals = {r.data.tags["optstudy.contender"]: r for r in runs if "optstudy.model" in r.data.tags}
    assert set(finals) == {"sgd", "adam"}
    assert "MLFLOW_TRACKING_URI" not in os.environ  # MLflow sets it, and a second study would take it for the user's
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(paths.mlruns))
    mlflow.set_tracking_uri(tracking_uri(paths.mlruns))
    for final in finals.values():
        model = mlflow.pyfunc.load_model(final.data.tags["optstudy.model"])
        assert model.metadata.signature.inputs.inputs[0].shape == (-1, *arrays.x.shape[1:])
        right = model.predict(arrays.test_x).argmax(1) == arrays.test_y
        assert float(right.mean()) == pytest.approx(final.data.metrics["test/accuracy"])
        assert not list(paths.mlruns.rglob("*.pkl"))

    run(study)
    assert client.get_run(finals["sgd"].info.run_id).outputs.model_outputs == finals["sgd"].outputs.model_outputs
