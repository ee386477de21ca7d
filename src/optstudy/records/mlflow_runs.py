"""The only MLflow, rebuilt from the journal.

Every point keeps the journal's timestamp, so that logging it again changes nothing.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import sqlite3
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, redirect_stderr, suppress
from importlib.metadata import entry_points
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from optstudy.errors import StudyError
from optstudy.keys import canonical, digest
from optstudy.planning.jobs import Job
from optstudy.planning.journal import Entry
from optstudy.planning.layout import keeps_weights, weights_path
from optstudy.records.databases import make_whole, unreachable, without_password
from optstudy.records.projection import Projection, settings
from optstudy.records.provenance import tables_digest
from optstudy.spec import EpochEnded, fields_of
from optstudy.tasks.datasets import load_arrays

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # read where MLflow is imported: a study reports to nobody

MLFLOW = "MLflow (MLFLOW_TRACKING_URI)"  # in messages
NOTE = "mlflow.note.content"  # what MLflow's UI shows as a description
BATCH = 1000  # metrics in one log_batch call: MLflow's limit
LONGEST = 250  # characters of a metric's name: MLflow's limit
LONGEST_VALUE = 6000  # characters of a parameter: MLflow's limit; it would cut itself, and a parent look changed
FIRST = "val/accuracy"  # plots open on the metric that was written first
COUNTS = ("n", "diverged", "target_val_accuracy")  # tags of a parent: as metrics they would be compared like one
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")  # schemes of stores that MLflow can open
SERVERS = ("http", "https", "databricks")


def tracking_uri(root: Path) -> str:
    """Return the MLflow store: `MLFLOW_TRACKING_URI`, or SQLite below `root` (`mlruns`).

    Raises StudyError where MLflow has no such stores; MLflow is not imported for it, which takes seconds.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if not given:
        return f"sqlite:///{_database(root)}"
    scheme = given.partition(":")[0].partition("+")[0]  # sqlite:///file, postgresql+psycopg2://host/name, databricks
    known = scheme in DATABASES + SERVERS or _is_known_here(scheme)
    reason = unreachable(given) if scheme in DATABASES else ""
    if reason or not known:
        raise StudyError(
            f"MLFLOW_TRACKING_URI: {without_password(given)!r}: must be the address of a database or a server, as "
            f"sqlite:///mlruns/mlflow.db or http://localhost:5000{f' ({reason})' if reason else ''}; "
            f"schemes: {', '.join(DATABASES + SERVERS)}"
        )
    return given


def _is_known_here(scheme: str) -> bool:
    """Return whether an installed package brings stores of this scheme, or MLflow is told to take folders."""
    folders = os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("true", "1")
    return folders or any(point.name == scheme for point in entry_points(group="mlflow.tracking_store"))


def _database(root: Path) -> Path:
    return (root / "mlflow.db").absolute()


def made_store(root: Path) -> str:
    """Return the MLflow store, which is made where it is a SQLite file that is not there yet."""
    uri = tracking_uri(root)
    for name in ("alembic", "mlflow", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)
    make_whole(uri, _make)
    return uri


def _make(uri: str) -> None:
    """Make MLflow's tables by what its client calls: the client would keep the store open, and for later calls."""
    from mlflow.tracking._tracking_service.utils import _get_sqlalchemy_store

    _get_sqlalchemy_store(uri, None).engine.dispose()  # type: ignore[no-untyped-call]  # MLflow has no types for it


