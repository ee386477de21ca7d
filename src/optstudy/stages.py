"""prepare, tune, train and compare as functions, called by the command line and by DVC's scripts alike.

The journal decides what is left to do; tables, Optuna and MLflow are written from it.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from statistics import fmean

import pandas as pd

from optstudy import figures, journal, results
from optstudy.datasets import data_digest
from optstudy.errors import TrainingFailed
from optstudy.execute import Workers
from optstudy.journal import Entry
from optstudy.plan import (
    Content,
    Job,
    Selections,
    Unit,
    changes,
    jobs_in,
    pretraining_job,
    resolved,
    selected_trial,
    trial_jobs,
    unit_jobs,
    units,
)
from optstudy.pretrained import save_weights, weights_digest, weights_file
from optstudy.runs import Event, RunResult, RunSpec, TrainingEnded
from optstudy.study import Study
from optstudy.tracking import Live, Tracker, project_optuna

MLRUNS = Path("mlruns")
PROJECTION, PROJECTION_EACH = 5.0, 0.03  # seconds to open MLflow and Optuna, and to write one training into them
Say = Callable[[str], None]


@dataclass(frozen=True)
class Place:
    """Where a study's files lie."""

    study: Study
    results: Path
    mlruns: Path = MLRUNS

    @property
    def tables(self) -> Path:
        """Return the folder of the study's tables."""
        return self.results / self.study.name

    @property
    def journal(self) -> Path:
        """Return the path of the study's journal."""
        return journal.journal_path(self.mlruns, self.study.name)

    @property
    def contenders(self) -> list[str]:
        """Return the contenders' names, in the study file's order."""
        return [contender.name for contender in self.study.optimizers]


@dataclass(frozen=True)
class Progress:
    """How far one contender is; counts of trainings."""

    contender: str
    done: int
    total: int
    seconds: float


OnProgress = Callable[[Progress], None]


def content_of(study: Study) -> Content:
    """Return what the study's names stand for; loads its data. Raises DataError where data or weights are missing."""
    source = study.model.pretrained
    if source is None:
        return Content(data_digest(study.data.resolved()))
    key = "" if study.pretraining is None else _pretraining_job(study).key
    return Content(data_digest(study.data.resolved()), weights_digest(source, key))


def check_start(study: Study, content: Content) -> None:
    """Build what fine-tuning contenders start from, before anything is written.

    Raises DataError where weights do not fit the network, or a frozen name matches nothing.
    """
    if study.model.pretrained is None and not any(contender.freeze for contender in study.optimizers):
        return
    from optstudy.batches import ArrayData
    from optstudy.train import start_network

    for name in [contender.name for contender in study.optimizers]:
        spec = _spec_without_pretraining(study, name, content)
        start_network(spec, ArrayData(spec).inputs)


def _spec_without_pretraining(study: Study, name: str, content: Content) -> RunSpec:
    """Return a contender's training of its defaults, without weights that are yet to be made; they fit anyhow."""
    contender = study.contender(name)
    spec = study.spec(contender, 0, 0, study.row(contender).defaults, content.weights)
    return spec if study.pretraining is None else replace(spec, pretrained=None)


def prepare(place: Place, say: Say) -> Content:
    """Write resolved/<contender>.json and say what changed in it since the last time; return what the names mean."""
    content = content_of(place.study)
    for name in place.contenders:
        path = place.tables / "resolved" / f"{name}.json"
        new = json.loads(json.dumps(resolved(place.study, name, content)))
        if path.exists():
            differences = changes(json.loads(path.read_text()), new)
            if differences:
                say(f"{name}: changed since the last run: {'; '.join(differences)}")
        results.write_json(path, new)
    return content


def run(place: Place, workers: int, say: Say, progress: OnProgress) -> pd.DataFrame:
    """Tune, train and compare; take up what was interrupted. Returns the comparison table.

    Raises StudyHeld where another process runs the study, TrainingFailed where a training raised.
    """
    check_start(place.study, content_of(place.study))
    with journal.hold(place.journal):
        content = prepare(place, say)
        _pretrain(place, content, say)
        _complete(place, units(place.study, place.contenders), content, workers, None, True, progress)
        done = journal.read_journal(place.journal)
        for name in place.contenders:
            write_tuning(place, name, content, done)
            write_runs(place, name, content, done)
        return compare(place, content)


def pretrain(place: Place, say: Say) -> None:
    """Run the study's pretraining, as a stage of its own, unless its weights are there; write start.json."""
    with journal.hold(place.journal):
        _pretrain(place, content_of(place.study), say)


