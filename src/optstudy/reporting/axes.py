"""The parts of figures: panels in a grid, their legend, and scales of axes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from optstudy.metrics import find_metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACCURACY_TICKS = (0, 0.2, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 1)  # if accuracies are on an error scale
LOGARITHMIC = {"learning_rate", "weight_decay", "trials"}
WIDTH = 7.4  # inches


def new_figure(height: float) -> Figure:
    """Return an empty figure as wide as the page and `height` inches high."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), dpi=120, layout="constrained")


def new_panels(count: int, height: float, columns: int, **shared: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` panels in at most `columns` columns; `shared` goes to `Figure.subplots`."""
    figure = new_figure(height)
    columns = min(columns, count)
    panels = list(figure.subplots(math.ceil(count / columns), columns, squeeze=False, **shared).flat)
    for axes in panels[count:]:
        axes.set_visible(False)
    for axes in panels[count - columns : count]:
        axes.tick_params(labelbottom=True)
    return figure, panels[:count]


def grid_height(count: int) -> float:
    """Return the height in inches of `count` panels, three in a row."""
    return 2.0 * math.ceil(count / 3) + 0.4


def legend(figure: Figure, axes: Axes) -> None:
    """Put the legend of one panel below all panels."""
    handles, labels = axes.get_legend_handles_labels()
    columns = min(len(labels), 5 if len(labels) < 6 else 4)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, handlelength=3)


def scaled(axes: Axes, which: str, name: str) -> str:
    """Scale the x or y axis by the metric or hyperparameter that it shows; return what to add to its label.

    Learning rates, losses and the like get a logarithmic scale. Accuracies from below 0.7 to above 0.9 get a
    logarithmic scale of their error, so that both ends can be read. Call it after drawing.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

    axis = axes.xaxis if which == "x" else axes.yaxis
    label = ""
    low, high = axis.get_view_interval()  # of the data, and 1/22 of the whole beyond each end
    if name in LOGARITHMIC or name.endswith("loss"):
        axes.set(**{f"{which}scale": "log"})
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 60 * low else (1,), numticks=4))
        axis.set_major_formatter(FuncFormatter(_tick))
    elif axes.get_yscale() == "function" or (_is_share(name) and low < 0.7 and high - 0.045 * (high - low) > 0.9):
        axes.set_yscale("function", functions=(_by_error, _from_error))
        axes.set_ylim(max(low, 0), min(high, 1.002))
        axis.set_major_locator(FixedLocator(ACCURACY_TICKS))
        axis.set_major_formatter(FuncFormatter(_tick))
        label = ", error scale"
    elif _is_share(name):
        axis.set_major_locator(MaxNLocator(6))
    axis.set_minor_locator(NullLocator())
    return label


def _is_share(name: str) -> bool:
    row = find_metric(name)  # None for a hyperparameter
    return row is not None and row.share


def _tick(value: float, _: int) -> str:
    """Write a tick without mathematics: 1e-4, 0.01, 20."""
    return f"{value:.0e}".replace("e-0", "e-") if 0 < value < 2e-3 else f"{value:g}"


def _by_error(accuracy: Any) -> Any:
    """Return the negative logarithm of the error, shifted so that an accuracy of 1 stays finite."""
    return -np.log10(np.maximum(1.01 - np.asarray(accuracy), 1e-3))


def _from_error(place: Any) -> Any:
    return 1.01 - 10 ** -np.asarray(place)
