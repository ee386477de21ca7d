"""prepare, tune, train and compare as functions, called by the command line and by DVC's scripts alike.

The journal decides what is left to do; tables, Optuna and MLflow are written from it.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import shlex
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any, cast

import pandas as pd

from optstudy import journal, results
from optstudy.answer import claim_rows, stated, study_facts, withdrawn
from optstudy.datasets import data_digest, load_arrays
from optstudy.errors import StudyError, TrainingFailed, in_study
from optstudy.evidence import Evidence
from optstudy.execute import Workers
from optstudy.fairness import design_findings, history_findings, table_findings
from optstudy.journal import Entry
from optstudy.metrics import HEADLINES, present
from optstudy.plan import (
    Content,
    Job,
    Ready,
    Selections,
    Unit,
    changes,
    jobs_in,
    pretraining_job,
    resolved,
    selected_trial,
    trial_jobs,
    trials_in,
    unit_jobs,
    units,
)
from optstudy.pretrained import save_weights, weights_digest, weights_file
from optstudy.reading import notes
from optstudy.report import write_report
from optstudy.runs import Event, RunResult, RunSpec, TrainingEnded
from optstudy.stacking import decisions, read_stored, start, stored_path
from optstudy.study import Study
from optstudy.tracking import Live, Tracker, project_optuna

MLRUNS = Path("mlruns")
PROJECTION, PROJECTION_EACH = 5.0, 0.03  # seconds to open MLflow and Optuna, and to write one training into them
PAUSE = 0.01  # seconds without an event after which all workers are taken to be training
TABLES = ("resolved", "tuning", "selected", "runs", "curves", "answers", "sweep")  # one file for each contender
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


def content_of(study: Study, mlruns: Path = MLRUNS) -> Content:
    """Return what the study's names stand for; loads its data, and tries its networks on them once.

    Raises DataError where data or weights are missing, or data, model and contenders do not go together.
    """
    with in_study(study.name):
        data, source = data_digest(study.data.resolved()), study.model.pretrained
        key = "" if study.pretraining is None else _pretraining_job(study).key
        weights = "" if source is None else weights_digest(source, key)
        return Content(data, weights, decisions(study, data, weights, read_stored(mlruns, study.name)))


def check_start(study: Study, content: Content) -> None:
    """Build what a pretraining starts from, or else contenders from given weights, before anything is written.

    Raises DataError where weights do not fit the network, or the pretraining's data do not.
    """
    if study.model.pretrained is None:
        return
    if study.pretraining is not None:
        specs = [study.pretraining_spec()]
    else:
        specs = [_spec_without_pretraining(study, contender.name, content) for contender in study.optimizers]
    with in_study(study.name):
        for spec in {spec.pretrained is None: spec for spec in specs}.values():
            start(spec)


def _spec_without_pretraining(study: Study, name: str, content: Content) -> RunSpec:
    """Return a contender's training of its defaults, without weights that are yet to be made; they fit anyhow."""
    contender = study.contender(name)
    defaults, stacked = study.row(contender).defaults, content.stacked(name)
    spec = study.spec(contender, 0, 0, defaults, content.weights, stacked)
    return spec if study.pretraining is None else replace(spec, pretrained=None)


def prepare(place: Place, say: Say) -> Content:
    """Write resolved/<contender>.json and say what changed in it since the last time; return what the names mean."""
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
    with Workers(workers) as pool:
        if not place.journal.exists():  # a study that has begun may have nothing left to train
            pool.warm_up()
        content = content_of(place.study, place.mlruns)
        check_start(place.study, content)
        with journal.hold(place.journal):
            _write_resolved(place, content, say)
            _pretrain(place, content, say)
            complete(place, units(place.study, place.contenders), content, pool, None, True, progress)
            write_tables(place, content, journal.read_journal(place.journal))
            return compare(place, content)


def pretrain(place: Place, say: Say) -> None:
    """Run the study's pretraining, as a stage of its own, unless its weights are there; write start.json."""
    with journal.hold(place.journal):
        _pretrain(place, content_of(place.study, place.mlruns), say)


