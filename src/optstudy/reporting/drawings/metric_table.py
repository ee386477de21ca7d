"""One table of small multiples: contenders by the metrics that the first figure does not show."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pandas as pd

from optstudy.analysis.study_results import StudyResults
from optstudy.metrics import decimals_of, metric, value_of
from optstudy.reporting.axes import new_cells, scaled, tip
from optstudy.reporting.captions import headline_of
from optstudy.reporting.style import INK, displayed, styles_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def metric_table(results: StudyResults) -> Figure | None:
    """Draw a panel for each further metric: a row for each contender, with mean, 95% interval and value."""
    rows = results.comparison[results.comparison["variant"] == results.variant]
    names = further(results)
    if not names:
        return None
    figure, panels = new_cells(len(names), 0.75 + 0.27 * len(results.contenders), 2, margins=(1.15, 0.75, 0.4, 0.3))
    for axes, name in zip(panels, names, strict=True):
        _panel(axes, rows.dropna(subset=[f"{name}_mean"]), name, results)
    return figure


def further(results: StudyResults) -> list[str]:
    """Return the metrics of the comparison besides the first figure's."""
    rows = results.comparison[results.comparison["variant"] == results.variant]
    return [name for name in results.metrics if name != headline_of(results) and rows[f"{name}_mean"].notna().any()]


def _panel(axes: Axes, rows: pd.DataFrame, name: str, results: StudyResults) -> None:
    from matplotlib.ticker import MaxNLocator

    styles, row = styles_of(results), metric(name)
    decimals = decimals_of(name, ((rows[f"{name}_ci_high"] - rows[f"{name}_ci_low"]) / 2).tolist())
    for place, own in enumerate(rows.to_dict("records")):
        style = styles[own["contender"]]
        low, mean, high = (own[f"{name}_{which}"] for which in ("ci_low", "mean", "ci_high"))
        missed = row.goal and own["reached"] < own["n"]
        if not missed:  # a miss counts as the budget, so that neither mean nor interval is what it seems
            axes.plot([low, high], [place, place], color=style.colour, linewidth=2, solid_capstyle="butt")
        [dot] = axes.plot(mean, place, marker=style.marker, color=style.colour, markersize=6)
        words = f"{int(own['reached'])} of {int(own['n'])}" if missed else value_of(name, mean, decimals)
        dot.set_markerfacecolor("none" if missed else style.colour)
        tip(dot, f"{displayed(own['contender'])}: {row.label} {words}")
        axes.text(1.03, place, words, transform=axes.get_yaxis_transform(), va="center", fontsize=8, color=INK)
    names = [textwrap.fill(displayed(contender), 16) for contender in rows["contender"]]
    axes.set_yticks(range(len(rows)), names, fontsize=7.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)
    unit = f" ({row.unit})" if row.unit and not row.share and row.unit not in row.label else ""
    axes.set_title(f"{row.label}{unit}", loc="left")
    scaled(axes, "x", name)
    axes.xaxis.set_major_locator(MaxNLocator(4))
