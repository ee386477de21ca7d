"""The drawing functions of figures: each returns a figure, or None if the study lacks what it shows."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from optstudy.analysis.budgets import leads_by_budget, tested_by
from optstudy.analysis.study_results import StudyResults, searched_choices
from optstudy.analysis.verdicts import worded_verdict
from optstudy.catalogue import label
from optstudy.keys import derive_seed
from optstudy.metrics import metric
from optstudy.reporting import captions
from optstudy.reporting.axes import grid_height, legend, new_figure, new_panels, scaled
from optstudy.reporting.style import INK, PAPER, Style, styles_of
from optstudy.tasks.datasets import function_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FLOOR = 1e-12  # smaller losses of functions are drawn here, so that their logarithm exists
MANY = 1000  # scatter plots of more points are drawn as pixels: a page with ten thousand circles opens slowly


def means(*names: str) -> Callable[[StudyResults], Figure | None]:
    """Return the function that draws the first of these metrics that the study has, tuned beside untuned."""

    def draw(results: StudyResults) -> Figure | None:
        shown = [name for name in names if name in results.metrics]
        return _means(results.comparison, shown[0], styles_of(results)) if shown else None

    return draw


def headline(results: StudyResults) -> Figure | None:
    """Draw the metric that the answer is about, tuned beside untuned."""
    return means(captions.headline_of(results))(results)


def _means(comparison: pd.DataFrame, name: str, styles: Mapping[str, Style]) -> Figure:
    """Draw all variants on the left and, if there are two, the tuned one enlarged on the right."""
    comparison = comparison.dropna(subset=[f"{name}_mean"])
    contenders = list(dict.fromkeys(comparison["contender"]))
    variants = list(dict.fromkeys(comparison["variant"]))
    figure, panels = new_panels(len(variants), 0.9 + 0.36 * len(contenders), columns=2, sharey=True)
    _intervals(panels[0], comparison, name, styles)
    panels[0].set_yticks(range(len(contenders)), contenders)
    panels[0].set_ylim(len(contenders) - 0.5, -0.5)
    panels[0].set_title("tuned (filled) and untuned (hollow)" if len(variants) > 1 else "")
    if len(variants) > 1:
        _intervals(panels[1], comparison[comparison["variant"] == "tuned"], name, styles)
        panels[1].set_title("tuned, enlarged")
    replicates = int(comparison["n"].max())
    unit = "" if metric(name).share or not metric(name).unit else f" ({metric(name).unit})"
    figure.supxlabel(f"{metric(name).label}{unit}: mean and 95% interval over {replicates} replicates", fontsize=9)
    return figure


def _intervals(axes: Axes, rows: pd.DataFrame, name: str, styles: Mapping[str, Style]) -> None:
    from matplotlib.ticker import MaxNLocator

    contenders, variants = list(dict.fromkeys(rows["contender"])), list(dict.fromkeys(rows["variant"]))
    for row in rows.to_dict("records"):
        style = styles[row["contender"]]
        y = contenders.index(row["contender"]) + 0.28 * (variants.index(row["variant"]) - (len(variants) - 1) / 2)
        axes.plot([row[f"{name}_ci_low"], row[f"{name}_ci_high"]], [y, y], color=style.colour, linewidth=2)
        face = style.colour if row["variant"] == "tuned" else PAPER
        axes.plot(row[f"{name}_mean"], y, marker=style.marker, color=style.colour, markerfacecolor=face, markersize=6)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y", visible=False)


def curves(results: StudyResults) -> Figure | None:
    """Draw training and validation metrics by epoch: means over replicates with 95% bands."""
    from matplotlib.ticker import MaxNLocator

    own = results.curves[results.curves["variant"] == results.variant]
    scores = dict.fromkeys((results.score, "val_accuracy", "val_loss"))
    names = (*((score.replace("val_", "train_", 1), score) for score in scores), ("loss",))
    rows = [[name for name in row if name in own and own[name].notna().any()] for row in names]
    rows = [row for row in rows if row]
    if not rows:
        return None
    wide = max(map(len, rows))
    figure, panels = new_panels(wide * len(rows), 2.5 * len(rows) + 0.4, columns=2, sharex=True, sharey="row")
    styles = styles_of(results)
    for axes, name in zip(panels, (name for row in rows for name in row), strict=False):
        for contender, style in styles.items():
            _band(axes, own[own["contender"] == contender], name, style, contender, alpha=min(0.15, 0.8 / len(styles)))
        axes.set_title(metric(name).label + scaled(axes, "y", name))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    for axes in panels[-wide:]:
        axes.set_xlabel(results.epoch)
    legend(figure, panels[0])
    return figure


def _band(axes: Axes, rows: pd.DataFrame, name: str, style: Style, label: str, alpha: float) -> None:
    """Draw a mean with its band: of losses the geometric mean; a replicate counts until it diverges."""
    from scipy.special import stdtrit

    is_loss = name.endswith("loss")
    values = rows[name].clip(lower=FLOOR).map(math.log10) if is_loss else rows[name]
    by_epoch = values.groupby(rows["epoch"]).agg(["mean", "std", "count"])
    half = stdtrit(np.maximum(by_epoch["count"] - 1, 1), 0.975) * by_epoch["std"] / np.sqrt(by_epoch["count"])
    lines = [by_epoch["mean"], by_epoch["mean"] - half, by_epoch["mean"] + half]
    middle, low, high = ([10**line for line in lines]) if is_loss else lines
    if metric(name).share:
        low, high = low.clip(lower=0), high.clip(upper=1)  # a t interval may leave [0, 1], an accuracy cannot
    every = max(1, len(by_epoch) // 8)
    axes.plot(middle.index, middle, markevery=every, **_line(style, label))
    axes.fill_between(middle.index, low, high, color=style.colour, alpha=alpha, linewidth=0)


def _line(style: Style, label: str) -> dict[str, Any]:
    return {"color": style.colour, "linestyle": style.dash, "marker": style.marker, "label": label}


def sensitivity(results: StudyResults) -> Figure | None:
    """Draw the objective against the learning rate: trials as points, diverged ones as crosses, the sweep as a line."""
    sweep, name = results.sweep, results.objective
    parts = [part for part in (results.tuning, sweep) if len(part) and {name, "learning_rate"} <= set(part)]
    if not parts:
        return None
    trials = pd.concat(parts).dropna(subset=["learning_rate"])  # a rate-free optimizer has none
    trials[name] = trials[name].clip(lower=FLOOR) if name.endswith("loss") else trials[name]
    shown = [contender for contender in results.contenders if contender in set(trials["contender"])]
    figure, panels = new_panels(len(shown), grid_height(len(shown)), columns=3, sharex=True, sharey=True)
    styles = styles_of(results)
    for axes, contender in zip(panels, shown, strict=False):
        own, style = trials[trials["contender"] == contender], styles[contender]
        _trials(axes, own, name, style, s=14, color=style.colour, alpha=0.7, linewidths=0)
        if len(sweep) and contender in set(sweep["contender"]):
            middle = sweep[sweep["contender"] == contender].groupby("learning_rate")[name].median()
            axes.plot(middle.index, middle, color=style.colour, linestyle=style.dash)
        axes.set_title(contender)
    for axes in panels:
        scaled(axes, "x", "learning_rate")
        scale = scaled(axes, "y", name)
    figure.supxlabel("learning rate", fontsize=9)
    figure.supylabel(metric(name).label + scale, fontsize=9)
    return figure


def _trials(axes: Axes, rows: pd.DataFrame, y: str, style: Style, x: str = "learning_rate", **drawn: Any) -> Any:
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
        _trials(axes, own, name, style, "place", s=14, color=style.colour, alpha=0.7, linewidths=0)
        for place, middle in own.groupby(places)[name].median().items():
            axes.plot([place - 0.3, place + 0.3], [middle, middle], color=style.colour, linewidth=2)
        axes.set_xticks(range(len(space.choices)), [label(choice) for choice in space.choices])
        axes.set_xlim(-0.5, len(space.choices) - 0.5)
        axes.set_title(f"{contender}: {key.replace('_', ' ')}")
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
        points = _trials(axes, rows[rows["contender"] == name], "weight_decay", styles[name], s=34, **coloured)
        axes.set(title=name, xlabel="learning rate", ylabel="weight decay")
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
        axes.set_title(name)
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


def differences(results: StudyResults) -> Figure | None:
    """Draw each claim's paired differences, a panel for each metric; right of zero is as claimed."""
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for claim in results.claims:
        groups.setdefault((claim["metric"], _magnitude(claim)), []).append(claim)
    if not groups:
        return None
    figure = new_figure(0.4 + 0.5 * len(results.claims) + 0.75 * len(groups))
    heights = [len(group) + 0.6 for group in groups.values()]
    panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, ((name, _), group) in zip(panels, groups.items(), strict=True):
        row = metric(name)
        for place, claim in enumerate(group):
            _claim(axes, place, claim, row.scale)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks(range(len(group)), [textwrap.fill(str(claim["statement"]), 40) for claim in group], fontsize=8)
        axes.set_ylim(len(group) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        unit = f" ({row.difference_unit})" if row.difference_unit not in {"", row.label} else ""
        axes.set_xlabel(f"difference in {row.label}{unit}; right of 0: as claimed", fontsize=8)
    return figure


def _magnitude(claim: Mapping[str, Any]) -> int:
    """Return the order of magnitude of a claim's differences: claims share a panel only if theirs is the same."""
    largest = max(abs(value) for value in [*claim["differences"], claim["margin"]])
    return math.floor(math.log10(largest)) if largest else 0


def _claim(axes: Axes, place: int, claim: Mapping[str, Any], scale: float) -> None:
    """Draw replicates as dots, the mean with its interval, the margin as a grey box, the verdict at the right."""
    values = scale * np.asarray(claim["differences"], dtype=float)
    margin = scale * float(claim["margin"])
    axes.barh(place, 2 * margin, left=-margin, height=0.7, color=INK, alpha=0.1, linewidth=0)
    spread = place + 0.16 * (np.arange(len(values)) % 4 - 1.5)  # away from the interval
    axes.plot(values, spread, "o", color=INK, markersize=3.5, alpha=0.45, markeredgewidth=0)
    axes.plot([scale * claim["ci_low"], scale * claim["ci_high"]], [place, place], color=INK, linewidth=2)
    axes.plot(scale * claim["effect"], place, "D", color=INK, markersize=6)
    verdict = textwrap.fill(worded_verdict(claim), 22)
    axes.text(1.01, place, verdict, transform=axes.get_yaxis_transform(), fontsize=7.5, va="center")
