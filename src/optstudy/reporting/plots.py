"""The drawing functions of figures: each returns a figure, or None if the study lacks what it shows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from optstudy.analysis.budgets import leads_by_budget, tested_by
from optstudy.analysis.study_results import StudyResults, searched_choices
from optstudy.catalogue import label
from optstudy.keys import derive_seed
from optstudy.metrics import metric
from optstudy.reporting.axes import grid_height, legend, new_panels, scaled
from optstudy.reporting.style import INK, Style, displayed, styles_of
from optstudy.tasks.datasets import function_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FLOOR = 1e-12  # smaller losses of functions are drawn here, so that their logarithm exists
MANY = 1000  # scatter plots of more points are drawn as pixels: a page with ten thousand circles opens slowly


def _line(style: Style, label: str) -> dict[str, Any]:
    return {"color": style.colour, "linestyle": style.dash, "marker": style.marker, "label": label}


def draw_trials(axes: Axes, rows: pd.DataFrame, y: str, style: Style, x: str = "learning_rate", **drawn: Any) -> Any:
    """Draw trials over their learning rates, diverged ones as crosses; return the points of the others."""
    diverged = rows["status"] == "diverged"
    many = len(rows) > MANY
    # Crosses are not clipped: a diverged training is scored at chance, on the edge of the axes.
    crosses: dict[str, Any] = {"s": 22, "color": INK, "marker": "x", "linewidths": 1, "clip_on": False}
    axes.scatter(x, y, data=rows[diverged], rasterized=many, **crosses)
    return axes.scatter(x, y, data=rows[~diverged], marker=style.marker, rasterized=many, **drawn)


def choices(results: StudyResults) -> Figure | None:
    """Draw the objective of each choice of a hyperparameter: trials as points, crosses if diverged, and medians."""
    name, searched = results.objective, searched_choices(results)
    if not name or not searched:
        return None
    figure, panels = new_panels(len(searched), grid_height(len(searched)), columns=3, sharey=True)
    styles = styles_of(results)
    for axes, (contender, key, space) in zip(panels, searched, strict=False):
        own, style = results.tuning[results.tuning["contender"] == contender], styles[contender]
        own = own.assign(**{name: _above_floor(own[name], name)})
        # Points of one choice stand beside each other: in the order of the table, so that a figure can be repeated.
        places = own[key].map(space.index)
        own = own.assign(place=places + 0.3 * ((own.groupby(places).cumcount() * GOLDEN) % 1 - 0.5))
        draw_trials(axes, own, name, style, "place", s=14, color=style.colour, alpha=0.7, linewidths=0)
        for place, middle in own.groupby(places)[name].median().items():
            axes.plot([place - 0.3, place + 0.3], [middle, middle], color=style.colour, linewidth=2)
        axes.set_xticks(range(len(space.choices)), [label(choice) for choice in space.choices])
        axes.set_xlim(-0.5, len(space.choices) - 0.5)
        axes.set_title(f"{displayed(contender)}: {key.replace('_', ' ')}")
    for axes in panels:
        scale = scaled(axes, "y", name)
    figure.supylabel(metric(name).label + scale, fontsize=9)
    return figure


GOLDEN = 0.618  # multiples of the golden ratio, modulo 1, spread over the interval


def maps(results: StudyResults) -> Figure | None:
    """Draw learning rate against weight decay of Adam and AdamW, coloured by the objective; crosses diverged."""
    if not results.objective or not {"learning_rate", "weight_decay"} <= set(results.tuning):
        return None
    rows = results.tuning.dropna(subset=["learning_rate", "weight_decay"])
    classes = {name: facts["optimizer"].split(".")[-1] for name, facts in results.study["contenders"].items()}
    tuned = set(rows["contender"])
    shown = [name for name in results.contenders if classes[name] in {"Adam", "AdamW"} and name in tuned]
    if not shown:
        return None
    columns = 2 if len(shown) <= 4 else 3
    figure, panels = new_panels(len(shown), 2.6 * math.ceil(len(shown) / columns) + 0.3, columns=columns)
    styles, rows = styles_of(results), rows[rows["contender"].isin(shown)]
    norm = _norm(rows[results.objective][rows["status"] != "diverged"], results.objective)
    coloured = {"c": results.objective, "norm": norm, "cmap": "cividis", "edgecolors": INK, "linewidths": 0.4}
    for axes, name in zip(panels, shown, strict=False):
        points = draw_trials(axes, rows[rows["contender"] == name], "weight_decay", styles[name], s=34, **coloured)
        axes.set(title=displayed(name), xlabel="learning rate", ylabel="weight decay")
        scaled(axes, "x", "learning_rate")
        scaled(axes, "y", "weight_decay")
    figure.colorbar(points, ax=list(panels), label=metric(results.objective).label, shrink=0.9, pad=0.02)
    return figure


def _norm(values: pd.Series, name: str) -> Any:
    """Return a norm that spreads the colours over the better three quarters, whose differences matter most."""
    from matplotlib.colors import LogNorm, Normalize

    if name.endswith("loss"):
        return LogNorm(max(values.min(), 1e-30), max(values.quantile(0.75), 2e-30))
    return Normalize(values.quantile(0.25), values.max())


def budget(results: StudyResults) -> Figure | None:
    """Draw the median best validation value of k trials with its band, and the expected test value of that trial."""
    name, curves = results.objective, results.tuning_curves
    if not len(curves):
        return None
    tested = tested_by(name, list(results.tuning.columns))
    figure, panels = new_panels(1 if tested == name else 2, 3.2, columns=2)
    styles = styles_of(results)
    for contender, own in curves.groupby("contender", sort=False):
        style, every = styles[str(contender)], max(1, len(own) // 6)
        ks = own["trials"].tolist()
        drawn = own.assign(**{column: _above_floor(own[column], name) for column in ("median", *BAND)})
        panels[0].plot(ks, drawn["median"], markevery=every, **_line(style, str(contender)))
        ends = (drawn[column].fillna(_end(results, name, column)) for column in BAND)
        panels[0].fill_between(ks, *ends, color=style.colour, alpha=min(0.1, 0.4 / len(styles)), linewidth=0)
        panels[-1].plot(ks, _above_floor(own["test"], tested), markevery=every, **_line(style, str(contender)))
    for axes in panels:
        axes.axvline(results.study["trials"], color=INK, linewidth=0.8, linestyle=":")
    _mark_leads(panels[-1], results, tested)
    panels[0].text(results.study["trials"], 0.02, " this study", transform=panels[0].get_xaxis_transform(), fontsize=8)
    titles = ("median of the best of k", "expected value of the selected trial")
    for axes, each, title in zip(panels, (name, tested), titles, strict=False):
        scaled(axes, "x", "trials")
        label = metric(each).label + scaled(axes, "y", each)
        axes.set(title=title, xlabel="trials k", ylabel=label)
    legend(figure, panels[0])
    return figure


BAND = ("median_low", "median_high")


def _above_floor(values: pd.Series, name: str) -> pd.Series:
    return values.clip(lower=FLOOR) if name.endswith("loss") else values


def _end(results: StudyResults, name: str, column: str) -> float:
    """Return where a band that is open at an end is drawn to: the largest or smallest value of the trials."""
    trials = _above_floor(results.tuning[name], name)
    return float(trials.min() if column == BAND[0] else trials.max())


def _mark_leads(axes: Axes, results: StudyResults, tested: str) -> None:
    """Mark where another contender takes the lead."""
    curves = results.tuning_curves
    sign = metric(tested).sign
    for lead in leads_by_budget(curves, tested, results.groups)[1:]:
        best = (sign * _above_floor(curves[curves["trials"] == lead.first]["test"], tested)).max()
        axes.plot(lead.first, sign * best, "o", color=INK, markersize=9, markerfacecolor="none", markeredgewidth=1)


def trajectories(results: StudyResults) -> Figure | None:
    """Draw each contender's path in the first replicate over the contours of an analytic function."""
    if results.task.examples or not {"x", "y"} <= set(results.curves):
        return None
    function = function_of(results.data)
    own = results.curves[results.curves["variant"] == results.variant]
    paths = {str(name): _path(function, results, rows) for name, rows in own.groupby("contender")}
    shown = [name for name in results.contenders if name in paths]
    if not shown:
        return None
    figure, panels = new_panels(len(shown), grid_height(len(shown)), columns=3, sharex=True, sharey=True)
    contours = _contours(function, pd.concat([paths[name] for name in shown]))
    styles = styles_of(results)
    for axes, name in zip(panels, shown, strict=False):
        axes.contour(*contours, colors=INK, alpha=0.25, linewidths=0.6)
        (x, y), style = (paths[name][side] for side in ("x", "y")), styles[name]
        axes.plot(x, y, color=style.colour, linewidth=1.1, marker=".", markersize=3)
        axes.plot(x.iloc[0], y.iloc[0], marker=style.marker, color=style.colour, markersize=7, markeredgecolor=INK)
        axes.plot(x.iloc[-1], y.iloc[-1], "*", color=INK, markersize=9)
        axes.set_title(displayed(name))
        axes.grid(visible=False)
    figure.supxlabel("x", fontsize=9)
    figure.supylabel("y", fontsize=9)
    return figure


def _path(function: Any, results: StudyResults, rows: pd.DataFrame) -> pd.DataFrame:
    """Return x and y of the first replicate: its start, which its seed gives, and the point after each step."""
    replicate = int(rows["replicate"].min())
    steps = rows[rows["replicate"] == replicate].sort_values("epoch")[["x", "y"]]
    start = function.start(derive_seed(results.study["seed"], replicate, "split"))
    return pd.concat([pd.DataFrame([start], columns=["x", "y"]), steps], ignore_index=True)


def _contours(function: Any, path: pd.DataFrame) -> tuple[Any, Any, Any, Any]:
    """Return x, y, f(x, y) and levels over the region that the paths cover."""
    sides = []
    for name in ("x", "y"):
        starts = path[name].loc[[0]]
        low = min(path[name].quantile(0.005), starts.min())
        high = max(path[name].quantile(0.995), starts.max())
        margin = 0.15 * (high - low) or 0.1
        sides.append(np.linspace(low - margin, high + margin, 120))
    x, y = np.meshgrid(*sides)
    f = function(x, y)
    return x, y, f, np.geomspace(max(f.max() / 3e3, 1e-9), f.max(), 10)
