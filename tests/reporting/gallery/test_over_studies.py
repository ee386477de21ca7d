"""The section over all studies: its table, its figures, and which groups of ranks are joined."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from across_studies import STUDIES, claim, results
from optstudy.analysis.across import COLUMNS, across
from optstudy.reporting.gallery.over_studies import groups_alike, write_across


def test_the_table_has_a_line_for_each_question_and_the_page_its_words(tmp_path: Path) -> None:
    shown = write_across(tmp_path, STUDIES)
    table = pd.read_csv(tmp_path / "across.csv")
    questions = across(STUDIES).questions
    assert list(table.columns) == list(COLUMNS)
    assert table["mean"].tolist() == [question.pooled.mean for question in questions]
    assert [row["verdict"] for row in shown["questions"]] == table["verdict"].tolist()
    assert [name for name, _, _ in shown["figures"]] == ["profiles"]
    assert next(name for name, _ in shown["ranks"]) == "Adam"
    assert "There are 3: two mean ranks would have to differ by 3.5" in shown["too_few"]


def test_the_same_studies_give_the_same_files(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        write_across(tmp_path / folder, STUDIES)
    one, other = (
        {path.name: path.read_bytes() for path in (tmp_path / folder).rglob("*.*")} for folder in ("one", "other")
    )
    assert set(one) == {"across.csv", "profiles.png", "profiles.svg"}
    assert one == other


def test_eight_tasks_get_a_critical_difference_diagram(tmp_path: Path) -> None:
    many = [replace(STUDIES[0], name=f"task{task}") for task in range(8)]
    shown = write_across(tmp_path, many)
    assert [name for name, _, _ in shown["figures"]] == ["profiles", "ranks"]
    assert "critical difference 2.16" in shown["figures"][1][1]  # 2.728 sqrt(5 6 / (6 8)), Demsar 2006, table 5
    assert shown["too_few"] == ""


def test_studies_that_share_nothing_have_an_empty_table(tmp_path: Path) -> None:
    shown = write_across(tmp_path, [results("a", [claim(1.0)], {}), results("b", [], {})])
    assert (shown["questions"], shown["single"], shown["figures"]) == ([], "1 question", [])
    assert (tmp_path / "across.csv").read_text() == ",".join(COLUMNS) + "\n"


@pytest.mark.parametrize(
    ("ranks", "distance", "groups"),
    [
        ([1.964, 2.0, 2.893, 3.143], 1.25, [(1.964, 3.143)]),  # Demsar 2006, section 3.2.4: no two differ
        ([1.0, 2.0, 3.0], 1.5, [(1.0, 2.0), (2.0, 3.0)]),
        ([1.0, 3.0, 5.0], 1.5, []),
        ([1.0, 1.1, 1.2, 4.0, 4.1], 0.5, [(1.0, 1.2), (4.0, 4.1)]),
    ],
)
def test_bars_join_the_largest_groups_that_do_not_differ(
    ranks: list[float], distance: float, groups: list[tuple[float, float]]
) -> None:
    assert groups_alike(ranks, distance) == groups
