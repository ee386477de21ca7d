"""Tables to figures: legible in print and for the colour-blind, one colour for each contender in every study.

The same tables give the same bytes. Text is never read as mathematics, so that a statement may hold any character.
"""

from __future__ import annotations

import io
import math
import textwrap
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from optstudy.claims import worded_verdict
from optstudy.evidence import Evidence
from optstudy.functions import Ravine, Rosenbrock
from optstudy.metrics import amount, counted, metric
from optstudy.runs import derive_seed
from optstudy.statistics import expected_best

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito 2008, which the colour-blind tell apart. What builds on one of the five has its colour, with another
# marker and line; a user's own optimizers take the rest by their names.
COLOURS = {"sgd": "#0072B2", "momentum": "#56B4E9", "rmsprop": "#009E73", "adam": "#D55E00", "adamw": "#CC79A7"}
INK, PAPER = "#1a1a1a", "#ffffff"  # the report replaces both, so that its figures follow light and dark
FURTHER = ("#E69F00", INK, "#999999")
MARKERS = {"sgd": "o", "momentum": "s", "rmsprop": "^", "adam": "D", "adamw": "v"}
FURTHER_MARKERS: tuple[Any, ...] = ("P", "X", "*", "p", "<", ">", (4, 1, 0))  # the last is a star of four points
DASHES: dict[str, Any] = {"sgd": "-", "momentum": "--", "rmsprop": "-.", "adam": "-", "adamw": (0, (5, 1, 1, 1, 1, 1))}
FURTHER_DASHES: tuple[Any, ...] = (":", (0, (8, 2)), (0, (3, 1, 1, 1)), (0, (1, 1)))
FUNCTIONS: Mapping[str, Callable[..., Any]] = {"ravine": Ravine, "rosenbrock": Rosenbrock}
ACCURACIES = (0, 0.2, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 1)  # ticks where accuracies are spaced by their error
LOGARITHMIC = {"learning_rate", "weight_decay", "trials"}
FLOOR = 1e-12  # losses of functions below it are drawn at it
WIDTH = 7.4  # inches
MANY = 1000  # points beyond which a scatter is drawn as pixels: a page of ten thousand circles opens slowly

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

Each = Callable[[Callable[[str], str], Iterable[str]], Iterable[str]]  # `map`, or what does the same in more processes


class Style(NamedTuple):
    """How a contender looks, in every figure."""

    colour: str
    marker: Any
    line: Any


@dataclass(frozen=True)
class Plot:
    """One row of the table of figures: `draw` returns None where the study lacks what the figure shows."""

    name: str
    caption: Callable[[Evidence], str]
    draw: Callable[[Evidence], Figure | None]


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


def looks_of(evidence: Evidence) -> dict[str, Style]:
    """Return the looks of the study's contenders."""
    known = evidence.study.get("contenders", {})
    return styles({name: known.get(name, {}).get("like", name) for name in evidence.contenders})


def draw_all(evidence: Evidence, folder: Path, each: Each = map) -> dict[str, str]:
    """Write every figure that the tables allow into `folder` and return its SVG by name.

    `each` maps over them; it may do so in other processes.
    """
    names = [plot.name for plot in PLOTS]
    drawn = each(partial(_drawn, evidence, folder), names)
    return {name: svg for name, svg in zip(names, drawn, strict=True) if svg}


def _drawn(evidence: Evidence, folder: Path, name: str) -> str:
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


def means(*names: str) -> Callable[[Evidence], Figure | None]:
    """Return what draws the first of these metrics that the study has: its intervals, tuned beside untuned."""

    def draw(evidence: Evidence) -> Figure | None:
        found = [name for name in names if name in evidence.metrics]
        return _means(evidence.comparison, found[0], looks_of(evidence)) if found else None

    return draw


