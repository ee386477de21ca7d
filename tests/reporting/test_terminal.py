"""The terminal: tables and progress in every encoding of the output, and at every width."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from builders import tiny
from optstudy.analysis.study_results import read_study_results
from optstudy.planning.layout import StudyPaths
from optstudy.reporting.printed.closing_table import Closing, closing_of, closing_tables
from optstudy.reporting.printed.progress import shown
from optstudy.reporting.summary import evidence, short_answer
from optstudy.reporting.terminal import print_results, verdict_table
from optstudy.spec import Phase, Progress
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
        for state in (Phase("checking"), *states(), Phase("writing MLflow")):
            show(state)
    assert output.getvalue().splitlines()[-1] == "4/4 trainings, all trainings are done (sgd 2/2, adam 2/2)"
    assert "checking" not in output.getvalue()


@pytest.mark.parametrize("width", [40, 120])
def test_progress_on_a_terminal_names_each_phase_and_has_a_bar_for_each_contender_and_one_for_all(width: int) -> None:
    output = io.StringIO()
    lines = []
    console = Console(file=output, width=width, force_terminal=True, color_system=None)
    with shown(console, workers=2) as show:
        for state in (Phase("checking the data"), *states(), Phase("writing MLflow")):
            show(state)
            show.__self__.refresh()  # type: ignore[attr-defined]  # otherwise ten times in a second
            lines.append(output.getvalue())
            output.truncate(output.seek(0))
    # 3 s a training and 1 of 2 is left with 2 workers; then 2 s on average, and 1 of 4.
    phases = ["checking", "starting workers", "about 0:00:02 left", "about 0:00:01 left", "are done", "writing MLflow"]
    assert [phase for phase, line in zip(phases, lines, strict=True) if phase not in line] == []
    assert "/?" not in "".join(lines)
    assert "0/100" not in "".join(lines)
    assert "4 trainings of 4 done" in output.getvalue()
    assert all(name in output.getvalue() for name in ("all", "sgd", "adam", "4/4"))


def results_at(tables: Path, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    print_results(console, tiny(), tables, pd.read_csv(tables / "comparison.csv"))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 60, 80, 100, 160])
def test_the_closing_table_loses_nothing_at_any_width(width: int, tables: Path) -> None:
    closing = closing_of(tiny(), tables, pd.read_csv(tables / "comparison.csv"))
    text = results_at(tables, width)
    rows = [row for rows in closing.rows.values() for row in rows]
    parts = {part for _, cells, chosen in rows for part in " ".join((*cells, chosen)).split()}
    assert [part for part in {*parts, *" ".join(closing.headings).split()} if part not in text] == []
    assert "…" not in text
    assert max(map(len, text.splitlines()[:-1])) <= width  # the last has a path


def test_long_names_of_contenders_are_wrapped_and_not_cut() -> None:
    name = "a_contender_with_a_name_that_is_longer_than_a_line_of_forty"
    closing = Closing(("test accuracy",), {"tuned": [(name, ("97.3% ± 0.2",), "lr 0.1..0.2")]}, "")
    console = Console(file=io.StringIO(), width=40)
    for table in closing_tables(console, closing):
        console.print(table)
    assert isinstance(console.file, io.StringIO)
    lines = [line.split()[0] for line in console.file.getvalue().splitlines() if line.strip()]
    assert name in "".join(lines)


def test_the_answer_comes_first_and_the_findings_last(tables: Path) -> None:
    first, second, third, *_, last = results_at(tables, 200).splitlines()
    assert first == tiny().name
    results = read_study_results(tables)
    assert (second, third) == (short_answer(results), evidence(results))
    count = len(json.loads((tables / "findings.json").read_text()))
    assert last.startswith(f"{count} finding")
    assert last.endswith("findings.json and on the page")


def test_an_interval_ends_where_the_metric_does(tables: Path) -> None:
    comparison = pd.read_csv(tables / "comparison.csv")
    ends = {"test_accuracy_mean": 0.55, "test_accuracy_ci_low": -2.0, "test_accuracy_ci_high": 0.75}
    gap = {"generalisation_gap_mean": -0.01, "generalisation_gap_ci_low": -0.03, "generalisation_gap_ci_high": 0.01}
    closing = closing_of(tiny(), tables, comparison.assign(**ends, **gap))
    cells = {cell for rows in closing.rows.values() for _, own, _ in rows for cell in own}
    assert {"55.00% (0.00 to 75.00)", "−1.00% ± 2.00"} <= cells
    assert "(low to high)" in closing.caption


def test_a_column_of_p_has_the_corrected_ones_alone(tables: Path, tmp_path: Path) -> None:
    rows = json.loads((tables / "claims.json").read_text())
    assert [row["p_corrected"] is None for row in rows] == [False] * 3
    rows[1] |= {"p_corrected": None, "verdict": "exploratory", "level": None}
    (tmp_path / "claims.json").write_text(json.dumps(rows))
    table = verdict_table(tmp_path)
    assert table is not None
    assert [cell == "" for cell in table.columns[3].cells] == [False, True, False]
    exploratory = [row | {"p_corrected": None} for row in rows]
    (tmp_path / "claims.json").write_text(json.dumps(exploratory))
    none = verdict_table(tmp_path)
    assert none is not None
    assert [column.header for column in none.columns] == ["claim", "verdict", "effect"]


def test_the_table_of_verdicts_says_whether_several_rivals_are_meant_each_or_on_average(tables: Path) -> None:
    table = verdict_table(tables)
    assert table is not None
    assert list(table.columns[0].cells) == [
        "adam “wins”",
        "on average: adam against the mean of sgd, sgd/untuned",
        "over each: adam against each of sgd, sgd/untuned",
    ]
