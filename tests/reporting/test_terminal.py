"""The terminal: tables and progress in every encoding of the output."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from builders import tiny
from optstudy.planning.layout import StudyPaths
from optstudy.reporting.terminal import shown, verdict_table
from optstudy.spec import Progress
from synthetic import answer_study

PRINT = """
import sys
from pathlib import Path
import pandas as pd
from builders import tiny
from optstudy.reporting.terminal import make_console, print_results

console, tables = make_console(), Path(sys.argv[1])
study = tiny(question="Größe − µ?", claims=[{"statement": "adam “wins”", "better": "adam", "than": "sgd"}])
print_results(console, study, tables, pd.read_csv(tables / "comparison.csv"))
console.print("→ done", markup=False)
print("± plain")
print("“error”", file=sys.stderr)
"""


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("terminal")
    rivals = ["sgd", "sgd/untuned"]
    claims = [
        {"statement": "adam “wins”", "better": "adam", "than": "sgd"},
        {"statement": "on average", "better": "adam", "than": rivals},
        {"statement": "over each", "better": "adam", "than_each": rivals},
    ]
    paths = StudyPaths(tiny(claims=claims), root / "results", root / "mlruns")
    answer_study(paths)
    return paths.tables


def printed(tables: Path, encoding: str) -> tuple[str, str]:
    environment = os.environ | {
        "PYTHONIOENCODING": encoding,
        "PYTHONPATH": os.pathsep.join(sys.path),
        "COLUMNS": "100",
    }
    done = subprocess.run([sys.executable, "-c", PRINT, str(tables)], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(encoding)
    return done.stdout.decode(encoding), done.stderr.decode(encoding)


@pytest.mark.parametrize(
    ("encoding", "parts"),
    [
        ("utf-8", ["Größe − µ?", " ± ", "adam “wins”", "─", "→ done", "± plain"]),
        ("latin-1", ["Größe - µ?", " ± ", 'adam "wins"', "---", "-> done", "± plain"]),
        ("ascii", ["Gr??e - ??", " +/- ", 'adam "wins"', "---", "-> done", "+/- plain"]),
        ("cp1252", ["Größe - µ?", " ± ", "adam “wins”", "---", "-> done", "± plain"]),
    ],
)
def test_results_are_printed_in_every_encoding(tables: Path, encoding: str, parts: list[str]) -> None:
    output, errors = printed(tables, encoding)
    assert [part for part in parts if part not in output] == [], output
    assert errors.strip() == ("“error”" if "“" in parts[2] else '"error"')


def test_columns_stay_aligned_if_characters_are_substituted(tables: Path) -> None:
    output, _ = printed(tables, "ascii")
    rows = [line for line in output.splitlines() if line.startswith(("|", "+-"))]
    assert sum("+/-" in row for row in rows) >= 4
    assert len({len(row) for row in rows}) <= 2  # of two tables


def states() -> list[Progress]:
    return [
        Progress("sgd", 0, 2, 0.0),
        Progress("sgd", 1, 2, 3.0),
        Progress("adam", 2, 2, 1.0),
        Progress("sgd", 2, 2, 2.0),
    ]


def test_progress_in_a_log_has_a_line_at_the_end_with_all_counts() -> None:
    output = io.StringIO()
    with shown(Console(file=output, width=200), workers=2) as show:
        for state in states():
            show(state)
    assert output.getvalue().splitlines()[-1] == "4/4 trainings, about 0:00:00 left (sgd 2/2, adam 2/2)"


def test_progress_on_a_terminal_has_a_bar_for_each_contender_and_one_for_all() -> None:
    output = io.StringIO()
    with shown(Console(file=output, width=120, force_terminal=True, color_system=None), workers=2) as show:
        for state in states():
            show(state)
    last = output.getvalue()
    assert all(f"{name:<16}" in last for name in ("all", "sgd", "adam"))
    assert "4/4" in last
    assert "about 0:00:00 left" in last


def test_the_table_of_verdicts_says_whether_several_rivals_are_meant_each_or_on_average(tables: Path) -> None:
    table = verdict_table(tables)
    assert table is not None
    assert list(table.columns[0].cells) == [
        "adam “wins”",
        "on average: adam against the mean of sgd, sgd/untuned",
        "over each: adam against each of sgd, sgd/untuned",
    ]
