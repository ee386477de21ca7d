"""Tuning curves: what a study's contenders reach with fewer or more trials, from the trials of all its searches.

Rule 11 of docs/protocol.md explains them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optstudy.analysis.space_audit import scores_of
from optstudy.analysis.tables import write_table
from optstudy.inference.tuning_curves import Lead, chance_ahead, crossings, expected_best, median_best, tunability
from optstudy.metrics import metric
from optstudy.study.study import Study

if TYPE_CHECKING:
    import pandas as pd

    from optstudy.analysis.tables import Values

FILE = "tuning_curves.csv"
POINTS = 30  # numbers of trials in the table, besides the study's own

COLUMNS = ("contender", "trials", "validation", "median", "median_low", "median_high", "test", "gain", "tunability")


@dataclass(frozen=True)
class Pool:
    """A contender's trials: validation and test values, higher is better."""

    validation: Sequence[float]
    test: Sequence[float]


def tuning_curves(study: Study, tuning: pd.DataFrame, values: Values) -> list[dict[str, Any]]:
    """Return the rows of tuning_curves.csv, one for each contender and number of trials up to half of the pool.

    In the metrics' own units: the expected best validation value, its median with the ends of its band, the expected
    test value of the selected trial, its gain over the untuned runs (positive is better; empty without them), the
    contender's tunability (of accuracies only), and `ahead_of_<contender>`, the probability that one search is ahead.
    """
    name = study.objective.replace("/", "_")
    tested = tested_by(name, tuning.columns)
    pools = _pools(study, tuning, name, tested)
    ks = numbers_of_trials(min((len(pool.validation) for pool in pools.values()), default=0), study.tuning.trials)
    rows = []
    for contender, pool in pools.items():
        untuned = values.get((contender, "untuned"), {}).get(tested)
        default = metric(tested).sign * float(np.mean(untuned)) if untuned is not None else None
        for row in _curve(pool, ks, name, tested, default):
            ahead = {other: _ahead(pool, pools[other], row["trials"]) for other in pools if other != contender}
            tuned = _tunability(pool, study.tuning.trials, name)
            shares = {f"ahead_of_{other}": share for other, share in ahead.items()}
            rows.append({"contender": contender, **row, "tunability": tuned, **shares})
    return rows


def tested_by(objective: str, columns: Sequence[str]) -> str:
    """Return the column of test values that belongs to an objective; the objective's own if there is none."""
    tested = objective.replace("val_", "test_")
    return tested if tested in columns else objective


def numbers_of_trials(pool: int, own: int) -> list[int]:
    """Return the numbers of trials of a table: up to half of the pool, close together at first, with the study's own.

    Beyond half of the pool, draws without replacement would be nearly all the same.
    """
    most = pool // 2
    spread = {round(float(k)) for k in np.geomspace(1, most, POINTS)} if most else set()
    return sorted(spread | ({own} if own <= most else set()))


def _pools(study: Study, tuning: pd.DataFrame, name: str, tested: str) -> dict[str, Pool]:
    """Return the pools of the contenders that have both values in every trial."""
    pools = {}
    for contender in study.optimizers:
        own = tuning[tuning["contender"] == contender.name]
        validation, test = scores_of(own, name), scores_of(own, tested)
        if validation is not None and test is not None:
            pools[contender.name] = Pool(validation.tolist(), test.tolist())
    return pools


def _curve(pool: Pool, ks: Sequence[int], name: str, tested: str, default: float | None) -> list[dict[str, Any]]:
    of_validation, of_test = metric(name).sign, metric(tested).sign
    best = expected_best(pool.validation, pool.test, ks)
    bands = median_best(pool.validation, ks, _most(name))
    rows: list[dict[str, Any]] = []
    for point, band in zip(best, bands, strict=True):
        low, high = sorted((of_validation * band.low, of_validation * band.high))
        rows.append(
            {
                "trials": point.trials,
                "validation": of_validation * point.validation,
                "median": of_validation * band.median,
                "median_low": low if math.isfinite(low) else None,
                "median_high": high if math.isfinite(high) else None,
                "test": of_test * point.test,
                "gain": None if default is None else point.test - default,
            }
        )
    return rows


def _most(name: str) -> float:
    """Return the best value that a metric can have, signed so that higher is better."""
    if metric(name).share:
        return 1.0
    return 0.0 if name.endswith("loss") else math.inf


def _ahead(pool: Pool, other: Pool, k: int) -> float:
    return chance_ahead((pool.validation, pool.test), (other.validation, other.test), k)


def _tunability(pool: Pool, trials: int, name: str) -> float | None:
    """Return the tunability at the study's own number of trials, of accuracies; None if the pool is too small."""
    if not metric(name).share or trials > len(pool.validation) // 2:
        return None
    return tunability([best.validation for best in expected_best(pool.validation, pool.test, range(1, trials + 1))])


def write_curves(folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write tuning_curves.csv; without rows it has a header only."""
    write_table(folder / FILE, rows, COLUMNS)


def no_curves() -> pd.DataFrame:
    """Return tuning curves without rows."""
    import pandas as pd

    return pd.DataFrame(columns=list(COLUMNS))


def read_curves(folder: Path) -> pd.DataFrame:
    """Return tuning_curves.csv; no rows if the file is damaged, or missing as in a folder of an older version."""
    import pandas as pd

    try:
        curves = pd.read_csv(folder / FILE, dtype={"contender": str}, keep_default_na=False)
        numbers = {name: pd.to_numeric(curves[name]) for name in curves.columns if name != "contender"}
    except (FileNotFoundError, ValueError):
        return no_curves()
    return curves.assign(**numbers) if set(COLUMNS) <= set(curves) else no_curves()


def leads_by_budget(curves: pd.DataFrame, tested: str, groups: Mapping[str, str]) -> list[Lead]:
    """Return who leads with how many trials, by the expected test value; members of a group count as one.

    `groups` has the words for the group of each contender. The numbers of trials are those of the table: a lead starts
    at the first one at which it is seen.
    """
    if curves.empty:  # nothing was searched
        return []
    wide, sign = curves.pivot(index="trials", columns="contender", values="test"), metric(tested).sign
    by_group: dict[str, Any] = {}
    for contender in dict.fromkeys(curves["contender"]):
        group = groups.get(contender, contender)
        own = sign * wide[contender].to_numpy()
        by_group[group] = np.maximum(by_group[group], own) if group in by_group else own
    ks = wide.index.tolist()
    found = crossings({group: own.tolist() for group, own in by_group.items()})
    return [Lead(ks[lead.first - 1], ks[lead.last - 1], lead.leader) for lead in found]


def leads_in_words(leads: Sequence[Lead]) -> str:
    """Return the leads as "rmsprop with one trial, adam from two"; empty if there are none."""
    if not leads:
        return ""
    if len(leads) == 1:
        return f"{leads[0].leader} with any number of trials"
    first, *others = leads
    start = (
        f"{first.leader} with one trial" if first.last == 1 else f"{first.leader} with up to {_word(first.last)} trials"
    )
    return ", ".join([start, *(f"{lead.leader} from {_word(lead.first)}" for lead in others)])


def _word(count: int) -> str:
    words = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return words[count] if count < len(words) else str(count)
