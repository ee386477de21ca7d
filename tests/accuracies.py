"""Results of a study made from accuracies, for the tests of what is said about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from optstudy.analysis.study_results import StudyResults
from optstudy.analysis.tables import comparison

NOISE = np.array([0.0, 0.001, -0.001, 0.002, -0.002, 0.003, -0.003, 0.0])
STUDY: dict[str, Any] = {"question": "Which?", "trials": 6, "once": False, "pretrained_by": "", "epochs": 3}


def results(
    accuracies: Mapping[str, Sequence[float]], study: Mapping[str, Any] = STUDY, **tables: pd.DataFrame
) -> StudyResults:
    runs = pd.concat(
        [
            pd.DataFrame({"variant": "tuned", "status": "completed", "test_accuracy": own}).assign(contender=name)
            for name, own in accuracies.items()
        ]
    )
    values = {(name, "tuned"): {"test_accuracy": list(own)} for name, own in accuracies.items()}
    empty = pd.DataFrame({"contender": []})
    frames = {name: tables.get(name, empty) for name in ("curves", "tuning", "sweep", "selected")}
    table = comparison(runs, values, None)
    return StudyResults(
        "s",
        study,
        table,
        tables.get("runs", runs),
        **frames,
        claims=[],
        findings=[],
        provenance={},
        data={},
        values=values,
    )
