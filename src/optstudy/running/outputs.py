"""Writes the tables of a finished study from the journal, and what the study answers from its tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from optstudy.analysis.budgets import tuning_curves, write_curves
from optstudy.analysis.design_findings import design_findings
from optstudy.analysis.evaluate_claims import claim_rows, pair_search_sds, withdrawn
from optstudy.analysis.findings import (
    Finding,
    claims_findings,
    facts_findings,
    history_findings,
    table_findings,
)
from optstudy.analysis.price import Price, price_rows
from optstudy.analysis.robustness import robustness, write_card
from optstudy.analysis.space_audit import FILE as AUDIT
from optstudy.analysis.space_audit import SpaceAudit, audit_spaces, untestable
from optstudy.analysis.study_results import SEARCH_SD, SEARCH_SD_COLUMNS, StudyResults, study_facts
from optstudy.analysis.tables import (
    TARGET_COLUMNS,
    Values,
    comparison,
    read_table,
    replicate_values,
    stacked,
    target_rows,
    targets_of,
    text_columns,
    write_table,
)
from optstudy.analysis.tables import read_selections as read_table_of_selections
from optstudy.errors import StudyError
from optstudy.files import write_json, write_text
from optstudy.metrics import present
from optstudy.planning.designs import History
from optstudy.planning.jobs import Job, named_jobs, selected_trial, trial_jobs, units
from optstudy.planning.journal import Entry
from optstudy.planning.layout import StudyPaths
from optstudy.planning.selection import Selections
from optstudy.records.provenance import provenance
from optstudy.records.rows import answer_row, curve_rows, run_row, selected_row, sweep_row, tuning_row
from optstudy.reporting.figures import Mapper
from optstudy.reporting.pages import write_report
from optstudy.running.session import Session
from optstudy.running.step_prices import prices


def write_tables(session: Session) -> None:
    """Write the tables of every contender of a finished study."""
    for name in session.paths.contenders:
        write_tuning(session, name)
        write_runs(session, name)


def write_tuning(session: Session, contender: str) -> None:
    """Write tuning/<contender>.csv and selected/<contender>.csv of a finished search, if the study has one."""
    study, entries, folder = session.study, session.entries, session.paths.tables
    if not study.tuning.trials:
        return
    spaces = study.row(study.contender(contender)).search
    trials, selected = [], []
    for unit in units(study, [contender]):
        jobs = trial_jobs(study, contender, unit.replicates[0], session.fingerprints, entries)
        trials += [tuning_row(job, entries[job.key]) for job in jobs]
        best = selected_trial(study, jobs, entries)
        assert best is not None, "tables are written of finished searches"
        selected += [selected_row(replicate, best, spaces) for replicate in unit.replicates]
    write_table(folder / "tuning" / f"{contender}.csv", trials)
    write_table(folder / "selected" / f"{contender}.csv", selected)


def write_runs(session: Session, contender: str) -> None:
    """Write runs/, curves/, answers/ and sweep/<contender>.csv of finished trainings, from the selections on disk."""
    entries, folder, file = session.entries, session.paths.tables, f"{contender}.csv"
    selections = read_selections(session.paths, contender)
    jobs = named_jobs(session.study, [contender], session.fingerprints, entries, selections)
    finals = [(job, entries[job.key]) for job in jobs if job.stage == "final"]
    curves = [row for job, entry in finals for row in curve_rows(job, entry)]
    answers = [answer_row(job, entry) for job, entry in finals if entry.result.answers]
    sweep = [sweep_row(job, entries[job.key]) for job in jobs if job.stage == "sweep"]
    write_table(folder / "runs" / file, [run_row(job, entry) for job, entry in finals])
    write_table(folder / "curves" / file, curves, ("variant", "replicate", "epoch"))
    write_table(folder / "answers" / file, answers, ("variant", "replicate", "right"))
    write_table(folder / "sweep" / file, sweep, ("replicate", "point", "seed", "learning_rate", "status"))


def read_selections(paths: StudyPaths, contender: str) -> Selections:
    """Return what the tune stage selected for a contender; empty if the study has no search."""
    if not paths.study.tuning.trials:
        return {}
    searched = paths.study.row(paths.study.contender(contender)).search
    return read_table_of_selections(paths.tables / "selected" / f"{contender}.csv", searched)


def write_answer(session: Session, jobs: Sequence[Job], mapper: Mapper = map) -> tuple[pd.DataFrame, StudyResults]:
    """Write the comparison, claims, findings, figures and report from the tables of contenders.

    `jobs` are the finished trainings, `mapper` maps over the figures to draw. Returns the comparison, and all that the
    report was made of. Raises StudyError if a user's LightningModule does not log what is compared or claimed.
    """
    study, folder = session.study, session.paths.tables
    mine = [session.entries[job.key] for job in jobs]
    judged = _judged(session, mine)
    table, claims, history = judged.comparison, judged.claims, judged.history
    write_text(folder / "comparison.csv", table.to_csv(index=False, lineterminator="\n"))
    targets = target_rows(judged.runs, judged.curves, study.epochs, study.target, judged.prices, study.score)
    write_table(folder / "targets.csv", targets, TARGET_COLUMNS)
    write_table(folder / "price.csv", price_rows(judged.prices, judged.runs, judged.values, study.variants[0]))
    write_text(folder / "headline.csv", _plot_of_dvc(table, study.objective))
    write_json(folder / "metrics.json", _metrics_of_dvc(table, claims))
    write_json(folder / "claims.json", claims)
    write_table(folder / SEARCH_SD, pair_search_sds(study, judged.trials, present(table.columns)), SEARCH_SD_COLUMNS)
    write_json(folder / AUDIT, judged.audit.row())
    ids = [claim["id"] for claim in claims]
    write_card(folder, robustness(study, judged.tuning, judged.values, ids, judged.alike))
    write_curves(folder, tuning_curves(study, judged.tuning, judged.values))
    write_json(folder / "findings.json", [asdict(finding) for finding in _findings(session, history, mine, claims)])
    write_json(folder / "study.json", study_facts(study))
    write_json(folder / "provenance.json", provenance(study, session.fingerprints, mine, history))
    return table, write_report(folder, mapper)


def undecided_claims(session: Session) -> int:
    """Return how many claims are inconclusive by the contenders' tables."""
    jobs = named_jobs(session.study, session.paths.contenders, session.fingerprints, session.entries)
    mine = [session.entries[job.key] for job in jobs if job.key in session.entries]
    return sum(claim["verdict"] == "inconclusive" for claim in _judged(session, mine).claims)


