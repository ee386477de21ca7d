"""Tables to figures: each function returns one, or None where the study lacks what it shows."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from optstudy.analysis.stats import expected_best
from optstudy.analysis.study_results import StudyResults
from optstudy.analysis.verdicts import worded_verdict
from optstudy.keys import derive_seed
from optstudy.metrics import metric
from optstudy.reporting.axes import grid_height, legend, new_figure, panels_of, scaled
from optstudy.reporting.style import INK, PAPER, Style, looks_of
from optstudy.tasks.functions import Ravine, Rosenbrock

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


FUNCTIONS: Mapping[str, Callable[..., Any]] = {"ravine": Ravine, "rosenbrock": Rosenbrock}
FLOOR = 1e-12  # losses of functions below it are drawn at it
MANY = 1000  # points beyond which a scatter is drawn as pixels: a page of ten thousand circles opens slowly


def means(*names: str) -> Callable[[StudyResults], Figure | None]:
    """Return what draws the first of these metrics that the study has: its intervals, tuned beside untuned."""

    def draw(evidence: StudyResults) -> Figure | None:
        found = [name for name in names if name in evidence.metrics]
        return _means(evidence.comparison, found[0], looks_of(evidence)) if found else None

    return draw


def _means(comparison: pd.DataFrame, name: str, looks: Mapping[str, Style]) -> Figure:
    """All on the left; on the right the tuned alone, enlarged, where both variants are there."""
    comparison = comparison.dropna(subset=[f"{name}_mean"])
    contenders = list(dict.fromkeys(comparison["contender"]))
    variants = list(dict.fromkeys(comparison["variant"]))
    figure, panels = panels_of(len(variants), 0.9 + 0.36 * len(contenders), columns=2, sharey=True)
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


def curves(evidence: StudyResults) -> Figure | None:
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
    figure, panels = panels_of(wide * len(rows), 2.5 * len(rows) + 0.4, columns=2, sharex=True, sharey="row")
    looks = looks_of(evidence)
    for axes, (name, label) in zip(panels, (item for row in rows for item in row), strict=False):
        for contender, look in looks.items():
            _band(axes, own[own["contender"] == contender], name, look, contender, alpha=min(0.15, 0.8 / len(looks)))
        axes.set_title(label + scaled(axes, "y", name))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    for axes in panels[-wide:]:
        axes.set_xlabel("step" if "loss" in own else "epoch")
    legend(figure, panels[0])
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


def sensitivity(evidence: StudyResults) -> Figure | None:
    """The objective against the learning rate: trials as points, diverged ones as crosses, the sweep as a line."""
    trials, sweep, name = evidence.tuning, evidence.sweep, evidence.objective
    parts = [part for part in (trials, sweep) if len(part) and {name, "learning_rate"} <= set(part)]
    if not parts:
        return None
    everything = pd.concat(parts)
    everything[name] = everything[name].clip(lower=FLOOR) if name.endswith("loss") else everything[name]
    shown = [contender for contender in evidence.contenders if contender in set(everything["contender"])]
    figure, panels = panels_of(len(shown), grid_height(len(shown)), columns=3, sharex=True, sharey=True)
    looks = looks_of(evidence)
    for axes, contender in zip(panels, shown, strict=False):
        own, look = everything[everything["contender"] == contender], looks[contender]
        _trials(axes, own, name, look, s=14, color=look.colour, alpha=0.7, linewidths=0)
        if len(sweep) and contender in set(sweep["contender"]):
            middle = sweep[sweep["contender"] == contender].groupby("learning_rate")[name].median()
            axes.plot(middle.index, middle, color=look.colour, linestyle=look.line)
        axes.set_title(contender)
    for axes in panels:
        scaled(axes, "x", "learning_rate")
        scale = scaled(axes, "y", name)
    figure.supxlabel("learning rate", fontsize=9)
    figure.supylabel(metric(name).label + scale, fontsize=9)
    return figure


def _trials(axes: Axes, rows: pd.DataFrame, y: str, look: Style, **drawn: Any) -> Any:
    """Draw trials over their learning rates, diverged ones as crosses; return the points of the others."""
    lost = rows["status"] == "diverged"
    many = len(rows) > MANY
    # Not clipped: what diverged is scored at chance, on the very edge.
    crosses: dict[str, Any] = {"s": 22, "color": INK, "marker": "x", "linewidths": 1, "clip_on": False}
    axes.scatter("learning_rate", y, data=rows[lost], rasterized=many, **crosses)
    return axes.scatter("learning_rate", y, data=rows[~lost], marker=look.marker, rasterized=many, **drawn)


def maps(evidence: StudyResults) -> Figure | None:
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
    figure, panels = panels_of(len(shown), 2.6 * math.ceil(len(shown) / columns) + 0.3, columns=columns)
    looks, rows = looks_of(evidence), rows[rows["contender"].isin(shown)]
    norm = _norm(rows[evidence.objective][rows["status"] != "diverged"], evidence.objective)
    coloured = {"c": evidence.objective, "norm": norm, "cmap": "cividis", "edgecolors": INK, "linewidths": 0.4}
    for axes, name in zip(panels, shown, strict=False):
        points = _trials(axes, rows[rows["contender"] == name], "weight_decay", looks[name], s=34, **coloured)
        axes.set(title=name, xlabel="learning rate", ylabel="weight decay")
        scaled(axes, "x", "learning_rate")
        scaled(axes, "y", "weight_decay")
    figure.colorbar(points, ax=list(panels), label=metric(evidence.objective).label, shrink=0.9, pad=0.02)
    return figure


def _norm(values: pd.Series, name: str) -> Any:
    """Colours spread over the better three quarters: the differences there are what a reader looks for."""
    from matplotlib.colors import LogNorm, Normalize

    if name.endswith("loss"):
        return LogNorm(max(values.min(), 1e-30), max(values.quantile(0.75), 2e-30))
    return Normalize(values.quantile(0.25), values.max())


def budget(evidence: StudyResults) -> Figure | None:
    """The expected best validation value after k trials, and the test value that it leads to."""
    name = evidence.objective
    if not len(evidence.tuning) or not name or name not in evidence.tuning:
        return None
    tested = name.replace("val_", "test_")
    names = [name] if tested == name or tested not in evidence.tuning else [name, tested]
    figure, panels = panels_of(len(names), 3.2, columns=2)
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
        scaled(axes, "x", "trials")
        axes.set(title=f"{metric(each).label} of the best of k{scaled(axes, 'y', each)}", xlabel="trials k")
    legend(figure, panels[0])
    return figure


def _budgets(most: int) -> list[int]:
    """About thirty whole numbers from 1 to `most`, evenly spaced in logarithms."""
    return sorted({round(k) for k in np.geomspace(1, most, 30)})


def trajectories(evidence: StudyResults) -> Figure | None:
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
    figure, panels = panels_of(len(shown), grid_height(len(shown)), columns=3, sharex=True, sharey=True)
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


def _path(function: Any, evidence: StudyResults, rows: pd.DataFrame) -> pd.DataFrame:
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


def differences(evidence: StudyResults) -> Figure | None:
    """Each claim's paired differences, a panel for each metric; right of zero is as claimed."""
    claims = [claim for claim in evidence.claims if claim.get("differences")]
    if not claims:
        return None
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for claim in claims:
        groups.setdefault((claim["metric"], _decade(claim)), []).append(claim)
    figure = new_figure(0.4 + 0.5 * len(claims) + 0.75 * len(groups))
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
