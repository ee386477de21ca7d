"""Shows a study in MLflow. Metrics keep the journal's timestamps, so that logging one again changes nothing."""

from __future__ import annotations

import json
import logging
import math
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optstudy.metrics import present
from optstudy.planning.jobs import Job
from optstudy.planning.journal import Entry
from optstudy.planning.layout import keeps_weights, weights_path
from optstudy.records.databases import (
    artifacts_address,
    create_missing,
    default_database,
    follow_moved_folder,
    run_pragma,
    sqlite_file,
    tracking_uri,
)
from optstudy.records.logged_models import log_model
from optstudy.records.mlflow_ui.contender_runs import (
    arranged,
    main_finals,
    mean_curve,
    selected_parameters,
    without_markup_at_start,
)
from optstudy.records.mlflow_ui.links import VIEW_TAG, view
from optstudy.records.mlflow_ui.names import metric_name, metric_of_column
from optstudy.records.ownership import OWNER, check_owner, make_project, name_prefix, read_project
from optstudy.records.parameters import contender_parameters, training_parameters
from optstudy.records.provenance import tables_digest
from optstudy.records.recorder import Projection
from optstudy.spec import EpochEnded

if TYPE_CHECKING:
    from mlflow.entities import Experiment, Metric, Param, Run

Row = Mapping[str, Any]
Curve = Mapping[str, Sequence[tuple[int, float]]]  # by metric, its value at each epoch
NO_CURVE: Curve = {}

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # MLflow reads it when it is imported
# MLflow tries a request for minutes, while records.live tries again by itself.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
os.environ["MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"] = (
    "true"  # it would print the address of each run, password and all
)

MLFLOW = "MLflow (MLFLOW_TRACKING_URI)"  # in messages
NOTE = "mlflow.note.content"  # the tag that MLflow's UI shows as a description
# MLflow's limits, in characters (mlflow.utils.validation).
MAX_VALUE = 6000  # of a parameter
MAX_TAG = 8000  # of a tag of a run
MAX_EXPERIMENT_TAG = 20_000
MAX_DATA_NAME, MAX_DATA_SOURCE = 500, 65_535
CUT = "\n\n... (cut at the length that MLflow allows; report.html among the files of the run `comparison` has it whole)"
TAG_COLUMNS = ("n", "diverged", "target_")  # of the comparison: the UI would plot them if they were metrics


def create_store(root: Path) -> str:
    """Return the address of the MLflow store; its SQLite file is created if it is missing."""
    uri = tracking_uri(root)
    silence()
    create_missing(uri, _create_tables)
    if not os.environ.get("MLFLOW_TRACKING_URI"):
        follow_moved_folder(root)
    return uri


