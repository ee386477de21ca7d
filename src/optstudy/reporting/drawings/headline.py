"""The first figure: contenders by their means, and beside them the paired difference of each to the best mean."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from optstudy.analysis.leaders import Leader, Rival, leader
from optstudy.analysis.study_results import StudyResults
from optstudy.inference.intervals import Estimate, t_interval
from optstudy.metrics import decimals_of, difference, metric, number, value_of
from optstudy.reporting import captions
from optstudy.reporting.axes import NARROW, WIDTH, empty_figure, panel, scaled, tip
from optstudy.reporting.style import INK, displayed, styles_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 0.5  # inches for a contender
ABOVE, BELOW = 0.3, 0.35  # inches above and below a panel
# By whether the figure is narrow, in inches: the room for names, the width of the means, and left and width of the
# differences. Places are fixed: matplotlib's layouts take longer than all else.
PLACES = {False: (1.5, 2.2, (4.45, 1.85)), True: (1.1, 1.55, (1.1, 1.55))}
FURTHEST = 12.0  # margins: a contender further behind is drawn as an arrow at the edge


def headline(results: StudyResults, narrow: bool = False) -> Figure | None:
    """Draw the metric that the answer is about, of the variant that the study compares."""
    return ranking(results, results.variant, narrow)


def untuned(results: StudyResults, narrow: bool = False) -> Figure | None:
    """Draw the same metric of the runs with default hyperparameters, if the study also has tuned ones."""
    return ranking(results, "untuned", narrow) if results.variant == "tuned" else None


def ranking(results: StudyResults, variant: str, narrow: bool) -> Figure | None:
    """Draw means beside differences, or above them if the figure is narrow; None without the metric."""
    name = captions.headline_of(results)
    rows = _rows(results, name, variant) if name else []
    if not rows:
        return None
    first = leader(results, name, variant)
    body, both = ROW * len(rows), first is not None
    height = body + ABOVE + BELOW
    width = NARROW if narrow else WIDTH
    total = 2 * height if narrow and both else height
    figure = empty_figure(total, width)
    names, means, differences = PLACES[narrow]
    _means(panel(figure, names, total - ABOVE - body, means, body), rows, name, results, narrow)
    if first is not None:
        below = panel(figure, names if narrow else differences[0], BELOW, differences[1], body)
        _differences(below, rows, first, results, narrow)
    return figure


@dataclass(frozen=True)
class Row:
    """A contender's values, one for each replicate, and their mean with its 95% interval."""

    contender: str
    values: tuple[float, ...]
    estimate: Estimate
    words: str


def _rows(results: StudyResults, name: str, variant: str) -> list[Row]:
    """Return a row for each contender that has the metric, the best mean first."""
    found = {c: results.values.get((c, variant), {}).get(name) for c in results.contenders}
    values = {contender: tuple(map(float, own)) for contender, own in found.items() if own is not None}
    estimates = {contender: t_interval(own) for contender, own in values.items()}
    decimals = decimals_of(name, [(one.high - one.low) / 2 for one in estimates.values()])
    order = sorted(values, key=lambda contender: -metric(name).sign * estimates[contender].mean)
    rows = []
    for contender in order:
        reached = results.values[contender, variant].get("reached", ()) if metric(name).goal else ()
        missed = "" if all(reached) else f"{int(sum(reached))} of {len(reached)}"
        estimate = estimates[contender]
        rows.append(Row(contender, values[contender], estimate, missed or value_of(name, estimate.mean, decimals)))
    return rows


def _names(axes: Axes, rows: list[Row], narrow: bool) -> None:
    wide = 13 if narrow else 18
    names = [textwrap.fill(displayed(row.contender), wide) for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=9.5)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(axis="y", visible=False)
    axes.spines["left"].set_visible(False)


def _spread(count: int) -> np.ndarray:
    """Return how far dots are above or below the middle of their row: in turn, so that equal values show."""
    return 0.13 * (np.arange(count) % 4 - 1.5)


