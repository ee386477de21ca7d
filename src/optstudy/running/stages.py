"""prepare, pretrain, tune, train, compare, run and report as functions: for the command line and DVC's scripts alike.

The journal decides what is left to train. Tables, Optuna and MLflow are written from it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from optstudy.analysis.findings import history_findings
from optstudy.errors import StoreIncomplete, StudyError
from optstudy.files import read_derived, write_json
from optstudy.metrics import counted
from optstudy.planning.jobs import changes, jobs_in, named_jobs, resolved, units
from optstudy.planning.layout import StudyPaths
from optstudy.planning.stack_decisions import read_stored, stored_path
from optstudy.records.databases import check_stores
from optstudy.records.live import Live
from optstudy.records.mlflow_runs import MlflowRecorder
from optstudy.records.optuna_trials import OptunaRecorder
from optstudy.records.provenance import tags
from optstudy.records.recorder import Projection
from optstudy.reporting.figures import Mapper
from optstudy.reporting.summary import notes
from optstudy.running.executor import Executor
from optstudy.running.executors.processes import Workers
from optstudy.running.outputs import (
    read_selections,
    undecided_claims,
    write_answer,
    write_runs,
    write_tables,
    write_tuning,
)
from optstudy.running.session import Say, Session, open_session
from optstudy.running.step_prices import measure_prices
from optstudy.running.training_loop import OnProgress, complete, run_pretraining
from optstudy.running.widening import widest, with_wider_spaces
from optstudy.spec import Phase
from optstudy.tasks.kinds import task_of
from optstudy.tasks.pretrained import weights_file

if TYPE_CHECKING:
    import pandas as pd

TABLES = ("resolved", "tuning", "selected", "runs", "curves", "answers", "sweep")  # folders with a file per contender


def run(paths: StudyPaths, workers: int, say: Say, on_progress: OnProgress, accept: int | None = None) -> pd.DataFrame:
    """Tune, train and compare; resume what was interrupted. Returns the comparison table.

    `accept` is the older training version whose finished trainings are kept, if any. Raises StudyHeld if another
    process runs the study, TrainingFailed if a training raised, and, with the table, StoreIncomplete if MLflow or
    Optuna could not be completed.
    """
    live = live_of(paths, say)
    on_progress(Phase("checking data, models and stores"))
    opened = open_session(paths, accept=accept, check=lambda _: live.check())
    with Workers(workers, paths.study.timeout) as executor, opened as session, live:
        _write_resolved(session, say)
        _say_accepted(session, accept, say)
        _say_later_design(session, say)
        _pretrain(session, executor, say)

        def search(first: Session) -> None:
            complete(first, units(first.study, paths.contenders), executor, live, on_progress, finals=False)

        session = with_wider_spaces(session, paths.contenders, say, search)
        for replicates in paths.study.looks:
            look = session.at_look(replicates)
            complete(look, units(look.study, paths.contenders), executor, live, on_progress)
            on_progress(Phase("timing a step of each optimizer"))
            measure_prices(look, paths.contenders, say)
            on_progress(Phase("writing the tables"))
            write_tables(look)
            if _is_last(look, say):
                break
        return compare(look, live, executor.map, on_progress)


def report(paths: StudyPaths, say: Say, on_progress: OnProgress = lambda _: None) -> pd.DataFrame | None:
    """Rebuild every table, MLflow and Optuna from the journal, whatever version or machine trained; train nothing.

    Returns the comparison table, None if trainings are missing. Raises StoreIncomplete with the table if MLflow or
    Optuna could not be completed.
    """
    live = live_of(paths, say)
    on_progress(Phase("reading the journal"))
    with open_session(paths, report_only=True, check=lambda _: live.check()) as session, live:
        session = with_wider_spaces(session, paths.contenders, say)
        for replicates in paths.study.looks:
            look = session.at_look(replicates)
            if missing := _missing(look):
                message = f"{missing} trainings are missing from the journal: optstudy run completes them"
                say(f"{paths.study.name}: {message}")
                return None
            on_progress(Phase("writing the tables"))
            _write_resolved(look, say)
            write_tables(look)
            if _is_last(look, say):
                break
        return compare(look, live, on_progress=on_progress)


def _missing(session: Session) -> int:
    """Return how many trainings of a study its journal lacks."""
    missing = 0
    for name in session.paths.contenders:
        jobs = named_jobs(session.study, [name], session.fingerprints, session.entries)
        missing += jobs_in(session.study, name) - sum(job.key in session.entries for job in jobs)
    return missing


def _is_last(look: Session, say: Say) -> bool:
    """Return whether a study ends at this look: its primary claims are decided, or there is no later one.

    The journal alone decides it, so that a study that was interrupted ends at the same look as any other.
    """
    study = look.study
    if study.replicates == study.looks[-1]:
        return True
    count, undecided = study.replicates, undecided_claims(look)
    later = study.looks[study.looks.index(count) + 1]
    goes_on = f"{counted(undecided, 'primary claim')} undecided, so replicates are added up to {later}"
    say(f"{study.name}: {count} replicates: {goes_on if undecided else 'all primary claims are decided'}")
    return not undecided


def prepare(paths: StudyPaths, say: Say) -> Session:
    """Write resolved/<contender>.json, and say what changed in it since the last time."""
    with open_session(paths) as session:
        _write_resolved(session, say)
    return session


def pretrain(paths: StudyPaths, say: Say) -> None:
    """Run the study's pretraining as a stage of its own, unless its weights are there; write start.json."""
    live = live_of(paths, say)
    with Workers(1, paths.study.timeout) as executor, open_session(paths, check=lambda _: live.check()) as session:
        _pretrain(session, executor, say)


