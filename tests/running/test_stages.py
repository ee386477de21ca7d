"""A study with a pretraining, from file to tables: pretrained once, named everywhere; and what a study costs."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from itertools import permutations
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import pytorch_lightning as pl
import torch

from builders import tiny
from optstudy.errors import TrainingFailed
from optstudy.planning import journal
from optstudy.planning.jobs import Fingerprints, Job, unit_jobs, units
from optstudy.planning.layout import StudyPaths
from optstudy.planning.preflight import fingerprints_of
from optstudy.running import stages
from optstudy.running.cost import cost_of
from optstudy.spec import RunResult
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


def test_of_a_pretraining_without_a_test_is_said_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize(
    ("final", "epoch", "words"),
    [
        ({"test/accuracy": 0.0, "val/accuracy": 1.0, "val/loss": 72.2, "val/f1": 72.2}, {"val/accuracy": 1.0}, ""),
        ({"val/accuracy": 1 + 2**-23}, {"val/accuracy": -(2**-24)}, ""),  # rounding in single precision
        ({"test/accuracy": 72.2222}, {}, "test/accuracy 72.2222"),
        ({"test/accuracy": -0.5}, {}, "test/accuracy -0.5"),
        ({"val/accuracy": 0.1}, {"val/accuracy": 72.2}, "val/accuracy 72.2"),  # diverged later: scored at chance
    ],
)
def test_an_accuracy_is_a_fraction_in_every_epoch_and_at_the_end(
    final: dict[str, float], epoch: dict[str, float], words: str
) -> None:
    study = tiny(tuning={"trials": 0})
    [job] = unit_jobs(study, units(study, ["sgd"])[0], Fingerprints("digest"), {}, None, True)
    failure = stages._failure(job, RunResult("completed", final, (epoch,), 1.0), "val/accuracy")
    allowed = f"the model logs {words}: an accuracy must be a fraction from 0 to 1" if words else ""
    assert failure == allowed


def test_a_finished_study_costs_what_was_recorded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    paths, _ = run(transfer())
    cost = cost_of(paths, workers=2)
    assert (cost.recorded, cost.timed) == (("sgd", "scratch"), "")
    for name in ("sgd", "scratch"):
        tables = [pd.read_csv(paths.tables / stage / f"{name}.csv") for stage in ("tuning", "runs")]
        assert cost.each[name] == pytest.approx(pd.concat(tables)["seconds"].mean())
    assert cost.seconds > sum(cost.each.values()) * 6 / 2


def test_a_new_study_is_timed_by_its_first_contender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cost = cost_of(StudyPaths(tiny(), Path("results")), workers=1)
    assert (cost.recorded, cost.timed) == ((), "sgd")
    assert set(cost.each) == {"sgd", "adam"}
    assert cost.each["sgd"] > 0
    assert not list(tmp_path.iterdir())  # nothing is written


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


def test_failures_are_named_by_the_first_in_the_study_s_order_whichever_ended_first() -> None:
    study = tiny(sweep={"contenders": ["adam"], "points": 3})

    def jobs_of(contender: str, replicate: int) -> list[Job]:
        return unit_jobs(study, units(study, [contender])[replicate], Fingerprints("digest"), {}, None, True)

    adam = jobs_of("adam", 1)
    jobs = [adam[0], adam[2], adam[3], *jobs_of("sgd", 0)[:2]]
    assert {job.variant for job in jobs} == {"trial", "untuned", "sweep"}
    for order in permutations(jobs):
        assert stages.failure_lines([(job, "no memory") for job in order], ["sgd", "adam"]) == [
            "sgd, replicate 0, trial 0: no memory (and in 1 more of its trainings)",
            "adam, replicate 1, trial 0: no memory (and in 2 more of its trainings)",
        ]


def test_failures_that_differ_in_numbers_alone_are_one_line() -> None:
    study = tiny(tuning={"trials": 0})
    jobs = [unit_jobs(study, unit, Fingerprints("digest"), {}, None, True)[0] for unit in units(study, ["sgd"])]
    failures = list(zip(reversed(jobs), ["it logs 7e-05", "it logs -72.2"], strict=True))
    words = "sgd, replicate 0, untuned -1: it logs -72.2 (and in 1 more of its trainings)"
    assert stages.failure_lines(failures, ["sgd", "adam"]) == [words]
