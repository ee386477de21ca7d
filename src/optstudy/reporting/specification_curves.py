"""The figure of the robustness card: specification curves (Simonsohn, Simmons & Nelson 2020)."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pandas as pd

from optstudy.analysis.leaders import leader
from optstudy.analysis.robustness import SPACES
from optstudy.analysis.study_results import StudyResults
from optstudy.metrics import counted, metric
from optstudy.reporting.axes import new_figure
from optstudy.reporting.style import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEFT_OUT = "a replicate left out"


def specification_curves(results: StudyResults) -> Figure | None:
    """Draw a curve for the leader and for each claim on the card, with the choices behind each column."""
    curves = _curves(results)
    if not curves:
        return None
    figure = new_figure(3.3 * len(curves))
    panels = figure.subplots(2 * len(curves), 1, squeeze=False, height_ratios=[1.3, 1] * len(curves))[:, 0]
    for place, (title, name, rows) in enumerate(curves):
        effects, choices = panels[2 * place : 2 * place + 2]
        _effects(effects, rows, metric(name).scale)
        unit = metric(name).difference_unit
        effects.set(title=title, ylabel=unit)
        _choices(choices, rows)
        choices.sharex(effects)
    return figure


def _curves(results: StudyResults) -> list[tuple[str, str, pd.DataFrame]]:
    """Return title, metric and sorted rows of each curve."""
    first = next((leader(results, name, results.variant) for name in results.metrics), None)
    wanted = []
    if first is not None and len(results.card):
        group = results.groups[first.contender]
        others = "the best of the others" if group == first.contender else f"the best besides {group}"
        title = f"lead of {first.contender} over {others}, {metric(first.metric).label}"
        wanted.append((title, first.metric, "winner", first.contender))
    for claim in results.claims:
        title = textwrap.shorten(f"{claim['statement']} ({claim['contrast']})", 100)
        wanted.append((title, claim["metric"], "claim", claim["id"]))
    found = []
    for title, name, kind, subject in wanted:
        rows = results.card[(results.card["kind"] == kind) & (results.card["subject"] == subject)]
        if len(rows):
            found.append((title, name, rows.sort_values("effect", kind="stable").reset_index(drop=True)))
    return found


def _effects(axes: Axes, rows: pd.DataFrame, scale: float) -> None:
    """Draw each specification's median effect with the middle 95% of its redraws."""
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.vlines(
        rows.index, scale * rows["effect_low"], scale * rows["effect_high"], color=INK, alpha=0.3, linewidth=1.5
    )
    axes.plot(rows.index, scale * rows["effect"], "o", color=INK, markersize=3)
    own = rows[rows["baseline"]]
    axes.plot(own.index, scale * own["effect"], "D", color=INK, markersize=7)
    axes.tick_params(labelbottom=False)
    axes.grid(axis="x", visible=False)


def _choices(axes: Axes, rows: pd.DataFrame) -> None:
    """Mark which budget, space and rule each column has."""
    whole = rows["left_out"].isna()
    budgets = sorted(rows["trials"].unique(), reverse=True)
    rules = sorted(rows["rule"].unique())
    lines: list[tuple[str, pd.Series]] = [
        *((counted(trials, "trial"), (rows["trials"] == trials) & whole) for trials in budgets),
        *((f"space: {space}", (rows["space"] == space) & whole) for space in SPACES),
        *((f"by {metric(rule).label}", (rows["rule"] == rule) & whole) for rule in rules),
        (LEFT_OUT, ~whole),
    ]
    for place, (_, chosen) in enumerate(lines):
        columns = [column for column, marked in enumerate(chosen) if marked]
        axes.plot(columns, [place] * len(columns), "|", color=INK, markersize=5)
    axes.set_yticks(range(len(lines)), [words for words, _ in lines], fontsize=7)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.tick_params(bottom=False, labelbottom=False)
    axes.grid(visible=False)
