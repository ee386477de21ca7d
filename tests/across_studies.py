"""Finished studies as `analysis.across` reads them: made up, and the copies of shipped ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from optstudy.analysis.study_results import StudyResults

SHIPPED = Path(__file__).parent / "data" / "shipped"
EMPTY = pd.DataFrame()


def results(name: str, claims: list[dict[str, Any]], accuracies: dict[str, list[float]]) -> StudyResults:
    """A finished study with these claims and these tuned test accuracies by contender."""
    comparison = pd.DataFrame({"contender": list(accuracies), "variant": "tuned"})
    values = {(contender, "tuned"): {"test_accuracy": own} for contender, own in accuracies.items()}
    facts = {"contenders": {contender: {"like": contender} for contender in accuracies}}
    return StudyResults(name, facts, comparison, EMPTY, EMPTY, EMPTY, EMPTY, EMPTY, claims, [], {}, {}, values)


def shipped(name: str) -> StudyResults:
    folder = SHIPPED / name
    claims = json.loads((folder / "claims.json").read_text())
    tables = {path.stem: pd.read_csv(path) for path in sorted((folder / "runs").glob("*.csv"))}
    tuned = {
        contender: own[own["variant"] == "tuned"].sort_values("replicate")["test_accuracy"].tolist()
        for contender, own in tables.items()
    }
    return results(name, claims, tuned)


STUDIES = [shipped(name) for name in ("digits", "digits_lstm", "digits_transfer")]


def claim(effect: float, sd: float = 1.0, **changed: object) -> dict[str, Any]:
    """A primary claim of nine replicates with a margin of 2."""
    own = {"topic": "adam-fast", "contrast": "adam against sgd", "metric": "test_accuracy", "margin": 2.0, "n": 9}
    return own | {"effect": effect, "sd": sd, "primary": True, "post_hoc": False, "verdict": "supported"} | changed
