"""Training curves as small multiples: a panel for each contender, in colour, with the others in grey."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from optstudy.analysis.study_results import StudyResults
from optstudy.metrics import metric, value_of
from optstudy.reporting.axes import new_cells, percent_axis, scaled, tip
from optstudy.reporting.captions import score_of, target_of
from optstudy.reporting.style import INK, displayed, styles_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELL = (0.55, 0.5, 0.5, 0.3)  # inches around a panel: on the right, there is room for the label of a line
FLOOR = 1e-12  # smaller losses of functions are drawn here, so that their logarithm exists


def curves(results: StudyResults) -> Figure | None:
    """Draw the score by epoch, of accuracies the error: means over replicates with 95% bands, dotted in training."""
    from matplotlib.ticker import MaxNLocator

    own = results.curves[results.curves["variant"] == results.variant]
    name = score_of(results)
    if not name:
        return None
    lines = {contender: _middle(own[own["contender"] == contender], name) for contender in results.contenders}
    shown = [contender for contender, line in lines.items() if len(line)]
    least = _least_error(list(lines.values())) if metric(name).share else 0.0
    low, high = _limits([lines[contender] for contender in shown], name, least)
    figure, panels = new_cells(len(shown), 2.1, margins=CELL)
    styles, training = styles_of(results), name.replace("val_", "train_", 1)
    for axes, contender in zip(panels, shown, strict=True):
        style = styles[contender]
        for other in shown:
            if other != contender:
                _draw(axes, lines[other], name, least, color=INK, alpha=0.25, linewidth=0.7)
        line = lines[contender]
        ends = [_as_drawn(line[end], name, least) for end in ("low", "high")]
        axes.fill_between(line.index, *ends, color=style.colour, alpha=0.2, linewidth=0)
        if training != name and training in own:
            trained = _middle(own[own["contender"] == contender], training)
            _draw(axes, trained, name, least, color=style.colour, linestyle=":", linewidth=1.2, label="training")
        _draw(axes, line, name, least, color=style.colour, linewidth=2.2, label=contender)
        last = float(line["mean"].iloc[-1])
        words = value_of(name, last, 1 if metric(name).share else 3)
        tip(axes.lines[-1], f"{displayed(contender)}: {metric(name).label} {words} at the end")
        axes.set_title(displayed(contender), loc="left")
        end = _as_drawn(line["mean"], name, least).iloc[-1]
        axes.annotate(f" {words}", (line.index[-1], end), fontsize=8.5, va="center", annotation_clip=False)
        if (target := target_of(results, name)) is not None:
            axes.axhline(_as_drawn(pd.Series([target]), name, least).iloc[0], color=INK, linewidth=0.8, linestyle="--")
        if low is not None:
            axes.set_ylim(low, high)
        _scale(axes, name)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.set_xlabel(results.epoch, fontsize=8, labelpad=1)
    return figure


def _middle(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return mean and band by epoch: of losses the geometric mean. A replicate counts until it diverges."""
    from scipy.special import stdtrit

    rows = rows.dropna(subset=[name]) if name in rows else rows[:0]
    is_loss = name.endswith("loss")
    if not len(rows):
        return pd.DataFrame({"mean": [], "low": [], "high": []})
    values = rows[name].clip(lower=FLOOR).map(math.log10) if is_loss else rows[name]
    by_epoch = values.groupby(rows["epoch"]).agg(["mean", "std", "count"])
    half = stdtrit(np.maximum(by_epoch["count"] - 1, 1), 0.975) * by_epoch["std"] / np.sqrt(by_epoch["count"])
    lines = [by_epoch["mean"], by_epoch["mean"] - half, by_epoch["mean"] + half]
    middle, low, high = ([10**line for line in lines]) if is_loss else lines
    if metric(name).share:
        low, high = low.clip(lower=0), high.clip(upper=1)  # a t interval may leave [0, 1], an accuracy cannot
    return pd.DataFrame({"mean": middle, "low": low, "high": high})


def _least_error(lines: list[pd.DataFrame]) -> float:
    """Return the smallest error above zero of a mean; an error of zero is drawn at half of it."""
    errors = [1 - value for line in lines for value in line["mean"].tolist() if value < 1]
    return min(errors, default=0.01)


def _as_drawn(values: pd.Series, name: str, least: float) -> pd.Series:
    """Return values as drawn: the error of an accuracy, higher being worse."""
    return (1 - values).clip(lower=least / 2) if metric(name).share and metric(name).higher else values


def _draw(axes: Axes, line: pd.DataFrame, name: str, least: float, **drawn: object) -> None:
    axes.plot(line.index, _as_drawn(line["mean"], name, least), **drawn)  # type: ignore[arg-type]


def _limits(lines: list[pd.DataFrame], name: str, least: float) -> tuple[float, float] | tuple[None, None]:
    """Return the limits that all panels share: those of the means, with room; None if there are none."""
    drawn = [_as_drawn(line["mean"], name, least).tolist() for line in lines]
    values = [value for line in drawn for value in line if math.isfinite(value)]
    if not values:
        return None, None
    low, high = min(values), max(values)
    if metric(name).share or name.endswith("loss"):
        return low / 1.5, high * 1.3
    room = 0.08 * (high - low) or 1.0
    return low - room, high + room


def _scale(axes: Axes, name: str) -> None:
    if metric(name).share and metric(name).higher:
        percent_axis(axes)
    else:
        scaled(axes, "y", name)
