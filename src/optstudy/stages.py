"""prepare, tune, train and compare as functions, called by the command line and by DVC's scripts alike.

The journal decides what is left to do; tables, Optuna and MLflow are written from it.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import pandas as pd

from optstudy import journal, results
from optstudy.answer import stated
from optstudy.backlog import Backlog
from optstudy.content import check_start, content_of, job_before
from optstudy.datasets import load_arrays
from optstudy.errors import StudyError, TrainingFailed
from optstudy.evidence import Evidence
from optstudy.execute import Workers
from optstudy.figures import Mapper
from optstudy.journal import Entry
from optstudy.live import MLFLOW, OPTUNA, Live, check_stores, writing
from optstudy.place import Place, is_shown, weights_of
from optstudy.plan import (
    VARIANTS,
    Content,
    Job,
    Selections,
    Unit,
    changes,
    jobs_in,
    named_jobs,
    resolved,
    trials_in,
    units,
)
from optstudy.pretrained import save_weights, weights_file
from optstudy.provenance import tables_digest, tags
from optstudy.reading import notes
from optstudy.runs import Event, RunResult, TrainingEnded
from optstudy.stacking import read_stored, stored_path
from optstudy.study import Study
from optstudy.tracking import Tracker
from optstudy.trials import Trials
from optstudy.written import read_selections, write_answer, write_runs, write_tables, write_tuning

TABLES = ("resolved", "tuning", "selected", "runs", "curves", "answers", "sweep")  # one file for each contender
NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?")
SLACK = 1e-6  # how far beyond 0 or 1 rounding may take an accuracy that is summed in single precision
Say = Callable[[str], None]


@dataclass(frozen=True)
class Progress:
    """How far one contender is; counts of trainings."""

    contender: str
    done: int
    total: int
    seconds: float


OnProgress = Callable[[Progress], None]


def prepare(place: Place, say: Say) -> Content:
    """Write resolved/<contender>.json and say what changed in it since the last time; return what the names mean."""
    check_stores(place.mlruns)
    content = content_of(place.study, place.mlruns)
    check_start(place.study, content)
    with journal.hold(place.journal):
        _write_resolved(place, content, say)
    return content


def _write_resolved(place: Place, content: Content, say: Say) -> None:
    _store_decisions(place, content, say)
    _remove_strangers(place, say)
    for name in place.contenders:
        path = place.tables / "resolved" / f"{name}.json"
        new = json.loads(json.dumps(resolved(place.study, name, content)))
        if path.exists():
            differences = changes(json.loads(path.read_text()), new)
            if differences:
                say(f"{name}: changed since the last run: {'; '.join(differences)}")
        results.write_json(path, new)


def _remove_strangers(place: Place, say: Say) -> None:
    """Remove the tables of contenders that have left the study: the comparison would keep showing them."""
    tables = [path for kind in TABLES for path in place.tables.glob(f"{kind}/*") if path.suffix in (".csv", ".json")]
    strangers = [path for path in tables if path.stem not in place.contenders]
    for path in strangers:
        path.unlink()
    for name in sorted({path.stem for path in strangers}):
        say(f"{name}: is no longer in the study: its tables are removed")


def _store_decisions(place: Place, content: Content, say: Say) -> None:
    """Store who trains stacked, and say once why others do not."""
    stored = read_stored(place.mlruns, place.study.name)
    new = {name: decision for name, decision in content.stacking.items() if decision.key not in stored}
    if not new:
        return
    decided = {decision.key: decision.solo for decision in new.values()}
    results.write_json(stored_path(place.mlruns, place.study.name), stored | decided)
    if place.study.stack == "off" or place.study.kind == "function":
        return
    for reason in dict.fromkeys(filter(None, decided.values())):
        say(f"{', '.join(name for name in new if new[name].solo == reason)}: trained one by one: {reason}")


def run(place: Place, workers: int, say: Say, progress: OnProgress) -> pd.DataFrame:
    """Tune, train and compare; take up what was interrupted. Returns the comparison table.

    Raises StudyHeld where another process runs the study, TrainingFailed where a training raised.
    """
    check_stores(place.mlruns)
    with Workers(workers) as pool:
        content = content_of(place.study, place.mlruns)
        check_start(place.study, content)
        with journal.hold(place.journal):
            _write_resolved(place, content, say)
            done = journal.read_journal(place.journal)
            _pretrain(place, content, done, say)
            live = complete(place, units(place.study, place.contenders), content, done, pool, progress)
            write_tables(place, content, done)
            return compare(place, content, done, live, pool.map)


def pretrain(place: Place, say: Say) -> None:
    """Run the study's pretraining, as a stage of its own, unless its weights are there; write start.json."""
    check_stores(place.mlruns)
    with journal.hold(place.journal):
        _pretrain(place, content_of(place.study, place.mlruns), journal.read_journal(place.journal), say)