class MlflowRecorder:
    """The MLflow experiment of one study."""

    store = MLFLOW

    def __init__(self, root: Path, study: str, tags: Mapping[str, str]) -> None:
        self._root, self._study, self._tags = root, study, dict(tags)
        self._live: dict[str, str] = {}  # run ids of trainings that still run, by identity
        self._written: dict[str, int] = {}  # the last epoch that a live run shows

    def open(self) -> None:
        """Open the store and the study's experiment; they are created if they are missing."""
        root, study = self._root, self._study
        root.mkdir(parents=True, exist_ok=True)
        self._uri = made_store(root)
        from mlflow import MlflowClient

        self._own = None if os.environ.get("MLFLOW_TRACKING_URI") else _database(root)  # a store that is ours alone
        # A mode that stays with the file: transactions take a third less, and readers (the UI) keep no writer waiting
        # (https://sqlite.org/wal.html).
        self._sqlite("PRAGMA journal_mode=WAL")
        self._client = MlflowClient(self._uri)
        found = self._client.get_experiment_by_name(study)
        if found is None:
            place = (root / "artifacts" / study).absolute().as_uri() if self._own else None
            self._experiment = self._client.create_experiment(study, artifact_location=place)
        else:
            if found.lifecycle_stage == "deleted":
                self._client.restore_experiment(found.experiment_id)
            self._experiment = found.experiment_id
        self._runs = self._read_runs()

    def complete(self, projection: Projection) -> None:
        """Bring the experiment in line with the study: runs, aggregates, the comparison with its files, models."""
        study, paths, ended = projection.study, projection.paths, projection.ended_ms
        self.keep_only(projection.trainings)
        for job in projection.trainings:
            self.add(job, projection.entries[job.key])
        rows = [{str(key): value for key, value in row.items()} for row in projection.comparison.to_dict("records")]
        sizes = {"replicates": study.replicates, "trials": study.tuning.trials}
        self.summarise(rows, {name: settings(study, name) for name in paths.contenders}, sizes, ended)
        self.attach(paths.tables, tables_digest(paths.tables), max(ended.values()))
        self.describe(projection.notes)
        data = study.data.resolved()
        self.data(str(data["name"] or data["class"]), projection.fingerprints.data, data)
        for job in projection.jobs:
            if keeps_weights(study, job) and weights_path(paths, job).exists():
                self.model(job, weights_path(paths, job), *_model_facts(job))
        self.settle()

    def settle(self) -> None:
        """Bring what SQLite keeps in its log beside the database into it: a copy of that one file is then complete."""
        self._sqlite("PRAGMA wal_checkpoint(TRUNCATE)")

    def _sqlite(self, command: str) -> None:
        if self._own is not None:  # where another holds it just now, it stays as it is until the next time
            with suppress(sqlite3.OperationalError), closing(sqlite3.connect(self._own)) as database:
                database.execute(command)

    def _read_runs(self) -> dict[str, str]:
        """Return run ids by identity; half-written runs and doubles are deleted, to be written again."""
        runs: dict[str, str] = {}
        token = None
        while True:
            page = self._client.search_runs([self._experiment], max_results=1000, page_token=token)
            for run in page:
                name = run.data.tags.get("optstudy.identity")
                if name is None:
                    continue  # somebody else's run
                if run.info.status != "FINISHED" or name in runs:
                    self._client.delete_run(run.info.run_id)
                else:
                    runs[name] = run.info.run_id
            token = page.token
            if not token:
                return runs

    def keep_only(self, jobs: Iterable[Job]) -> int:
        """Delete runs and models of trainings and contenders that the study no longer consists of; return how many.

        MLflow keeps deleted runs until `mlflow gc`.
        """
        wanted = {name for job in jobs for name in (identity(job), f"parent {job.contender}")}
        names = [name for name in self._runs if name.startswith(("run ", "parent ")) and name not in wanted]
        stale = {self._runs.pop(name) for name in names}
        for run in stale:
            self._client.delete_run(run)
        for model in self._client.search_logged_models([self._experiment]) if stale else ():
            if model.source_run_id in stale:
                self._client.delete_logged_model(model.model_id)
        return len(stale)

    def epochs(self, job: Job, events: Sequence[EpochEnded]) -> None:
        """Write what is new among the epochs of a training that still runs; its run stays RUNNING."""
        parameters = [] if identity(job) in self._live else _parameters(job)
        if parameters:
            self._live[identity(job)] = self._start(job, events[0].time_ms, {})
        new = [event for event in events if event.epoch > self._written.get(identity(job), 0)]
        metrics = [m for e in new for m in _points(e.metrics, e.time_ms, e.epoch)]
        self._log(self._live[identity(job)], metrics, parameters)
        self._written[identity(job)] = events[-1].epoch

    def fail(self, job: Job) -> None:
        """Close the run of a training that raised; the next run of the study replaces it."""
        if identity(job) in self._live:
            self._client.set_terminated(self._live.pop(identity(job)), "FAILED")

    def add(self, job: Job, entry: Entry) -> None:
        """Write one finished training as a child of its contender, unless it is there.

        Epochs are steps 1, 2, ...; the metrics of the final weights are one step further.
        """
        if identity(job) in self._runs:
            return
        run, parameters = self._live.pop(identity(job), None), list[Any]()
        if run is None:  # a transaction each for its tags, all numbers, its end: each transaction costs milliseconds
            run = self._start(job, entry.started_ms, {"optstudy.status": entry.result.status})
            parameters = _parameters(job)
        else:
            self._client.set_tag(run, "optstudy.status", entry.result.status)
        epochs = list(enumerate(zip(entry.epoch_ms, entry.result.curve, strict=True), start=1))
        written = self._written.pop(identity(job), 0)
        metrics = [m for step, (when, values) in epochs if step > written for m in _points(values, when, step)]
        final = {**entry.result.metrics, "seconds": entry.result.seconds}
        metrics += _points(final, entry.ended_ms, len(epochs) + 1)
        # The newest first: MLflow keeps each metric's latest value, and would write it anew for every epoch.
        self._log(run, sorted(metrics, key=lambda metric: (metric.key != FIRST, -metric.step)), parameters)
        self._finish(identity(job), run, entry.ended_ms)

    def _start(self, job: Job, started_ms: int, more: Mapping[str, str]) -> str:
        """Create the run of a training, `more` among its tags; return its id."""
        place = f"trial {job.trial}" if job.stage == "tuning" else job.variant
        parent = {} if job.stage == "pretraining" else {"mlflow.parentRunId": self._parent(job.contender, started_ms)}
        tags = {
            **parent,
            "optstudy.stage": job.stage,
            "optstudy.variant": job.variant,
            "optstudy.replicate": str(job.replicate),
            "optstudy.trial": str(job.trial),
            "optstudy.seed": str(job.spec.seed),
            "optstudy.split_seed": str(job.spec.split_seed),
            "optstudy.key": job.key,
            **more,
        }
        shown = f"{job.contender} r{job.replicate} {place}"
        return self._create(identity(job), shown, job.contender, started_ms, tags)

    def summarise(
        self,
        rows: Sequence[Mapping[str, Any]],
        settings: Mapping[str, Mapping[str, object]],
        sizes: Mapping[str, object],
        ended_ms: Mapping[str, int],
    ) -> None:
        """Write each contender's aggregates over replicates to its parent run: tuned plain, untuned with a prefix.

        `settings` become the parent's parameters, so that the UI's Compare has something to colour by; the study's
        `sizes` become tags, which MLflow lets change: a study that grows keeps its parents.
        """
        from mlflow.entities import Param

        for contender in {row["contender"] for row in rows}:
            own = [row for row in rows if row["contender"] == contender]
            values = {
                _aggregate(str(name), row["variant"]): value
                for row in own
                for name, value in row.items()
                if isinstance(value, int | float) and math.isfinite(value)
            }
            counts = {name: value for name, value in values.items() if name.removeprefix("untuned/") in COUNTS}
            means = {name: float(value) for name, value in values.items() if name not in counts}
            tags = {f"optstudy.{name}": str(value) for name, value in {**sizes, **counts}.items()}
            when = ended_ms[contender]
            run = self._parent(contender, when)
            content = digest(canonical([means, tags, settings[contender]]))
            if self._client.get_run(run).data.tags.get("optstudy.aggregates") == content:
                continue
            parameters = {name: str(value)[:LONGEST_VALUE] for name, value in settings[contender].items()}
            if self._client.get_run(run).data.params not in ({}, parameters):
                run = self._new_parent(contender, when)
            self._log(run, _points(means, when, 0), [Param(*item) for item in parameters.items()])
            for name, value in (*tags.items(), ("optstudy.aggregates", content)):
                self._client.set_tag(run, name, value)
            self._client.set_terminated(run, "FINISHED", end_time=when)

    def attach(self, folder: Path, content: str, ended_ms: int) -> None:
        """Attach report, figures and tables in `folder` to the one `comparison` run, where their digest is new.

        MLflow takes no artifact back: where files have vanished, the run is made anew.
        """
        run = self._runs.get("comparison")
        files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
        if run is not None and not self._artifacts(run) <= files:
            self._client.delete_run(self._runs.pop("comparison"))
            run = None
        if run is None:
            run = self._create("comparison", "comparison", "", ended_ms, {"optstudy.stage": "comparison"})
            self._finish("comparison", run, ended_ms)
        if self._client.get_run(run).data.tags.get("optstudy.tables") != content:
            self._client.log_artifacts(run, str(folder))
            self._client.set_tag(run, "optstudy.tables", content)

    def _artifacts(self, run: str, path: str | None = None) -> set[str]:
        """Return the paths of a run's files."""
        found = set[str]()
        for entry in self._client.list_artifacts(run, path):
            found |= self._artifacts(run, entry.path) if entry.is_dir else {entry.path}
        return found

    def describe(self, notes: Mapping[str, str]) -> None:
        """Write each contender's Markdown note on its parent run, that of `` on the experiment and the comparison."""
        for contender, note in notes.items():
            run = self._runs["comparison"] if contender == "" else self._runs[f"parent {contender}"]
            self._client.set_tag(run, NOTE, note)
        self._client.set_experiment_tag(self._experiment, NOTE, notes[""])

    def data(self, name: str, content: str, source: Mapping[str, Any]) -> None:
        """Log the data set, with its digest `content`, as the input of the comparison and of every parent."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(name, content, "code", json.dumps(dict(source)))
        given = [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])]
        for identity_of_run, run in self._runs.items():
            if identity_of_run == "comparison" or identity_of_run.startswith("parent "):
                self._client.log_inputs(run, given)

    def model(self, job: Job, weights: Path, facts: Mapping[str, Any], dtype: str) -> None:
        """Log the model of a final run, unless it is there: `facts` say how its network is built from `weights`.

        It is code and numbers: MLflow's usual flavours pickle the module.
        """
        run = self._runs[identity(job)]
        if "optstudy.model" in self._client.get_run(run).data.tags:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MLflow warns of classes of its own
            import mlflow.pyfunc
        import numpy as np
        from mlflow.models import Model, ModelSignature
        from mlflow.types.schema import Schema, TensorSpec

        given = os.environ.get("MLFLOW_TRACKING_URI")
        mlflow.set_tracking_uri(self._uri)
        if given is None:  # MLflow sets it, and the next study would take it for the user's
            os.environ.pop("MLFLOW_TRACKING_URI", None)
        mlflow.set_experiment(experiment_id=self._experiment)
        shape, classes = facts["shape"], facts["classes"]
        logits = TensorSpec(np.dtype("float32"), (-1, classes), name=None)
        signature = ModelSignature(Schema([TensorSpec(np.dtype(dtype), (-1, *shape))]), Schema([logits]))
        # MLflow writes progress bars, and warns of missing type hints and examples: the signature is given.
        with TemporaryDirectory() as folder, redirect_stderr(StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            written = Path(folder) / "facts.json"
            written.write_text(json.dumps(facts), encoding="utf-8")
            logged = Model.log(
                artifact_path=None,
                name=job.contender,
                flavor=mlflow.pyfunc,
                run_id=run,
                python_model=str(Path(__file__).with_name("mlflow_model.py")),
                artifacts={"weights": str(weights), "facts": str(written)},
                signature=signature,
                pip_requirements=["optstudy"],
            )
        self._client.set_tag(run, "optstudy.model", logged.model_uri)

    def _parent(self, contender: str, started_ms: int) -> str:
        name = f"parent {contender}"
        if name not in self._runs:
            run = self._create(name, contender, contender, started_ms, {"optstudy.stage": "contender"})
            self._finish(name, run, started_ms)
        return self._runs[name]

    def _new_parent(self, contender: str, started_ms: int) -> str:
        """Put another run in the place of a parent whose parameters have changed: MLflow lets none change."""
        self._client.delete_run(self._runs.pop(f"parent {contender}"))
        parent = self._parent(contender, started_ms)
        for name, run in self._runs.items():
            if name.startswith(f"run {contender} "):
                self._client.set_tag(run, "mlflow.parentRunId", parent)
        return parent

    def _create(self, name: str, shown: str, contender: str, started_ms: int, tags: Mapping[str, str]) -> str:
        own = {"optstudy.identity": name, "optstudy.contender": contender}
        all_tags = {**self._tags, **own, **tags}
        run = self._client.create_run(self._experiment, start_time=started_ms, tags=all_tags, run_name=shown)
        return str(run.info.run_id)

    def _finish(self, name: str, run: str, ended_ms: int) -> None:
        self._client.set_terminated(run, "FINISHED", end_time=ended_ms)
        self._runs[name] = run

    def _log(self, run: str, metrics: Sequence[Any], parameters: Sequence[Any]) -> None:
        for start in range(0, max(1, len(metrics)), BATCH):
            self._client.log_batch(run, metrics[start : start + BATCH], parameters if start == 0 else [])


def _parameters(job: Job) -> list[Any]:
    """Return what MLflow shows as a training's parameters."""
    from mlflow.entities import Param

    spec = job.spec
    fixed = [f"{name} {value}" for name, value in spec.hyperparameters.items() if name not in job.hyperparameters]
    settings = {
        **job.hyperparameters,
        "optimizer": spec.optimizer,
        "model": spec.model["name"] or spec.model["class"],
        "data": spec.data["name"] or spec.data["class"],
        "epochs": spec.epochs,
        "batch_size": spec.batch_size,
        "schedule": spec.schedule["name"],
        "precision": spec.precision,
        "starts_from": spec.pretrained["source"] if spec.pretrained else "fresh weights",
        "with": ", ".join(fixed) or "nothing fixed",
    }  # A plot of trials opens on the first three that differ: rate, optimizer and decay, not seeds and what is fixed.
    return [Param(name, str(value)) for name, value in settings.items()]


