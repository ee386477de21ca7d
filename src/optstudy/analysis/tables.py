"""The CSV tables that stages write for each other and for the report, and the comparison computed from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from optstudy.errors import StudyError
from optstudy.files import write_text
from optstudy.inference.intervals import t_interval
from optstudy.inference.learning_rates import learning_rate_tolerance
from optstudy.inference.targets import epochs_to_target
from optstudy.metrics import HEADLINES
from optstudy.planning.selection import Selections
from optstudy.study.claim import Arm

Values = Mapping[Arm, Mapping[str, Sequence[float]]]  # values of each metric, replicate by replicate


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Write a CSV with a header and floats at full precision; without rows, `columns` are the header."""
    table = pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(columns))
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV; pandas 3.1 restores every float exactly. A contender may have a name such as `007`.

    Raises StudyError if the file is damaged.
    """
    try:
        table = pd.read_csv(path, dtype={"contender": str}, keep_default_na=False, na_values=["nan"])
    except ValueError as error:
        raise _damaged(path) from error
    if not {"contender", "replicate"} & set(table):  # each table has one of them
        raise _damaged(path)
    return table


def _damaged(path: Path) -> StudyError:
    return StudyError(f"{path}: is damaged: `optstudy report` writes it again from the journal")


def read_selections(path: Path, searched: Iterable[str]) -> Selections:
    """Return the selected hyperparameters by replicate."""
    names = list(searched)
    rows = read_table(path).to_dict("records")
    try:
        return {int(row["replicate"]): {name: float(row[name]) for name in names} for row in rows}
    except (KeyError, ValueError) as error:
        raise _damaged(path) from error


def stacked(folder: Path, kind: str, contenders: Iterable[str]) -> pd.DataFrame:
    """Return the rows of folder/kind/<contender>.csv of all contenders, with a column `contender`.

    If there are none, the table is empty.
    """
    paths = {name: folder / kind / f"{name}.csv" for name in contenders}
    read = {name: read_table(path) for name, path in paths.items() if path.exists()}
    frames = [table.assign(contender=name) for name, table in read.items() if len(table)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({"contender": [], "variant": []})


def median_best(runs: pd.DataFrame) -> float:
    """Return the median of the best validation accuracies of the tuned final runs (of the untuned if none is tuned).

    It is the target of `epochs_to_target` unless the study gives one; nan if no validation accuracy is logged.
    """
    tuned = runs[runs["variant"] == "tuned"]
    best = (tuned if len(tuned) else runs).get("best_val_accuracy")
    return float("nan") if best is None else float(best.median())


def target_of(runs: pd.DataFrame, given: float | None) -> float:
    """Return the target of `epochs_to_target`: the one `given` in the study, else `median_best`; nan as there."""
    best = median_best(runs)
    return best if math.isnan(best) else given or best


def replicate_values(
    runs: pd.DataFrame, curves: pd.DataFrame, sweep: pd.DataFrame, epochs: int, target: float, within: float
) -> dict[Arm, dict[str, list[float]]]:
    """Return the values of each headline metric, replicate by replicate, for each contender and variant.

    The variant `sweep` holds learning-rate tolerances: decades `within` of the sweep's best validation accuracy.
    """
    by_arm: dict[Arm, dict[str, list[float]]] = {}
    paths = {key: dict(list(own.groupby("replicate"))) for key, own in curves.groupby(["contender", "variant"])}
    for (contender, variant), own in runs.sort_values("replicate").groupby(["contender", "variant"], sort=False):
        values = {name: own[name].tolist() for name in HEADLINES if name in own and own[name].notna().all()}
        if not math.isnan(target):
            curves_of = paths.get((contender, variant), {})
            values["epochs_to_target"] = [
                float(epochs_to_target(curves_of[r]["val_accuracy"].tolist() if r in curves_of else [], target, epochs))
                for r in own["replicate"]
            ]
        by_arm[contender, variant] = values
    for contender, points in sweep.groupby("contender", sort=False) if "val_accuracy" in sweep else ():
        tolerances = [
            learning_rate_tolerance(own["learning_rate"].tolist(), own["val_accuracy"].tolist(), within)
            for _, own in points.groupby("replicate")
        ]
        by_arm[contender, "sweep"] = {"learning_rate_tolerance": tolerances}
    return by_arm


def comparison(runs: pd.DataFrame, values: Values, target: float) -> pd.DataFrame:
    """Return one row per contender and variant with n, and mean, sd and 95% t interval of each headline metric.

    A contender's first row also has its learning-rate tolerance. Validation metrics are left out if it has a test
    accuracy.
    """
    rows = []
    diverged = runs[runs["status"] == "diverged"].groupby(["contender", "variant"]).size()
    for contender in runs["contender"].unique():
        swept = values.get((contender, "sweep"), {})
        for variant in [v for v in ("tuned", "untuned") if (contender, v) in values]:
            known = {**values[contender, variant], **swept}
            swept = {}
            row: dict[str, Any] = {
                "contender": contender,
                "variant": variant,
                "n": len(next(iter(known.values()))),
                "diverged": int(diverged.get((contender, variant), 0)),
            }
            if not math.isnan(target):
                row["target_val_accuracy"] = target
            for metric in HEADLINES:
                if metric in known and not (metric.startswith("val_") and "test_accuracy" in known):
                    row |= _summary(metric, known[metric])
            rows.append(row)
    return pd.DataFrame(rows)


def _summary(metric: str, values: Sequence[float]) -> dict[str, float]:
    estimate = t_interval(values)
    return {
        f"{metric}_mean": estimate.mean,
        f"{metric}_sd": estimate.sd,
        f"{metric}_ci_low": estimate.low,
        f"{metric}_ci_high": estimate.high,
    }
