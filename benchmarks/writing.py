"""Writing 200 trainings of 20 epochs into journal, MLflow and Optuna; MLflow against its plainest use, in turn.

The plainest: of each training one `create_run`, one `log_batch`, one `set_terminated`, no tags, on SQLite as MLflow
makes it. Nothing is trained: results are drawn from the keys. Opening the stores is not counted.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from glue import store
from measure import arguments, figure, ratios, report

from optstudy.planning import journal
from optstudy.planning.jobs import Job, named_jobs
from optstudy.planning.layout import StudyPaths
from optstudy.running.stages import live_of
from optstudy.spec import TrainingEnded
from optstudy.study.study import Study

if TYPE_CHECKING:
    from mlflow import MlflowClient

# With a tuned and an untuned final run, a search of 18 trials makes 20 trainings in each of 10 replicates.
CONTENT = {"name": "writing", "data": "digits", "model": "linear", "epochs": 20, "replicates": 10}
STUDY = Study.model_validate({**CONTENT, "optimizers": ["adam"], "tuning": {"trials": 18}})
Finished = list[tuple[Job, journal.Entry]]


def finished(folder: Path) -> Finished:
    """Return the trainings, as the journal has them."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from synthetic import fill_journal

    paths = StudyPaths(STUDY, folder / "results", folder / "mlruns")
    content = fill_journal(paths)
    done = journal.read_journal(paths.journal)
    jobs = named_jobs(STUDY, paths.contenders, content, done)
    return [(job, done[job.key]) for job in jobs]


def plainest(client: MlflowClient, experiment: str, entry: journal.Entry) -> None:
    """Write a training into MLflow as one would without optstudy."""
    from mlflow.entities import Metric, Param

    run = client.create_run(experiment, entry.started_ms).info.run_id
    parameters = [Param(name, str(value)) for name, value in entry.spec["hyperparameters"].items()]
    rows = enumerate([*entry.result.curve, entry.result.metrics], start=1)
    points = [Metric(name, value, entry.ended_ms, step) for step, row in rows for name, value in row.items()]
    client.log_batch(run, points, parameters)
    client.set_terminated(run, "FINISHED", entry.ended_ms)


def by_journal(folder: Path) -> Callable[[Job, journal.Entry], object]:
    """Return what writes a training into an empty journal, to the disk."""
    path = journal.journal_path(folder, STUDY.name)

    def write(job: Job, entry: journal.Entry) -> object:
        ended = TrainingEnded(0, entry.result, entry.started_ms, entry.epoch_ms, entry.ended_ms)
        return journal.append(path, job.key, job.spec, ended, entry.claims)

    return write


def by_tracker(folder: Path) -> Callable[[Job, journal.Entry], object]:
    """Return what writes a training into an empty MLflow store as optstudy does."""
    return live_of(StudyPaths(STUDY, folder, folder)).tracker.add


def by_client(folder: Path) -> Callable[[Job, journal.Entry], object]:
    """Return what writes a training into an empty MLflow store in the plainest way."""
    from mlflow import MlflowClient

    client = MlflowClient(store(folder))
    experiment = client.create_experiment(STUDY.name)
    return lambda _, entry: plainest(client, experiment, entry)


def by_trials(folder: Path) -> Callable[[Job, journal.Entry], object]:
    """Return what writes a training into an empty Optuna store, if it is a trial."""
    trials = live_of(StudyPaths(STUDY, folder, folder)).trials
    return lambda job, entry: trials.add(job, entry) if job.stage == "tuning" else None


WAYS = {"journal": by_journal, "MLflow": by_tracker, "MLflow, plainest": by_client, "Optuna": by_trials}


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
    timed = [[seconds(way, trainings) for way in WAYS] for _ in range(repeats + 1)]
    found = dict(zip(WAYS, zip(*timed[1:], strict=True), strict=True))  # the first ones warm up
    title = f"{len(trainings)} trainings of {STUDY.epochs} epochs"
    over = ratios(f"{title}: MLflow, over its plainest use", found["MLflow"], found["MLflow, plainest"])
    report([*(figure(f"{title}: {way}", values, "s") for way, values in found.items()), over])


if __name__ == "__main__":
    main()