def _means(comparison: pd.DataFrame, name: str, looks: Mapping[str, Style]) -> Figure:
    """All on the left; on the right the tuned alone, enlarged, where both variants are there."""
    comparison = comparison.dropna(subset=[f"{name}_mean"])
    contenders = list(dict.fromkeys(comparison["contender"]))
    variants = list(dict.fromkeys(comparison["variant"]))
    figure, panels = _panels(len(variants), 0.9 + 0.36 * len(contenders), columns=2, sharey=True)
    _intervals(panels[0], comparison, name, looks)
    panels[0].set_yticks(range(len(contenders)), contenders)
    panels[0].set_ylim(len(contenders) - 0.5, -0.5)
    panels[0].set_title("tuned (filled) and defaults (hollow)" if len(variants) > 1 else "")
    if len(variants) > 1:
        _intervals(panels[1], comparison[comparison["variant"] == "tuned"], name, looks)
        panels[1].set_title("tuned, enlarged")
    replicates = int(comparison["n"].max())
    unit = "" if metric(name).share or not metric(name).unit else f" ({metric(name).unit})"
    figure.supxlabel(f"{metric(name).label}{unit}: mean and 95% interval over {replicates} replicates", fontsize=9)
    return figure


def _intervals(axes: Axes, rows: pd.DataFrame, name: str, looks: Mapping[str, Style]) -> None:
    from matplotlib.ticker import MaxNLocator

    contenders, variants = list(dict.fromkeys(rows["contender"])), list(dict.fromkeys(rows["variant"]))
    for row in rows.to_dict("records"):
        is_tuned, look = row["variant"] == "tuned", looks[row["contender"]]
        y = contenders.index(row["contender"]) + 0.28 * (variants.index(row["variant"]) - (len(variants) - 1) / 2)
        axes.plot([row[f"{name}_ci_low"], row[f"{name}_ci_high"]], [y, y], color=look.colour, linewidth=2)
        face = look.colour if is_tuned else PAPER
        axes.plot(row[f"{name}_mean"], y, marker=look.marker, color=look.colour, markerfacecolor=face, markersize=6)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.grid(axis="y", visible=False)


def curves(evidence: Evidence) -> Figure | None:
    """Training and validation by epoch: means over replicates with 95% bands."""
    from matplotlib.ticker import MaxNLocator

    own = evidence.curves[evidence.curves["variant"] == evidence.variant] if len(evidence.curves) else evidence.curves
    names = [
        (("train_accuracy", "training accuracy"), ("val_accuracy", "validation accuracy")),
        (("train_loss", "training loss"), ("val_loss", "validation loss")),
        (("loss", "loss"),),
    ]
    rows = [[(name, label) for name, label in row if name in own and own[name].notna().any()] for row in names]
    rows = [row for row in rows if row]
    if not rows:
        return None
    wide = max(map(len, rows))
    figure, panels = _panels(wide * len(rows), 2.5 * len(rows) + 0.4, columns=2, sharex=True, sharey="row")
    looks = looks_of(evidence)
    for axes, (name, label) in zip(panels, (item for row in rows for item in row), strict=False):
        for contender, look in looks.items():
            _band(axes, own[own["contender"] == contender], name, look, contender, alpha=min(0.15, 0.8 / len(looks)))
        axes.set_title(label + _scaled(axes, "y", name))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    for axes in panels[-wide:]:
        axes.set_xlabel("step" if "loss" in own else "epoch")
    _legend(figure, panels[0])
    return figure


