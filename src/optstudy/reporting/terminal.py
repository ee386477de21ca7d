"""The terminal: progress of a study (live bars, or plain lines in a log), and the tables at the end."""

from __future__ import annotations

import codecs
import io
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from optstudy.analysis.planner import in_hours
from optstudy.analysis.verdicts import about_a_mean, confidence, worded_effect, worded_verdict
from optstudy.metrics import metric, present, probability
from optstudy.reporting.captions import target_in_words
from optstudy.reporting.summary import older_versions, selected_in_words, value_in_words
from optstudy.spec import Progress as State
from optstudy.study.study import Study

if TYPE_CHECKING:
    import pandas as pd

    from optstudy.analysis.planner import Forecast

LINE_EVERY = 10.0  # seconds between plain lines: the log of a night stays readable

# What is written instead of characters that the output's encoding lacks; "?" for all others.
SUBSTITUTES = {"±": "+/-", "−": "-", "–": "-", "“": '"', "”": '"', "→": "->"}
ENCODING_ERRORS = "optstudy.substitutes"


def _substitute(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join(SUBSTITUTES.get(character, "?") for character in lacking), error.end


codecs.register_error(ENCODING_ERRORS, _substitute)


class _SubstitutingConsole(Console):
    """A console that substitutes characters before it lays out a table, so that columns stay aligned."""

    def render_str(self, text: str, **options: Any) -> Text:
        encoded = text.encode(self.encoding, ENCODING_ERRORS)
        return super().render_str(encoded.decode(self.encoding), **options)

    def on_broken_pipe(self) -> None:
        raise  # the BrokenPipeError, which has an exit code of its own; rich would end with 1


def make_console() -> Console:
    """Return a console on the standard output. From now on, neither standard stream fails on any character.

    Encodings such as ASCII and Latin-1 lack characters of our tables; `SUBSTITUTES` are written instead.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ENCODING_ERRORS)
    return _SubstitutingConsole()


def plain_console() -> Console:
    """Return a console on the standard output of a program that uses optstudy, whose streams stay as they are."""
    return _SubstitutingConsole()


@contextmanager
def shown(console: Console, workers: int) -> Iterator[Callable[[State], None]]:
    """Yield a function that shows each step of the study's progress, with an estimate of the time left."""
    states: dict[str, State] = {}
    seconds: list[float] = []

    def totals(state: State) -> tuple[int, int, str]:
        """Return the trainings done, their total, and the time left."""
        states[state.contender] = state
        if state.seconds:
            seconds.append(state.seconds)
        done, total = sum(own.done for own in states.values()), sum(own.total for own in states.values())
        left = timedelta(seconds=round((total - done) * sum(seconds) / len(seconds) / workers)) if seconds else "?"
        return done, total, f"about {left} left"

    if console.is_terminal:
        with _bars(console, totals) as bar:
            yield bar
        return
    last = 0.0

    def line(state: State) -> None:
        nonlocal last
        done, total, left = totals(state)
        if state.seconds and (time.monotonic() - last > LINE_EVERY or done == total):
            last = time.monotonic()
            counts = ", ".join(f"{name} {own.done}/{own.total}" for name, own in states.items())
            console.print(f"{done}/{total} trainings, {left} ({counts})", soft_wrap=True)

    yield line


@contextmanager
def _bars(console: Console, totals: Callable[[State], tuple[int, int, str]]) -> Iterator[Callable[[State], None]]:
    """Yield a function that moves a bar for each contender and one for all."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    name, time_left = TextColumn("{task.description:<16}"), TextColumn("{task.fields[left]}")
    with Progress(name, BarColumn(), MofNCompleteColumn(), time_left, TimeElapsedColumn(), console=console) as bars:
        tasks = {"all": bars.add_task("all", total=None, left="")}

        def bar(state: State) -> None:
            if state.contender not in tasks:
                tasks[state.contender] = bars.add_task(state.contender, total=state.total, left="")
            bars.update(tasks[state.contender], completed=state.done)
            done, total, left = totals(state)
            bars.update(tasks["all"], total=total, completed=done, left=left)

        yield bar


def print_results(console: Console, study: Study, tables: Path, comparison: pd.DataFrame) -> None:
    """Print the table of optimizers and, below it, the table of verdicts."""
    console.print(closing_table(study, tables, comparison))
    verdicts = verdict_table(tables)
    if verdicts is not None:
        console.print(verdicts)


def closing_table(study: Study, tables: Path, comparison: pd.DataFrame) -> Table:
    """Return the table of optimizers: means with half of their 95% intervals, tuned first, then untuned."""
    table = Table(
        title=escape(study.question or study.name),
        caption=_caption(study, tables, comparison),
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    metrics = [name for name in present(comparison.columns, study.objective) if metric(name).heading]
    for heading in ("optimizer", *(metric(name).heading for name in metrics), "hyperparameters"):
        table.add_column(heading, no_wrap=heading != "hyperparameters", min_width=len(heading))
    for variant, rows in comparison.groupby("variant", sort=True):
        table.add_section()
        table.add_row(f"[bold]{variant}[/bold]")
        for row in rows.to_dict("records"):
            name = row["contender"] + (f" ({row['diverged']} diverged)" if row["diverged"] else "")
            cells = [_level(row, one) for one in metrics]
            table.add_row(name, *cells, _hyperparameters(study, tables, row["contender"], str(variant)))
    return table


def verdict_table(tables: Path) -> Table | None:
    """Return the table of claims with their verdicts; None if the study has no claims."""
    rows = json.loads((tables / "claims.json").read_text(encoding="utf-8"))
    if not rows:
        return None
    words = f"mean and {confidence(rows)} interval of the paired differences"
    caption = f"Effect: {words}, positive as claimed; of several pairs, the least."
    if rows[0]["qualifier"]:  # it is the same for all claims, and too long for a column
        caption += f" Every verdict: {escape(rows[0]['qualifier'])}."
    table = Table(caption=caption, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("claim", "verdict", "effect", "p"):
        table.add_column(heading, no_wrap=heading in ("effect", "p"))
    for row in rows:
        effect = worded_effect(row)
        p = row["p"] if row["p_corrected"] is None else row["p_corrected"]
        verdict = worded_verdict({**row, "qualifier": ""})
        several = about_a_mean(row) or len(row["pairs"]) > 1
        statement = f"{row['statement']}: {row['contrast']}" if several else row["statement"]
        table.add_row(escape(statement), verdict, effect, probability(p))
    return table


def plan_table(pilot: str, forecasts: Sequence[Forecast], workers: int) -> Table:
    """Return the table of a plan: a row for each number of replicates and trials."""
    caption = (
        f"Forecast from the trials of {pilot}: share of simulated studies in which the primary claims are decided."
    )
    table = Table(caption=escape(caption), box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in ("replicates", "trials", "all decided", "of the claims", "trainings", f"time, {workers} workers"):
        table.add_column(heading, justify="right")
    for one in forecasts:
        shares = (f"{one.decided:.0%}", f"{sum(one.each) / len(one.each):.0%}")
        duration = in_hours(one.seconds / workers)
        table.add_row(str(one.replicates), str(one.trials), *shares, str(one.trainings), duration)
    return table


def _caption(study: Study, tables: Path, comparison: pd.DataFrame) -> str:
    sentences = [f"Mean ± half of the 95% t interval over {comparison['n'].max()} replicates."]
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
        return "  ".join(f"{_short(name)} {value_in_words(value)}" for name, value in values.items())
    selected = read_table(tables / "selected" / f"{contender}.csv", text_columns(row.search))
    lines = []
    for name, space in row.search.items():
        flagged = int(selected["edge"].astype(str).str.contains(f"{name}:", regex=False).sum())
        edge = f" edge {flagged}" if flagged else ""
        lines.append(f"{_short(name)} {selected_in_words(selected[name], space, '..')}{edge}")
    return "\n".join(lines)


def _level(row: dict[object, float], name: str) -> str:
    """Return a mean with half of its interval, or how many replicates reached the goal if some missed it."""
    if not math.isfinite(row[f"{name}_mean"]):
        return "–"
    if metric(name).goal and row["reached"] < row["n"]:
        return f"{row['reached']:.0f} of {row['n']:.0f}"
    digits = metric(name).digits
    half = (row[f"{name}_ci_high"] - row[f"{name}_ci_low"]) / 2
    return f"{_decimal(row[f'{name}_mean'], digits)} ± {_decimal(half, digits)}"


def _decimal(value: float, digits: int) -> str:
    """Write a number; the zero before the point is left out, so that the table fits into 80 columns."""
    return f"{value:.{digits}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.{digits}f}"


def _short(name: str) -> str:
    group, dot, own = name.rpartition(".")
    return group + dot + {"learning_rate": "lr", "weight_decay": "wd"}.get(own, own)
