"""`optstudy.run`: frames as on disk, and errors for wrong input that leave nothing behind."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import optstudy
from builders import TINY, tiny_file
from optimizer_classes import OwnBetas
from optstudy import run
from optstudy.errors import StudyError
from optstudy.planning import journal

CLASS = {"name": "own", "class": OwnBetas, "search": {"learning_rate": {"low": 1e-4, "high": 1e-1}}}


def test_the_names_of_the_library_are_there() -> None:
    assert {name: getattr(optstudy, name).__name__ for name in optstudy.__all__} == {n: n for n in optstudy.__all__}


def test_a_file_a_dict_and_a_study_are_the_same_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    claim = {"statement": "Own & better", "better": "own", "than": "sgd"}
    content = {**TINY, "optimizers": ["sgd", CLASS], "claims": [claim]}
    results = run(content, workers=2, progress=False)
    assert capsys.readouterr().out == ""
    path = Path("mlruns/journal/tiny.jsonl")
    entries = journal.read_journal(path)
    assert {entry.spec["optimizer"] for entry in entries.values()} == {"sgd", "optimizer_classes.OwnBetas"}
    named = {**CLASS, "class": "optimizer_classes.OwnBetas"}
    Path("study.yaml").write_text(tiny_file(optimizers=["sgd", named], claims=[claim]))
    for same in ("study.yaml", results.study):
        pd.testing.assert_frame_equal(run(same, progress=False).comparison, results.comparison)
    assert journal.read_journal(path) == entries

    assert len(results.tuning) == 2 * 2 * 2
    assert len(results.runs) == 2 * 2 * 2
    assert len(results.curves) == 2 * 2 * 2 * 2
    assert results.claims["statement"].tolist() == ["Own & better"]
    assert results.summary().splitlines()[-1].startswith("Own & better: ")
    assert results.report == Path("results/tiny/report.html")
    assert set(results.figures) >= {"headline", "curves"}
    page = results._repr_html_()
    assert "Own &amp; better" in page
    assert re.findall(r"<svg|<script", page) == ["<svg"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("no.yaml", r"no\.yaml: the file cannot be read"),
        (3, "study: '3': must be a Study, the path of a study file, or its content"),
        ({**TINY, "epochs": 0}, "study: epochs: 0: must be greater than or equal to 1"),
        ({**TINY, "optimizers": [{**CLASS, "search": {}}]}, r"study: optimizers\.0\.search: .*a `class` needs one"),
        ({**TINY, "model": {"class": "no.Such"}}, "study: model.class: 'no.Such': module 'no' cannot be imported"),
    ],
)
def test_wrong_input_raises_and_writes_nothing(
    given: Any, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StudyError, match=words):
        run(given)
    assert os.listdir() == []
