"""The table of figures, drawn and written: the same tables give the same bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from optstudy.analysis.study_results import StudyResults
from optstudy.reporting import captions, plots
from optstudy.reporting.style import SETTINGS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# `map`, or what does the same in more processes.
Mapper = Callable[[Callable[[str], str], Iterable[str]], Iterable[str]]


@dataclass(frozen=True)
class Plot:
    """One row of the table of figures: `draw` returns None where the study lacks what the figure shows."""

    name: str
    caption: Callable[[StudyResults], str]
    draw: Callable[[StudyResults], Figure | None]


def draw_all(evidence: StudyResults, folder: Path, mapper: Mapper = map) -> dict[str, str]:
    """Write every figure that the tables allow into `folder` and return its SVG by name.

    `mapper` maps over their names, for it may do so in other processes, which take no rows: they hold functions made by
    functions.
    """
    names = [plot.name for plot in PLOTS]
    drawn = mapper(partial(_drawn, evidence, folder), names)
    return {name: svg for name, svg in zip(names, drawn, strict=True) if svg}


def _drawn(evidence: StudyResults, folder: Path, name: str) -> str:
    """Write the figure of that name and return its SVG, empty where the study lacks what it shows."""
    from matplotlib import rc_context

    plot = next(plot for plot in PLOTS if plot.name == name)
    with rc_context(SETTINGS):
        figure = plot.draw(evidence)
        return save(figure, folder / name) if figure is not None else ""


def save(figure: Figure, stem: Path) -> str:
    """Write stem.svg and stem.png, without dates and versions, and return the SVG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    # Not by savefig, which draws everything twice, to lay it out a second time.
    stem.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(stem.with_suffix(".png"), metadata={"Software": None})  # type: ignore[no-untyped-call]
    figure.set_layout_engine("none")
    buffer = io.StringIO()
    FigureCanvasSVG(figure).print_svg(buffer, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))  # type: ignore[no-untyped-call]
    stem.with_suffix(".svg").write_text(buffer.getvalue(), encoding="utf-8")
    return buffer.getvalue()


HEADLINE = ("test_accuracy", "steps_to_tolerance", "val_accuracy", "val_loss", "loss")
_GAP = "Generalisation gap, training accuracy minus test accuracy of the final weights"

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
    Plot("epochs", captions.epochs, plots.means("epochs_to_target")),
    Plot("sign_changes", captions.crossings, plots.means("sign_changes")),
    Plot("tolerance", captions.tolerance, plots.means("learning_rate_tolerance")),
)