def _means(axes: Axes, rows: list[Row], name: str, results: StudyResults, narrow: bool) -> None:
    from matplotlib.ticker import MaxNLocator

    styles, sign = styles_of(results), metric(name)
    for place, row in enumerate(rows):
        style = styles[row.contender]
        low, high = row.estimate.low, row.estimate.high
        if sign.share:
            low, high = max(low, 0.0), min(high, 1.0)  # a t interval may leave [0, 1], an accuracy cannot
        for replicate, (value, away) in enumerate(zip(row.values, _spread(len(row.values)), strict=True)):
            [dot] = axes.plot(value, place + away, "o", color=style.colour, markersize=4, alpha=0.6)
            dot.set_markeredgewidth(0)
            tip(dot, f"{displayed(row.contender)}, replicate {replicate}: {value_of(name, value, 2)}")
        axes.plot([low, high], [place, place], color=style.colour, linewidth=2.4, solid_capstyle="butt")
        [mean] = axes.plot(row.estimate.mean, place, marker=style.marker, color=style.colour, markersize=8)
        mean.set(markeredgecolor=INK, markeredgewidth=0.8)
        bounds = f"{value_of(name, row.estimate.low, 2)} to {value_of(name, row.estimate.high, 2)}"
        tip(mean, f"{displayed(row.contender)}: mean {value_of(name, row.estimate.mean, 2)}, 95% interval {bounds}")
        axes.text(1.03, place, row.words, transform=axes.get_yaxis_transform(), va="center", fontsize=10, weight="bold")
    _names(axes, rows, narrow)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    unit = "" if sign.share or not sign.unit or sign.unit in sign.label else f" ({sign.unit})"
    axes.set_title(f"{sign.label}{unit}{scaled(axes, 'x', name)}", loc="left")


def _differences(axes: Axes, rows: list[Row], first: Leader, results: StudyResults, narrow: bool) -> None:
    """Draw how far each contender is from the leader; further left is worse, whatever the metric's direction."""
    from matplotlib.ticker import MaxNLocator

    row, scale, margin = metric(first.metric), metric(first.metric).scale, captions.margin_of(results, first.metric)
    rivals, styles = {rival.contender: rival for rival in first.rivals}, styles_of(results)
    leading = np.asarray(first.values)
    limit = FURTHEST * margin * scale if margin else np.inf
    if margin:
        axes.axvspan(-scale * margin, scale * margin, color=INK, alpha=0.1, linewidth=0)
    axes.axvline(0, color=INK, linewidth=0.8)
    for place, own in enumerate(rows):
        colour = styles[own.contender].colour
        rival = rivals.get(own.contender)
        if rival is None:
            marker = styles[own.contender].marker
            axes.plot(0, place, marker=marker, color=colour, markersize=8, markeredgecolor=INK)
            words = "best mean"
        else:
            shown = [-scale * end for end in (rival.estimate.high, rival.estimate.mean, rival.estimate.low)]
            apart = row.sign * scale * (np.asarray(own.values) - leading)
            inside = apart >= -limit
            spread = place + _spread(len(apart))
            axes.plot(apart[inside], spread[inside], "o", color=colour, markersize=3.5, alpha=0.55, markeredgewidth=0)
            if shown[1] < -limit:
                axes.plot(-limit, place, "<", color=colour, markersize=8, clip_on=False)
            else:
                ends = [max(shown[0], -limit), shown[2]]
                axes.plot(ends, [place, place], color=colour, linewidth=2.4, solid_capstyle="butt")
                [mean] = axes.plot(shown[1], place, marker=styles[own.contender].marker, color=colour, markersize=8)
                mean.set(markeredgecolor=INK, markeredgewidth=0.8)
                tip(mean, f"{displayed(own.contender)} minus {displayed(first.contender)}: {_minus(first, rival)}")
            words = captions.place_of(first, rival, margin)
            if shown[1] < -limit:
                words = f"{number(shown[1], shown[1])} {row.difference_unit}, {words}"
        words = textwrap.fill(words, 15)
        axes.text(1.03, place, words, transform=axes.get_yaxis_transform(), va="center", fontsize=9)
    _names(axes, rows, narrow)
    if not narrow:
        axes.tick_params(labelleft=False)
    low, high = axes.get_xlim()
    axes.set_xlim(max(low, -1.05 * limit), max(high, 1.15 * scale * margin))
    axes.xaxis.set_major_locator(MaxNLocator(4))
    unit = f", {row.difference_unit}" if row.difference_unit else ""
    band = f"; band: ±{scale * margin:g}" if margin else ""
    axes.set_title(f"difference to {displayed(first.contender)}{unit}{band}", loc="left")


def _minus(first: Leader, rival: Rival) -> str:
    """Return a rival's paired difference to the leader with its interval; negative is worse."""
    lead = rival.estimate
    return difference(first.metric, -lead.mean, -lead.high, -lead.low)
