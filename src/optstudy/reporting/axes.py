"""What figures are laid out of: panels in a grid, their legend, and axes scaled by what they show."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from optstudy.metrics import metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


ACCURACIES = (0, 0.2, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 1)  # ticks where accuracies are spaced by their error
LOGARITHMIC = {"learning_rate", "weight_decay", "trials"}
WIDTH = 7.4  # inches


def new_figure(height: float) -> Figure:
    """Return an empty figure as wide as the page, `height` inches high."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), dpi=120, layout="constrained")


def panels_of(count: int, height: float, columns: int, **shared: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` panels; places beyond are left empty."""
    figure = new_figure(height)
    columns = min(columns, count)
    panels = list(figure.subplots(math.ceil(count / columns), columns, squeeze=False, **shared).flat)
    for axes in panels[count:]:
        axes.set_visible(False)
    for axes in panels[count - columns : count]:
        axes.tick_params(labelbottom=True)
    return figure, panels[:count]


def grid_height(count: int) -> float:
    """Return the inches that `count` panels take, three in a row."""
    return 2.0 * math.ceil(count / 3) + 0.4


def legend(figure: Figure, axes: Axes) -> None:
    """Put the legend of one panel below all of them."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(len(labels), 5 if len(labels) < 6 else 4), handlelength=3
    )


def scaled(axes: Axes, which: str, name: str) -> str:
    """Scale the x or y axis by what it shows, once it is drawn; return what a label must say of it.

    Rates and losses are in logarithms; accuracies that go from low to above 0.9 are spaced by the error, so that both
    ends can be read.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    said = ""
    low, high = axis.get_view_interval()  # the data's, and 1/22 of the whole beyond each end
    if name in LOGARITHMIC or name.endswith("loss"):
        axes.set(**{f"{which}scale": "log"})
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 60 * low else (1,), numticks=4))
        axis.set_major_formatter(FuncFormatter(_short))
    elif axes.get_yscale() == "function" or (metric(name).share and low < 0.7 and high - 0.045 * (high - low) > 0.9):
        axes.set_yscale("function", functions=(_by_error, _from_error))
        axes.set_ylim(max(low, 0), min(high, 1.002))
        axis.set_major_locator(FixedLocator(ACCURACIES))
        axis.set_major_formatter(FuncFormatter(_short))
        said = ", spaced by error"
    elif metric(name).share:
        axis.set_major_locator(MaxNLocator(6))
    axis.set_minor_locator(NullLocator())
    return said


def _short(value: float, _: int) -> str:
    """Write 1e-4, 0.01, 20: a tick without mathematics."""
    return f"{value:.0e}".replace("e-0", "e-") if 0 < value < 2e-3 else f"{value:g}"


def _by_error(accuracy: Any) -> Any:
    """Space accuracies by the logarithm of the error, so that 0.97 and 0.98 are told apart; 1 stays finite."""
    return -np.log10(np.maximum(1.01 - np.asarray(accuracy), 1e-3))


def _from_error(place: Any) -> Any:
    return 1.01 - 10 ** -np.asarray(place)
