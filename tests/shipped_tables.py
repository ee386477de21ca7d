"""The tables of the finished studies in tests/data/shipped, as the analysis reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from optstudy.analysis.tables import Values, replicate_values, stacked
from optstudy.study.study import Study, load_study

SHIPPED = Path(__file__).parent / "data" / "shipped"


class ShippedTables(NamedTuple):
    study: Study
    tuning: pd.DataFrame
    values: Values


def shipped(name: str, **changes: Any) -> ShippedTables:
    """Return a shipped study, with changes of its study file, its trials, and the values of its final runs."""
    folder = SHIPPED / name
    study = load_study(folder / "study.yaml")
    if changes:
        study = Study.model_validate({**study.model_dump(by_alias=True, exclude_defaults=True), **changes})
    names = [contender.name for contender in study.optimizers]
    tuning, runs = (stacked(folder, kind, names) for kind in ("tuning", "runs"))
    empty = pd.DataFrame({"contender": [], "variant": [], "replicate": []})
    return ShippedTables(study, tuning, replicate_values(runs, empty, empty, study.epochs, float("nan"), 0.0))