def tune(place: Place, contender: str, workers: int, progress: OnProgress) -> None:
    """Run one contender's searches and write tuning/ and selected/."""
    _needs_weights(place)
    with journal.hold(place.journal), Workers(workers) as pool:
        content = content_of(place.study, place.mlruns)
        complete(place, units(place.study, [contender]), content, pool, None, False, progress)
        write_tuning(place, contender, content, journal.read_journal(place.journal))


def train(place: Place, contender: str, workers: int, progress: OnProgress) -> None:
    """Run one contender's final runs with the hyperparameters in selected/; write runs/ and curves/."""
    _needs_weights(place)
    if place.study.tuning.trials:
        name = place.study.contender(contender).name
        _needs(place, place.tables / "selected" / f"{name}.csv", f"tune.py {name}")
    with journal.hold(place.journal), Workers(workers) as pool:
        content = content_of(place.study, place.mlruns)
        selections = read_selections(place, contender)
        complete(place, units(place.study, [contender]), content, pool, selections, True, progress)
        write_runs(place, contender, content, journal.read_journal(place.journal))


def complete(
    place: Place,
    todo: Sequence[Unit],
    content: Content,
    pool: Workers,
    selections: Selections | None,
    finals: bool,
    progress: OnProgress,
) -> None:
    """Train what the journal lacks of the units' jobs; each finished training is journalled before anything else."""
    done = journal.read_journal(place.journal)
    ready, units_of = Ready(), defaultdict[str, list[Unit]](list)
    counts = Counter[str]()  # of finished trainings, by contender
    running, failures = 0, list[tuple[Job, str]]()
    claims = stated(place.study)
    live = Live(lambda: Tracker(place.mlruns, place.study.name, tags(place.study)))

    def name_jobs(unit: Unit) -> int:
        """Make ready what can now be named of a unit and has not been; return how much of it was finished before."""
        jobs = unit_jobs(place.study, unit, content, done, selections, finals)
        new = [job for job in jobs if job.key not in done and unit not in units_of[job.key]]
        for job in new:
            if not units_of[job.key]:  # contenders that do the same share a training
                ready.add(job)
            units_of[job.key].append(unit)
        return sum(job.key in done for job in jobs)

    def tell(contender: str, seconds: float) -> None:
        progress(Progress(contender, counts[contender], _total(place.study, contender, selections, finals), seconds))

    for unit in todo:
        counts[unit.contender] += name_jobs(unit)
    for contender in dict.fromkeys(unit.contender for unit in todo):
        tell(contender, 0.0)
    while True:
        while pool.free and (group := ready.take(pool.count)):
            running += len(group)
            pool.submit(group, [job.spec for job in group], any(is_shown(place.study, job) for job in group))
        if not running:
            break
        events = list(pool.events(timeout=PAUSE if live.behind else None))
        if not events:
            live.catch_up()
        for group_of_event, event in events:
            job = cast(list[Job], group_of_event)[event.index]
            if not isinstance(event, TrainingEnded):
                live.epoch(job, event)
                continue
            running -= 1
            failure = _failure(job, event.result, place.study.objective)
            if failure:
                live.failed(job)
                failures.append((job, failure))
                continue
            done[job.key] = _record(place, job, event, claims)
            live.ended(job, done[job.key])
            for unit in units_of[job.key]:
                counts[unit.contender] += 1
                if job.stage == "tuning":  # the end of a trial alone makes further jobs known
                    name_jobs(unit)
                tell(unit.contender, event.result.seconds)
    if failures:
        raise TrainingFailed("\n".join(failure_lines(failures)))