def tune(place: Place, contender: str, workers: int, progress: OnProgress) -> None:
    """Run one contender's searches and write tuning/ and selected/."""
    with journal.hold(place.journal):
        content = content_of(place.study)
        _complete(place, units(place.study, [contender]), content, workers, None, False, progress)
        write_tuning(place, contender, content, journal.read_journal(place.journal))


def train(place: Place, contender: str, workers: int, progress: OnProgress) -> None:
    """Run one contender's final runs with the hyperparameters in selected/; write runs/ and curves/."""
    with journal.hold(place.journal):
        content = content_of(place.study)
        selections = read_selections(place, contender)
        _complete(place, units(place.study, [contender]), content, workers, selections, True, progress)
        write_runs(place, contender, content, journal.read_journal(place.journal))


def report(place: Place, say: Say) -> pd.DataFrame | None:
    """Rebuild every table, MLflow and Optuna from the journal, without training; None where trainings are missing."""
    with journal.hold(place.journal):
        content = content_of(place.study)
        done = journal.read_journal(place.journal)
        missing = 0
        for name in place.contenders:
            jobs = named_jobs(place, [name], content, done)
            finished = sum(job.key in done for job in jobs)
            missing += jobs_in(place.study) - finished
        if missing:
            say(f"{place.study.name}: {missing} trainings are missing from the journal: optstudy run completes them")
            return None
        prepare(place, say)
        for name in place.contenders:
            write_tuning(place, name, content, done)
            write_runs(place, name, content, done)
        return compare(place, content)


def compare_stage(place: Place) -> pd.DataFrame:
    """Compare as a stage of its own, holding the study."""
    with journal.hold(place.journal):
        return compare(place, content_of(place.study))


def compare(place: Place, content: Content) -> pd.DataFrame:
    """Write comparison.csv and provenance.json from the tables; bring MLflow and Optuna in line with the journal."""
    runs = {name: results.read_table(place.tables / "runs" / f"{name}.csv") for name in place.contenders}
    curves = {name: results.read_table(place.tables / "curves" / f"{name}.csv") for name in place.contenders}
    table = results.comparison(runs, curves, place.study.epochs)
    if place.study.pretrained_by:
        table["pretrained_by"] = place.study.pretrained_by
    results.write_text(place.tables / "comparison.csv", table.to_csv(index=False, lineterminator="\n"))
    metrics = {
        row["contender"]: {key: value for key, value in row.items() if key.endswith(("_mean", "_ci_low", "_ci_high"))}
        for row in table[table["variant"] == table["variant"].iloc[0]].to_dict("records")
    }
    results.write_json(place.tables / "metrics.json", metrics)
    metric = results.headlines(table.columns)[0]
    figures.headline(table, metric, place.study.question or place.study.name, place.tables / "figures" / metric)
    results.write_json(place.tables / "provenance.json", provenance())
    project(place, content, table)
    return table


def project(place: Place, content: Content, table: pd.DataFrame) -> None:
    """Complete MLflow and Optuna from the journal."""
    done = journal.read_journal(place.journal)
    jobs = [job for job in named_jobs(place, place.contenders, content, done) if job.key in done]
    if place.study.pretraining is not None:
        jobs = [job for job in [_pretraining_job(place.study)] if job.key in done] + jobs
    spaces = {contender.name: place.study.row(contender).search for contender in place.study.optimizers}
    trials = [(job, done[job.key]) for job in jobs if job.stage == "tuning"]
    project_optuna(place.mlruns, place.study.name, spaces, place.study.objective, trials)
    tracker = Tracker(place.mlruns, place.study.name, tags(place.study))
    tracker.keep_only(jobs)
    for job in jobs:
        tracker.add(job, done[job.key])
    ended = {name: max(done[job.key].ended_ms for job in jobs if job.contender == name) for name in place.contenders}
    rows = [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]
    tracker.summarise(rows, ended)
    tracker.attach(place.tables, tables_digest(place.tables), max(ended.values()))


def named_jobs(place: Place, contenders: Sequence[str], content: Content, done: dict[str, Entry]) -> list[Job]:
    """Return every job of the study that can be named from what is finished."""
    return [
        job
        for unit in units(place.study, contenders)
        for job in unit_jobs(place.study, unit, content, done, None, True)
    ]


