"""The tables of a finished study, written from the journal; and what it answers, written from the tables."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from optstudy import journal, results
from optstudy.answer import claim_rows, study_facts, withdrawn
from optstudy.errors import StudyError
from optstudy.evidence import Evidence
from optstudy.fairness import design_findings, history_findings, table_findings
from optstudy.figures import Mapper
from optstudy.journal import Entry
from optstudy.metrics import HEADLINES, present
from optstudy.place import Place
from optstudy.plan import Content, Job, Selections, named_jobs, selected_trial, trial_jobs, units
from optstudy.provenance import provenance
from optstudy.report import write_report


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
    jobs = named_jobs(place.study, [contender], content, done, selections)
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


def write_answer(
    place: Place, content: Content, jobs: Sequence[Job], done: dict[str, Entry], mapper: Mapper = map
) -> tuple[pd.DataFrame, Evidence]:
    """Write the comparison, claims, findings, figures and report from the tables of contenders.

    `mapper` maps over the figures to draw. Return the comparison, and all that the report was made of. Raises
    StudyError where a user's LightningModule does not log what is compared, or claimed of it.
    """
    study, folder = place.study, place.tables
    kinds = ("runs", "curves", "sweep", "answers")
    runs, curves, sweep, answers = (results.stacked(folder, kind, place.contenders) for kind in kinds)
    target = results.target_of(runs, study.target)
    within = study.sweep.within if study.sweep else 0.0
    values = results.replicate_values(runs, curves, sweep, study.epochs, target, within)
    if not all(values.values()):
        message = "must log test/accuracy, val/accuracy or val/loss: there is nothing to compare"
        raise StudyError(f"{study.name}: model.class: {study.model.class_path!r}: {message}")
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
        ("provenance", provenance(study, content, [done[job.key] for job in jobs])),
    ):
        results.write_json(folder / f"{name}.json", content_of_file)
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
