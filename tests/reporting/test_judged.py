"""Judged runs as a page, tables and a sentence; after an error the command writes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner

from optstudy.cli import app
from optstudy.errors import StudyError
from optstudy.judging.judge import judge
from optstudy.judging.user_runs import Columns
from optstudy.reporting.judged import answer, tables, write_judged

EVIL = "<b>[red]adam"
SHIFTS = {"sgd": 0.0, EVIL: 0.05, "rmsprop": 0.051}
NOISE = (0.001, -0.002, 0.0015, -0.0005, 0.002, -0.001, 0.0004, -0.0014)


def runs(**columns: str) -> pd.DataFrame:
    rows = [
        {"optimizer": name, "seed": str(seed), "acc": f"{0.9 + shift + noise * (1 + place / 7):.6f}"} | columns
        for place, (name, shift) in enumerate(SHIFTS.items())
        for seed, noise in enumerate(NOISE)
    ]
    return pd.DataFrame(rows, index=[f"row {number}" for number in range(1, len(rows) + 1)])


COLUMNS = Columns("optimizer", "seed", "acc")
ARGUMENTS = ["judge", "runs.csv", "--group", "optimizer", "--pair", "seed", "--metric", "acc"]


def command(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    ended = CliRunner().invoke(app, [*ARGUMENTS, *arguments], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    return " ".join(ended.output.split())


def test_the_answer_says_who_leads_who_is_tied_and_by_how_much() -> None:
    judgement = judge("t", runs(), COLUMNS)
    words = answer(judgement)
    assert words.startswith("rmsprop has the highest mean acc, 0.9510 ± 0.00")
    assert f"; ahead of {EVIL} by 0.100 pp (0.083 to 0.117), which is within the margin;" in words
    assert words.endswith("; ahead of sgd by 5.100 pp (5.065 to 5.135), more than the margin.")


def test_lower_values_lead_when_asked() -> None:
    judgement = judge("t", runs(), COLUMNS, lower=True)
    assert answer(judgement).startswith("sgd has the lowest mean acc, 0.9000")


def test_the_command_writes_a_page_and_tables_that_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs().to_csv(tmp_path / "runs.csv", index=False)
    said = command(tmp_path, monkeypatch, "--output", "out")
    out = tmp_path / "out"
    row = json.loads((out / "judged.json").read_text())
    table = pd.read_csv(out / "judged.csv")
    assert table["verdict"].tolist() == [pair["verdict"] for pair in row["pairs"]]
    assert table["effect"].tolist() == [pair["effect"] for pair in row["pairs"]]
    page = (out / "judged.html").read_text()
    for verdict in table["verdict"]:
        assert verdict in page
        assert verdict in said
    for finding in row["findings"]:
        assert finding["finding"] in page
        assert finding["finding"] in said
    assert "Report: out/judged.html" in said


def test_the_page_is_self_contained_and_escapes_text(tmp_path: Path) -> None:
    judgement = judge("t", runs(note=EVIL), COLUMNS)
    write_judged(judgement, tmp_path)
    page = (tmp_path / "judged.html").read_text()
    assert "<b>" not in page
    assert "&lt;b&gt;[red]adam" in page
    assert 'src="' not in page
    assert page.count('href="data:') == page.count('href="') - page.count('xlink:href="#')
    first = {path.name: path.read_bytes() for path in tmp_path.rglob("*.*")}
    write_judged(judgement, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.rglob("*.*")} == first


def test_names_of_groups_are_no_markup_of_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    groups, pairs = tables(judge("t", runs(), COLUMNS))
    Console(width=200).print(groups, pairs)
    shown = capsys.readouterr().out
    assert shown.count(f" {EVIL} ") == 3  # its group, and a pair in which it is the second, and one as the first


def test_of_many_pairs_a_terminal_shows_those_of_the_leader() -> None:
    many = pd.concat([runs().replace(EVIL, f"adam{number}") for number in range(4)]).drop_duplicates()
    judgement = judge("t", many.set_axis([f"row {number}" for number in range(len(many))]), COLUMNS)
    [_, pairs] = tables(judgement)
    assert len(judgement.pairs) == 15
    assert pairs.row_count == 5
    assert "The page has the other 10 pairs." in str(pairs.caption)


@pytest.mark.parametrize("extra", [["--metric", "accuracy"], ["--margin", "0"], ["--mlflow", "sqlite:///x.db"]])
def test_after_an_error_nothing_is_written(extra: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs().to_csv(tmp_path / "runs.csv", index=False)
    with pytest.raises(StudyError):
        command(tmp_path, monkeypatch, *extra)
    assert [path.name for path in tmp_path.iterdir()] == ["runs.csv"]