@dataclass(frozen=True)
class Cost:
    """What a study takes on this machine: seconds of wall time with `workers`, and of one training by contender.

    Contenders in `recorded` have finished trainings in the journal; the others are timed by `timed`.
    """

    seconds: float
    workers: int
    each: dict[str, float]
    recorded: tuple[str, ...]
    timed: str


def cost(place: Place, workers: int) -> Cost:
    """Estimate from the journal's seconds, or, for contenders without any, by ten timed steps of the first of them."""
    clock = time.perf_counter()
    import torch

    from optstudy.timing import seconds_of

    torch.set_num_threads(1)  # as a worker does
    start = time.perf_counter() - clock  # a worker imports what has just been imported
    study, content = place.study, content_of(place.study)
    done = journal.read_journal(place.journal)
    each: dict[str, float] = {}
    for name in place.contenders:
        finished = [done[job.key].result.seconds for job in named_jobs(place, [name], content, done) if job.key in done]
        if finished:
            each[name] = fmean(finished)
    recorded = tuple(each)
    timed = next((name for name in place.contenders if name not in each), "")
    if timed:
        seconds = seconds_of(_spec_without_pretraining(study, timed, content))
        each = {name: each.get(name, seconds) for name in place.contenders}
    alone = 0.0 if study.pretraining is None else seconds_of(study.pretraining_spec())
    computed = alone + sum(each.values()) * jobs_in(study) / workers
    written = PROJECTION + PROJECTION_EACH * jobs_in(study) * len(each)
    return Cost(start + computed + written, workers, each, recorded, timed)


def write_tuning(place: Place, contender: str, content: Content, done: dict[str, Entry]) -> None:
    """Write tuning/<contender>.csv and selected/<contender>.csv of a finished search, if the study has one."""
    study = place.study
    if not study.tuning.trials:
        return
    spaces = study.row(study.contender(contender)).search
    trials, selected = [], []
    for unit in units(study, [contender]):
        jobs = trial_jobs(study, contender, unit.replicates[0], content, done)
        trials += [results.tuning_row(job, done[job.key]) for job in jobs]
        best = selected_trial(study, jobs, done)
        assert best is not None, "tables are written of finished searches"
        selected += [results.selected_row(replicate, best, spaces) for replicate in unit.replicates]
    results.write_table(place.tables / "tuning" / f"{contender}.csv", trials)
    results.write_table(place.tables / "selected" / f"{contender}.csv", selected)


def write_runs(place: Place, contender: str, content: Content, done: dict[str, Entry]) -> None:
    """Write runs/<contender>.csv and curves/<contender>.csv from the selections on disk."""
    selections = read_selections(place, contender)
    jobs = [
        job
        for unit in units(place.study, [contender])
        for job in unit_jobs(place.study, unit, content, done, selections, True)
    ]
    runs = [results.run_row(job, done[job.key]) for job in jobs]
    curves = [row for job in jobs for row in results.curve_rows(job, done[job.key])]
    results.write_table(place.tables / "runs" / f"{contender}.csv", runs)
    results.write_table(place.tables / "curves" / f"{contender}.csv", curves)


def read_selections(place: Place, contender: str) -> Selections:
    """Return what the tune stage selected for a contender."""
    if not place.study.tuning.trials:
        return {}
    searched = place.study.row(place.study.contender(contender)).search
    return results.read_selections(place.tables / "selected" / f"{contender}.csv", searched)


def tables_digest(folder: Path) -> str:
    """Return a hash of the tables that two runs share: all but provenance."""
    content = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "provenance.json":
            content.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return content.hexdigest()[:16]


def provenance() -> dict[str, object]:
    """Return versions, machine, commit and time of this moment."""
    packages = ("optstudy", "torch", "pytorch-lightning", "optuna", "mlflow", "scikit-learn", "scipy", "numpy")
    return {
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "git_commit": git_commit(),
        "command": " ".join(sys.argv),
        "versions": {package: version(package) for package in packages},
    }


def tags(study: Study) -> dict[str, str]:
    """Return the tags that every MLflow run of a study carries."""
    named = {"mlflow.source.git.commit": git_commit(), "mlflow.source.name": "optstudy", "mlflow.user": "optstudy"}
    return named | ({"optstudy.pretrained_by": study.pretrained_by} if study.pretrained_by else {})


def git_commit() -> str:
    """Return the commit of the current folder, or `unknown` outside a repository."""
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


