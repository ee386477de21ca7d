"""Tables to figures: legible in print and for the colour-blind, one colour per optimizer everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe & Ito 2008, which the colour-blind tell apart; contenders beyond the table's five take the rest in turn.
COLOURS = {"sgd": "#0072B2", "momentum": "#56B4E9", "rmsprop": "#009E73", "adam": "#D55E00", "adamw": "#CC79A7"}
FURTHER = ("#E69F00", "#000000", "#999999")


def colour(contender: str, contenders: Sequence[str]) -> str:
    """Return a contender's colour."""
    if contender in COLOURS:
        return COLOURS[contender]
    others = [name for name in contenders if name not in COLOURS]
    return FURTHER[others.index(contender) % len(FURTHER)]


def headline(comparison: pd.DataFrame, metric: str, title: str, stem: Path) -> None:
    """Draw a metric with 95% intervals into stem.svg and stem.png: all on the left, one variant enlarged.

    That is the tuned one, where the study has a search.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(comparison["contender"]))
    with rc_context({"svg.hashsalt": "optstudy", "svg.fonttype": "none"}):
        figure = Figure(figsize=(9, 1.2 + 0.5 * len(names)), layout="constrained")
        everything, tuned = figure.subplots(1, 2, sharey=True)
        first = comparison["variant"].iloc[0]
        _intervals(everything, comparison, metric, names)
        _intervals(tuned, comparison[comparison["variant"] == first], metric, names)
        everything.set(title="tuned (filled) and defaults (hollow)", yticks=range(len(names)), yticklabels=names)
        everything.invert_yaxis()
        tuned.set(title=f"{first}, enlarged")
        figure.suptitle(title, fontsize=11)
        name = metric.replace("_", " ")
        figure.supxlabel(f"{name}: mean and 95% interval over {comparison['n'].max()} replicates", fontsize=9)
        stem.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(stem.with_suffix(".svg"), metadata={"Date": None})
        figure.savefig(stem.with_suffix(".png"), dpi=110, metadata={"Software": None})


def _intervals(axes: Axes, rows: pd.DataFrame, metric: str, names: Sequence[str]) -> None:
    for row in rows.to_dict("records"):
        is_tuned = row["variant"] == "tuned"
        y, shade = names.index(row["contender"]) + (-0.12 if is_tuned else 0.12), colour(row["contender"], names)
        axes.plot([row[f"{metric}_ci_low"], row[f"{metric}_ci_high"]], [y, y], color=shade, linewidth=2)
        axes.plot(row[f"{metric}_mean"], y, "o", color=shade, markerfacecolor=shade if is_tuned else "white")
    axes.grid(axis="x", alpha=0.3)