def tune(place: Place, contender: str, workers: int, progress: OnProgress) -> None:
    """Run one contender's searches and write tuning/ and selected/."""
    check_stores(place.mlruns)
    _needs_weights(place)
    with journal.hold(place.journal), Workers(workers) as pool:
        content = content_of(place.study, place.mlruns)
        done = journal.read_journal(place.journal)
        complete(place, units(place.study, [contender]), content, done, pool, progress, finals=False)
        write_tuning(place, contender, content, done)


def train(place: Place, contender: str, workers: int, progress: OnProgress) -> None:
    """Run one contender's final runs with the hyperparameters in selected/; write runs/ and curves/."""
    check_stores(place.mlruns)
    _needs_weights(place)
    if place.study.tuning.trials:
        name = place.study.contender(contender).name
        _needs(place, place.tables / "selected" / f"{name}.csv", f"tune.py {name}")
    with journal.hold(place.journal), Workers(workers) as pool:
        content = content_of(place.study, place.mlruns)
        selections, done = read_selections(place, contender), journal.read_journal(place.journal)
        complete(place, units(place.study, [contender]), content, done, pool, progress, selections=selections)
        write_runs(place, contender, content, done)


def complete(
    place: Place,
    todo: Sequence[Unit],
    content: Content,
    done: dict[str, Entry],
    pool: Workers,
    progress: OnProgress,
    *,
    selections: Selections | None = None,
    finals: bool = True,
) -> Live:
    """Train what the journal, as `done` has it, lacks of the units' jobs.

    Each finished training is journalled before anything else, and added to `done`. `selections` are the trials that
    final runs take, those of the journal where it is None; without `finals` there are but searches. Returns what has
    been opened to show trainings.
    """
    backlog = Backlog(place.study, todo, content, done, selections, finals)
    live, claims, failures = live_of(place), stated(place.study), list[tuple[Job, str]]()

    def tell(contender: str, seconds: float) -> None:
        total = _total(place.study, contender, selections, finals)
        progress(Progress(contender, backlog.finished[contender], total, seconds))

    for contender in dict.fromkeys(unit.contender for unit in todo):
        tell(contender, 0.0)
    for job, event in _trained(place.study, backlog, pool, live):
        if not isinstance(event, TrainingEnded):
            live.epoch(job, event)
        elif failure := _failure(job, event.result, place.study.objective):
            failures.append((job, failure))
            live.failed(job)
        else:
            done[job.key] = _record(place, job, event, claims)
            live.ended(job, done[job.key])
            for contender in backlog.ended(job):
                tell(contender, event.result.seconds)
    if failures:
        raise TrainingFailed("\n".join(failure_lines(failures, place.contenders)))
    return live


