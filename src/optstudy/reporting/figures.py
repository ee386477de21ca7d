"""The table of figures; drawing and writing them. The same tables give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from optstudy.analysis.study_results import StudyResults
from optstudy.files import write_bytes, write_text
from optstudy.inference.targets import share_reached
from optstudy.metrics import metric
from optstudy.reporting import captions, plots
from optstudy.reporting.axes import legend, new_figure, new_panels, scaled, with_tips
from optstudy.reporting.captions import counted_up_to, score_of
from optstudy.reporting.drawings.curves import curves
from optstudy.reporting.drawings.headline import headline, untuned
from optstudy.reporting.drawings.metric_table import metric_table
from optstudy.reporting.drawings.sensitivity import sensitivity
from optstudy.reporting.specification_curves import specification_curves
from optstudy.reporting.style import displayed, drawing, styles_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# `map`, or a function with its effect that works in several processes.
Mapper = Callable[[Callable[[str], str], Iterable[str]], Iterable[str]]


@dataclass(frozen=True)
class Plot:
    """One figure; `draw` returns None if the study lacks what it shows.

    A figure with `columns` consists of cells (see `axes.new_cells`), which stack on a phone.
    """

    name: str
    caption: Callable[[StudyResults], str]
    draw: Callable[[StudyResults], Figure | None]
    columns: int = 0


def draw_all(results: StudyResults, folder: Path, mapper: Mapper = map) -> dict[str, str]:
    """Write every figure that the tables allow into `folder` and return its SVG by name.

    `mapper` maps over the names of figures, because rows of PLOTS cannot be sent to other processes.
    """
    names = [plot.name for plot in PLOTS]
    drawn = mapper(partial(_drawn, results, folder), names)
    return {name: svg for name, svg in zip(names, drawn, strict=True) if svg}


def _drawn(results: StudyResults, folder: Path, name: str) -> str:
    """Write a figure and return its SVG; empty if the study lacks what it shows."""
    plot = next(plot for plot in PLOTS if plot.name == name)
    with drawing():
        figure = plot.draw(results)
        return save(figure, folder / name) if figure is not None else ""


def save(figure: Figure, stem: Path) -> str:
    """Write stem.svg and stem.png without dates and versions, and return the SVG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    # The layout is computed once; savefig would compute it for each format.
    png, svg = io.BytesIO(), io.StringIO()
    FigureCanvasAgg(figure).print_png(png, metadata={"Software": None})  # type: ignore[no-untyped-call]
    figure.set_layout_engine("none")
    FigureCanvasSVG(figure).print_svg(svg, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))  # type: ignore[no-untyped-call]
    write_bytes(stem.with_suffix(".png"), png.getvalue())
    drawn = with_tips(svg.getvalue())
    write_text(stem.with_suffix(".svg"), drawn)
    return drawn


GAP = 0.055  # between the labels of lines that end close together, in the unit of the axis


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
            f" {displayed(contender)}",
            (beyond, place),
            color=styles[contender].colour,
            fontsize=8,
            va="center",
            clip_on=False,
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


# The figures of a report.
PLOTS = (
    Plot("headline", captions.headline, headline),
    Plot("headline-narrow", captions.headline, partial(headline, narrow=True)),
    Plot("untuned", captions.untuned, untuned),
    Plot("untuned-narrow", captions.untuned, partial(untuned, narrow=True)),
    Plot("curves", captions.curves, curves, columns=3),
    Plot("trajectories", captions.trajectories, plots.trajectories),
    Plot("sensitivity", captions.sensitivity, sensitivity, columns=3),
    Plot("choices", captions.choices, plots.choices),
    Plot("maps", captions.maps, plots.maps),
    Plot("budget", captions.budget, plots.budget),
    Plot("robustness", captions.robustness, specification_curves),
    Plot("epochs", captions.reached, reached),
    Plot("metrics", captions.metric_table, metric_table, columns=2),
    Plot("price", captions.price, price),
)