def silence() -> None:
    """Keep the libraries' own messages about retries and addresses to themselves: they may contain credentials."""
    for name in ("alembic", "mlflow", "mlflow.store.db.utils", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _create_tables(uri: str) -> None:
    """Create MLflow's tables with the function that its client uses: the client would keep the file open."""
    from mlflow.tracking._tracking_service.utils import _get_sqlalchemy_store

    _get_sqlalchemy_store(uri, None).engine.dispose()  # type: ignore[no-untyped-call]  # MLflow has no types for it


class MlflowRecorder:
    """The MLflow experiment of one study.

    Each contender has a run with its aggregates over replicates, the parent of the runs of its trainings. The run
    `comparison` has the report, the figures and the tables. The tag `optstudy.identity` identifies each run. Runs and
    experiments of other projects, and what people add by hand, are left alone (see records.ownership).
    """

    store = MLFLOW

    def __init__(self, root: Path, study: str, tags: Mapping[str, str], objective: str) -> None:
        self._root, self._study, self._objective = root, study, objective
        self._tags = {name: value[:MAX_TAG] for name, value in tags.items()}
        self._database = None if os.environ.get("MLFLOW_TRACKING_URI") else default_database(root, "mlflow")
        self._experiment = ""  # its id
        self._runs: dict[str, str] = {}  # ids of finished runs, by identity
        self._running: dict[str, tuple[str, int]] = {}  # ids of unfinished runs and the last epoch shown, by identity

    def check(self) -> None:
        """Raise StudyError if the experiment's name is taken; the default database is the project's own."""
        uri = tracking_uri(self._root)
        file = sqlite_file(uri)
        if self._database is not None or (file is not None and not file.exists()):
            return
        silence()
        from mlflow import MlflowClient

        experiment = MlflowClient(uri).get_experiment_by_name(name_prefix() + self._study)
        if experiment is not None:
            self._check_owner(experiment, read_project(self._root))

    def open(self) -> None:
        """Open the store and the study's experiment, which are created if they are missing, and read its runs."""
        uri = create_store(self._root)
        from mlflow import MlflowClient

        # The mode stays with the file: transactions take a third less time, and readers such as the UI do not block
        # writers (https://sqlite.org/wal.html).
        self._run_pragma("journal_mode=WAL")
        self._client, self._project = MlflowClient(uri), make_project(self._root)
        self._tags[OWNER] = self._project
        name = name_prefix() + self._study
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            artifacts = None if self._database is None else artifacts_address(self._root) + name
            self._experiment = self._client.create_experiment(name, artifacts, {OWNER: self._project})
        else:
            self._check_owner(experiment, self._project)
            if experiment.lifecycle_stage == "deleted":
                self._client.restore_experiment(experiment.experiment_id)
            self._experiment = experiment.experiment_id
        self._read_runs()

    def _check_owner(self, experiment: Experiment, project: str) -> None:
        owner = self._owner(experiment.tags, project)
        check_owner("MLFLOW_TRACKING_URI", f"the experiment {experiment.name!r}", owner, project)

    def _owner(self, tags: Mapping[str, str], project: str) -> str | None:
        """Return the project that wrote what has these tags.

        Earlier versions wrote no id; what they wrote into the default database is this project's.
        """
        return tags.get(OWNER, None if self._database is None else project)

    def _read_runs(self) -> None:
        """Read which runs there are; delete unfinished ones and duplicates, so that they are written again."""
        self._runs, self._running = {}, {}
        from mlflow.utils import get_results_from_paginated_fn

        def page(size: int, token: str | None) -> Any:
            return self._client.search_runs([self._experiment], max_results=size, page_token=token)

        for run in get_results_from_paginated_fn(page, 1000):  # type: ignore[no-untyped-call]  # MLflow has no types
            identity = run.data.tags.get("optstudy.identity")
            if identity is None or self._owner(run.data.tags, self._project) != self._project:
                continue  # not a run of this project
            if run.info.status != "FINISHED" or identity in self._runs:
                self._client.delete_run(run.info.run_id)
            else:
                self._runs[identity] = run.info.run_id

    def epochs(self, job: Job, events: Sequence[EpochEnded]) -> None:
        """Log the epochs of a running training that are not logged yet; its run stays RUNNING."""
        identity = training_identity(job)
        run, shown = self._running.get(identity) or (self._start(job, events[0].time_ms, "running"), 0)
        metrics = [m for e in events if e.epoch > shown for m in _metrics(e.metrics, e.time_ms, e.epoch)]
        self._client.log_batch(run, metrics, [] if shown else _params(training_parameters(job)))
        self._running[identity] = run, events[-1].epoch

    def fail(self, job: Job) -> None:
        """Mark the run of a training that raised as FAILED; it is deleted when the experiment is opened again."""
        if running := self._running.pop(training_identity(job), None):
            self._client.set_tag(running[0], "optstudy.status", "failed")
            self._client.set_terminated(running[0], "FAILED")

    def add(self, job: Job, entry: Entry) -> None:
        """Log a finished training as a child of its contender, unless it is logged already.

        Epochs are steps 1, 2, ...; the metrics of the final weights are one step further.
        """
        identity, result = training_identity(job), entry.result
        if identity in self._runs:
            return
        run, shown = self._running.pop(identity, ("", 0))
        if run:
            self._client.set_tag(run, "optstudy.status", result.status)
        else:  # its tags are written in the transaction that creates it: each transaction takes milliseconds
            run = self._start(job, entry.started_ms, result.status)
        epochs = list(enumerate(zip(entry.epoch_ms, result.curve, strict=True), start=1))
        metrics = [m for step, (when, values) in epochs if step > shown for m in _metrics(values, when, step)]
        metrics += _metrics({**result.metrics, "seconds": result.seconds}, entry.ended_ms, len(epochs) + 1)
        # The UI's plots show the metric that was written first. Of each metric the latest value comes first: MLflow
        # stores the latest value, and would update it with each epoch.
        metrics.sort(key=lambda metric: (metric.key != self._objective, -metric.step))
        self._client.log_batch(run, metrics, [] if shown else _params(training_parameters(job)))
        self._finish(identity, run, entry.ended_ms)

    def _start(self, job: Job, started_ms: int, status: str) -> str:
        """Create the run of a training and return its id."""
        place = f"trial {job.trial}" if job.stage == "tuning" else job.variant
        parent = {} if job.stage == "pretraining" else {"mlflow.parentRunId": self._parent(job.contender, started_ms)}
        facts = {name: getattr(job, name) for name in ("stage", "variant", "replicate", "trial", "seed", "key")}
        tags = {**parent, **_tags({**facts, "split_seed": job.spec.split_seed, "status": status})}
        name = f"{job.contender} r{job.replicate} {place}"
        return self._create(training_identity(job), name, job.contender, started_ms, tags)

    def complete(self, projection: Projection) -> None:
        """Bring the experiment in line with the study: runs, aggregates, the comparison with its files, models."""
        study, paths, ended = projection.study, projection.paths, projection.ended_ms
        self.keep_only(projection.trainings)
        for job in projection.trainings:
            self.add(job, projection.entries[job.key])
        rows = [{str(name): value for name, value in row.items()} for row in projection.comparison.to_dict("records")]
        sizes = {"replicates": study.replicates, "trials": study.tuning.trials}
        for name in paths.contenders:
            rows_of_contender = [row for row in rows if row["contender"] == name]
            finals = main_finals(projection.jobs, name, study.variants[0])
            settings = {**contender_parameters(study, name), **selected_parameters(name, finals)}
            curve = mean_curve(finals, projection.entries)
            self.summarise(name, rows_of_contender, settings, sizes, ended[name], curve)
        self.attach(paths.tables, tables_digest(paths.tables), max(ended.values()))
        self._describe(projection.notes)
        shown_view = view(present(projection.comparison.columns, study.objective), study.objective)
        self._client.set_experiment_tag(self._experiment, VIEW_TAG, shown_view)
        self._log_data(study.data.resolved(), projection.fingerprints.data)
        for job in projection.jobs:
            weights = weights_path(paths, job)
            if keeps_weights(study, job) and weights.exists():
                log_model(self._client, self._experiment, self._runs[training_identity(job)], job, weights)
        self._run_pragma("wal_checkpoint(TRUNCATE)")  # so that a copy of the database file alone is complete

    def keep_only(self, jobs: Iterable[Job]) -> None:
        """Delete the runs and models of other trainings and contenders. MLflow keeps deleted runs until `mlflow gc`."""
        kept = {"comparison"}.union(*({training_identity(job), f"parent {job.contender}"} for job in jobs))
        former = {self._runs.pop(identity) for identity in self._runs.keys() - kept}
        for run in former:
            self._client.delete_run(run)
        for model in self._client.search_logged_models([self._experiment]) if former else ():
            if model.source_run_id in former:
                self._client.delete_logged_model(model.model_id)

    def summarise(
        self, contender: str, rows: Sequence[Row], settings: Row, sizes: Row, ended_ms: int, curve: Curve = NO_CURVE
    ) -> None:
        """Write a contender's rows of the comparison to its run, and its mean curve, which Compare draws.

        `settings` become parameters, by which the UI's Compare distinguishes contenders. `sizes` become tags, because
        MLflow lets tags change but no parameters: a study that grows keeps the runs of its contenders.
        """
        from mlflow.entities import RunTag

        values = {
            name if row["variant"] == "tuned" else f"{row['variant']}/{name}": value
            for row in rows
            for name, value in row.items()
            if isinstance(value, int | float) and math.isfinite(value)
        }
        facts = {name: value for name, value in values.items() if _is_tag(name.rpartition("/")[2])}
        means = {metric_of_column(name): float(value) for name, value in values.items() if name not in facts}
        aggregates = arranged(means)
        parameters, run = _params(settings), self._parent(contender, ended_ms)
        last = {metric_name(name): points[-1][1] for name, points in curve.items()}
        if _is_outdated(self._client.get_run(run), parameters, {**aggregates, **last}, ended_ms):
            run = self._replace_parent(contender, ended_ms)
        tags = [RunTag(*tag) for tag in _tags({**sizes, **facts}).items()]
        points = [
            m for name, found in curve.items() for step, value in found for m in _metrics({name: value}, ended_ms, step)
        ]
        self._client.log_batch(run, _metrics(aggregates, ended_ms, 0) + points, parameters, tags)
        self._client.set_terminated(run, "FINISHED", end_time=ended_ms)

    def attach(self, folder: Path, digest: str, ended_ms: int) -> None:
        """Attach the files in `folder` to the run `comparison`, unless it has those with the same digest.

        MLflow cannot delete a file of a run, so the run is replaced if a file has vanished.
        """
        run = self._runs.get("comparison", "")
        files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        if run and not self._files(run) <= files:
            self._client.delete_run(self._runs.pop("comparison"))
            run = ""
        if not run:
            run = self._create("comparison", "comparison", "", ended_ms, _tags({"stage": "comparison"}))
            self._finish("comparison", run, ended_ms)
        if self._client.get_run(run).data.tags.get("optstudy.tables") != digest:
            self._client.log_artifacts(run, str(folder))
            self._client.set_tag(run, "optstudy.tables", digest)

    def _files(self, run: str, folder: str | None = None) -> set[str]:
        """Return the paths of a run's files."""
        items = self._client.list_artifacts(run, folder)
        return set[str]().union(*(self._files(run, item.path) if item.is_dir else {item.path} for item in items))

    def _describe(self, notes: Mapping[str, str]) -> None:
        """Write each contender's results in Markdown to its run, and the study's to the experiment and `comparison`."""
        for contender, note in notes.items():
            run = self._runs[f"parent {contender}" if contender else "comparison"]
            self._client.set_tag(run, NOTE, _cut(without_markup_at_start(note), MAX_TAG))
        whole = _cut(without_markup_at_start(notes[""]), MAX_EXPERIMENT_TAG)
        self._client.set_experiment_tag(self._experiment, NOTE, whole)

    def _log_data(self, data: Mapping[str, Any], digest: str) -> None:
        """Log the data set as the input of the comparison and of all contenders."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        name, source = str(data["name"] or data["class"]), json.dumps(dict(data))
        dataset = Dataset(name[:MAX_DATA_NAME], digest, "code", source[:MAX_DATA_SOURCE])
        inputs = [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])]
        for identity, run in self._runs.items():
            if identity == "comparison" or identity.startswith("parent "):
                self._client.log_inputs(run, inputs)

    def _parent(self, contender: str, started_ms: int) -> str:
        identity = f"parent {contender}"
        if identity not in self._runs:
            run = self._create(identity, contender, contender, started_ms, _tags({"stage": "contender"}))
            self._finish(identity, run, started_ms)
        return self._runs[identity]

    def _replace_parent(self, contender: str, started_ms: int) -> str:
        """Replace the run of a contender; its children move to the new one."""
        self._client.delete_run(self._runs.pop(f"parent {contender}"))
        parent = self._parent(contender, started_ms)
        for identity, run in self._runs.items():
            if identity.startswith(f"run {contender} "):
                self._client.set_tag(run, "mlflow.parentRunId", parent)
        return parent

    def _create(self, identity: str, name: str, contender: str, started_ms: int, tags: Mapping[str, str]) -> str:
        all_tags = {**self._tags, **_tags({"identity": identity, "contender": contender}), **tags}
        run = self._client.create_run(self._experiment, started_ms, all_tags, name)
        return str(run.info.run_id)

    def _finish(self, identity: str, run: str, ended_ms: int) -> None:
        self._client.set_terminated(run, "FINISHED", end_time=ended_ms)
        self._runs[identity] = run

    def _run_pragma(self, pragma: str) -> None:
        """Run a pragma on the default database; if another process uses it, the next run of the study repeats it."""
        if self._database is not None:
            with suppress(sqlite3.OperationalError):
                run_pragma(self._database, pragma)


def _is_outdated(run: Run, parameters: Sequence[Param], aggregates: Mapping[str, float], ended_ms: int) -> bool:
    """Return whether a contender's run must be replaced.

    MLflow changes no parameter, deletes no metric, and shows the value of a metric with the latest timestamp.
    """
    data, shown = run.data, run.data.metrics
    if not (data.params or shown):
        return False
    later = shown != aggregates and run.info.end_time >= ended_ms
    return later or not shown.keys() <= aggregates.keys() or data.params != {p.key: p.value for p in parameters}


def _params(values: Mapping[str, object]) -> list[Param]:
    from mlflow.entities import Param

    return [Param(name, str(value)[:MAX_VALUE]) for name, value in values.items()]


def _metrics(values: Mapping[str, float], when_ms: int, step: int) -> list[Metric]:
    from mlflow.entities import Metric

    return [Metric(metric_name(name), value, when_ms, step) for name, value in values.items()]


def _tags(values: Mapping[str, object]) -> dict[str, str]:
    return {f"optstudy.{name}": str(value)[:MAX_TAG] for name, value in values.items()}


def _cut(note: str, limit: int) -> str:
    """Return a note at the length that MLflow allows, with a pointer to the report if it was longer."""
    return note if len(note) <= limit else note[: limit - len(CUT)] + CUT


def _is_tag(column: str) -> bool:
    return any(column == own or (own.endswith("_") and column.startswith(own)) for own in TAG_COLUMNS)


def training_identity(job: Job) -> str:
    """Return what distinguishes a training from all others of its study."""
    return f"run {job.contender} {job.replicate} {job.variant} {job.trial} {job.key}"
