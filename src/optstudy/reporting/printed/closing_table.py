"""The closing table of a study in the widest of three layouts that a terminal shows without cutting a cell."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table

from optstudy.metrics import metric, present
from optstudy.reporting.captions import target_in_words
from optstudy.reporting.summary import older_versions, selected_in_words, value_in_words
from optstudy.study.study import Study

if TYPE_CHECKING:
    import pandas as pd

ANY_WIDTH = 10_000
HYPERPARAMETERS = "hyperparameters"


@dataclass(frozen=True)
class Closing:
    """The cells of a closing table.

    Attributes:
        headings: The names of the metrics.
        rows: By variant, each contender's name, its cells by metric, and its hyperparameters, one in a line.
        caption: What the numbers mean.
    """

    headings: tuple[str, ...]
    rows: Mapping[str, Sequence[tuple[str, tuple[str, ...], str]]]
    caption: str


def closing_tables(console: Console, closing: Closing) -> list[Table]:
    """Return the tables of the first layout that fits: one table; two, the hyperparameters apart; a line per value."""
    layouts = (layout(closing) for layout in LAYOUTS)
    fitting = (tables for tables in layouts if all(_fits(console, table) for table in tables))
    return next(fitting, _stacked(closing))


def _fits(console: Console, table: Table) -> bool:
    return Measurement.get(console, console.options.update_width(ANY_WIDTH), table).maximum <= console.width


def _one_table(closing: Closing) -> list[Table]:
    table = _table("optimizer", *closing.headings, HYPERPARAMETERS)
    for variant, rows in closing.rows.items():
        _section(table, variant)
        for name, cells, chosen in rows:
            table.add_row(name, *cells, _chosen(variant, chosen))
    return [table]


def _two_tables(closing: Closing) -> list[Table]:
    means, chosen = _table("optimizer", *closing.headings), _table("optimizer", HYPERPARAMETERS)
    for variant, rows in closing.rows.items():
        _section(means, variant)
        _section(chosen, variant)
        for name, cells, values in rows:
            means.add_row(name, *cells)
            chosen.add_row(name, _chosen(variant, values))
    return [means, chosen]


def _stacked(closing: Closing) -> list[Table]:
    """Return one table with a line for each value; its left column is as wide as the longest heading."""
    table = Table(show_header=False, box=None, padding=(0, 1, 0, 0))
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for variant, rows in closing.rows.items():
        for name, cells, chosen in rows:
            table.add_row(f"[bold]{name}[/bold]", variant)
            for heading, cell in zip(closing.headings, cells, strict=True):
                table.add_row(f"  {heading}", cell)
            for line in filter(None, chosen.splitlines()):
                hyperparameter, _, value = line.partition(" ")
                table.add_row(f"  {hyperparameter}", value)
            table.add_row()
    return [table]


LAYOUTS: Sequence[Callable[[Closing], list[Table]]] = (_one_table, _two_tables)


def _table(*headings: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _chosen(variant: str, hyperparameters: str) -> str:
    """Return hyperparameters as a cell: the defaults of an untuned contender are short enough for one line."""
    return hyperparameters if variant == "tuned" else hyperparameters.replace("\n", "  ")


def _section(table: Table, variant: str) -> None:
    table.add_section()
    table.add_row(f"[bold]{variant}[/bold]")


def closing_of(study: Study, tables: Path, comparison: pd.DataFrame) -> Closing:
    """Return the means of a study's contenders with half of their 95% intervals, tuned first, then untuned."""
    metrics = [name for name in present(comparison.columns, study.objective) if metric(name).heading]
    rows = {
        str(variant): [
            (
                row["contender"] + (f" ({row['diverged']} diverged)" if row["diverged"] else ""),
                tuple(_level(row, one) for one in metrics),
                _hyperparameters(study, tables, row["contender"], str(variant)),
            )
            for row in found.to_dict("records")
        ]
        for variant, found in comparison.groupby("variant", sort=True)
    }
    headings = tuple(metric(name).heading for name in metrics)
    return Closing(headings, rows, _caption(study, tables, comparison, metrics))