@dataclass(frozen=True, eq=False)
class _Judged:
    """What the tables of all contenders say: the comparison, the claims, and what these were judged by."""

    comparison: pd.DataFrame
    claims: list[dict[str, Any]]
    tuning: pd.DataFrame
    trials: Mapping[str, pd.DataFrame]
    values: Values
    audit: SpaceAudit
    alike: Mapping[frozenset[str], str]
    runs: pd.DataFrame
    curves: pd.DataFrame
    prices: Mapping[str, Price]
    history: History


def _judged(session: Session, entries: Sequence[Entry]) -> _Judged:
    """Judge a study by the contenders' tables and its finished trainings. Raises StudyError as `write_answer` does."""
    study, folder = session.study, session.paths.tables
    folders = ("runs", "curves", "sweep", "answers", "tuning")
    text = {contender.name: text_columns(study.row(contender).search) for contender in study.optimizers}
    runs, curves, sweep, answers, tuning = (stacked(folder, name, session.paths.contenders, text) for name in folders)
    within = study.sweep.within if study.sweep else 0.0
    priced = prices(session, runs, entries)
    values = replicate_values(
        runs, curves, sweep, study.epochs, study.target, within, priced, study.columns, study.score
    )
    if not all(values.values()):
        *names, last = (name.replace("_", "/", 1) for name in study.columns if name.startswith(("test_", "val_")))
        message = f"must log {', '.join(names)} or {last}: there is nothing to compare"
        raise StudyError(f"{study.name}: model.class: {study.model.class_path!r}: {message}")
    table = comparison(runs, values, targets_of(runs, study.target, score=study.score))
    if study.pretrained_by:
        table["pretrained_by"] = study.pretrained_by
    audit = audit_spaces(study, tuning, values)
    alike = untestable(study, audit)
    tuned = session.paths.contenders if study.tuning.trials else ()
    trials = {name: read_table(folder / "tuning" / f"{name}.csv") for name in tuned}
    device = next(iter(priced.values())).device
    history = session.history()  # reads the journals of all studies
    claims = claim_rows(study, answers, values, history.confirmed, alike, trials, device)
    return _Judged(table, claims, tuning, trials, values, audit, alike, runs, curves, priced, history)


def _findings(
    session: Session, history: History, entries: Sequence[Entry], claims: Sequence[Mapping[str, Any]]
) -> list[Finding]:
    """Return all findings about a finished study."""
    study, first = session.study, history.confirmed
    return [
        *design_findings(study, withdrawn(study, first)),
        *table_findings(study, session.paths.tables),
        *claims_findings(claims),
        *history_findings(study, first, withdrawn(study, first), history.number, history.changed),
        *facts_findings(entries),
    ]


def _metrics_of_dvc(table: pd.DataFrame, claims: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return what `dvc metrics show` shows: the headline metrics by contender, and each claim's effect."""
    found: dict[str, dict[str, float]] = {contender: {} for contender in table["contender"]}
    first = table["variant"].iloc[0]
    for row in table.to_dict("records"):
        prefix = "" if row["variant"] == first else f"{row['variant']}_"
        means = {name: row.get(f"{name}_mean", math.nan) for name in present(table.columns)}
        # A metric that a contender lacks is nan, which is no JSON.
        found[row["contender"]] |= {f"{prefix}{name}_mean": mean for name, mean in means.items() if mean == mean}
    return found | {"claims": {claim["id"]: claim["effect"] for claim in claims}}


def _plot_of_dvc(table: pd.DataFrame, objective: str) -> str:
    """Return what `dvc plots` draws, one bar a row: the mean of the study's first headline metric."""
    name = present(table.columns, objective)[0]
    rows = zip(table["contender"], table["variant"], table[f"{name}_mean"], strict=True)
    bars = pd.DataFrame([{"contender": f"{contender} ({variant})", "mean": mean} for contender, variant, mean in rows])
    return str(bars.to_csv(index=False, lineterminator="\n"))
