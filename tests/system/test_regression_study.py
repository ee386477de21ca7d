"""A whole regression study from a CSV file: searched, claimed and reported by RMSE, without a word of accuracy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from builders import tiny
from optstudy.planning.layout import StudyPaths
from optstudy.reporting.printed.closing_table import closing_of
from optstudy.running import stages


@pytest.mark.slow
def test_a_study_of_a_csv_file_answers_in_the_unit_of_its_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPTSTUDY_DATA", str(tmp_path))
    rng = np.random.default_rng(0)
    area, town = rng.uniform(30, 120, 200), rng.choice(["Ulm", "Bonn"], 200)
    price = 2.0 * area + 40 * (town == "Bonn") + 5 * rng.normal(size=200)
    pd.DataFrame({"area": area, "town": town, "price": price}).to_csv("houses.csv", index=False)
    claim = {"statement": "s", "better": "adam", "than": "sgd", "metric": "test/rmse", "margin": 0.5}
    study = tiny(
        name="houses",
        data={"name": "table", "arguments": {"path": "houses.csv", "target": "price"}},
        batch_size=16,
        epochs=5,
        claims=[claim, {**claim, "statement": "t", "metric": "epochs_to_target"}],
        sweep={"contenders": ["sgd", "adam"], "points": 4},
    )
    paths = StudyPaths(study, tmp_path / "results")
    table = stages.run(paths, 1, lambda _: None, lambda _: None)
    tuned = table[table["variant"] == "tuned"].set_index("contender")
    assert 5 < tuned.loc["sgd", "test_rmse_mean"] < 0.8 * price.std()  # the noise has deviation 5
    assert tuned.loc["sgd", "test_r2_mean"] > 0.4
    assert "learning_rate_tolerance_mean" in table
    metrics = [claim["metric"] for claim in json.loads((paths.tables / "claims.json").read_text())]
    assert metrics == ["test_rmse", "epochs_to_target"]
    texts = [(paths.tables / "report.html").read_text(), closing_of(study, paths.tables, table).caption]
    texts += [path.read_text() for path in (paths.tables / "figures").glob("*.svg")]
    assert len(texts) > 6
    assert [text for text in texts if "accurac" in text.lower()] == []
    assert "had the lowest mean test RMSE" in texts[0]
    assert "selection by final validation loss" in texts[0]
    assert {"headline", "curves", "sensitivity", "epochs"} <= {p.stem for p in paths.tables.glob("figures/*.svg")}
