"""What a person sees while a study runs: live bars on a terminal, plain lines otherwise; and the closing table."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from optstudy.analysis.tables import read_table
from optstudy.analysis.verdicts import worded_verdict
from optstudy.metrics import METRICS, difference, present, probability
from optstudy.spec import Progress as State
from optstudy.study.study import Study

LINE_EVERY = 10.0  # seconds between plain lines: a log of a night stays readable


@contextmanager
def shown(console: Console, workers: int) -> Iterator[Callable[[State], None]]:
    """Yield the function that takes each step of the study and shows it, with the time that is left."""
    states: dict[str, State] = {}
    costs: list[float] = []

    def left() -> str:
        if not costs:
            return "?"
        missing = sum(state.total - state.done for state in states.values())
        return str(timedelta(seconds=round(missing * sum(costs) / len(costs) / workers)))

    if not console.is_terminal:
        last = [0.0]

        def line(state: State) -> None:
            states[state.contender] = state
            if state.seconds:
                costs.append(state.seconds)
            ready = sum(s.done for s in states.values())
            total = sum(s.total for s in states.values())
            if state.seconds and (time.monotonic() - last[0] > LINE_EVERY or ready == total):
                last[0] = time.monotonic()
                counts = ", ".join(f"{name} {s.done}/{s.total}" for name, s in states.items())
                console.print(f"{ready}/{total} trainings, about {left()} left ({counts})", soft_wrap=True)

        yield line
        return

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description:<16}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, TimeElapsedColumn(), console=console) as bars:
        tasks = {"all": bars.add_task("all", total=None, left="")}

        def bar(state: State) -> None:
            states[state.contender] = state
            if state.seconds:
                costs.append(state.seconds)
            if state.contender not in tasks:
                tasks[state.contender] = bars.add_task(state.contender, total=state.total, left="")
            bars.update(tasks[state.contender], completed=state.done)
            total, ready = sum(s.total for s in states.values()), sum(s.done for s in states.values())
            bars.update(tasks["all"], total=total, completed=ready, left=f"about {left()} left")

        yield bar


def print_results(console: Console, study: Study, tables: Path, comparison: pd.DataFrame) -> None:
    """Print the optimizers and, below them, the verdicts."""
    console.print(closing_table(study, tables, comparison))
    verdicts = verdict_table(tables)
    if verdicts is not None:
        console.print(verdicts)


def closing_table(study: Study, tables: Path, comparison: pd.DataFrame) -> Table:
    """Return the table that ends a run: means with half of their 95% intervals, tuned first, then the defaults."""
    table = Table(
        title=escape(study.question or study.name),
        caption=_caption(study, comparison),
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    metrics = [name for name in present(comparison.columns) if METRICS[name].heading]
    for heading in ("optimizer", *(METRICS[name].heading for name in metrics), "hyperparameters"):
        table.add_column(heading, no_wrap=heading != "hyperparameters", min_width=len(heading))
    for variant, rows in comparison.groupby("variant", sort=True):
        table.add_section()
        table.add_row(f"[bold]{variant}[/bold]")
        for row in rows.to_dict("records"):
            name = row["contender"] + (f" ({row['diverged']} diverged)" if row["diverged"] else "")
            cells = [_interval(row, metric, METRICS[metric].digits) for metric in metrics]
            table.add_row(name, *cells, _hyperparameters(study, tables, row["contender"], str(variant)))
    return table


def verdict_table(tables: Path) -> Table | None:
    """Return the claims with their verdicts, None where the study has none; exploratory ones get no verdict."""
    rows = json.loads((tables / "claims.json").read_text(encoding="utf-8"))
    if not rows:
        return None
    caption = "Effect: mean and 95% interval of the paired differences, positive as claimed."
    if rows[0]["qualifier"]:  # once for all: it would take a column's width from the claims
        caption += f" Every verdict: {escape(rows[0]['qualifier'])}."
    table = Table(caption=caption, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("claim", "verdict", "effect", "p"):
        table.add_column(heading, no_wrap=heading != "claim")
    for row in rows:
        effect = difference(row["metric"], row["effect"], row["ci_low"], row["ci_high"])
        p = row["p"] if row["p_corrected"] is None else row["p_corrected"]
        verdict = worded_verdict({**row, "qualifier": ""})
        table.add_row(escape(row["statement"]), verdict, effect, probability(p))
    return table


def _caption(study: Study, comparison: pd.DataFrame) -> str:
    words = [f"Mean ± half of the 95% t interval over {study.replicates} replicates."]
    if "target_val_accuracy" in comparison:
        words.append(f"epochs: to {comparison['target_val_accuracy'].iloc[0]:.4f} validation accuracy.")
    if study.tuning.trials:
        words.append("edge n: in n replicates the selected value lies within 5% of an end of its space: widen it.")
    if study.pretrained_by:
        words.append(f"The weights that contenders start from were made by {escape(study.pretrained_by)}.")
    return " ".join(words)


def _hyperparameters(study: Study, tables: Path, contender: str, variant: str) -> str:
    """Return the defaults, or the range of what the replicates selected with the number of values at an edge."""
    row = study.row(study.contender(contender))
    if variant == "untuned":
        rates = ("learning_rate", "weight_decay")
        values = {**{name: row.fixed[name] for name in rates if name in row.fixed}, **row.defaults}
        return "  ".join(f"{_short(name)} {value:.2g}" for name, value in values.items())
    selected = read_table(tables / "selected" / f"{contender}.csv")
    lines = []
    for name in row.search:
        flagged = int(selected["edge"].astype(str).str.contains(f"{name}:", regex=False).sum())
        edge = f" edge {flagged}" if flagged else ""
        lines.append(f"{_short(name)} {selected[name].min():.2g}..{selected[name].max():.2g}{edge}")
    return "\n".join(lines)


def _interval(row: dict[object, float], metric: str, digits: int) -> str:
    if not math.isfinite(row[f"{metric}_mean"]):
        return "–"
    half = (row[f"{metric}_ci_high"] - row[f"{metric}_ci_low"]) / 2
    return f"{_plain(row[f'{metric}_mean'], digits)} ± {_plain(half, digits)}"


def _plain(value: float, digits: int) -> str:
    """Drop the zero before the point: the table fits 80 columns."""
    return f"{value:.{digits}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.{digits}f}"


def _short(name: str) -> str:
    return {"learning_rate": "lr", "weight_decay": "wd"}.get(name, name)
