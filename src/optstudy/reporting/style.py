"""How figures look: one colour for each contender in every study, readable in print and for colour-blind people."""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from optstudy.analysis.study_results import StudyResults

# After Okabe & Ito 2008, chosen for colour-blind people; momentum's is darker, for a contrast of 3:1 on white. A
# contender that builds on one of the five has its colour, with another marker and dash; a user's own optimizers take
# one of the other colours.
COLOURS = {"sgd": "#0072B2", "momentum": "#3399DD", "rmsprop": "#009E73", "adam": "#D55E00", "adamw": "#CC79A7"}
# Names for people; a contender that is not in the table is shown by its own name.
DISPLAY_NAMES = {
    "sgd": "SGD",
    "momentum": "SGD with momentum",
    "rmsprop": "RMSProp",
    "adam": "Adam",
    "adamw": "AdamW",
    "nesterov": "SGD with Nesterov momentum",
    "adagrad": "Adagrad",
    "nadam": "NAdam",
    "radam": "RAdam",
    "adafactor": "Adafactor",
    "lion": "Lion",
    "soap": "SOAP",
    "schedule_free_adamw": "Schedule-Free AdamW",
    "prodigy": "Prodigy",
    "adan": "Adan",
    "muon": "Muon",
}
INK, PAPER = "#1a1a1a", "#ffffff"  # the page replaces both, so that figures follow its light and dark mode
OTHER_COLOURS = ("#BF8600", INK, "#8C8C8C")
MARKERS = {"sgd": "o", "momentum": "s", "rmsprop": "^", "adam": "D", "adamw": "v"}
OTHER_MARKERS: tuple[Any, ...] = ("P", "X", "*", "p", "<", ">", (4, 1, 0))  # the last is a star of four points
DASHES: dict[str, Any] = {"sgd": "-", "momentum": "--", "rmsprop": "-.", "adam": "-", "adamw": (0, (5, 1, 1, 1, 1, 1))}
OTHER_DASHES: tuple[Any, ...] = (":", (0, (8, 2)), (0, (3, 1, 1, 1)), (0, (1, 1)))

SETTINGS: Any = {
    "svg.hashsalt": "optstudy",
    "svg.fonttype": "none",
    "text.parse_math": False,  # statements may contain any character
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


@contextmanager
def drawing() -> Iterator[None]:
    """Use matplotlib's own defaults and SETTINGS in the body: neither MPLBACKEND nor a matplotlibrc has any effect.

    A notebook sets MPLBACKEND, also for its shell commands, and importing matplotlib fails if that backend is missing.
    """
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield


def displayed(contender: str) -> str:
    """Return a contender's name for people: SGD with momentum."""
    return DISPLAY_NAMES.get(contender, contender)


def with_display_names(words: str, contenders: Iterable[str]) -> str:
    """Return text in which the contenders' keys are replaced by their names for people."""
    keys = sorted((re.escape(name) for name in contenders if name in DISPLAY_NAMES), key=len, reverse=True)
    if not keys:
        return words
    return re.sub(rf"(?<![\w.\-])({'|'.join(keys)})(?![\w\-])", lambda found: displayed(found[1]), words)


class Style(NamedTuple):
    """How a contender looks in every figure."""

    colour: str
    marker: Any
    dash: Any


def styles(likes: Mapping[str, str]) -> dict[str, Style]:
    """Return each contender's style, given the optimizer of the table that each is or builds on, "" for none.

    The colour depends on the contender alone. Contenders other than the five take markers and dashes that no other
    contender of the study has.
    """
    chosen: dict[str, Style] = {}
    for name, like in likes.items():
        if name == like and name in COLOURS:
            chosen[name] = Style(COLOURS[name], MARKERS[name], DASHES[name])
            continue
        place = zlib.crc32(name.encode())
        marker = _next_free(OTHER_MARKERS, place, [style.marker for style in chosen.values()])
        dash = _next_free(OTHER_DASHES, place, [style.dash for style in chosen.values()])
        chosen[name] = Style(COLOURS.get(like) or OTHER_COLOURS[place % len(OTHER_COLOURS)], marker, dash)
    return chosen


def _next_free(series: Sequence[Any], place: int, taken: Sequence[Any]) -> Any:
    """Return the first item from `place` on that is not taken; if all are, the one at `place`."""
    turned = [series[(place + step) % len(series)] for step in range(len(series))]
    return next((item for item in turned if item not in taken), turned[0])


def styles_of(results: StudyResults) -> dict[str, Style]:
    """Return the styles of the study's contenders."""
    return styles({name: results.study["contenders"][name]["like"] for name in results.contenders})
