"""Figures of time: which share of replicates reached the target by when, and accuracy against seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from optstudy.analysis.study_results import StudyResults
from optstudy.inference.targets import share_reached
from optstudy.metrics import METRICS, metric
from optstudy.reporting.axes import legend, new_figure, new_panels, scaled
from optstudy.reporting.style import styles_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCORES = ("val_accuracy", "val_loss", "loss")  # the first that a study has is drawn against seconds
GAP = 0.055  # between the labels of lines that end close together, in the unit of the axis


def counted_up_to(results: StudyResults) -> str:
    """Return the study's metric that trainings can miss, in epochs or, of a function, in steps; empty if none."""
    own = [values for (_, variant), values in results.values.items() if variant == results.variant]
    names = [name for name, row in METRICS.items() if row.goal and row.compared]
    return next((name for name in names if any(name in values for values in own)), "")


def reached(results: StudyResults) -> Figure | None:
    """Draw the share of replicates that reached the target by each epoch, a step line for each contender."""
    name = counted_up_to(results)
    if not name:
        return None
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure, budget, ends = new_figure(3.0), results.study["epochs"], dict[str, float]()
    beyond = 1.03 * budget  # so that the last epoch's step can be seen
    axes, styles = figure.subplots(), styles_of(results)
    for contender, style in styles.items():
        values = results.values.get((contender, results.variant), {})
        if name in values:
            epochs, shares = share_reached(values[name], values["reached"], budget)
            drawn = {"color": style.colour, "linestyle": style.dash, "label": contender}
            axes.step([*epochs, beyond], [*shares, shares[-1]], where="post", **drawn)
            ends[contender] = shares[-1]
    for contender, place in zip(ends, apart(list(ends.values())), strict=True):
        axes.annotate(
            f" {contender}", (beyond, place), color=styles[contender].colour, fontsize=8, va="center", clip_on=False
        )
    axes.set(xlim=(0, beyond), ylim=(-0.03, 1.03), xlabel=results.epoch)
    axes.set_ylabel(f"replicates at the {metric(name).goal}")
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    return figure


def apart(places: Sequence[float]) -> list[float]:
    """Return places between 0 and 1 in the order given, moved as little as pushing needs to be at least `GAP` apart."""
    order = sorted(range(len(places)), key=lambda item: places[item])
    moved = [0.0] * len(places)
    least = 0.0
    for item in order:
        moved[item] = max(places[item], least)
        least = moved[item] + GAP
    most = 1.0 + GAP
    for item in reversed(order):
        moved[item] = min(moved[item], max(most - GAP, 0.0))
        most = moved[item]
    return moved


def score_of(results: StudyResults) -> str:
    """Return the score that is drawn against seconds; empty if no curve has one."""
    own = results.curves
    return next((score for score in SCORES if score in own and own[score].notna().any()), "")


def price(results: StudyResults) -> Figure | None:
    """Draw the mean score by the seconds of training that it took, evaluations left out."""
    own, name = results.curves[results.curves["variant"] == results.variant], score_of(results)
    known = (
        results.price.dropna(subset=["steps_per_epoch", "seconds_per_step"]) if len(results.price) else results.price
    )
    if not name or not len(known):
        return None
    figure, (axes,) = new_panels(1, 3.2, columns=1)
    for row in known.to_dict("records"):
        rows, style = own[own["contender"] == row["contender"]], styles_of(results)[row["contender"]]
        middle = rows.groupby("epoch")[name].mean()
        seconds = np.asarray(middle.index, dtype=float) * row["steps_per_epoch"] * row["seconds_per_step"]
        drawn = {"color": style.colour, "linestyle": style.dash, "marker": style.marker, "label": row["contender"]}
        axes.plot(seconds, middle, markevery=max(1, len(middle) // 8), **drawn)
    axes.set_ylabel(metric(name).label + scaled(axes, "y", name))
    axes.set_xlabel("seconds of training")
    axes.set_xlim(left=0)
    legend(figure, axes)
    return figure
