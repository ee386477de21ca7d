"""The problems that trainings of a contender show: slow, overfitting, unstable, oscillating."""

from __future__ import annotations

import numpy as np
import pandas as pd

from optstudy.analysis.study_results import StudyResults
from optstudy.inference.intervals import t_interval
from optstudy.metrics import in_unit

# Thresholds of the problems. They are ours; each message states its threshold.
OVERFITS = 0.01  # generalisation gap, below its whole interval
UNSTABLE = 0.05  # share of diverged trainings
OSCILLATES = 0.25  # share of epochs after which the training loss is higher than before; of steps with a function


def problems(results: StudyResults) -> dict[str, list[str]]:
    """Return the problems that each contender's trainings show, in words."""
    return {name: [words for check in PROBLEMS if (words := check(results, name))] for name in results.contenders}


def _slow(results: StudyResults, contender: str) -> str:
    """A search that selects the largest rates would have selected larger ones."""
    own = _rows_of(results.selected, contender)
    count = int(own["edge"].astype(str).str.contains("learning_rate:high", regex=False).sum()) if len(own) else 0
    where = f"in {count} of {len(own)} replicates its selected learning rate is at the upper end of its space"
    return f"slow: {where} (half of them or more)" if count and 2 * count >= len(own) else ""


def _overfits(results: StudyResults, contender: str) -> str:
    values = results.values.get((contender, results.variant), {}).get("generalisation_gap")
    if values is None:
        return ""
    gap = t_interval(values)
    words = f"overfits: generalisation gap {in_unit('generalisation_gap', gap.mean, gap.low, gap.high)}"
    return f"{words} (its interval is above {100 * OVERFITS:g} pp)" if gap.low > OVERFITS else ""


def _unstable(results: StudyResults, contender: str) -> str:
    tables = (results.tuning, results.sweep, results.runs)
    status = pd.concat([_rows_of(table, contender)["status"] for table in tables])
    diverged = int((status == "diverged").sum())
    words = f"unstable: {diverged} of {len(status)} trainings diverged (more than {UNSTABLE:.0%})"
    return words if diverged > UNSTABLE * len(status) else ""


def _oscillates(results: StudyResults, contender: str) -> str:
    own = _rows_of(results.curves, contender)
    own = own[own["variant"] == results.variant] if len(own) else own
    if "train_loss" not in own or own["epoch"].max() < 2:
        return ""
    steps = own.sort_values("epoch").groupby("replicate")["train_loss"].diff().dropna()
    share = float((steps > 0).mean())
    words = f"oscillates: the training loss rises after {share:.0%} of epochs (more than {OSCILLATES:.0%})"
    return words if share > OSCILLATES else ""


def _overshoots(results: StudyResults, contender: str) -> str:
    """Sign changes are counted to the end, so only paths that never reach the tolerance show how they approach it."""
    values, steps = results.values.get((contender, results.variant), {}), results.study["epochs"]
    if "sign_changes" not in values:
        return ""
    pairs = list(zip(values["sign_changes"], values["reached"], strict=True))
    missed = [changes for changes, reached in pairs if not reached]
    share = float(np.mean(missed)) / steps if missed else 0.0
    where = f"in {len(missed)} of {len(pairs)} replicates it misses the tolerance and overshoots"
    words = f"oscillates: {where} on {share:.0%} of steps (more than {OSCILLATES:.0%})"
    return words if share > OSCILLATES else ""


PROBLEMS = (_slow, _overfits, _unstable, _oscillates, _overshoots)


def _rows_of(table: pd.DataFrame, contender: str) -> pd.DataFrame:
    """Return a contender's rows; an empty table gets the columns that the checks use."""
    return table[table["contender"] == contender] if len(table) else pd.DataFrame({"status": [], "epoch": []})
