"""Each look of a study that stops when it knows is judged at the level of its looks."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from builders import tiny
from optstudy.analysis.evaluate_claims import claim_rows, stated
from optstudy.inference.looks import LEVELS

MEAN = 0.86


def test_a_look_needs_stronger_evidence_than_a_study_without_looks_and_its_intervals_say_so() -> None:
    """The exact test's p lies between the level of four looks, 0.0155, and 0.05."""
    spread = np.array([-1.5, -1.0, -0.6, -0.3, -0.1, 0.1, 0.3, 0.6, 1.0, 1.5])
    adam = spread / spread.std(ddof=1) + MEAN
    values = {("adam", "tuned"): {"val_accuracy": adam.tolist()}, ("sgd", "tuned"): {"val_accuracy": [0.0] * 10}}
    claim = {"statement": "adam wins", "better": "adam", "than": "sgd", "metric": "val_accuracy"}
    rows = []
    for replicates in (10, {"looks": [8, 10, 12, 14]}):
        study = tiny(replicates=replicates, claims=[claim])
        rows += claim_rows(study.at_look(10), pd.DataFrame(), values, stated(study))
    fixed, look = rows
    assert (fixed["confidence"], look["confidence"]) == (0.95, 1 - LEVELS[4])
    assert fixed["p_corrected"] == look["p_corrected"]
    assert LEVELS[4] < fixed["p_corrected"] < 0.05
    assert (fixed["verdict"], look["verdict"]) == ("supported", "inconclusive")
    half = t.isf(LEVELS[4] / 2, 9) / 10**0.5
    assert (look["ci_low"], look["ci_high"]) == pytest.approx((MEAN - half, MEAN + half))
