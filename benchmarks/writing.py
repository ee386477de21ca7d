"""Writes 200 trainings of 20 epochs into the journal, MLflow and Optuna; compares MLflow with its plainest use.

The plainest use for a training is one `create_run`, `log_batch` and `set_terminated`, without tags, on SQLite as MLflow
creates it. They take turns. Nothing is trained: results are drawn from the keys. Opening the stores is not counted.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from glue import store
from measure import arguments, ended, figure, ratios, report

from optstudy.planning import journal
from optstudy.planning.jobs import Job, named_jobs
from optstudy.planning.layout import StudyPaths
from optstudy.records.mlflow_runs import MlflowRecorder
from optstudy.records.optuna_trials import OptunaRecorder
from optstudy.records.recorder import Recorder
from optstudy.spec import TrainingEnded
from optstudy.study.study import Study

if TYPE_CHECKING:
    from mlflow import MlflowClient

# With a tuned and an untuned final run, a search of 18 trials makes 20 trainings in each of 10 replicates.
CONTENT = {"name": "writing", "data": "digits", "model": "linear", "epochs": 20, "replicates": 10}
STUDY = Study.model_validate({**CONTENT, "optimizers": ["adam"], "tuning": {"trials": 18}})
Finished = list[tuple[Job, journal.Entry]]
Write = Callable[[Job, journal.Entry], object]


def finished(folder: Path) -> Finished:
    """Return the trainings with their journal entries."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from synthetic import fill_journal

    paths = StudyPaths(STUDY, folder / "results", folder / "mlruns")
    session = fill_journal(paths)
    jobs = named_jobs(STUDY, paths.contenders, session.fingerprints, session.entries)
    return [(job, session.entries[job.key]) for job in jobs]


def by_journal(folder: Path) -> Write:
    """Return a function that writes a training into an empty journal, to the disk."""
    path = journal.journal_path(folder, STUDY.name)

    def write(job: Job, entry: journal.Entry) -> object:
        ended = TrainingEnded(0, entry.result, entry.started_ms, entry.epoch_ms, entry.ended_ms, facts=entry.facts)
        return journal.append(path, job.key, job.spec, entry.digests, ended, entry.claims)

    return write


def by_mlflow(folder: Path) -> Write:
    """Return a function that writes a training into an empty MLflow store as optstudy does."""
    return opened(MlflowRecorder(folder, STUDY.name, {}, STUDY.objective))


def by_optuna(folder: Path) -> Write:
    """Return a function that writes a training into an empty Optuna store, if it is a trial."""
    spaces = {contender.name: STUDY.row(contender).search for contender in STUDY.optimizers}
    return opened(OptunaRecorder(folder, STUDY.name, spaces, STUDY.objective))


def opened(recorder: Recorder) -> Write:
    """Open a recorder and return its function that adds a training."""
    recorder.open()
    return recorder.add


def by_plainest_use(folder: Path) -> Write:
    """Return a function that writes a training into an empty MLflow store in its plainest use."""
    from mlflow import MlflowClient

    client = MlflowClient(store(folder))
    experiment = client.create_experiment(STUDY.name)
    return lambda _, entry: write_plainly(client, experiment, entry)


def write_plainly(client: MlflowClient, experiment: str, entry: journal.Entry) -> None:
    """Write a training into MLflow without optstudy."""
    from mlflow.entities import Metric, Param

    run = client.create_run(experiment, entry.started_ms).info.run_id
    parameters = [Param(name, str(value)) for name, value in entry.spec["hyperparameters"].items()]
    rows = enumerate([*entry.result.curve, entry.result.metrics], start=1)
    points = [Metric(name, value, entry.ended_ms, step) for step, row in rows for name, value in row.items()]
    client.log_batch(run, points, parameters)
    client.set_terminated(run, "FINISHED", entry.ended_ms)


WAYS = {"journal": by_journal, "MLflow": by_mlflow, "MLflow, plainest use": by_plainest_use, "Optuna": by_optuna}


def seconds(way: str, trainings: Finished) -> float:
    """Return how long it takes to write all trainings."""
    with tempfile.TemporaryDirectory() as folder:
        write = WAYS[way](Path(folder))
        clock = time.perf_counter()
        for job, entry in trainings:
            write(job, entry)
        return time.perf_counter() - clock


def main() -> None:
    """Measure."""
    repeats = arguments(__doc__, 9).parse_args().repeats
    with tempfile.TemporaryDirectory() as folder:
        trainings = finished(Path(folder))
    timed = []
    for count in range(repeats + 1):
        timed.append([seconds(way, trainings) for way in WAYS])
        ended(f"writing, {count} of {repeats}")
    by_way = dict(zip(WAYS, zip(*timed[1:], strict=True), strict=True))  # the first measurements warm up
    title = f"{len(trainings)} trainings of {STUDY.epochs} epochs"
    ratio = ratios(f"{title}: MLflow, relative to its plainest use", by_way["MLflow"], by_way["MLflow, plainest use"])
    report([*(figure(f"{title}: {way}", values, "s") for way, values in by_way.items()), ratio])


if __name__ == "__main__":
    main()
