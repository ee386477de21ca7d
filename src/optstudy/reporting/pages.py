"""The page of a study, self-contained; `gallery/` has the page over several studies.

Pages are made from tables alone. The template engine escapes all text that comes from a study file or its data.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from optstudy.analysis.study_results import StudyResults, read_study_results, spaces_of
from optstudy.analysis.verdicts import confidence, worded_effect, worded_verdict
from optstudy.files import write_text
from optstudy.inference.looks import level_of
from optstudy.inference.power import MOST_REPLICATES
from optstudy.metrics import amount, counted, difference, metric, number, probability, span
from optstudy.reporting import card, summary
from optstudy.reporting.captions import counted_up_to, diverged_score, goal_in_words, seconds_in_words, swept
from optstudy.reporting.figures import PLOTS, PRICE, Mapper, draw_all
from optstudy.reporting.style import INK, PAPER


def write_report(folder: Path, mapper: Mapper = map) -> StudyResults:
    """Write figures/ and report.html of the study whose tables are in `folder`, and return its results.

    `mapper` maps over the figures to draw.
    """
    results = read_study_results(folder)
    figures = draw_all(results, folder / "figures", mapper)
    write_text(folder / "report.html", page_of("report.html", **_parts(results, figures)))
    return results


def page_of(template: str, **parts: Any) -> str:
    """Return a page made of a template in `templates/`; all text in its parts is escaped."""
    loader = PackageLoader("optstudy.reporting")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(**parts) + "\n"


def _parts(results: StudyResults, figures: Mapping[str, str]) -> dict[str, Any]:
    """Return the variables of the template of a study's page."""
    shown = [
        (plot.name, plot.caption(results), inline(plot.name, figures[plot.name]))
        for plot in PLOTS
        if plot.name in figures
    ]
    return {
        "title": results.study["question"] or results.name,
        "study": results.study,
        "answer": summary.answer(results),
        "claims": [_claim(claim) for claim in results.claims],
        "confidence": confidence(results.claims) if results.claims else "",
        "looks": _looks(results.study),
        **_family(results.claims),
        "trials": counted(results.study["trials"], "trial"),
        "budget": counted(results.study["epochs"], results.epoch),
        "objective": metric(results.objective).label if results.objective else "",  # nothing is searched
        "variants": [_table(results, variant) for variant in results.variants],
        "figures": [figure for figure in shown if figure[0] != PRICE],
        "price": _price(results),
        "price_notes": _price_notes(results),
        "price_figures": [figure for figure in shown if figure[0] == PRICE],
        "choices": summary.choices(results),
        "card": card.card_rows(results),
        "other_ways": card.other_ways(results),
        "leads": card.budget_words(results),
        "tuning": card.tuning_rows(results),
        "leading": card.leading(results),
        "gains_at": [counted(k, "trial") for k in card.budget_columns(results)],
        "problems": summary.problems(results),
        "findings": results.findings,
        "designs": _designs(results.provenance.get("designs", [])),
        "provenance": [
            (_words(key), _provenance(key, value)) for key, value in results.provenance.items() if key != "designs"
        ],
        "notes": _notes(results),
    }


def answer_in_html(results: StudyResults, headline: str) -> str:
    """Return what a notebook shows of a study: its answer, its tables, its claims and the headline figure's SVG."""
    return page_of(
        "answer.html",
        title=results.study["question"] or results.name,
        answer=summary.answer(results),
        variants=[_table(results, variant) for variant in results.variants],
        claims=[_claim(claim) for claim in results.claims],
        confidence=confidence(results.claims) if results.claims else "",
        figure=inline(f"{results.name}-headline", headline) if headline else "",
    )


def _looks(study: Mapping[str, Any]) -> str:
    """Return when a study with looks could have stopped, in words; empty for any other study."""
    looks = study.get("looks", [])
    if len(looks) < 2:
        return ""
    *before, last = map(str, looks)
    level = level_of(len(looks))
    return f"it stops after {', '.join(before)} or {last}, when its primary claims are decided; each look at {level:g}"


