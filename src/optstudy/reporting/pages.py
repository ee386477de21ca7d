"""The page of a study, self-contained; `gallery/` has the page over several studies.

Pages are made from tables alone. The template engine escapes all text that comes from a study file or its data.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from optstudy.analysis.study_results import StudyResults, read_study_results
from optstudy.analysis.verdicts import confidence
from optstudy.files import write_text
from optstudy.metrics import counted, metric
from optstudy.reporting import card, summary
from optstudy.reporting.axes import cells
from optstudy.reporting.figures import PLOTS, Mapper, Plot, draw_all
from optstudy.reporting.page import first_screen, origins, tables
from optstudy.reporting.page.alternatives import alternative
from optstudy.reporting.page.claims import claim_row, common_qualifier, family, looks
from optstudy.reporting.page.problems import problems
from optstudy.reporting.style import INK, PAPER, displayed, with_display_names


def write_report(folder: Path, mapper: Mapper = map) -> StudyResults:
    """Write figures/ and report.html of the study whose tables are in `folder`, and return its results.

    `mapper` maps over the figures to draw.
    """
    results = read_study_results(folder)
    figures = draw_all(results, folder / "figures", mapper)
    write_text(folder / "report.html", page_of("report.html", **_parts(results, figures, _files(folder))))
    return results


def page_of(template: str, **parts: Any) -> str:
    """Return a page made of a template in `templates/`; all text in its parts is escaped."""
    loader = PackageLoader("optstudy.reporting")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(template).render(**parts) + "\n"


def _parts(results: StudyResults, figures: Mapping[str, str], files: Sequence[str]) -> dict[str, Any]:
    """Return the variables of the template of a study's page."""
    shown = {plot.name: _figure(results, plot, figures[plot.name]) for plot in PLOTS if plot.name in figures}
    said = common_qualifier(results.claims)
    return {
        "title": results.study["question"] or results.name,
        "study": results.study,
        "name": results.name,
        "mlflow": origins.address(results.provenance.get("mlflow", "")),
        "pretrained_by": displayed(results.study["pretrained_by"]),
        "files": files,
        **_first_screen(results),
        "answer": summary.answer(results),
        "claims": [claim_row(claim, results.contenders, said) for claim in results.claims],
        "qualifier": with_display_names(said, [results.study["pretrained_by"]]),
        "confidence": confidence(results.claims) if results.claims else "",
        "looks": looks(results.study),
        **family(results.claims),
        "trials": counted(results.study["trials"], "trial"),
        "budget": counted(results.study["epochs"], results.epoch),
        "objective": metric(results.objective).label if results.objective else "",  # nothing is searched
        "variants": [tables.means_table(results, variant) for variant in results.variants],
        "figures": shown,
        "price": tables.price_table(results),
        "price_notes": tables.price_notes(results),
        "choices": [
            (choice.when, [displayed(name) for name in choice.contenders], choice.evidence)
            for choice in summary.choices(results)
        ],
        "card": card.card_rows(results),
        "other_ways": card.other_ways(results),
        "leads": with_display_names(card.budget_words(results), results.contenders),
        "tuning": card.tuning_rows(results),
        "leading": displayed(card.leading(results)),
        "gains_at": [counted(k, "trial") for k in card.budget_columns(results)],
        "problems": {displayed(name): words for name, words in problems(results).items()},
        "findings": first_screen.findings(results),
        "designs": origins.designs(results.provenance.get("designs", [])),
        "provenance": [
            (origins.worded(key), origins.provenance(key, value))
            for key, value in results.provenance.items()
            if key not in {"designs", "mlflow"}
        ],
        "notes": tables.notes(results),
    }


def _figure(results: StudyResults, plot: Plot, svg: str) -> dict[str, Any]:
    """Return a figure with its caption, what it shows in words, and whether it consists of cells."""
    caption = plot.caption(results)
    drawn = inline(plot.name, svg, plot.columns)
    return {"caption": caption, "alt": alternative(results, plot.name, caption), "svg": drawn, "cells": plot.columns}


def _first_screen(results: StudyResults) -> dict[str, Any]:
    """Return the variables of the first screen."""
    return {
        "short": summary.short_answer(results),
        "evidence": summary.evidence(results),
        "cards": first_screen.cards(results),
        "strip": first_screen.strip(results.claims),
        "origin": first_screen.origin(results),
    }


DATA = ("comparison.csv", "claims.json", "runs/*.csv", "tuning/*.csv", "sweep/*.csv", "curves/*.csv", "study.json")


def _files(folder: Path) -> list[str]:
    """Return the tables that a page links, relative to it."""
    return [str(path.relative_to(folder)) for pattern in DATA for path in sorted(folder.glob(pattern))]


def answer_in_html(results: StudyResults, headline: str) -> str:
    """Return what a notebook shows of a study: its answer, its tables, its claims and the headline figure's SVG."""
    return page_of(
        "answer.html",
        title=results.study["question"] or results.name,
        answer=summary.answer(results),
        variants=[tables.means_table(results, variant) for variant in results.variants],
        claims=[claim_row(claim, results.contenders) for claim in results.claims],
        confidence=confidence(results.claims) if results.claims else "",
        figure=inline(f"{results.name}-headline", headline) if headline else "",
    )


def inline(name: str, svg: str, columns: int = 0) -> Markup:
    """Return a figure for a page: it has the page's colours and width, and its ids begin with its name.

    The cells of a figure with `columns` become pictures of their own.
    """
    view_box = svg.partition('viewBox="')[2].partition('"')[0]
    body = svg.partition("<svg")[2].partition(">")[2]
    body = "".join(cells(svg, columns)) if columns else f'<svg viewBox="{view_box}">{body}'
    for start in (' id="', "url(#", 'xlink:href="#'):
        body = body.replace(start, f"{start}{name}-")
    body = body.replace(INK, "currentColor").replace(PAPER, "var(--paper)")
    return Markup(body)