def _complete(
    place: Place,
    todo: Sequence[Unit],
    content: Content,
    workers: int,
    selections: Selections | None,
    finals: bool,
    progress: OnProgress,
) -> None:
    """Train what the journal lacks of the units' jobs; each finished training is journalled before anything else."""
    done = journal.read_journal(place.journal)

    def unfinished(unit: Unit) -> list[Job]:
        jobs = unit_jobs(place.study, unit, content, done, selections, finals)
        return [job for job in jobs if job.key not in done]

    waiting = {unit: unfinished(unit) for unit in todo}
    owner: dict[str, Unit] = {}
    started: set[str] = set()
    failures: list[str] = []
    live = Live(lambda: Tracker(place.mlruns, place.study.name, tags(place.study)))
    for unit in todo:
        progress(_progress(place, unit.contender, content, done, selections, finals, 0.0))
    with Workers(workers) as pool:
        while True:
            queue = [(unit, job) for unit in todo for job in waiting[unit] if job.key not in started]
            for unit, job in queue[: pool.free]:
                if job.key not in started:
                    started.add(job.key)
                    owner[job.key] = unit
                    pool.submit(job, [job.spec])
            if not owner:
                break
            for ticket, event in pool.events():
                assert isinstance(ticket, Job)
                if not isinstance(event, TrainingEnded):
                    live.epoch(ticket, event)
                    continue
                unit = owner.pop(ticket.key)
                failure = _failure(ticket, event.result, place.study.objective)
                if failure:
                    live.failed(ticket)
                    failures.append(failure)
                    continue
                done[ticket.key] = journal.append(place.journal, ticket.key, ticket.spec, event)
                live.ended(ticket, done[ticket.key])
                for other in todo:
                    if any(job.key == ticket.key for job in waiting[other]):
                        waiting[other] = unfinished(other)
                progress(_progress(place, unit.contender, content, done, selections, finals, event.result.seconds))
    if failures:
        raise TrainingFailed("\n".join(failures))


def _failure(job: Job, result: RunResult, objective: str) -> str:
    """Return what went wrong in a training, empty where nothing did."""
    place = f"{job.contender}, replicate {job.replicate}, {job.variant} {job.trial}"
    if result.status == "failed":
        return f"{place}: {result.message}"
    if job.stage == "tuning" and objective not in result.metrics:
        return (
            f"{place}: the model must log {objective}, by which the search selects; it logs {', '.join(result.metrics)}"
        )
    return ""


def _pretraining_job(study: Study) -> Job:
    assert study.pretraining is not None
    return pretraining_job(study, data_digest(study.pretraining.data.resolved()))


def _pretrain(place: Place, content: Content, say: Say) -> None:
    """Train what the contenders start from, unless its weights are there; start.json says what they start from."""
    start: dict[str, object] = {"weights": place.study.model.pretrained or "fresh", "digest": content.weights}
    if place.study.pretrained_by:
        start["pretrained_by"] = place.study.pretrained_by
    if place.study.pretraining is not None:
        start["metrics"] = dict(_pretrained(place, say).metrics)
    results.write_json(place.tables / "start.json", start)


def _pretrained(place: Place, say: Say) -> RunResult:
    """Return the pretraining's result; its weights are written before its line in the journal."""
    job = _pretraining_job(place.study)
    path, done = weights_file(job.key), journal.read_journal(place.journal)
    if path.exists() and job.key in done:
        return done[job.key].result
    with Workers(1) as pool:
        pool.submit(job, [job.spec], weights=True)
        ended = next(event for _, event in _events(pool) if isinstance(event, TrainingEnded))
    result = ended.result
    if ended.weights is None or result.status != "completed":
        raise TrainingFailed(f"pretraining: {result.status}: {result.message or 'lower its learning rate'}")
    save_weights(path, ended.weights)
    journal.append(place.journal, job.key, job.spec, ended)
    say(f"pretraining by {place.study.pretrained_by}: test accuracy {result.metrics['test/accuracy']:.4f} on its data")
    return result


def _events(pool: Workers) -> Iterator[tuple[object, Event]]:
    while True:
        yield from pool.events()


def _progress(
    place: Place,
    contender: str,
    content: Content,
    done: dict[str, Entry],
    selections: Selections | None,
    finals: bool,
    seconds: float,
) -> Progress:
    study = place.study
    jobs = [
        job for unit in units(study, [contender]) for job in unit_jobs(study, unit, content, done, selections, finals)
    ]
    trials = (1 if study.tuning.once else study.replicates) * study.tuning.trials
    total = jobs_in(study) - (trials if selections is not None else 0) if finals else trials
    return Progress(contender, sum(job.key in done for job in jobs), total, seconds)