def _band(axes: Axes, rows: pd.DataFrame, name: str, look: Style, label: str, alpha: float) -> None:
    """Losses in logarithms, so their means are geometric; a replicate counts while it has not diverged."""
    from scipy.special import stdtrit

    is_loss = name.endswith("loss")
    values = rows[name].clip(lower=FLOOR).map(math.log10) if is_loss else rows[name]
    by_epoch = values.groupby(rows["epoch"]).agg(["mean", "std", "count"])
    half = stdtrit(np.maximum(by_epoch["count"] - 1, 1), 0.975) * by_epoch["std"] / np.sqrt(by_epoch["count"])
    lines = [by_epoch["mean"], by_epoch["mean"] - half, by_epoch["mean"] + half]
    middle, low, high = ([10**line for line in lines]) if is_loss else lines
    if metric(name).share:
        low, high = low.clip(lower=0), high.clip(upper=1)  # an interval knows no bounds, an accuracy does
    every = max(1, len(by_epoch) // 8)
    axes.plot(
        middle.index, middle, color=look.colour, linestyle=look.line, marker=look.marker, markevery=every, label=label
    )
    axes.fill_between(middle.index, low, high, color=look.colour, alpha=alpha, linewidth=0)


def sensitivity(evidence: Evidence) -> Figure | None:
    """The objective against the learning rate: trials as points, diverged ones as crosses, the sweep as a line."""
    trials, sweep, name = evidence.tuning, evidence.sweep, evidence.objective
    parts = [part for part in (trials, sweep) if len(part) and {name, "learning_rate"} <= set(part)]
    if not parts:
        return None
    everything = pd.concat(parts)
    everything[name] = everything[name].clip(lower=FLOOR) if name.endswith("loss") else everything[name]
    shown = [contender for contender in evidence.contenders if contender in set(everything["contender"])]
    figure, panels = _panels(len(shown), _grid_height(len(shown)), columns=3, sharex=True, sharey=True)
    looks = looks_of(evidence)
    for axes, contender in zip(panels, shown, strict=False):
        own, look = everything[everything["contender"] == contender], looks[contender]
        _trials(axes, own, name, look, s=14, color=look.colour, alpha=0.7, linewidths=0)
        if len(sweep) and contender in set(sweep["contender"]):
            middle = sweep[sweep["contender"] == contender].groupby("learning_rate")[name].median()
            axes.plot(middle.index, middle, color=look.colour, linestyle=look.line)
        axes.set_title(contender)
    for axes in panels:
        _scaled(axes, "x", "learning_rate")
        scale = _scaled(axes, "y", name)
    figure.supxlabel("learning rate", fontsize=9)
    figure.supylabel(metric(name).label + scale, fontsize=9)
    return figure


def _trials(axes: Axes, rows: pd.DataFrame, y: str, look: Style, **drawn: Any) -> Any:
    """Draw trials over their learning rates, diverged ones as crosses; return the points of the others."""
    lost = rows["status"] == "diverged"
    many = len(rows) > MANY
    crosses: dict[str, Any] = {
        "s": 22,
        "color": INK,
        "marker": "x",
        "linewidths": 1,
        "clip_on": False,
    }  # at chance: on the very edge
    axes.scatter("learning_rate", y, data=rows[lost], rasterized=many, **crosses)
    return axes.scatter("learning_rate", y, data=rows[~lost], marker=look.marker, rasterized=many, **drawn)


def maps(evidence: Evidence) -> Figure | None:
    """Learning rate against weight decay of Adam and AdamW, coloured by the objective; crosses diverged."""
    if not evidence.objective or not {"learning_rate", "weight_decay"} <= set(evidence.tuning):
        return None
    rows = evidence.tuning.dropna(subset=["learning_rate", "weight_decay"])
    kinds = {name: str(row.get("optimizer", name)) for name, row in evidence.study.get("contenders", {}).items()}
    adams = [name for name in evidence.contenders if kinds.get(name, name).split(".")[-1].lower() in {"adam", "adamw"}]
    shown = [name for name in adams if name in set(rows["contender"])]
    if not shown:
        return None
    columns = 2 if len(shown) <= 4 else 3
    figure, panels = _panels(len(shown), 2.6 * math.ceil(len(shown) / columns) + 0.3, columns=columns)
    looks, rows = looks_of(evidence), rows[rows["contender"].isin(shown)]
    norm = _norm(rows[evidence.objective][rows["status"] != "diverged"], evidence.objective)
    coloured = {"c": evidence.objective, "norm": norm, "cmap": "cividis", "edgecolors": INK, "linewidths": 0.4}
    for axes, name in zip(panels, shown, strict=False):
        points = _trials(axes, rows[rows["contender"] == name], "weight_decay", looks[name], s=34, **coloured)
        axes.set(title=name, xlabel="learning rate", ylabel="weight decay")
        _scaled(axes, "x", "learning_rate")
        _scaled(axes, "y", "weight_decay")
    figure.colorbar(points, ax=list(panels), label=metric(evidence.objective).label, shrink=0.9, pad=0.02)
    return figure


def _norm(values: pd.Series, name: str) -> Any:
    """Colours spread over the better three quarters: the differences there are what a reader looks for."""
    from matplotlib.colors import LogNorm, Normalize

    if name.endswith("loss"):
        return LogNorm(max(values.min(), 1e-30), max(values.quantile(0.75), 2e-30))
    return Normalize(values.quantile(0.25), values.max())


def budget(evidence: Evidence) -> Figure | None:
    """The expected best validation value after k trials, and the test value that it leads to."""
    name = evidence.objective
    if not len(evidence.tuning) or not name or name not in evidence.tuning:
        return None
    tested = name.replace("val_", "test_")
    names = [name] if tested == name or tested not in evidence.tuning else [name, tested]
    figure, panels = _panels(len(names), 3.2, columns=2)
    sign = 1.0 if metric(name).higher else -1.0
    for contender, look in looks_of(evidence).items():
        pool = evidence.tuning[evidence.tuning["contender"] == contender].dropna(subset=names)
        if len(pool) < 2:
            continue
        ks = _budgets(len(pool) // 2)
        validation, test = ((sign * pool[each].clip(lower=FLOOR)).tolist() for each in (names[0], names[-1]))
        found = expected_best(validation, test, ks)
        line = {"color": look.colour, "linestyle": look.line, "marker": look.marker, "label": contender}
        for axes, column in zip(panels, ("validation", "test"), strict=False):
            best = [sign * getattr(point, column) for point in found]
            axes.plot(ks, best, markevery=max(1, len(ks) // 6), **line)
    for axes, each in zip(panels, names, strict=False):
        _scaled(axes, "x", "trials")
        axes.set(title=f"{metric(each).label} of the best of k{_scaled(axes, 'y', each)}", xlabel="trials k")
    _legend(figure, panels[0])
    return figure


def _budgets(most: int) -> list[int]:
    """About thirty whole numbers from 1 to `most`, evenly spaced in logarithms."""
    return sorted({round(k) for k in np.geomspace(1, most, 30)})


def trajectories(evidence: Evidence) -> Figure | None:
    """The path of the first replicate over the function's contours, from where it starts."""
    function = _function(evidence.data)
    if function is None or not {"x", "y"} <= set(evidence.curves):
        return None
    own = evidence.curves[evidence.curves["variant"] == evidence.variant]
    paths = {str(name): _path(function, evidence, rows) for name, rows in own.groupby("contender")}
    shown = [name for name in evidence.contenders if name in paths]
    if not shown:
        return None
    everything = pd.concat([paths[name] for name in shown])
    figure, panels = _panels(len(shown), _grid_height(len(shown)), columns=3, sharex=True, sharey=True)
    grid = _contours(function, everything)
    looks = looks_of(evidence)
    for axes, name in zip(panels, shown, strict=False):
        axes.contour(*grid, colors=INK, alpha=0.25, linewidths=0.6)
        look, path = looks[name], paths[name]
        axes.plot(path["x"], path["y"], color=look.colour, linewidth=1.1, marker=".", markersize=3)
        axes.plot(
            path["x"].iloc[0],
            path["y"].iloc[0],
            marker=look.marker,
            color=look.colour,
            markersize=7,
            markeredgecolor=INK,
        )
        axes.plot(path["x"].iloc[-1], path["y"].iloc[-1], "*", color=INK, markersize=9)
        axes.set_title(name)
        axes.grid(visible=False)
    figure.supxlabel("x", fontsize=9)
    figure.supylabel("y", fontsize=9)
    return figure


def _path(function: Any, evidence: Evidence, rows: pd.DataFrame) -> pd.DataFrame:
    """Return x and y of the first replicate: its start, which its seed gives, and where each step led."""
    replicate = int(rows["replicate"].min())
    steps = rows[rows["replicate"] == replicate].sort_values("epoch")[["x", "y"]]
    if "seed" not in evidence.study:  # tables of an earlier version
        return steps
    start = function.start(derive_seed(evidence.study["seed"], replicate, "split"))
    return pd.concat([pd.DataFrame([start], columns=["x", "y"]), steps], ignore_index=True)


def _function(data: Mapping[str, Any]) -> Any:
    known = FUNCTIONS.get(str(data.get("name")))
    return known(**data.get("arguments", {})) if known else None


def _contours(function: Any, path: pd.DataFrame) -> tuple[Any, Any, Any, Any]:
    """x, y, f and levels over what the paths cover."""
    sides = []
    for name in ("x", "y"):
        starts = path[name].loc[[0]] if 0 in path.index else path[name]
        low = min(path[name].quantile(0.005), starts.min())
        high = max(path[name].quantile(0.995), starts.max())
        margin = 0.15 * (high - low) or 0.1
        sides.append(np.linspace(low - margin, high + margin, 120))
    x, y = np.meshgrid(*sides)
    f = function(x, y)
    return x, y, f, np.geomspace(max(f.max() / 3e3, 1e-9), f.max(), 10)


def differences(evidence: Evidence) -> Figure | None:
    """Each claim's paired differences, a panel for each metric; right of zero is as claimed."""
    claims = [claim for claim in evidence.claims if claim.get("differences")]
    if not claims:
        return None
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for claim in claims:
        groups.setdefault((claim["metric"], _decade(claim)), []).append(claim)
    figure = _figure(0.4 + 0.5 * len(claims) + 0.75 * len(groups))
    heights = [len(group) + 0.6 for group in groups.values()]
    panels = figure.subplots(len(groups), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axes, ((name, _), group) in zip(panels, groups.items(), strict=True):
        row = metric(name)
        for place, claim in enumerate(group):
            _one_claim(axes, place, claim, row.scale)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks(range(len(group)), [textwrap.fill(str(claim["statement"]), 40) for claim in group], fontsize=8)
        axes.set_ylim(len(group) - 0.4, -0.6)
        axes.grid(axis="y", visible=False)
        unit = f" ({row.difference_unit})" if row.difference_unit not in {"", row.label} else ""
        axes.set_xlabel(f"difference in {row.label}{unit}; right of 0: as claimed", fontsize=8)
    return figure


def _decade(claim: Mapping[str, Any]) -> int:
    """Claims whose differences are of one order of magnitude share a panel: none shrinks the others to a dot."""
    reach = max(abs(value) for value in [*claim["differences"], claim.get("margin") or 0])
    return math.floor(math.log10(reach)) if reach else 0


def _one_claim(axes: Axes, place: int, claim: Mapping[str, Any], scale: float) -> None:
    """Replicates as dots, the mean with its interval as a bar, the margin as a grey box, the verdict at the right."""
    values = scale * np.asarray(claim["differences"], dtype=float)
    margin = scale * float(claim.get("margin") or 0)
    axes.barh(place, 2 * margin, left=-margin, height=0.7, color=INK, alpha=0.1, linewidth=0)
    spread = place + 0.16 * (np.arange(len(values)) % 4 - 1.5)  # beside the mean's bar
    axes.plot(values, spread, "o", color=INK, markersize=3.5, alpha=0.45, markeredgewidth=0)
    axes.plot([scale * claim["ci_low"], scale * claim["ci_high"]], [place, place], color=INK, linewidth=2)
    axes.plot(scale * claim["effect"], place, "D", color=INK, markersize=6)
    verdict = textwrap.fill(worded_verdict(claim), 22)
    axes.text(1.01, place, verdict, transform=axes.get_yaxis_transform(), fontsize=7.5, va="center")


def _figure(height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH, height), dpi=120, layout="constrained")


def _panels(count: int, height: float, columns: int, **shared: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` panels; places beyond are left empty."""
    figure = _figure(height)
    columns = min(columns, count)
    panels = list(figure.subplots(math.ceil(count / columns), columns, squeeze=False, **shared).flat)
    for axes in panels[count:]:
        axes.set_visible(False)
    for axes in panels[count - columns : count]:
        axes.tick_params(labelbottom=True)
    return figure, panels[:count]


def _grid_height(count: int) -> float:
    return 2.0 * math.ceil(count / 3) + 0.4


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=min(len(labels), 5 if len(labels) < 6 else 4), handlelength=3
    )


def _scaled(axes: Axes, which: str, name: str) -> str:
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


def _n(evidence: Evidence) -> str:
    return counted(int(evidence.comparison["n"].max()), "replicate")


def _means_caption(words: str) -> Callable[[Evidence], str]:
    def caption(evidence: Evidence) -> str:
        both = len(set(evidence.comparison["variant"])) > 1
        which = "tuned (filled) beside the defaults (hollow)" if both else evidence.variant
        return f"{words}: means over {_n(evidence)} with 95% t intervals, {which}."

    return caption


def _headline_caption(evidence: Evidence) -> str:
    name = next(name for name in HEADLINE if name in evidence.metrics)
    return _means_caption(metric(name).label.capitalize())(evidence)


def _differences_caption(evidence: Evidence) -> str:
    return (
        f"Paired differences of each claim: a dot for each of {_n(evidence)}, the mean (diamond) with its 95% t "
        "interval, ± the claim's margin in grey, the verdict at the right."
    )


def _curves_caption(evidence: Evidence) -> str:
    rows = evidence.runs[evidence.runs["variant"] == evidence.variant]
    lost = rows[rows["status"] == "diverged"].groupby("contender", sort=False).size()
    left_out = ", ".join(f"{name} {count} of {_n(evidence)}" for name, count in lost.items())
    words = (
        f"Course of the {evidence.variant} runs: means over {_n(evidence)}, of losses geometric ones; "
        "bands are 95% t intervals of the mean"
    )
    return f"{words}; left out from where they diverged: {left_out}." if left_out else f"{words}."


def _trajectories_caption(evidence: Evidence) -> str:
    start = "start" if "seed" in evidence.study else "first step"
    return (
        f"The {evidence.variant} path of the first of {_n(evidence)} over the function's contours, a dot for each "
        f"step, from its {start} (large marker) to its end (star)."
    )


def _sensitivity_caption(evidence: Evidence) -> str:
    lost = sum(int((table["status"] == "diverged").sum()) for table in (evidence.tuning, evidence.sweep) if len(table))
    sweep = " and the points of the sweep" if len(evidence.sweep) else ""
    words = f"{metric(evidence.objective).label.capitalize()} against the learning rate: {_pool(evidence)}{sweep}"
    scored = "at their start" if evidence.study.get("kind") == "function" else "at chance"
    words += f"; crosses: the {lost} that diverged (scored {scored})" if lost else ""
    return words + (f"; line: the sweep's median over {_n(evidence)}." if len(evidence.sweep) else ".")


def _pool(evidence: Evidence) -> str:
    """Return how many trials of a contender there are."""
    sizes = evidence.tuning.groupby("contender").size() if len(evidence.tuning) else [0]
    return f"{counted(max(sizes), 'trial')} of each contender over {_n(evidence)}"


def _maps_caption(evidence: Evidence) -> str:
    return (
        f"Learning rate against weight decay of Adam and AdamW, {_pool(evidence)}, coloured by "
        f"{metric(evidence.objective).label}; crosses diverged. Exploratory."
    )


def _budget_caption(evidence: Evidence) -> str:
    return (
        "Expected best of k trials, and the test value that it leads to: exact means of draws without replacement from "
        f"the {_pool(evidence)}, k up to half of them. Of one pool: it has no interval."
    )


def _epochs_caption(evidence: Evidence) -> str:
    target = f"{evidence.comparison['target_val_accuracy'].iloc[0]:.4f}"
    return _means_caption(f"Epochs to {target} validation accuracy, a miss one more than the budget")(evidence)


def _crossings_caption(evidence: Evidence) -> str:
    steps = counted(evidence.study["epochs"], "step")
    words = (
        f"Sign changes of the gradient across the valley in all of {steps}, those after the tolerance is reached too"
    )
    return _means_caption(words)(evidence)


def swept(evidence: Evidence) -> str:
    """Return what a learning-rate tolerance is, with the sweep that it is read off."""
    rates = [np.unique(own["learning_rate"]) for _, own in evidence.sweep.groupby("contender")]
    points = sorted({len(own) for own in rates})
    steps = sorted({round(math.log10(own[-1] / own[0]) / (len(own) - 1), 2) for own in rates})
    apart = " or ".join(amount("learning_rate_tolerance", step) for step in steps)
    grid = f"{' or '.join(map(str, points))} rates, {apart} apart"
    within = amount("val_accuracy", evidence.study["within"])
    return f"decades of learning rate within {within} of the sweep's best validation accuracy ({grid})"


def _tolerance_caption(evidence: Evidence) -> str:
    return f"Learning-rate tolerance, {swept(evidence)}: means over {_n(evidence)} with 95% t intervals."


HEADLINE = ("test_accuracy", "steps_to_tolerance", "val_accuracy", "val_loss", "loss")
_GAP = "Generalisation gap, training accuracy minus test accuracy of the final weights"

# The figures of a report, in its order.
PLOTS = (
    Plot("headline", _headline_caption, means(*HEADLINE)),
    Plot("differences", _differences_caption, differences),
    Plot("curves", _curves_caption, curves),
    Plot("trajectories", _trajectories_caption, trajectories),
    Plot("sensitivity", _sensitivity_caption, sensitivity),
    Plot("maps", _maps_caption, maps),
    Plot("budget", _budget_caption, budget),
    Plot("gap", _means_caption(_GAP), means("generalisation_gap")),
    Plot("epochs", _epochs_caption, means("epochs_to_target")),
    Plot("sign_changes", _crossings_caption, means("sign_changes")),
    Plot("tolerance", _tolerance_caption, means("learning_rate_tolerance")),
)