def _trained(study: Study, backlog: Backlog, pool: Workers, live: Live) -> Iterator[tuple[Job, Event]]:
    """Train what `backlog` has, and what it gets meanwhile, and yield each event with its training.

    `live` catches up whenever no worker waits.
    """
    running = 0
    while True:
        while pool.free and (group := backlog.take(pool.count)):
            running += len(group)
            pool.submit(group, [job.spec for job in group], any(is_shown(study, job) for job in group))
        if not running:
            return
        events = list(pool.events(timeout=0 if live.behind else None))
        if not events:
            live.catch_up()
        for jobs, event in events:
            running -= isinstance(event, TrainingEnded)
            yield cast(list[Job], jobs)[event.index], event


def live_of(place: Place) -> Live:
    """Return what shows a study in MLflow and Optuna; it opens either when it is first needed."""
    study = place.study
    spaces = {contender.name: study.row(contender).search for contender in study.optimizers}
    return Live(
        lambda: Tracker(place.mlruns, study.name, tags(study)),
        lambda: Trials(place.mlruns, study.name, spaces, study.objective),
    )


def failure_lines(failures: Sequence[tuple[Job, str]], contenders: Sequence[str]) -> list[str]:
    """Return a line for each contender and message, numbers in it apart, on the first of the trainings that failed so.

    The first in the study's order: which one ended first is chance.
    """

    def place_in_study(failure: tuple[Job, str]) -> tuple[int, int, int, int, str]:
        job, message = failure
        return contenders.index(job.contender), job.replicate, VARIANTS.index(job.variant), job.trial, message

    alike = defaultdict[tuple[str, str], list[tuple[Job, str]]](list)
    for job, message in sorted(failures, key=place_in_study):
        alike[job.contender, NUMBER.sub("", message)].append((job, message))
    return [
        f"{job.contender}, replicate {job.replicate}, {job.variant} {job.trial}: {message}"
        + (f" (and in {len(others)} more of its trainings)" if others else "")
        for (job, message), *others in alike.values()
    ]


def _total(study: Study, contender: str, selections: Selections | None, finals: bool) -> int:
    """Return how many trainings a stage consists of: the searches, what follows them, or both."""
    trials = trials_in(study)
    if not finals:
        return trials
    return jobs_in(study, contender) - (trials if selections is not None else 0)


def _record(place: Place, job: Job, ended: TrainingEnded, claims: journal.Stated) -> Entry:
    """Write a finished training into the journal, and before it the weights that are kept; return its entry."""
    if ended.weights is not None and is_shown(place.study, job):
        save_weights(weights_of(place, job), ended.weights)
    if job.stage != "final":  # of these alone the answers are compared
        ended = replace(ended, result=replace(ended.result, answers=""))
    return journal.append(place.journal, job.key, job.spec, ended, claims)


def report(place: Place, say: Say) -> pd.DataFrame | None:
    """Rebuild every table, MLflow and Optuna from the journal, without training; None where trainings are missing."""
    check_stores(place.mlruns)
    with journal.hold(place.journal):
        content = content_of(place.study, place.mlruns)
        done = journal.read_journal(place.journal)
        missing = 0
        for name in place.contenders:
            jobs = named_jobs(place.study, [name], content, done)
            finished = sum(job.key in done for job in jobs)
            missing += jobs_in(place.study, name) - finished
        if missing:
            say(f"{place.study.name}: {missing} trainings are missing from the journal: optstudy run completes them")
            return None
        _write_resolved(place, content, say)
        write_tables(place, content, done)
        return compare(place, content, done, live_of(place))


def compare_stage(place: Place) -> pd.DataFrame:
    """Compare as a stage of its own, holding the study."""
    check_stores(place.mlruns)
    for name in place.contenders:
        _needs(place, place.tables / "runs" / f"{name}.csv", f"train.py {name}")
    with journal.hold(place.journal):
        content, done = content_of(place.study, place.mlruns), journal.read_journal(place.journal)
        return compare(place, content, done, live_of(place))


def _needs_weights(place: Place) -> None:
    if place.study.pretraining is not None:
        _needs(place, weights_file(job_before(place.study).key), "pretrain.py")


