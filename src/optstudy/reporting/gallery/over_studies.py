"""Conclusions over several studies as people see them: the section of the index page, its figures, across.csv."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from optstudy.analysis.across import COLUMNS, Across, Question, Ranking, across
from optstudy.analysis.study_results import StudyResults
from optstudy.files import write_text
from optstudy.inference.meta_analysis import FEWEST_TASKS, friedman
from optstudy.metrics import counted, metric, number, span
from optstudy.reporting.axes import new_figure
from optstudy.reporting.figures import save
from optstudy.reporting.style import DISPLAY_NAMES, INK, Style, displayed, drawing, styles, with_display_names
from optstudy.study.claim import TOPICS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TICKS = (1, 1.2, 1.5, 2, 3, 4, 6, 8)  # of τ


def write_across(folder: Path, studies: Sequence[StudyResults]) -> dict[str, Any]:
    """Write across.csv and the figures of several studies into `folder`, and return what the index page shows."""
    found = across(studies)
    table = pd.DataFrame([question.row() for question in found.questions], columns=list(COLUMNS))
    write_text(folder / "across.csv", table.to_csv(index=False, lineterminator="\n"))
    figures = {}
    if found.ranking is not None:
        with drawing():
            figures["profiles"] = save(_profiles(found.ranking, styles_of_all(studies)), folder / "across" / "profiles")
            if found.ranking.friedman is not None:
                figures["ranks"] = save(_ranks(found.ranking), folder / "across" / "ranks")
    return {
        "questions": [_words(question) for question in found.questions],
        "single": counted(found.single, "question") if found.single else "",
        "ranks": _rank_rows(found.ranking),
        "figures": [(name, _caption(name, found), svg) for name, svg in figures.items()],
        "too_few": _too_few(found.ranking),
    }


def styles_of_all(studies: Sequence[StudyResults]) -> dict[str, Style]:
    """Return the styles of the contenders of several studies."""
    return styles({name: facts["like"] for results in studies for name, facts in results.study["contenders"].items()})


def _words(question: Question) -> dict[str, Any]:
    """Return a question with its numbers written for people."""
    pooled = question.pooled
    new = "–"
    if pooled.new_low is not None and pooled.new_high is not None:
        half = (pooled.new_high - pooled.new_low) / 2
        new = f"{number(pooled.new_low, half)} to {number(pooled.new_high, half)}"
    later = sum(own.post_hoc for own in question.effects)
    return {
        "words": TOPICS[question.topic],
        "contrast": f"{with_display_names(question.contrast, DISPLAY_NAMES)}; {metric(question.metric).label}",
        "verdict": question.verdict,
        "mean": span(pooled.mean, pooled.low, pooled.high),
        "new": new,
        "tau": number(pooled.tau, pooled.tau),
        "studies": ", ".join(f"{own.study} {number(own.effect, own.error)}" for own in question.effects),
        "post_hoc": f"{later} of {len(question.effects)} claims were made after the first training" if later else "",
        "left_out": "; ".join(question.left_out),
    }


def _rank_rows(ranking: Ranking | None) -> list[tuple[str, str]]:
    """Return the contenders' mean ranks, the best first."""
    if ranking is None:
        return []
    own = ranking.resampled
    order = sorted(range(len(ranking.contenders)), key=lambda place: float(own.ranks[place]))
    return [(displayed(ranking.contenders[i]), span(own.ranks[i], own.ranks_low[i], own.ranks_high[i])) for i in order]


def _too_few(ranking: Ranking | None) -> str:
    if ranking is None:
        return (
            "No two contenders share two tasks with an error on a test part, so contenders are not ranked over tasks."
        )
    if ranking.friedman is not None:
        return ""
    count, tasks = len(ranking.contenders), len(ranking.tasks)
    distance = friedman(ranking.resampled.ranks.tolist(), tasks).distance
    return (
        f"A critical-difference diagram is drawn from {FEWEST_TASKS} tasks on. There are {tasks}: two mean ranks would "
        f"have to differ by {distance:.1f}, and they differ by {count - 1} at most."
    )