def tune(paths: StudyPaths, contender: str, workers: int, on_progress: OnProgress) -> None:
    """Run one contender's searches and write tuning/ and selected/."""
    live = live_of(paths)
    with Workers(workers, paths.study.timeout) as executor, open_session(paths, check=_checks(live)) as session, live:

        def search(one: Session) -> None:
            complete(one, units(one.study, [contender]), executor, live, on_progress, finals=False)

        session = with_wider_spaces(session, [contender], search=search)
        search(session)
        write_tuning(session, contender)


def train(paths: StudyPaths, contender: str, workers: int, on_progress: OnProgress) -> None:
    """Run one contender's final runs with the hyperparameters in selected/; write runs/ and curves/."""
    check_stores(paths.mlruns)
    if paths.study.tuning.trials:
        name = paths.study.contender(contender).name
        _needs(paths, paths.tables / "selected" / f"{name}.csv", f"tune.py {name}")
    live = live_of(paths)
    with Workers(workers, paths.study.timeout) as executor, open_session(paths, check=_checks(live)) as session, live:
        session = with_wider_spaces(session, [contender])
        todo, selections = units(paths.study, [contender]), read_selections(paths, contender)
        complete(session, todo, executor, live, on_progress, selections=selections)
        measure_prices(session, [contender], lambda _: None)
        write_runs(session, contender)


def compare_stage(paths: StudyPaths) -> pd.DataFrame:
    """Compare as a stage of its own."""
    check_stores(paths.mlruns)
    for name in paths.contenders:
        _needs(paths, paths.tables / "runs" / f"{name}.csv", f"train.py {name}")
    live = live_of(paths)
    with open_session(paths, report_only=True, check=lambda _: live.check()) as session, live:
        return compare(with_wider_spaces(session, paths.contenders), live)


def compare(
    session: Session, live: Live, mapper: Mapper = map, on_progress: OnProgress = lambda _: None
) -> pd.DataFrame:
    """Write what the study answers, then bring MLflow and Optuna in line with the journal; return the comparison.

    `mapper` maps over the figures to draw. Raises StoreIncomplete with the comparison if a store fails.
    """
    named = named_jobs(session.study, session.paths.contenders, session.fingerprints, session.entries)
    jobs = [job for job in named if job.key in session.entries]
    on_progress(Phase("judging the claims, drawing the report"))
    table, results = write_answer(session, jobs, mapper)
    on_progress(Phase("writing MLflow and Optuna"))
    try:
        live.complete(Projection(session.paths, session.fingerprints, jobs, session.entries, table, notes(results)))
    except StoreIncomplete as error:
        error.comparison = table
        raise
    return table