def _points(metrics: Mapping[str, float], when_ms: int, step: int) -> list[Any]:
    from mlflow.entities import Metric

    return [Metric(metric_name(name), value, when_ms, step) for name, value in metrics.items()]


def metric_name(name: str) -> str:
    """Return a metric's name as MLflow takes it: `_` for each character, and each part of the path, that it refuses.

    Its rule: mlflow.utils.validation, `_validate_metric_name` and MAX_ENTITY_KEY_LENGTH.
    """
    parts = re.sub(r"[^/\w.\- :]", "_", name).split("/")
    return "/".join("_" if part in ("", ".", "..") else part for part in parts)[:LONGEST]


def identity(job: Job) -> str:
    """Return what tells a training's MLflow run from every other of its study."""
    return f"run {job.contender} {job.replicate} {job.variant} {job.trial} {job.key}"


def _aggregate(column: str, variant: str) -> str:
    for metric in ("test_accuracy", "val_accuracy", "val_loss"):
        if column.startswith(metric):
            column = column.replace("_", "/", 1)
    return column if variant == "tuned" else f"{variant}/{column}"


def _model_facts(job: Job) -> tuple[dict[str, object], str]:
    """Return what builds a training's network, and the type of its input."""
    arrays, spec = load_arrays(job.spec.data), fields_of(job.spec)
    inputs = {"shape": arrays.x.shape[1:], "classes": arrays.classes, "tokens": arrays.tokens}
    return {"model": spec["model"], "data": spec["data"], **inputs}, str(arrays.x.dtype)
