"""Tables and figures to pages: one self-contained page for each study, and an index of verdicts over several.

Pages are made of tables alone. Whatever comes from a study file or data is escaped by the template engine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from optstudy.analysis.stats import MOST_REPLICATES
from optstudy.analysis.study_results import StudyResults, read_study_results
from optstudy.analysis.verdicts import worded_verdict
from optstudy.files import write_text
from optstudy.metrics import amount, counted, difference, metric, probability, span
from optstudy.reporting import summary as reading
from optstudy.reporting.captions import swept
from optstudy.reporting.figures import PLOTS, Mapper, draw_all
from optstudy.reporting.style import INK, PAPER
from optstudy.study.claim import TOPICS


def write_report(folder: Path, mapper: Mapper = map) -> StudyResults:
    """Write figures/ and report.html of the study whose tables lie in `folder`; return what they were made of.

    `mapper` maps over the figures to draw.
    """
    evidence = read_study_results(folder)
    figures = draw_all(evidence, folder / "figures", mapper)
    write_text(folder / "report.html", _page("report.html", **_parts(evidence, figures)))
    return evidence


def write_index(results: Path, studies: Sequence[str]) -> None:
    """Write results/index.html: the protocol's claims, with the verdicts of each of `studies` in its column.

    index.md has the same as a Markdown table, a line for each claim of a study.
    """
    read = [read_study_results(results / name) for name in studies]
    rows = [(words, [_about(topic, evidence) for evidence in read]) for topic, words in TOPICS.items()]
    further = [(evidence.name, _about("", evidence)) for evidence in read]
    answers = [(evidence.name, evidence.study["question"], reading.answer(evidence)) for evidence in read]
    page = _page("index.html", title="optstudy", rows=rows, studies=studies, further=further, answers=answers)
    write_text(results / "index.html", page)
    lines = [
        _line(words, evidence.name, claim["contrast"], claim["worded"], f"{claim['label']}: {claim['effect']}")
        for words, cells in rows
        for evidence, claims in zip(read, cells, strict=True)
        for claim in claims
    ]
    head = [_line("claim", "study", "contrast", "verdict", "effect, positive as claimed"), _line(*["---"] * 5)]
    write_text(results / "index.md", "\n".join([*head, *lines]) + "\n")


def _line(*cells: str) -> str:
    """Return a row of a Markdown table; what a study file says cannot break it."""
    return f"| {' | '.join(map(reading.plain, cells))} |"


def _about(topic: str, evidence: StudyResults) -> list[dict[str, Any]]:
    return [_claim(claim) for claim in evidence.claims if claim["topic"] == topic]


def _page(template: str, **parts: Any) -> str:
    loader = PackageLoader("optstudy.reporting")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(**parts) + "\n"


def _parts(evidence: StudyResults, figures: Mapping[str, str]) -> dict[str, Any]:
    """Return what the template of a study's page shows."""
    captions = [(plot.name, plot.caption(evidence)) for plot in PLOTS if plot.name in figures]
    return {
        "title": evidence.study["question"] or evidence.name,
        "study": evidence.study,
        "answer": reading.answer(evidence),
        "claims": [_claim(claim) for claim in evidence.claims],
        **_family(evidence.claims),
        "trials": counted(evidence.study["trials"], "trial"),
        "budget": counted(evidence.study["epochs"], "step" if evidence.study["kind"] == "function" else "epoch"),
        "variants": [_table(evidence, variant) for variant in dict.fromkeys(evidence.comparison["variant"])],
        "figures": [(name, caption, inline(figures[name])) for name, caption in captions],
        "choices": reading.choices(evidence),
        "diagnoses": reading.diagnoses(evidence),
        "findings": evidence.findings,
        "provenance": evidence.provenance,
        "notes": _notes(evidence),
    }


