"""The objective against the learning rate: trials, the sweep, and where default, chosen rates and space are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from optstudy.analysis.study_results import StudyResults, spaces_of
from optstudy.catalogue import Space
from optstudy.reporting.axes import new_cells, scaled, tip
from optstudy.reporting.plots import FLOOR, draw_trials
from optstudy.reporting.style import INK, PAPER, displayed, styles_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def sensitivity(results: StudyResults) -> Figure | None:
    """Draw a panel for each contender: trials as points, the sweep as a line with hollow points, crosses diverged.

    The space is shaded, the default is a dashed line, the chosen rates are ticks below.
    """
    name = results.objective
    tuning, sweep = (_known(table, name) for table in (results.tuning, results.sweep))
    if not len(tuning) and not len(sweep):
        return None
    having = {*tuning["contender"], *sweep["contender"]}
    shown = [contender for contender in results.contenders if contender in having]
    figure, panels = new_cells(len(shown), 2.1)
    styles = styles_of(results)
    for axes, contender in zip(panels, shown, strict=True):
        style = styles[contender]
        own = tuning[tuning["contender"] == contender]
        draw_trials(axes, own, name, style, s=14, color=style.colour, alpha=0.55, linewidths=0)
        swept = sweep[sweep["contender"] == contender]
        if len(swept):
            draw_trials(axes, swept[swept["status"] == "diverged"], name, style)
            middle = swept.groupby("learning_rate")[name].median()
            axes.plot(middle.index, middle, "o-", color=style.colour, markersize=4, markerfacecolor=PAPER)
        axes.set_title(displayed(contender), loc="left")
        axes.set_xlabel("learning rate", fontsize=8, labelpad=1)
    rates = pd.concat([tuning["learning_rate"], sweep["learning_rate"]])
    for axes in panels:
        axes.set_xlim(rates.min() / 1.6, rates.max() * 1.6)
        scaled(axes, "x", "learning_rate")
    limits = [limit for axes in panels for limit in axes.get_ylim()]
    for axes, contender in zip(panels, shown, strict=True):
        axes.set_ylim(min(limits), max(limits))
        scaled(axes, "y", name)
        _mark(axes, results, contender)
    return figure


def _known(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return the rows with a learning rate, which a rate-free optimizer has none of, and losses above the floor."""
    if not len(table) or not {name, "learning_rate"} <= set(table):
        return pd.DataFrame({column: [] for column in ("contender", "learning_rate", "status", name)})
    rows = table.dropna(subset=["learning_rate"])
    return rows.assign(**{name: rows[name].clip(lower=FLOOR)}) if name.endswith("loss") else rows


def _mark(axes: Axes, results: StudyResults, contender: str) -> None:
    """Mark space, default and the chosen rates."""
    space = spaces_of(results.study, contender).get("learning_rate")
    if isinstance(space, Space):
        axes.axvspan(space.low, space.high, color=INK, alpha=0.07, linewidth=0)
    default = results.study["contenders"][contender]["defaults"].get("learning_rate")
    if isinstance(default, int | float):
        tip(axes.axvline(default, color=INK, linewidth=1, linestyle="--"), f"default: {default:g}")
    chosen = results.selected[results.selected["contender"] == contender] if len(results.selected) else None
    if chosen is not None and "learning_rate" in chosen:
        rates = chosen["learning_rate"].dropna()
        below = axes.get_xaxis_transform()
        [ticks] = axes.plot(rates, [0.03] * len(rates), "|", color=INK, markersize=9, transform=below)
        tip(ticks, f"chosen: {', '.join(f'{rate:.2g}' for rate in sorted(rates))}")