def _needs(place: Place, path: Path, stage: str) -> None:
    """Raise StudyError where an earlier stage has not written its file; `stage` is its script, and a contender."""
    if not path.exists():
        script, _, contender = stage.partition(" ")
        command = f"python pipelines/{script} {place.study.name} {contender}".strip()
        raise StudyError(f"{path}: is missing, which an earlier stage writes: run `{command}` (or dvc repro) first")


def compare(place: Place, content: Content, done: dict[str, Entry], live: Live, mapper: Mapper = map) -> pd.DataFrame:
    """Write what the study answers, then bring MLflow and Optuna, as `live` opens them, in line with the journal.

    `mapper` maps over the figures to draw.
    """
    jobs = [job for job in named_jobs(place.study, place.contenders, content, done) if job.key in done]
    table, evidence = write_answer(place, content, jobs, done, mapper)
    with writing(OPTUNA):
        project_trials(live.trials, jobs, done)
    with writing(MLFLOW):
        project_runs(live.tracker, place, content, jobs, done, table, evidence)
    return table


def project_trials(trials: Trials, jobs: Sequence[Job], done: dict[str, Entry]) -> None:
    """Bring the Optuna studies in line with the trials among `jobs`."""
    tuning = [job for job in jobs if job.stage == "tuning"]
    trials.keep_only(tuning)
    for job in tuning:
        trials.add(job, done[job.key])


def project_runs(
    tracker: Tracker,
    place: Place,
    content: Content,
    jobs: Sequence[Job],
    done: dict[str, Entry],
    table: pd.DataFrame,
    evidence: Evidence,
) -> None:
    """Bring MLflow in line with `jobs` and the pretraining, the comparison `table`, and what else is in results/."""
    before = [] if place.study.pretraining is None else [job_before(place.study)]
    everything = [job for job in before if job.key in done] + list(jobs)
    tracker.keep_only(everything)
    for job in everything:
        tracker.add(job, done[job.key])
    ended: dict[str, int] = {}
    for job in jobs:
        ended[job.contender] = max(ended.get(job.contender, 0), done[job.key].ended_ms)
    rows = [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]
    sizes = {"replicates": place.study.replicates, "trials": place.study.tuning.trials}
    tracker.summarise(rows, {name: _settings(place.study, name) for name in place.contenders}, sizes, ended)
    tracker.attach(place.tables, tables_digest(place.tables), max(ended.values()))
    tracker.describe(notes(evidence))
    data = place.study.data.resolved()
    tracker.data(str(data["name"] or data["load"]), content.data, data)
    for job in jobs:
        if is_shown(place.study, job) and weights_of(place, job).exists():
            tracker.model(job, weights_of(place, job), *_facts(job))
    tracker.settle()


def _settings(study: Study, name: str) -> dict[str, object]:
    """Return what a contender shares over its trainings, and what tells it from others, called as a training's are."""
    contender = study.contender(name)
    row, spec = study.row(contender), study.spec(contender, 0, 0, {})
    spaces = {
        f"search {key}": f"{space.low:g} to {space.high:g}{'' if space.log else ', linear'}"
        for key, space in row.search.items()
    }
    of_networks = {
        "batch_size": spec.batch_size,
        "precision": spec.precision,
        "freeze": ", ".join(spec.freeze) or "nothing",
        "starts_from": spec.pretrained["source"] if spec.pretrained else "fresh weights",
    }
    return {
        "optimizer": row.optimizer,
        "with": _pairs(row.fixed) or "nothing fixed",
        "decay": row.decay,
        "defaults": _pairs(row.defaults) or "its own",
        **spaces,
        "epochs": spec.epochs,
        "schedule": _course(spec.schedule),
        "clip": "nothing" if spec.clip is None else f"norm {spec.clip:g}",
        "model": _architecture(spec.model),
        **({} if study.kind == "function" else of_networks),
    }


