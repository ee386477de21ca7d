"""The terminal: its console, and what is printed at the end of a study: answer, optimizers, verdicts, findings."""

from __future__ import annotations

import codecs
import io
import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from optstudy.analysis.planner import in_hours
from optstudy.analysis.study_results import read_study_results
from optstudy.analysis.verdicts import about_a_mean, confidence, worded_effect, worded_verdict
from optstudy.metrics import counted, probability
from optstudy.reporting.printed.closing_table import closing_of, closing_tables
from optstudy.reporting.summary import evidence, short_answer
from optstudy.study.study import Study

if TYPE_CHECKING:
    import pandas as pd

    from optstudy.analysis.planner import Forecast

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


CLAIM_WIDTH, VERDICT_WIDTH = 24, 16  # narrower columns of words are unreadable: each claim has lines of its own


def print_results(console: Console, study: Study, tables: Path, comparison: pd.DataFrame) -> None:
    """Print the answer, the table of optimizers, the verdicts, and where the findings are."""
    say = partial(console.print, markup=False, highlight=False)
    say(study.question or study.name, style="bold")
    results = read_study_results(tables)
    say(f"{short_answer(results)}\n{evidence(results)}\n")
    closing = closing_of(study, tables, comparison)
    for table in closing_tables(console, closing):
        console.print(table)
    console.print(closing.caption, style="italic", highlight=False)
    _print_verdicts(console, tables)
    findings = len(json.loads((tables / "findings.json").read_text(encoding="utf-8")))
    place = f", in {tables}/findings.json and on the page" if findings else ""
    say(f"\n{counted(findings, 'finding') if findings else 'No findings'} about fairness{place}", soft_wrap=True)


def _print_verdicts(console: Console, tables: Path) -> None:
    """Print the table of claims; on a narrow terminal, the lines of each claim."""
    table = verdict_table(tables)
    if table is None:
        return
    numbers = [(str(column.header), *map(str, column.cells)) for column in table.columns[2:]]
    if CLAIM_WIDTH + VERDICT_WIDTH + sum(2 + max(map(len, cells)) for cells in numbers) <= console.width:
        console.print(table)
        return
    console.print()
    for claim, verdict, *cells in zip(*(column.cells for column in table.columns), strict=True):
        console.print(f"[bold]{claim}[/bold]", highlight=False)
        named = [f"{heading} {cell}" for (heading, *_), cell in zip(numbers, cells, strict=True) if cell]
        for words in (str(verdict), *named):
            console.print(Padding(words, (0, 0, 0, 2)), highlight=False)
    console.print(str(table.caption), style="italic", highlight=False)


def verdict_table(tables: Path) -> Table | None:
    """Return the table of claims with their verdicts; None if the study has no claims.

    Its p has one meaning, so exploratory claims have none; the column is left out if all are exploratory.
    """
    rows = json.loads((tables / "claims.json").read_text(encoding="utf-8"))
    if not rows:
        return None
    words = f"mean and {confidence(rows)} interval of the paired differences"
    caption = f"Effect: {words}, positive as claimed; of several pairs, the least."
    corrected = [row["p_corrected"] for row in rows]
    headings = ["claim", "verdict", "effect", "corrected p"]
    if all(p is None for p in corrected):
        headings.pop()
    else:
        caption += f" p: corrected over {counted(max(row['tests'] for row in rows), 'test')}."
    if rows[0]["qualifier"]:  # it is the same for all claims, and too long for a column
        caption += f" Every verdict: {escape(rows[0]['qualifier'])}."
    table = Table(caption=caption, caption_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for heading in headings:
        table.add_column(heading, no_wrap=heading == "effect")
    for row, p in zip(rows, corrected, strict=True):
        verdict = worded_verdict({**row, "qualifier": ""})
        several = about_a_mean(row) or len(row["pairs"]) > 1
        statement = f"{row['statement']}: {row['contrast']}" if several else row["statement"]
        cells = (escape(statement), verdict, worded_effect(row), "" if p is None else probability(p))
        table.add_row(*cells[: len(headings)])
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
