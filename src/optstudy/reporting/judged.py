"""What is shown of judged runs: the answer in a sentence, tables for the terminal, and judged.html, .json and .csv."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from optstudy.files import write_json, write_text
from optstudy.inference.power import MOST_REPLICATES, Replicates
from optstudy.judging.judge import AHEAD, Judgement, Pair
from optstudy.metrics import amount, difference, level, number, probability, span
from optstudy.reporting.figures import save
from optstudy.reporting.judged_figure import judged_figure
from optstudy.reporting.pages import inline, page_of
from optstudy.reporting.style import drawing

if TYPE_CHECKING:
    import pandas as pd

MANY = 10  # pairs on a terminal; of more, only the leader's are shown


def write_judged(judgement: Judgement, folder: Path) -> None:
    """Write judged.html, judged.json, judged.csv and the figure into `folder`."""
    with drawing():
        svg = save(judged_figure(judgement), folder / "figures" / "judged")
    write_json(folder / "judged.json", judgement.row())
    write_text(folder / "judged.csv", _frame(judgement).to_csv(index=False, lineterminator="\n"))
    write_text(folder / "judged.html", page_of("judged.html", **_parts(judgement, svg)))


def _frame(judgement: Judgement) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(judgement.pair_rows())


def answer(judgement: Judgement) -> str:
    """Return what the runs answer, in one sentence."""
    own = judgement.groups[judgement.leader]
    best = "highest" if judgement.higher else "lowest"
    mean = level(own.mean, own.low, own.high)
    words = f"{judgement.leader} has the {best} mean {judgement.columns.metric}, {mean} (n = {own.n})"
    return f"{words}; {_rivals(judgement)}."


def _rivals(judgement: Judgement) -> str:
    """Return the leader's comparisons with the other groups in words, those with one verdict together."""
    words = []
    for verdict in dict.fromkeys(pair.level for pair in judgement.of_leader):
        rivals = [pair for pair in judgement.of_leader if pair.level == verdict]
        each = ", ".join(f"{pair.second} by {effect_of(judgement, pair).lstrip('+')}" for pair in rivals)
        names = ", ".join(pair.second for pair in rivals)
        words.append(_phrase(verdict, each, names))
    return "; ".join(words)


def _phrase(verdict: str, each: str, names: str) -> str:
    if verdict in AHEAD:
        return f"ahead of {each}{', more than the margin' if verdict != 'ahead' else ''}"
    if verdict == "ahead, but equivalent":
        return f"ahead of {each}, which is within the margin"
    if verdict in ("equivalent", "equal"):
        return f"{verdict} to {names}"
    return f"not settled against {names}{f' ({verdict})' if verdict != 'not settled' else ''}"


def effect_of(judgement: Judgement, pair: Pair) -> str:
    """Return the lead of a pair's first group with its interval, in the unit of the metric's differences."""
    return difference(judgement.written, pair.effect.mean, pair.effect.low, pair.effect.high)


def tables(judgement: Judgement) -> list[Table]:
    """Return the table of groups and the table of pairs for the terminal."""
    groups = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in (judgement.columns.group, "n", f"mean {judgement.columns.metric}", "sd"):
        groups.add_column(escape(heading), no_wrap=True)
    for row in _groups(judgement):
        groups.add_row(*map(escape, row))
    shown = judgement.pairs if len(judgement.pairs) <= MANY else judgement.of_leader
    pairs = Table(caption=_caption(judgement, len(judgement.pairs) - len(shown)), box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("first", "second", "verdict", "difference", "p", "P(better)"):
        pairs.add_column(heading, no_wrap=heading != "verdict")
    for pair in shown:
        wins = number(pair.wins.value, pair.wins.high - pair.wins.low)
        cells = (pair.first, pair.second, pair.level, effect_of(judgement, pair))
        pairs.add_row(*map(escape, cells), probability(pair.p), wins)
    return [groups, pairs]


def lines(judgement: Judgement) -> list[str]:
    """Return the findings and notes, a line each."""
    return [*(f"{one.finding} ({one.source})" for one in judgement.findings), *judgement.notes]


def _caption(judgement: Judgement, others: int) -> str:
    paired = f"paired by {judgement.columns.pair}" if judgement.paired else "not paired"
    words = f"Difference: mean and 95% interval, {paired}, positive if the first is better. "
    words += "p: corrected over all pairs."
    if judgement.margin is not None:
        words += f" Margin: {amount(judgement.written, judgement.margin)}."
    if others:
        words += f" The page has the other {others} pairs."
    return escape(words)


def _groups(judgement: Judgement) -> list[tuple[str, ...]]:
    return [
        (name, str(own.n), span(own.mean, own.low, own.high), number(own.sd, own.sd))
        for name, own in judgement.groups.items()
    ]


def _pairs(judgement: Judgement) -> list[dict[str, Any]]:
    """Return a row for each pair with its numbers written for people."""
    return [
        {
            "words": f"{pair.first} against {pair.second}",
            "verdict": pair.level,
            "colour": _colour(pair.level),
            "effect": effect_of(judgement, pair),
            "n": pair.effect.n,
            "sd": amount(judgement.written, float(f"{pair.effect.sd:.2g}")) if judgement.paired else "–",
            "p": probability(pair.p),
            "p_equivalent": probability(pair.p_equivalent),
            "wins": span(pair.wins.value, pair.wins.low, pair.wins.high),
            "power": "–" if pair.power is None else f"{pair.power:.2f}",
            "needed": _needed(pair.needed),
        }
        for pair in judgement.pairs
    ]


def _colour(verdict: str) -> str:
    """Return the class in the style sheet that colours a verdict."""
    if verdict in AHEAD:
        return "supported"
    return "equivalent" if "equivalent" in verdict or verdict == "equal" else "inconclusive"


def _needed(replicates: Replicates | None) -> str:
    if replicates is None:
        return "–"
    needed, low, high = (
        f"{MOST_REPLICATES:,} or more" if count >= MOST_REPLICATES else str(count)
        for count in (replicates.needed, replicates.low, replicates.high)
    )
    return f"{needed} ({low} to {high})"


def _figure_caption(judgement: Judgement) -> str:
    differences = f"differences, paired by {judgement.columns.pair}" if judgement.paired else "unpaired differences"
    band = "" if judgement.margin is None else "; the grey band is the margin"
    return f"Means and {differences}, with 95% intervals; dots are runs{band}."


def _parts(judgement: Judgement, svg: str) -> dict[str, Any]:
    """Return the variables of the template."""
    margin = judgement.margin
    twice = "" if margin is None else amount(judgement.written, 2 * margin)
    columns = judgement.columns
    options: Sequence[tuple[str, str]] = (
        ("runs", judgement.source),
        ("rows", columns.where or "all"),
        ("groups", columns.group),
        ("pairs", columns.pair or "none: the runs are not paired"),
        ("metric", f"{columns.metric}, {'higher' if judgement.higher else 'lower'} is better"),
        ("selected by", columns.select or "unknown"),
        ("margin", "none" if margin is None else amount(judgement.written, margin)),
    )
    return {
        "title": f"Which {columns.group}?",
        "answer": answer(judgement),
        "options": options,
        "group": columns.group,
        "metric": columns.metric,
        "groups": _groups(judgement),
        "pairs": _pairs(judgement),
        "paired": judgement.paired,
        "twice": twice,
        "caption": _figure_caption(judgement),
        "figure": inline("judged", svg),
        "findings": judgement.findings,
        "notes": judgement.notes,
    }