def _pairs(values: Mapping[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _course(schedule: Mapping[str, object]) -> str:
    """Return a schedule in words: `cosine, by epoch, no warm-up`."""
    warmup = f"warm-up for {schedule['warmup']:g} of the budget" if schedule["warmup"] else "no warm-up"
    return f"{schedule['name']}, by {schedule['interval']}, {warmup}"


def _architecture(model: Mapping[str, Any]) -> str:
    """Return a model in words, with its arguments: `mlp: width 128`."""
    name, arguments = str(model["name"] or model["network"]), _pairs(model["arguments"])
    return f"{name}: {arguments}" if arguments else name


def _facts(job: Job) -> tuple[dict[str, object], str]:
    """Return what builds a training's network and the data, and the type of its input."""
    arrays, spec = load_arrays(job.spec.data), asdict(job.spec)
    inputs = {"shape": arrays.x.shape[1:], "classes": arrays.classes, "tokens": arrays.tokens}
    return {"model": spec["model"], "data": spec["data"], **inputs}, str(arrays.x.dtype)


def _failure(job: Job, result: RunResult, objective: str) -> str:
    """Return what went wrong in a training, empty where nothing did."""
    if result.status == "failed":
        return result.message or "it failed without a word"
    if job.stage == "tuning" and objective not in result.metrics:
        return f"the model must log {objective}, by which the search selects; it logs {', '.join(result.metrics)}"
    return _no_fraction(result)


def _no_fraction(result: RunResult) -> str:
    """Return which accuracy is none, empty where all are: one that is logged in percent would be shown as it is."""
    for metrics in (result.metrics, *result.curve):
        for name, value in metrics.items():
            if name.endswith("/accuracy") and not -SLACK <= value <= 1 + SLACK:
                return f"the model logs {name} {value:g}: an accuracy must be a fraction from 0 to 1"
    return ""


def _pretrain(place: Place, content: Content, done: dict[str, Entry], say: Say) -> None:
    """Train what the contenders start from, unless its weights are there; start.json says what they start from."""
    start: dict[str, object] = {"weights": place.study.model.pretrained or "fresh", "digest": content.weights}
    if place.study.pretrained_by:
        start["pretrained_by"] = place.study.pretrained_by
    if place.study.pretraining is not None:
        start["metrics"] = dict(_pretrained(place, done, say).metrics)
    results.write_json(place.tables / "start.json", start)


def _pretrained(place: Place, done: dict[str, Entry], say: Say) -> RunResult:
    """Return the pretraining's result, added to `done`; its weights are written before its line in the journal."""
    job = job_before(place.study)
    path = weights_file(job.key)
    if path.exists() and job.key in done:
        return done[job.key].result
    with Workers(1) as pool:
        pool.submit(job, [job.spec], weights=True)
        ended = next(event for _, event in _events(pool) if isinstance(event, TrainingEnded))
    result = ended.result
    if ended.weights is None or result.status != "completed":
        raise TrainingFailed(f"pretraining: {result.status}: {result.message or 'lower its learning rate'}")
    if failure := _no_fraction(result):
        raise TrainingFailed(f"pretraining: {failure}")
    save_weights(path, ended.weights)
    done[job.key] = journal.append(place.journal, job.key, job.spec, ended, stated(place.study))
    say(f"pretraining by {place.study.pretrained_by}: {_outcome(result.metrics)} on its data")
    return result


def _outcome(metrics: Mapping[str, float]) -> str:
    """Return the test accuracy in words, or, of a user's LightningModule without a test_step, what it logs instead."""
    shown = {"test/accuracy": metrics["test/accuracy"]} if "test/accuracy" in metrics else metrics
    return ", ".join(f"{name.replace('/', ' ')} {value:.4f}" for name, value in shown.items()) or "it logs nothing"


def _events(pool: Workers) -> Iterator[tuple[object, Event]]:
    while True:
        yield from pool.events()