def _family(claims: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return the number of claims that p is corrected over, and how many of them are no longer in the study."""
    tests = max((claim["tests"] for claim in claims), default=0)
    return {"tests": tests, "withdrawn": tests - sum(claim["p_corrected"] is not None for claim in claims)}


def _claim(claim: Mapping[str, Any]) -> dict[str, Any]:
    """Return a claim with its numbers written for people."""
    name = claim["metric"]
    two_way = claim["two_way_low"] is not None
    return {
        **claim,
        "label": metric(name).label,
        "effect": worded_effect(claim),
        "margin": amount(name, claim["margin"]),
        "worded": worded_verdict(claim),
        "limits": worded_verdict(claim).removeprefix(claim["verdict"]),
        "style": claim["verdict"].replace(" ", "-"),
        "pairs": [_pair(claim, pair) for pair in claim["pairs"]] if len(claim["pairs"]) > 1 else [],
        "power": _power(claim),
        "p": probability(claim["p"]),
        "p_corrected": probability(claim["p_corrected"]),
        "two_way": difference(name, claim["effect"], claim["two_way_low"], claim["two_way_high"]) if two_way else "",
        "wins": span(claim["probability"], claim["probability_low"], claim["probability_high"]),
    }


def _pair(claim: Mapping[str, Any], pair: Mapping[str, Any]) -> str:
    """Return one contrast of a claim about each of several rivals, in words."""
    effect = worded_effect({**pair, "metric": claim["metric"]})
    verdict = (pair["reason"] and f"not tested: {pair['reason']}") or pair["missed"] or pair["level"] or ""
    return ", ".join(words for words in (f"{pair['contrast']}: {effect}", verdict) if words)


def _power(claim: Mapping[str, Any]) -> str:
    """Return how many replicates an inconclusive claim needs, in words; empty for other claims."""
    needed = claim["replicates_needed"]
    if not needed:
        return ""
    low, high = claim["replicates_needed_low"], claim["replicates_needed_high"]
    replicates = f"{_many(needed)} replicates ({_many(low)} to {_many(high)}, as the spread is only estimated)"
    return f"80% power for a true difference of {amount(claim['metric'], 2 * claim['margin'])}: {replicates}"


def _many(replicates: int) -> str:
    return "10,000 or more" if replicates >= MOST_REPLICATES else str(replicates)


def _table(results: StudyResults, variant: str) -> tuple[str, list[str], list[dict[str, Any]]]:
    """Return a variant, the labels of its metrics, and a row for each contender."""
    rows = results.comparison[results.comparison["variant"] == variant]
    names = [name for name in results.metrics if rows[f"{name}_mean"].notna().any()]
    cells = [
        {
            "contender": row["contender"],
            "cells": [_cell(row, name) for name in names],
            "hyperparameters": _hyperparameters(results, row["contender"], variant),
            "diverged": int(row["diverged"]),
            "n": int(row["n"]),
        }
        for row in rows.to_dict("records")
    ]
    return variant, [metric(name).label for name in names], cells


def _cell(row: Mapping[Any, Any], name: str) -> str:
    mean, low, high = (row[f"{name}_{which}"] for which in ("mean", "ci_low", "ci_high"))
    if pd.isna(mean):
        return "–"
    if metric(name).goal and row["reached"] < row["n"]:
        return f"reached in {int(row['reached'])} of {int(row['n'])}"
    return span(mean, low, high)


def _price(results: StudyResults) -> list[dict[str, str]]:
    """Return a row of the table of prices for each contender; what is not known is a dash."""
    rows = []
    for row in results.price.to_dict("records"):
        reached = results.values.get((row["contender"], results.variant), {}).get("reached", ())
        missed = f", reached in {int(sum(reached))} of {len(reached)}" if reached and not all(reached) else ""
        seconds = seconds_as_text(row["seconds_to_target"])
        buffers = row["state_bytes"] / row["parameter_bytes"]
        rows.append(
            {
                "contender": row["contender"],
                "step": seconds_as_text(row["seconds_per_step"]),
                "gradients": f"{row['gradients_per_step']:.2g}",
                "target": f"{seconds}{missed}" if seconds != "–" else "–",
                "state": bytes_as_text(row["state_bytes"])
                + ("" if pd.isna(buffers) else f" ({buffers:.2g} × parameters)"),
                "peak": bytes_as_text(row["peak_bytes"]),
            }
        )
    return rows


def _price_notes(results: StudyResults) -> list[str]:
    """Return what a reader of the table of prices needs to know."""
    seconds = seconds_in_words(results.price)
    sentences = (
        [f"Seconds are {seconds}."] if seconds else ["Seconds per step are not known: several machines trained."]
    )
    if counted_up_to(results) == "epochs_to_target":
        sentences.append(
            f"The target is {goal_in_words(results)}; a replicate that misses it counts with the whole budget."
        )
    sentences.append("State is what the optimizer keeps between steps; peak memory is known on a GPU only.")
    return sentences


def seconds_as_text(seconds: float) -> str:
    """Write seconds to two significant digits, short ones in milliseconds: 1.4 ms, 12 s; a dash if not known."""
    if pd.isna(seconds):
        return "–"
    return f"{number(1000 * seconds, 0)} ms" if seconds < 0.1 else f"{number(seconds, 0)} s"


def bytes_as_text(count: float) -> str:
    """Write a number of bytes to two or three digits: 5.2 kB, 137 MB; a dash if it is not known."""
    if pd.isna(count):
        return "–"
    size = max(0, min(3, int(math.log10(count) // 3))) if count else 0
    scaled = count / 1000**size
    return f"{scaled:.{0 if scaled >= 100 or not size else 1}f} {('bytes', 'kB', 'MB', 'GB')[size]}"


def _hyperparameters(results: StudyResults, contender: str, variant: str) -> str:
    """Return the defaults, or the range of the selected values over the replicates."""
    facts = results.study["contenders"][contender]
    if variant == "untuned":
        values = facts["defaults"].items()
        return ", ".join(f"{_words(name)} {summary.value_in_words(value)}" for name, value in values)
    own = results.selected[results.selected["contender"] == contender]
    spaces = spaces_of(results.study, contender).items()
    return ", ".join(f"{_words(name)} {summary.selected_in_words(own[name], space, ' to ')}" for name, space in spaces)


def _notes(results: StudyResults) -> list[str]:
    """Return what a reader of the table of optimizers needs to know."""
    sentences = [f"Diverged trainings are scored at {diverged_score(results)}."]
    if "reached" in results.comparison:
        sentences.append(
            f"Time to {goal_in_words(results)} is restricted to the budget; if a replicate missed it, the number that "
            "reached it is given."
        )
    if "learning_rate_tolerance" in results.metrics:
        sentences.append(f"Learning-rate tolerance: {swept(results)}.")
    if "sign_changes" in results.metrics:
        sentences.append("Sign changes are counted over all steps, also after reaching the tolerance.")
    return sentences


def _designs(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str, str]]:
    """Return number, study, first training and differences of each design; nothing if there is a single one."""
    return [
        (
            f"{row['number']} (this page)" if row["own"] else str(row["number"]),
            row["study"],
            row["first_training"] or "none: it trained nothing new",
            "; ".join([*row["changed"], *_changed_claims(row)]) or "registered",
        )
        for row in rows
        if len(rows) > 1
    ]


def _changed_claims(row: Mapping[str, Any]) -> list[str]:
    counts = {name: row[name] for name in ("added", "withdrawn") if row[name]}
    return [f"{counted(count, 'primary claim')} {name}" for name, count in counts.items()]


def _provenance(key: str, value: Any) -> list[str]:
    """Return the lines of one entry of provenance.json."""
    if key == "trained_by":
        return [_trained_by(facts) for facts in value]
    if isinstance(value, Mapping):
        return [", ".join(f"{name} {version}" for name, version in value.items())]
    return [f"{value:.0f}" if key.endswith("_seconds") else str(value)]


def _trained_by(facts: Mapping[str, str | int]) -> str:
    """Return in words how many trainings one machine did, and with which versions."""
    known = defaultdict(lambda: "unknown", facts)
    versions = f"torch {known['torch']}, scikit-learn {known['scikit-learn']}, Python {known['python']}"
    hardware = "; ".join(str(facts[name]) for name in ("gpu", "cpu") if facts.get(name))
    trainings = counted(int(facts["trainings"]), "training")
    words = f"{trainings} by training version {known['training_version']} with {versions} on {known['device']}"
    return f"{words} ({hardware})" if hardware else words


def _words(name: str) -> str:
    return name.replace("_", " ")


def inline(name: str, svg: str) -> Markup:
    """Return a figure for a page: it has the page's colours and width, and its ids begin with its name."""
    view_box = svg.partition('viewBox="')[2].partition('"')[0]
    body = svg.partition("<svg")[2].partition(">")[2]
    for start in (' id="', "url(#", 'xlink:href="#'):
        body = body.replace(start, f"{start}{name}-")
    body = body.replace(INK, "currentColor").replace(PAPER, "var(--paper)")
    return Markup(f'<svg viewBox="{view_box}">{body}')
