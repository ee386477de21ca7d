"""Writes index.html over several studies, and index.md: what they answer, a line for each question."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optstudy.analysis.study_results import StudyResults, read_study_results
from optstudy.files import write_text
from optstudy.reporting.gallery import matrix
from optstudy.reporting.gallery.cards import card
from optstudy.reporting.gallery.over_studies import write_across
from optstudy.reporting.pages import inline, page_of
from optstudy.reporting.style import INK, PAPER
from optstudy.reporting.summary import plain

DARK_INK, DARK_PAPER = "#e8e6e3", "#16181a"  # those of the page's dark mode


def write_index(folder: Path, studies: Sequence[str]) -> None:
    """Write index.html and index.md in the `folder` of all results, and each headline figure for dark pages.

    Several studies get across.csv and a section of their own: one line for each question that two of them ask.
    """
    read = [read_study_results(folder / name) for name in studies]
    asked, open_questions = matrix.rows(read)
    page = page_of(
        "index.html",
        title="Which optimizer?",
        cards=[card(results) for results in read],
        studies=studies,
        rows=asked,
        not_asked=open_questions,
        further=matrix.further(read),
        glyphs=matrix.GLYPHS.items(),
        over=_over_all(folder, read) if len(read) > 1 else None,
    )
    write_text(folder / "index.html", page)
    lines = [_line("question", "what the studies say, effects positive as claimed"), _line("---", "---")]
    lines += [_line(*answer) for answer in matrix.answers(read)]
    write_text(folder / "index.md", "\n".join(lines) + "\n")
    for name in studies:
        _write_dark_headline(folder / name)


def _over_all(folder: Path, studies: Sequence[StudyResults]) -> dict[str, Any]:
    """Return the variables of the section over all studies."""
    over = write_across(folder, studies)
    return over | {"figures": [(name, caption, inline(name, svg)) for name, caption, svg in over["figures"]]}


def _line(*cells: str) -> str:
    """Return a row of a Markdown table; no text of a study file can break it."""
    return f"| {' | '.join(map(plain, cells))} |"


def _write_dark_headline(tables: Path) -> None:
    """Write headline-dark.svg, the figure that a README shows to readers with dark pages; the page needs no such."""
    headline = tables / "figures" / "headline.svg"
    if headline.exists():
        svg = headline.read_text(encoding="utf-8")
        write_text(tables / "headline-dark.svg", svg.replace(INK, DARK_INK).replace(PAPER, DARK_PAPER))