def _caption(study: Study, tables: Path, comparison: pd.DataFrame, metrics: Sequence[str]) -> str:
    sentences = [f"Mean ± half of the 95% t interval over {comparison['n'].max()} replicates."]
    if any(_beyond(row, name) for row in comparison.to_dict("records") for name in metrics):
        sentences[0] = sentences[0].replace(".", "; (low to high) where the interval ends at a limit of the metric.")
    if "epochs_to_target_mean" in comparison:
        score = next((name for name in comparison if name.startswith("target_")), f"target_{study.score}")
        goal = target_in_words(study.target, score.removeprefix("target_"))
        sentences.append(f"epochs: to {goal}; k of n: only k of n replicates reached it.")
    elif "reached" in comparison:
        sentences.append("steps: to the tolerance; k of n: only k of n replicates reached it.")
    if study.tuning.trials:
        sentences.append(
            "edge n: in n replicates the selected value is within 5% of an end of its space; widen the space."
        )
    if study.pretrained_by:
        sentences.append(f"Contenders start from weights pretrained by {escape(study.pretrained_by)}.")
    if older := older_versions(json.loads((tables / "provenance.json").read_text(encoding="utf-8"))):
        sentences.append(f"{older.capitalize()}.")
    return " ".join(sentences)


def _hyperparameters(study: Study, tables: Path, contender: str, variant: str) -> str:
    """Return the defaults, or the range of the selected values with the number of values at an edge."""
    from optstudy.analysis.tables import read_table, text_columns

    row = study.row(study.contender(contender))
    if variant == "untuned":
        rates = ("learning_rate", "weight_decay")
        values = {**{name: row.fixed[name] for name in rates if name in row.fixed}, **row.defaults}
        return "\n".join(f"{_short(name)} {value_in_words(value)}" for name, value in values.items())
    selected = read_table(tables / "selected" / f"{contender}.csv", text_columns(row.search))
    lines = []
    for name, space in row.search.items():
        flagged = int(selected["edge"].astype(str).str.contains(f"{name}:", regex=False).sum())
        edge = f" edge {flagged}" if flagged else ""
        lines.append(f"{_short(name)} {selected_in_words(selected[name], space, '..')}{edge}")
    return "\n".join(lines)


def _short(name: str) -> str:
    group, dot, own = name.rpartition(".")
    return group + dot + {"learning_rate": "lr", "weight_decay": "wd"}.get(own, own)


def _level(row: Mapping[Any, Any], name: str) -> str:
    """Return a mean with half of its interval, or how many replicates reached the goal if some missed it.

    Shares are in percent. An interval that leaves the metric's range is written with its ends, cut at the range.
    """
    shown = metric(name)
    mean, low, high = (row[f"{name}_{end}"] for end in ("mean", "ci_low", "ci_high"))
    if not math.isfinite(mean):
        return "–"
    if shown.goal and row["reached"] < row["n"]:
        return f"{row['reached']:.0f} of {row['n']:.0f}"
    digits, unit = (shown.digits - 2, "%") if shown.share else (shown.digits, "")
    value = f"{_decimal(shown.scale * mean, digits)}{unit}"
    if _beyond(row, name):
        ends = (max(low, shown.lowest), min(high, shown.highest))
        return f"{value} ({' to '.join(_decimal(shown.scale * end, digits) for end in ends)})"
    return f"{value} ± {_decimal(shown.scale * (high - low) / 2, digits)}"


def _beyond(row: Mapping[Any, Any], name: str) -> bool:
    """Return whether the interval of a mean holds values that the metric cannot have."""
    shown = metric(name)
    return bool(row[f"{name}_ci_low"] < shown.lowest or row[f"{name}_ci_high"] > shown.highest)


def _decimal(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".replace("-", "−")