def _family(claims: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return over how many claims p is corrected, and how many of them are shown no longer."""
    tests = max((claim.get("tests", 0) for claim in claims), default=0)
    return {"tests": tests, "withdrawn": tests - sum(claim["p_corrected"] is not None for claim in claims)}


def _claim(claim: Mapping[str, Any]) -> dict[str, Any]:
    """Return a claim with its figures written for people."""
    name = claim["metric"]
    two_way = claim["two_way_low"] is not None
    return {
        **claim,
        "label": metric(name).label,
        "effect": difference(name, claim["effect"], claim["ci_low"], claim["ci_high"]),
        "margin": amount(name, claim["margin"]),
        "worded": worded_verdict(claim),
        "limits": worded_verdict(claim).removeprefix(claim["verdict"]),
        "power": _power(claim),
        "p": probability(claim["p"]),
        "p_corrected": probability(claim["p_corrected"]),
        "two_way": difference(name, claim["effect"], claim["two_way_low"], claim["two_way_high"]) if two_way else "",
        "wins": span(claim["probability"], claim["probability_low"], claim["probability_high"]),
    }


def _table(evidence: StudyResults, variant: str) -> tuple[str, list[str], list[dict[str, Any]]]:
    """Return the variant, the labels of the metrics that it has, and its rows."""
    rows = evidence.rows(variant)
    names = [name for name in evidence.metrics if rows[f"{name}_mean"].notna().any()]
    return variant, [metric(name).label for name in names], _rows(evidence, variant, names)


def _rows(evidence: StudyResults, variant: str, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each contender: its metrics, its hyperparameters, how many of its runs diverged."""
    return [
        {
            "contender": row["contender"],
            "cells": [_cell(row, name) for name in names],
            "hyperparameters": _hyperparameters(evidence, row["contender"], variant),
            "diverged": int(row["diverged"]),
            "n": int(row["n"]),
        }
        for row in evidence.rows(variant).to_dict("records")
    ]


def _cell(row: Mapping[Any, Any], name: str) -> str:
    mean, low, high = (row[f"{name}_{which}"] for which in ("mean", "ci_low", "ci_high"))
    return "–" if pd.isna(mean) else span(mean, low, high)


def _hyperparameters(evidence: StudyResults, contender: str, variant: str) -> str:
    """Return the defaults, or the range of what the replicates selected."""
    facts = evidence.study["contenders"][contender]
    if variant == "untuned":
        return ", ".join(f"{_words(name)} {value:.2g}" for name, value in facts["defaults"].items())
    own = evidence.selected[evidence.selected["contender"] == contender]
    return ", ".join(f"{_words(name)} {own[name].min():.2g} to {own[name].max():.2g}" for name in facts["search"])


def _power(claim: Mapping[str, Any]) -> str:
    """Return what an inconclusive claim would take, in words; empty where it has a verdict."""
    needed = claim["replicates_needed"]
    if not needed:
        return ""
    replicates = "10,000 replicates or more" if needed >= MOST_REPLICATES else f"{needed} replicates"
    return f"80% power for a true difference of {amount(claim['metric'], 2 * claim['margin'])}: {replicates}"


def _notes(evidence: StudyResults) -> list[str]:
    """Return what must be known to read the table of optimizers."""
    found = [f"Diverged trainings are scored at {'their start' if evidence.study['kind'] == 'function' else 'chance'}."]
    if "target_val_accuracy" in evidence.comparison:
        target = f"{evidence.comparison['target_val_accuracy'].iloc[0]:.4f}"
        found.append(f"Epochs to target: to {target} validation accuracy; a miss counts as one more than the budget.")
    if "learning_rate_tolerance" in evidence.metrics:
        found.append(f"Learning-rate tolerance: {swept(evidence)}.")
    if "sign_changes" in evidence.metrics:
        found.append("Sign changes are counted over all steps, also after the tolerance is reached.")
    return found


def _words(name: str) -> str:
    return name.replace("_", " ")


def inline(svg: str) -> Markup:
    """Return a figure as part of a page: it follows the page's colours and width, and repeats no id of another."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r' id="(figure|axes|patch|text|line2d|xtick|ytick|matplotlib\.axis|legend)[^"]*"', "", body)
    body = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", body, count=1)
    body = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", body, count=1)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    return Markup(body.replace(INK, "currentColor").replace(PAPER, "var(--paper)"))