def failure_lines(failures: Sequence[tuple[Job, str]]) -> list[str]:
    """Return a line for each contender and message, on the first of the trainings that failed so.

    The first in the study's order: which one ended first is chance.
    """
    alike = defaultdict[tuple[str, str], list[Job]](list)
    for job, message in sorted(failures, key=lambda failure: (failure[0].replicate, failure[0].trial)):
        alike[job.contender, message].append(job)
    return [
        f"{jobs[0].contender}, replicate {jobs[0].replicate}, {jobs[0].variant} {jobs[0].trial}: {message}"
        + (f" (and in {len(jobs) - 1} more of its trainings)" if len(jobs) > 1 else "")
        for (_, message), jobs in alike.items()
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
    with journal.hold(place.journal):
        content = content_of(place.study, place.mlruns)
        done = journal.read_journal(place.journal)
        missing = 0
        for name in place.contenders:
            jobs = named_jobs(place, [name], content, done)
            finished = sum(job.key in done for job in jobs)
            missing += jobs_in(place.study, name) - finished
        if missing:
            say(f"{place.study.name}: {missing} trainings are missing from the journal: optstudy run completes them")
            return None
        _write_resolved(place, content, say)
        write_tables(place, content, done)
        return compare(place, content)


def compare_stage(place: Place) -> pd.DataFrame:
    """Compare as a stage of its own, holding the study."""
    for name in place.contenders:
        _needs(place, place.tables / "runs" / f"{name}.csv", f"train.py {name}")
    with journal.hold(place.journal):
        return compare(place, content_of(place.study, place.mlruns))


def _needs_weights(place: Place) -> None:
    if place.study.pretraining is not None:
        _needs(place, weights_file(_pretraining_job(place.study).key), "pretrain.py")


def _needs(place: Place, path: Path, stage: str) -> None:
    """Raise StudyError where an earlier stage has not written its file; `stage` is its script, and a contender."""
    if not path.exists():
        script, _, contender = stage.partition(" ")
        command = f"python pipelines/{script} {place.study.name} {contender}".strip()
        raise StudyError(f"{path}: is missing, which an earlier stage writes: run `{command}` (or dvc repro) first")


def compare(place: Place, content: Content) -> pd.DataFrame:
    """Write what the study answers, then bring MLflow and Optuna in line with the journal."""
    done = journal.read_journal(place.journal)
    jobs = [job for job in named_jobs(place, place.contenders, content, done) if job.key in done]
    table, evidence = write_answer(place, content, jobs, done)
    project_trials(place, jobs, done)
    project_runs(place, content, jobs, done, table, evidence)
    return table


def write_answer(
    place: Place, content: Content, jobs: Sequence[Job], done: dict[str, Entry]
) -> tuple[pd.DataFrame, Evidence]:
    """Write the comparison, claims, findings, figures and report from the tables of contenders.

    Return the comparison, and all that the report was made of.
    """
    study, folder = place.study, place.tables
    kinds = ("runs", "curves", "sweep", "answers")
    runs, curves, sweep, answers = (results.stacked(folder, kind, place.contenders) for kind in kinds)
    target = study.target or results.median_best(runs)
    within = study.sweep.within if study.sweep else 0.0
    values = results.replicate_values(runs, curves, sweep, study.epochs, target, within)
    table = results.comparison(runs, values, target)
    if study.pretrained_by:
        table["pretrained_by"] = study.pretrained_by
    first = journal.first_stated(done)
    history = history_findings(study, first, withdrawn(study, first))
    findings = [*design_findings(study, len(first.primary)), *table_findings(study, folder), *history]
    claims = claim_rows(study, answers, values, first)
    results.write_text(folder / "comparison.csv", table.to_csv(index=False, lineterminator="\n"))
    results.write_text(folder / "headline.csv", _plot_of_dvc(table))
    for name, content_of_file in (
        ("metrics", _metrics_of_dvc(table, claims)),
        ("claims", claims),
        ("findings", [asdict(finding) for finding in findings]),
        ("study", study_facts(study)),
        ("provenance", provenance(place, content, [done[job.key] for job in jobs])),
    ):
        results.write_json(folder / f"{name}.json", content_of_file)
    return table, write_report(folder)


def _metrics_of_dvc(table: pd.DataFrame, claims: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return what `dvc metrics show` shows: the headline metrics by contender, and each claim's effect."""
    found: dict[str, dict[str, float]] = {contender: {} for contender in table["contender"]}
    first = table["variant"].iloc[0]
    for row in table.to_dict("records"):
        prefix = "" if row["variant"] == first else f"{row['variant']}_"
        means = {name: row.get(f"{name}_mean", math.nan) for name in HEADLINES}
        # A metric that a contender lacks is nan, which is no JSON.
        found[row["contender"]] |= {f"{prefix}{name}_mean": mean for name, mean in means.items() if mean == mean}
    return found | {"claims": {claim["id"]: claim["effect"] for claim in claims}}


def _plot_of_dvc(table: pd.DataFrame) -> str:
    """Return what `dvc plots` draws, one bar a row: the mean of the study's first headline metric."""
    name = present(table.columns)[0]
    rows = zip(table["contender"], table["variant"], table[f"{name}_mean"], strict=True)
    bars = pd.DataFrame([{"contender": f"{contender} ({variant})", "mean": mean} for contender, variant, mean in rows])
    return str(bars.to_csv(index=False, lineterminator="\n"))


def project_trials(place: Place, jobs: Sequence[Job], done: dict[str, Entry]) -> None:
    """Bring the Optuna studies in line with the trials among `jobs`."""
    spaces = {contender.name: place.study.row(contender).search for contender in place.study.optimizers}
    trials = [(job, done[job.key]) for job in jobs if job.stage == "tuning"]
    project_optuna(place.mlruns, place.study.name, spaces, place.study.objective, trials)


def project_runs(
    place: Place,
    content: Content,
    jobs: Sequence[Job],
    done: dict[str, Entry],
    table: pd.DataFrame,
    evidence: Evidence,
) -> None:
    """Bring MLflow in line with `jobs` and the pretraining, the comparison `table`, and what else is in results/."""
    before = [] if place.study.pretraining is None else [_pretraining_job(place.study)]
    everything = [job for job in before if job.key in done] + list(jobs)
    tracker = Tracker(place.mlruns, place.study.name, tags(place.study))
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


def _settings(study: Study, name: str) -> dict[str, object]:
    """Return what a contender shares over its trainings, and what tells it from others."""
    contender = study.contender(name)
    row = study.row(contender)
    spaces = {f"search {key}": f"{space.low:g} to {space.high:g}" for key, space in row.search.items()}
    return {"optimizer": row.optimizer, "decay": row.decay, **spaces, "epochs": study.epochs}


def is_shown(study: Study, job: Job) -> bool:
    """Return whether a training's weights are kept: of replicate 0's final run, in the variant the study is about."""
    return job.replicate == 0 and job.variant == study.variants[0] and study.kind != "function"


def weights_of(place: Place, job: Job) -> Path:
    """Return where a training's weights lie."""
    return place.mlruns / "weights" / f"{job.key}.safetensors"


def _facts(job: Job) -> tuple[dict[str, object], str]:
    """Return what builds a training's network and the data, and the type of its input."""
    arrays, spec = load_arrays(job.spec.data), asdict(job.spec)
    inputs = {"shape": arrays.x.shape[1:], "classes": arrays.classes, "tokens": arrays.tokens}
    return {"model": spec["model"], "data": spec["data"], **inputs}, str(arrays.x.dtype)


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
    study, content = place.study, content_of(place.study, place.mlruns)
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
    computed = alone + sum(seconds * jobs_in(study, name) for name, seconds in each.items()) / workers
    written = PROJECTION + PROJECTION_EACH * sum(jobs_in(study, name) for name in each)
    return Cost(start + computed + written, workers, each, recorded, timed)


def write_tables(place: Place, content: Content, done: dict[str, Entry]) -> None:
    """Write the tables of every contender of a finished study."""
    for name in place.contenders:
        write_tuning(place, name, content, done)
        write_runs(place, name, content, done)


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
    """Write runs/, curves/, answers/ and sweep/<contender>.csv from the selections on disk."""
    selections = read_selections(place, contender)
    jobs = [
        job
        for unit in units(place.study, [contender])
        for job in unit_jobs(place.study, unit, content, done, selections, True)
    ]
    finals = [(job, done[job.key]) for job in jobs if job.stage == "final"]
    curves = [row for job, entry in finals for row in results.curve_rows(job, entry)]
    answers = [results.answer_row(job, entry) for job, entry in finals if entry.result.answers]
    swept = [results.sweep_row(job, done[job.key]) for job in jobs if job.stage == "sweep"]
    write, file = results.write_table, f"{contender}.csv"
    write(place.tables / "runs" / file, [results.run_row(job, entry) for job, entry in finals])
    write(place.tables / "curves" / file, curves, ("variant", "replicate", "epoch"))
    write(place.tables / "answers" / file, answers, ("variant", "replicate", "right"))
    write(place.tables / "sweep" / file, swept, ("replicate", "point", "seed", "learning_rate", "status"))


def read_selections(place: Place, contender: str) -> Selections:
    """Return what the tune stage selected for a contender."""
    if not place.study.tuning.trials:
        return {}
    searched = place.study.row(place.study.contender(contender)).search
    return results.read_selections(place.tables / "selected" / f"{contender}.csv", searched)


def tables_digest(folder: Path) -> str:
    """Return a hash of what two runs share: all but provenance, which the page shows too."""
    content = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in ("provenance.json", "report.html"):
            content.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return content.hexdigest()[:16]


def provenance(place: Place, content: Content, mine: Sequence[Entry]) -> dict[str, object]:
    """Return versions, machine, commit and time of this moment, and what the study's trainings took, in seconds."""
    packages = ("optstudy", "torch", "pytorch-lightning", "optuna", "mlflow", "scikit-learn", "scipy", "numpy")
    return {
        "written": _utc(time.time_ns() // 1_000_000),
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "git_commit": git_commit(),
        "command": f"optstudy run {_study_file(place.study)}",
        "seed": place.study.seed,
        "data_digest": content.data,
        "first_training": _utc(min(entry.started_ms for entry in mine)),
        "last_training": _utc(max(entry.ended_ms for entry in mine)),
        "wall_seconds": (max(entry.ended_ms for entry in mine) - min(entry.started_ms for entry in mine)) / 1000,
        "trainings": len(mine),
        "training_seconds": sum(entry.result.seconds for entry in mine),
        "versions": {package: version(package) for package in packages},
    }


def _study_file(study: Study) -> str:
    """Return the study file as it was given to the command; its usual place where the command named none, or several.

    A study does not know its file, and DVC's stages name the study alone.
    """
    given = [argument for argument in sys.argv[1:] if argument.endswith((".yaml", ".yml"))]
    return shlex.quote(given[0]) if len(given) == 1 else f"configs/{study.name}.yaml"


def _utc(milliseconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(milliseconds / 1000))


def tags(study: Study) -> dict[str, str]:
    """Return the tags that every MLflow run of a study carries."""
    named = {"mlflow.source.git.commit": git_commit(), "mlflow.source.name": "optstudy", "mlflow.user": "optstudy"}
    return named | ({"optstudy.pretrained_by": study.pretrained_by} if study.pretrained_by else {})


def git_commit() -> str:
    """Return the commit of the current folder, `-dirty` where tracked files differ; `unknown` outside a repository."""
    commands = (["git", "rev-parse", "HEAD"], ["git", "status", "--porcelain", "--untracked-files=no"])
    try:
        commit, changed = (
            subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() for command in commands
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{commit}-dirty" if changed else commit


def _failure(job: Job, result: RunResult, objective: str) -> str:
    """Return what went wrong in a training, empty where nothing did."""
    if result.status == "failed":
        return result.message or "it failed without a word"
    if job.stage == "tuning" and objective not in result.metrics:
        return f"the model must log {objective}, by which the search selects; it logs {', '.join(result.metrics)}"
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
    journal.append(place.journal, job.key, job.spec, ended, stated(place.study))
    say(f"pretraining by {place.study.pretrained_by}: test accuracy {result.metrics['test/accuracy']:.4f} on its data")
    return result


def _events(pool: Workers) -> Iterator[tuple[object, Event]]:
    while True:
        yield from pool.events()
