"""A study with a rate-free optimizer: what is about learning rates leaves it out, and nothing fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from builders import tiny
from optstudy.analysis.study_results import read_study_results
from optstudy.planning.layout import StudyPaths
from optstudy.reporting.drawings.sensitivity import sensitivity
from synthetic import answer_study

CLAIM = {"statement": "Prodigy is better than Adam", "better": "prodigy", "than": "adam"}
STUDY: dict[str, Any] = {
    "optimizers": ["adam", "prodigy"],
    "replicates": 6,
    "epochs": 3,
    "tuning": {"trials": 4, "widen": True},
    "sweep": {"contenders": ["adam"], "points": 3},
}


def test_tables_verdicts_and_figures_of_a_study_with_a_rate_free_optimizer(tmp_path: Path) -> None:
    pytest.importorskip("pytorch_optimizer")
    paths = StudyPaths(tiny(**STUDY, claims=[CLAIM]), tmp_path / "results", tmp_path / "mlruns")
    answer_study(paths)
    results = read_study_results(paths.tables)
    assert [claim["verdict"] for claim in results.claims] != ["not tested"]
    figure = sensitivity(results)
    assert figure is not None
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Adam"]
    assert (paths.tables / "report.html").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sweep": {"contenders": ["prodigy"]}}, "sweep.contenders: must search learning_rate"),
        (
            {"claims": [{**CLAIM, "metric": "learning_rate_tolerance"}]},
            "claims.0.better: prodigy/sweep has no learning_rate_tolerance; these do: adam/sweep",
        ),
    ],
)
def test_what_needs_a_searched_learning_rate_is_refused(changes: dict[str, Any], words: str) -> None:
    pytest.importorskip("pytorch_optimizer")
    with pytest.raises(ValidationError, match=words):
        tiny(**{**STUDY, **changes})
