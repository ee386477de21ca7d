"""The tables of a finished study, written from the journal; and what it answers, written from the tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from optstudy.analysis import tables
from optstudy.analysis.evaluate_claims import claim_rows, withdrawn
from optstudy.analysis.fairness import design_findings, facts_findings, history_findings, table_findings
from optstudy.analysis.study_results import StudyResults, study_facts
from optstudy.errors import StudyError
from optstudy.files import write_json, write_text
from optstudy.metrics import HEADLINES, present
from optstudy.planning import journal
from optstudy.planning.fingerprints import Fingerprints
from optstudy.planning.jobs import Job, named_jobs, selected_trial, trial_jobs, units
from optstudy.planning.journal import Entry
from optstudy.planning.layout import StudyPaths
from optstudy.planning.selection import Selections
from optstudy.records.provenance import provenance
from optstudy.records.rows import answer_row, curve_rows, run_row, selected_row, sweep_row, tuning_row
from optstudy.reporting.figures import Mapper
from optstudy.reporting.pages import write_report
from optstudy.running.session import Session


def write_tables(paths: StudyPaths, fingerprints: Fingerprints, done: dict[str, Entry]) -> None:
    """Write the tables of every contender of a finished study."""
    for name in paths.contenders:
        write_tuning(paths, name, fingerprints, done)
        write_runs(paths, name, fingerprints, done)


def write_tuning(paths: StudyPaths, contender: str, fingerprints: Fingerprints, done: dict[str, Entry]) -> None:
    """Write tuning/<contender>.csv and selected/<contender>.csv of a finished search, if the study has one."""
    study = paths.study
    if not study.tuning.trials:
        return
    spaces = study.row(study.contender(contender)).search
    trials, selected = [], []
    for unit in units(study, [contender]):
        jobs = trial_jobs(study, contender, unit.replicates[0], fingerprints, done)
        trials += [tuning_row(job, done[job.key]) for job in jobs]
        best = selected_trial(study, jobs, done)
        assert best is not None, "tables are written of finished searches"
        selected += [selected_row(replicate, best, spaces) for replicate in unit.replicates]
    tables.write_table(paths.tables / "tuning" / f"{contender}.csv", trials)
    tables.write_table(paths.tables / "selected" / f"{contender}.csv", selected)


def write_runs(paths: StudyPaths, contender: str, fingerprints: Fingerprints, done: dict[str, Entry]) -> None:
    """Write runs/, curves/, answers/ and sweep/<contender>.csv from the selections on disk."""
    selections = read_selections(paths, contender)
    jobs = named_jobs(paths.study, [contender], fingerprints, done, selections)
    finals = [(job, done[job.key]) for job in jobs if job.stage == "final"]
    curves = [row for job, entry in finals for row in curve_rows(job, entry)]
    answers = [answer_row(job, entry) for job, entry in finals if entry.result.answers]
    swept = [sweep_row(job, done[job.key]) for job in jobs if job.stage == "sweep"]
    write, file = tables.write_table, f"{contender}.csv"
    write(paths.tables / "runs" / file, [run_row(job, entry) for job, entry in finals])
    write(paths.tables / "curves" / file, curves, ("variant", "replicate", "epoch"))
    write(paths.tables / "answers" / file, answers, ("variant", "replicate", "right"))
    write(paths.tables / "sweep" / file, swept, ("replicate", "point", "seed", "learning_rate", "status"))


def read_selections(paths: StudyPaths, contender: str) -> Selections:
    """Return what the tune stage selected for a contender."""
    if not paths.study.tuning.trials:
        return {}
    searched = paths.study.row(paths.study.contender(contender)).search
    return tables.read_selections(paths.tables / "selected" / f"{contender}.csv", searched)


def write_answer(session: Session, jobs: Sequence[Job], mapper: Mapper = map) -> tuple[pd.DataFrame, StudyResults]:
    """Write the comparison, claims, findings, figures and report from the tables of contenders.

    `jobs` are the finished trainings, `mapper` maps over the figures to draw. Returns the comparison, and all that the
    report was made of. Raises StudyError if a user's LightningModule does not log what is compared or claimed.
    """
    paths, entries = session.paths, session.entries
    mine = [entries[job.key] for job in jobs]
    study, folder = paths.study, paths.tables
    kinds = ("runs", "curves", "sweep", "answers")
    runs, curves, sweep, answers = (tables.stacked(folder, kind, paths.contenders) for kind in kinds)
    target = tables.target_of(runs, study.target)
    within = study.sweep.within if study.sweep else 0.0
    values = tables.replicate_values(runs, curves, sweep, study.epochs, target, within)
    if not all(values.values()):
        message = "must log test/accuracy, val/accuracy or val/loss: there is nothing to compare"
        raise StudyError(f"{study.name}: model.class: {study.model.class_path!r}: {message}")
    table = tables.comparison(runs, values, target)
    if study.pretrained_by:
        table["pretrained_by"] = study.pretrained_by
    first = journal.first_stated(entries)
    history = history_findings(study, first, withdrawn(study, first))
    findings = [
        *design_findings(study, len(first.primary)),
        *table_findings(study, folder),
        *history,
        *facts_findings(mine),
    ]
    claims = claim_rows(study, answers, values, first)
    write_text(folder / "comparison.csv", table.to_csv(index=False, lineterminator="\n"))
    write_text(folder / "headline.csv", _plot_of_dvc(table))
    for name, content_of_file in (
        ("metrics", _metrics_of_dvc(table, claims)),
        ("claims", claims),
        ("findings", [asdict(finding) for finding in findings]),
        ("study", study_facts(study)),
        ("provenance", provenance(study, session.fingerprints, mine)),
    ):
        write_json(folder / f"{name}.json", content_of_file)
    return table, write_report(folder, mapper)


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
