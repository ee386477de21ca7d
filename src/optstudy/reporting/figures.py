"""The table of figures; drawing and writing them. The same tables give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from optstudy.analysis.study_results import StudyResults
from optstudy.files import write_bytes, write_text
from optstudy.reporting import captions, plots, time_figures
from optstudy.reporting.style import drawing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# `map`, or a function with its effect that works in several processes.
Mapper = Callable[[Callable[[str], str], Iterable[str]], Iterable[str]]


@dataclass(frozen=True)
class Plot:
    """One figure; `draw` returns None if the study lacks what it shows."""

    name: str
    caption: Callable[[StudyResults], str]
    draw: Callable[[StudyResults], Figure | None]


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
    write_text(stem.with_suffix(".svg"), svg.getvalue())
    return svg.getvalue()


HEADLINE = ("test_accuracy", "steps_to_tolerance", "val_accuracy", "val_loss", "loss")
PRICE = "price"  # the figure that the page shows beside its table of prices
_GAP = "Generalisation gap (training accuracy minus test accuracy of the final weights)"

# The figures of a report, in its order.
PLOTS = (
    Plot("headline", captions.headline(*HEADLINE), plots.means(*HEADLINE)),
    Plot("differences", captions.differences, plots.differences),
    Plot("curves", captions.curves, plots.curves),
    Plot("trajectories", captions.trajectories, plots.trajectories),
    Plot("sensitivity", captions.sensitivity, plots.sensitivity),
    Plot("maps", captions.maps, plots.maps),
    Plot("budget", captions.budget, plots.budget),
    Plot("gap", captions.means(_GAP), plots.means("generalisation_gap")),
    Plot("epochs", captions.reached, time_figures.reached),
    Plot("sign_changes", captions.sign_changes, plots.means("sign_changes")),
    Plot("tolerance", captions.tolerance, plots.means("learning_rate_tolerance")),
    Plot(PRICE, captions.price, time_figures.price),
)
