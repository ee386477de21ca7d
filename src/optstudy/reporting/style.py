"""How figures look: legible in print and for the colour-blind, one colour for each contender in every study."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from optstudy.analysis.study_results import StudyResults

# Okabe & Ito 2008, which the colour-blind tell apart. What builds on one of the five has its colour, with another
# marker and line; a user's own optimizers take the rest by their names.
COLOURS = {"sgd": "#0072B2", "momentum": "#56B4E9", "rmsprop": "#009E73", "adam": "#D55E00", "adamw": "#CC79A7"}
INK, PAPER = "#1a1a1a", "#ffffff"  # the report replaces both, so that its figures follow light and dark
FURTHER = ("#E69F00", INK, "#999999")
MARKERS = {"sgd": "o", "momentum": "s", "rmsprop": "^", "adam": "D", "adamw": "v"}
FURTHER_MARKERS: tuple[Any, ...] = ("P", "X", "*", "p", "<", ">", (4, 1, 0))  # the last is a star of four points
DASHES: dict[str, Any] = {"sgd": "-", "momentum": "--", "rmsprop": "-.", "adam": "-", "adamw": (0, (5, 1, 1, 1, 1, 1))}
FURTHER_DASHES: tuple[Any, ...] = (":", (0, (8, 2)), (0, (3, 1, 1, 1)), (0, (1, 1)))

# Text is never read as mathematics, so that a statement may hold any character.
SETTINGS: Any = {
    "svg.hashsalt": "optstudy",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.alpha": 0.15,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 5,
    "figure.constrained_layout.w_pad": 0.07,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    **dict.fromkeys(("text.color", "axes.edgecolor", "axes.labelcolor", "axes.titlecolor"), INK),
    **dict.fromkeys(("xtick.color", "ytick.color", "grid.color"), INK),
}


class Style(NamedTuple):
    """How a contender looks, in every figure."""

    colour: str
    marker: Any
    line: Any


def styles(likes: Mapping[str, str]) -> dict[str, Style]:
    """Return each contender's looks, given the optimizer of the table that each is or builds on, "" for none.

    Its colour follows from the contender alone; beyond the table's five it takes the next marker and line that no other
    of the study has.
    """
    looks: dict[str, Style] = {}
    for name, like in likes.items():
        if name == like and name in COLOURS:
            looks[name] = Style(COLOURS[name], MARKERS[name], DASHES[name])
            continue
        place = zlib.crc32(name.encode())
        marker = _next(FURTHER_MARKERS, place, [look.marker for look in looks.values()])
        line = _next(FURTHER_DASHES, place, [look.line for look in looks.values()])
        looks[name] = Style(COLOURS.get(like) or FURTHER[place % len(FURTHER)], marker, line)
    return looks


def _next(series: Sequence[Any], place: int, taken: Sequence[Any]) -> Any:
    """Return the first from `place` on that is not taken, where any is free."""
    turned = [series[(place + step) % len(series)] for step in range(len(series))]
    return next((one for one in turned if one not in taken), turned[0])


def looks_of(evidence: StudyResults) -> dict[str, Style]:
    """Return the looks of the study's contenders."""
    known = evidence.study.get("contenders", {})
    return styles({name: known.get(name, {}).get("like", name) for name in evidence.contenders})