def live_of(paths: StudyPaths, say: Say = lambda _: None) -> Live:
    """Return what shows a study in Optuna and MLflow; it opens each when it is first needed."""
    study = paths.study
    spaces = {contender.name: widest(study, study.row(contender).search) for contender in study.optimizers}
    return Live(
        [
            OptunaRecorder(paths.mlruns, study.name, spaces, study.objective, study.tuning.trials),
            MlflowRecorder(paths.mlruns, study.name, tags(study), study.objective),
        ],
        say,
    )


def _write_resolved(session: Session, say: Say) -> None:
    """Write what each contender's trainings depend on, and say what changed."""
    paths = session.paths
    _store_decisions(session, say)
    _remove_former_contenders(paths, say)
    for name in paths.contenders:
        path = paths.tables / "resolved" / f"{name}.json"
        new = json.loads(json.dumps(resolved(paths.study, name, session.fingerprints)))
        before = read_derived(path)
        if before and (differences := changes(before, new)):
            say(f"{name}: changed since the last run: {'; '.join(differences)}")
        write_json(path, new)


def _remove_former_contenders(paths: StudyPaths, say: Say) -> None:
    """Remove the tables of contenders that have left the study: the comparison would keep showing them."""
    tables = [
        path for folder in TABLES for path in paths.tables.glob(f"{folder}/*") if path.suffix in (".csv", ".json")
    ]
    former = [path for path in tables if path.stem not in paths.contenders]
    for path in former:
        path.unlink()
    for name in sorted({path.stem for path in former}):
        say(f"{name}: is no longer in the study: its tables are removed")


def _store_decisions(session: Session, say: Say) -> None:
    """Store which contenders are stacked, and say once why others are not."""
    study, stacking = session.study, session.fingerprints.stacking
    if session.fingerprints.report_only:
        return
    stored = read_stored(session.paths.mlruns, study.name)
    new = {name: decision for name, decision in stacking.items() if decision.key not in stored}
    if not new:
        return
    decided = {decision.key: decision.not_stacked_because for decision in new.values()}
    write_json(stored_path(session.paths.mlruns, study.name), stored | decided)
    if study.stack == "off" or task_of(study.kind).not_stacked_because:
        return
    for reason in dict.fromkeys(filter(None, decided.values())):
        names = [name for name, decision in new.items() if decision.not_stacked_because == reason]
        say(f"{', '.join(names)}: trained one by one: {reason}")


def _say_accepted(session: Session, accept: int | None, say: Say) -> None:
    if accept is not None:
        count = len(session.fingerprints.recorded)
        say(
            f"{count} trainings of training version {accept} are kept (--accept-version): this code may train otherwise"
        )


def _say_later_design(session: Session, say: Say) -> None:
    """Say before anything is trained that the study's claims will be exploratory."""
    history = session.history()
    for finding in history_findings(session.study, history.confirmed, 0, history.number, history.changed):
        if history.changed:
            say(f"{session.study.name}: {finding.finding}")


def _pretrain(session: Session, executor: Executor, say: Say) -> None:
    """Train the weights that contenders start from, if the study has a pretraining; write start.json."""
    study = session.study
    start: dict[str, object] = {"weights": study.model.pretrained or "fresh", "digest": session.fingerprints.weights}
    if study.pretrained_by:
        start["pretrained_by"] = study.pretrained_by
    if study.pretraining is not None:
        start["metrics"] = dict(run_pretraining(session, executor, say).metrics)
    write_json(session.paths.tables / "start.json", start)


def _checks(live: Live) -> Callable[[Session], None]:
    """Return what a stage that trains checks before anything is written."""

    def check(session: Session) -> None:
        live.check()
        if session.study.pretraining is not None:
            _needs(session.paths, weights_file(session.fingerprints.weights), "pretrain.py")

    return check


def _needs(paths: StudyPaths, path: Path, stage: str) -> None:
    """Raise StudyError if an earlier stage has not written its file; `stage` is its script, and a contender."""
    if not path.exists():
        script, _, contender = stage.partition(" ")
        command = f"python pipelines/{script} {paths.study.name} {contender}".strip()
        raise StudyError(f"{path}: is missing; an earlier stage writes it: run `{command}` (or dvc repro) first")