def _caption(name: str, found: Across) -> str:
    ranking = found.ranking
    assert ranking is not None, "figures are drawn of a ranking"
    tasks = f"{counted(len(ranking.tasks), 'task')} ({', '.join(ranking.tasks)})"
    if name == "profiles":
        return (
            f"Share of {tasks} in which a contender's test error is at most τ times the least error (Dolan and Moré "
            "2002). Bands: 95% bootstrap over tasks, then replicates."
        )
    assert ranking.friedman is not None
    return (
        f"Mean ranks over {tasks}; contenders joined by a bar do not differ significantly (Nemenyi, critical "
        f"difference {ranking.friedman.distance:.2f}; Friedman's p {ranking.friedman.p:.2g}; Demšar 2006)."
    )


def _profiles(ranking: Ranking, looks: dict[str, Style]) -> Figure:
    """Draw each contender's profile as steps with its band."""
    figure = new_figure(3.4)
    axes = figure.subplots()
    own = ranking.resampled
    for name, profile, low, high in zip(ranking.contenders, own.profile, own.low, own.high, strict=True):
        style = looks[name]
        axes.step(own.taus, profile, where="post", color=style.colour, linestyle=style.dash, label=displayed(name))
        axes.fill_between(own.taus, low, high, step="post", color=style.colour, alpha=0.08, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    reached = own.taus[(own.low == 1).all(axis=0)]  # from here on every band is at 1
    axes.set_xlim(1, min(8.0, 1.2 * float(reached[0])) if len(reached) else 8.0)
    axes.set_ylim(0, 1.03)
    axes.set_xlabel("τ: error as a multiple of the task's least error")
    axes.set_ylabel("share of tasks")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=5, handlelength=3)
    return figure


def _ranks(ranking: Ranking) -> Figure:
    """Draw the critical-difference diagram: mean ranks on a line, bars over ranks that do not differ."""
    assert ranking.friedman is not None
    figure = new_figure(1.2 + 0.15 * len(ranking.contenders))
    axes = figure.subplots()
    places = sorted(zip(ranking.resampled.ranks.tolist(), ranking.contenders, strict=True))
    half = (len(places) + 1) // 2  # names stand outside: left of the better half, right of the others
    for place, (rank, name) in enumerate(places):
        left = place < half
        depth = -1 - (place if left else len(places) - 1 - place)
        axes.plot([rank, rank], [0, depth], color=INK, linewidth=0.8)
        label = f"{displayed(name)} ({rank:.2f}) " if left else f" {displayed(name)} ({rank:.2f})"
        axes.text(rank, depth, label, va="center", ha="right" if left else "left", fontsize=8)
    for height, (first, last) in enumerate(groups_alike([rank for rank, _ in places], ranking.friedman.distance)):
        axes.plot([first - 0.03, last + 0.03], [0.4 + 0.3 * height] * 2, color=INK, linewidth=3)
    _bare(axes, len(places))
    return figure


def groups_alike(sorted_ranks: Sequence[float], distance: float) -> list[tuple[float, float]]:
    """Return the first and last rank of each largest group of two or more that differ by less than `distance`."""
    found: list[tuple[float, float]] = []
    for place, first in enumerate(sorted_ranks):
        last = max(rank for rank in sorted_ranks[place:] if rank - first < distance)
        if last > first and (not found or last > found[-1][1]):
            found.append((first, last))
    return found


def _bare(axes: Axes, count: int) -> None:
    axes.axhline(0, color=INK, linewidth=1)
    axes.set_xlim(0, count + 1)
    axes.set_xticks(range(1, count + 1))
    axes.set_yticks([])
    axes.grid(visible=False)
    axes.set_xlabel("mean rank (1 is best)")
    axes.spines["left"].set_visible(False)
