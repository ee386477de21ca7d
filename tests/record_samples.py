"""What tests of recorders share: finished trials of a tiny study, and what real stores show of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from builders import tiny
from optstudy.planning.fingerprints import Fingerprints
from optstudy.planning.jobs import Job, trial_jobs
from optstudy.planning.journal import Entry
from optstudy.planning.layout import StudyPaths
from optstudy.records.databases import optuna_storage, tracking_uri
from optstudy.records.live import LIVE_AFTER_MS
from optstudy.records.mlflow_runs import MlflowRecorder
from optstudy.records.optuna_trials import OptunaRecorder
from optstudy.records.recorder import Projection
from optstudy.spec import RunResult, fields_of

EPOCH = {"train/loss": 1.5, "train/accuracy": 0.5, "val/loss": 1.6, "val/accuracy": 0.4, "learning_rate": 0.01}
FINAL = {f"{part}/{name}": 0.5 for part in ("train", "val", "test") for name in ("loss", "accuracy")}
FINGERPRINTS = Fingerprints("digest")


def trials(*contenders: str) -> list[Job]:
    """Return the trials of contenders, by default those of sgd."""
    names = contenders or ("sgd",)
    return [
        job for name in names for replicate in (0, 1) for job in trial_jobs(tiny(), name, replicate, FINGERPRINTS, {})
    ]


def entry(job: Job, start: int = 1_000_000, metrics: Mapping[str, Any] = FINAL) -> Entry:
    return Entry(
        key=job.key,
        spec=fields_of(job.spec),
        digests=FINGERPRINTS.digests(job.spec),
        facts={"training_version": 1},
        result=RunResult("completed", metrics, (EPOCH, EPOCH), 1.0),
        started_ms=start,
        epoch_ms=(start + 100, start + LIVE_AFTER_MS + 100),
        ended_ms=start + 2 * LIVE_AFTER_MS,
    )


def mlflow_recorder(root: Path, study: str, tags: Mapping[str, str] | None = None) -> MlflowRecorder:
    return MlflowRecorder(root, study, tags or {}, "val/accuracy")


def opened_mlflow(root: Path, study: str, tags: Mapping[str, str] | None = None) -> MlflowRecorder:
    recorder = mlflow_recorder(root, study, tags)
    recorder.open()
    return recorder


def optuna_recorder(root: Path, study: str, objective: str = "val/accuracy") -> OptunaRecorder:
    return OptunaRecorder(root, study, {c.name: c.row().search for c in tiny().optimizers}, objective)


def opened_optuna(root: Path, study: str, objective: str = "val/accuracy") -> OptunaRecorder:
    recorder = optuna_recorder(root, study, objective)
    recorder.open()
    return recorder


def projection(root: Path, study: str, jobs: Sequence[Job], metrics: Mapping[str, Any] = FINAL) -> Projection:
    """Return a study that consists of `jobs`, with a file among its tables."""
    names = list(dict.fromkeys(job.contender for job in jobs))
    paths = StudyPaths(tiny(name=study, optimizers=names), root / "results", root)
    paths.tables.mkdir(parents=True, exist_ok=True)
    (paths.tables / "comparison.csv").write_text("contender\n")
    table = pd.DataFrame([{"contender": name, "variant": "tuned", "test_accuracy_mean": 0.9} for name in names])
    entries = {job.key: entry(job, metrics=metrics) for job in jobs}
    return Projection(paths, FINGERPRINTS, jobs, entries, table, dict.fromkeys(["", *names], "a note"))


def mlflow_client(root: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri(root))


def mlflow_runs(root: Path, study: str, stage: str = "") -> list[Any]:
    """Return the runs that MLflow shows of a study, by default of every stage."""
    client = mlflow_client(root)
    query = f"tags.`optstudy.stage` = '{stage}'" if stage else ""
    return list(client.search_runs([client.get_experiment_by_name(study).experiment_id], query))


def mlflow_keys(root: Path, study: str) -> list[str]:
    """Return the keys of the finished trainings that MLflow shows, one for each run."""
    runs = mlflow_runs(root, study)
    return sorted(
        r.data.tags["optstudy.key"] for r in runs if "optstudy.key" in r.data.tags and r.info.status == "FINISHED"
    )


def optuna_trials(root: Path, name: str) -> Any:
    import optuna

    return optuna.load_study(study_name=name, storage=optuna_storage(root)).trials


def optuna_keys(root: Path, study: str) -> list[str]:
    """Return the keys of the trials that Optuna has, one for each trial."""
    import optuna

    names = [name for name in optuna.get_all_study_names(optuna_storage(root)) if name.startswith(f"{study}/")]
    return sorted(trial.user_attrs["key"] for name in names for trial in optuna_trials(root, name))
