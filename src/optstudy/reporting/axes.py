"""The parts of figures: panels in a grid, their legend, and scales of axes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from optstudy.metrics import find_metric
from optstudy.reporting.style import displayed

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# If accuracies are on an error scale; a horizontal axis has less room.
ACCURACY_TICKS = {"x": (0, 0.5, 0.8, 0.9, 0.95, 0.98), "y": (0, 0.2, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 1)}
LOGARITHMIC = {"learning_rate", "weight_decay", "trials"}
WIDTH = 7.4  # inches
NARROW = 3.7  # inches: as wide as a phone
TIP = "tip: "  # what the id of an element begins with whose words a browser shows when it is pointed at


def new_figure(height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure `height` inches high, by default as wide as the page, that lays out its panels itself."""
    figure = empty_figure(height, width)
    figure.set_layout_engine("constrained")
    return figure


def empty_figure(height: float, width: float = WIDTH) -> Figure:
    """Return an empty figure of this size in inches, whose panels are placed by hand."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120)


def panel(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Add a panel to a figure at a place in inches."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up))


def tip(artist: Artist, words: str) -> None:
    """Let a browser show these words when the artist is pointed at (see `with_tips`)."""
    artist.set_gid(TIP + words)


def with_tips(svg: str) -> str:
    """Turn the ids of artists with tips into titles, which browsers show and screen readers read."""
    return re.sub(f'<g id="{TIP}([^"]*)">', r"<g><title>\1</title>", svg)


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


CELL = (0.62, 0.16, 0.5, 0.3)  # inches left, right, below and above the panel in its cell


def new_cells(
    count: int, height: float, columns: int = 3, margins: Sequence[float] = CELL
) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` panels, each in a cell of its own, all of one size.

    A page shows each cell as a picture, so that they stack on a phone (see `cells`); nothing may reach over cells.
    """
    rows, width = math.ceil(count / columns), WIDTH / columns
    figure = empty_figure(rows * height)
    left, right, below, above = margins
    size = (width - left - right, height - below - above)
    places = [
        (place % columns * width + left, (rows - 1 - place // columns) * height + below) for place in range(count)
    ]
    return figure, [panel(figure, *corner, *size) for corner in places]


def cells(svg: str, columns: int) -> list[str]:
    """Return the SVG of each cell of a figure of `new_cells`; its definitions are in the last one."""
    start, *panels = re.split(r'(?m)^(?=  <g id="axes_\d+">$)', svg)
    width, height = (float(side) for side in start.partition('viewBox="0 0 ')[2].partition('"')[0].split())
    last, end, rest = panels[-1].partition("\n  </g>\n")
    rows, found = math.ceil(len(panels) / columns), []
    definitions = rest.partition("</g>")[2].removesuffix("</svg>\n")
    for place, panel in enumerate([*panels[:-1], last + end]):
        row, column = divmod(place, columns)
        box = f"{column * width / columns:g} {row * height / rows:g} {width / columns:g} {height / rows:g}"
        further = definitions if place == len(panels) - 1 else ""
        found.append(f'<svg viewBox="{box}">{panel}{further}</svg>\n')
    return found


def grid_height(count: int) -> float:
    """Return the height in inches of `count` panels, three in a row."""
    return 2.0 * math.ceil(count / 3) + 0.4


def legend(figure: Figure, axes: Axes) -> None:
    """Put the legend of one panel below all panels."""
    handles, keys = axes.get_legend_handles_labels()
    labels = [displayed(key) for key in keys]
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
        axis.set_major_locator(
            LogLocator(subs=(1, 2, 5) if high < (200 if name == "trials" else 60) * low else (1,), numticks=4)
        )
        axis.set_major_formatter(FuncFormatter(_tick))
    elif axis.get_scale() == "function" or (_is_share(name) and low < 0.7 and high - 0.045 * (high - low) > 0.9):
        (axes.set_xscale if which == "x" else axes.set_yscale)("function", functions=(_by_error, _from_error))
        (axes.set_xlim if which == "x" else axes.set_ylim)(max(low, 0), min(high, 1.002))
        axis.set_major_locator(FixedLocator(ACCURACY_TICKS[which]))
        axis.set_major_formatter(FuncFormatter(_percent))
        label = ", error scale"
    elif _is_share(name):
        axis.set_major_locator(MaxNLocator(6 if which == "y" else 4))
        axis.set_major_formatter(FuncFormatter(_percent))
    axis.set_minor_locator(NullLocator())
    return label


def percent_axis(axes: Axes) -> None:
    """Give a panel of errors a logarithmic vertical axis in percent."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 200 * low else (1,), numticks=9))
    axes.yaxis.set_major_formatter(FuncFormatter(_percent))
    axes.yaxis.set_minor_locator(NullLocator())


def _is_share(name: str) -> bool:
    row = find_metric(name)  # None for a hyperparameter
    return row is not None and row.share


def _tick(value: float, _: int) -> str:
    """Write a tick without mathematics: 1e-5, 0.001, 20."""
    return f"{value:.0e}".replace("e-0", "e-") if 0 < value < 0.99e-4 else f"{value:g}"


def _percent(value: float, _: int) -> str:
    return f"{100 * value:.6g}%"


def _by_error(accuracy: Any) -> Any:
    """Return the negative logarithm of the error, shifted so that an accuracy of 1 stays finite."""
    return -np.log10(np.maximum(1.01 - np.asarray(accuracy), 1e-3))


def _from_error(place: Any) -> Any:
    return 1.01 - 10 ** -np.asarray(place)
