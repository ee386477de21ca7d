"""What a person sees while a study runs: live bars on a terminal, plain lines otherwise; and the closing table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pandas as pd
from rich.console import Console
from rich.table import Table

from optstudy.stages import Place
from optstudy.stages import Progress as State

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


def closing_table(place: Place, comparison: pd.DataFrame) -> Table:
    """Return the table that ends a run: one row per contender and variant, means with 95% intervals."""
    from optstudy.results import read_table

    table = Table(
        title=place.study.question or place.study.name, caption="mean ± half of the 95% interval over replicates"
    )
    headings = (
        "optimizer",
        "variant",
        "n",
        "test accuracy",
        "generalisation gap",
        "epochs to target",
        "hyperparameters",
    )
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in comparison.to_dict("records"):
        contender = place.study.contender(row["contender"]).row()
        if row["variant"] == "tuned":
            selected = read_table(place.tables / "selected" / f"{row['contender']}.csv")
            chosen = "\n".join(
                f"{_short(name)} {selected[name].min():.2g}..{selected[name].max():.2g}" for name in contender.search
            )
            flagged = int((selected["edge"].astype(str) != "").sum())
            chosen += f"\n{flagged} of {len(selected)} at an edge of the space" if flagged else ""
        else:
            chosen = "\n".join(f"{_short(name)} {value:.2g}" for name, value in contender.defaults.items())
        name = row["contender"] + (f" ({row['diverged']} diverged)" if row["diverged"] else "")
        cells = [name, row["variant"], str(row["n"])]
        cells += [_interval(row, "test_accuracy", 4), _interval(row, "generalisation_gap", 4)]
        table.add_row(*cells, _interval(row, "epochs_to_target", 1), chosen)
    return table


def _interval(row: dict[object, float], metric: str, digits: int) -> str:
    half = (row[f"{metric}_ci_high"] - row[f"{metric}_ci_low"]) / 2
    return f"{row[f'{metric}_mean']:.{digits}f} ± {half:.{digits}f}"


def _short(name: str) -> str:
    return {"learning_rate": "lr", "weight_decay": "wd"}.get(name, name)
