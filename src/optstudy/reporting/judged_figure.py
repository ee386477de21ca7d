"""The figure of judged runs: each group's runs with their mean, and the best group's lead over each other one."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from optstudy.inference.intervals import Estimate
from optstudy.judging.judge import Judgement
from optstudy.metrics import metric
from optstudy.reporting.axes import new_figure
from optstudy.reporting.style import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def judged_figure(judgement: Judgement) -> Figure:
    """Draw the groups' means and runs on the left, the leader's differences from the others on the right."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(1.0 + 0.42 * len(judgement.groups))
    left, right = figure.subplots(1, 2)
    for place, (name, own) in enumerate(judgement.groups.items()):
        _row(left, place, own, list(judgement.values[name].values()), 1.0)
    left.set_yticks(range(len(judgement.groups)), [_short(name) for name in judgement.groups])
    left.set_xlabel(f"{judgement.columns.metric}: runs, mean, 95% interval", fontsize=8)
    row, leads = metric(judgement.written), judgement.of_leader
    for place, pair in enumerate(leads):
        if judgement.margin is not None:
            margin = row.scale * judgement.margin
            right.barh(place, 2 * margin, left=-margin, height=0.7, color=INK, alpha=0.1, linewidth=0)
        _row(right, place, pair.effect, pair.differences, row.scale)
    right.axvline(0, color=INK, linewidth=0.8)
    right.set_yticks(range(len(leads)), [_short(pair.second) for pair in leads])
    unit = f" ({row.difference_unit})" if row.difference_unit else ""
    right.set_xlabel(f"lead of {_short(judgement.leader)} over each{unit}", fontsize=8)
    for axes, count in ((left, len(judgement.groups)), (right, len(leads))):
        axes.set_ylim(count - 0.4, -0.6)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.grid(axis="y", visible=False)
    return figure


def _row(axes: Axes, place: int, estimate: Estimate, values: Sequence[float], scale: float) -> None:
    """Draw values as dots beside their mean with its interval."""
    spread = place + 0.14 * (np.arange(len(values)) % 4 - 1.5)  # away from the interval
    axes.plot(scale * np.asarray(values, dtype=float), spread, "o", color=INK, markersize=3, alpha=0.4)
    axes.plot([scale * estimate.low, scale * estimate.high], [place, place], color=INK, linewidth=2)
    axes.plot(scale * estimate.mean, place, "D", color=INK, markersize=5)


def _short(name: str) -> str:
    return textwrap.shorten(name, 24, placeholder="…") or name[:24]
