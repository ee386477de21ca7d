"""The CSV tables that stages write for each other and for the report, and the comparison computed from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import pandas as pd

from optstudy.analysis.price import Price
from optstudy.catalogue import Choices, Space, Value
from optstudy.errors import StudyError
from optstudy.files import write_text
from optstudy.inference.intervals import t_interval
from optstudy.inference.learning_rates import learning_rate_tolerance
from optstudy.inference.targets import PRIMARY_SHARE, SHARES, replicate_target, restricted, time_to_target
from optstudy.metrics import HEADLINES, find_metric, metric
from optstudy.planning.selection import Selections
from optstudy.study.claim import Arm

Values = Mapping[Arm, Mapping[str, Sequence[float]]]  # values of each metric, replicate by replicate

TOLERANCE = "steps_to_tolerance"
TIMES = ("epochs", "steps", "seconds")
TARGET_COLUMNS = ("contender", "variant", "share", "target", "n", "reached", *TIMES)  # of targets.csv


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] = ()) -> None:
    """Write a CSV with a header and floats at full precision; without rows, `columns` are the header."""
    table = pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(columns))
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def read_table(path: Path, text: Iterable[str] = ()) -> pd.DataFrame:
    """Read a CSV; pandas 3.1 restores every float exactly. A contender may have a name such as `007`.

    Columns named in `text` are read as they are written: they have choices of a hyperparameter (see `labelled`).

    Raises StudyError if the file is damaged.
    """
    try:
        table = pd.read_csv(
            path, dtype=dict.fromkeys(["contender", *text], str), keep_default_na=False, na_values=["nan"]
        )
    except ValueError as error:
        raise _damaged(path) from error
    if not {"contender", "replicate"} & set(table):  # each table has one of them
        raise _damaged(path)
    return table


def _damaged(path: Path) -> StudyError:
    return StudyError(f"{path}: is damaged: `optstudy report` writes it again from the journal")


def text_columns(search: Mapping[str, Space | Choices]) -> list[str]:
    """Return the columns of a contender's tables that have labels of choices instead of numbers."""
    return [name for name, space in search.items() if isinstance(space, Choices) and not space.numeric]


def read_selections(path: Path, search: Mapping[str, Space | Choices]) -> Selections:
    """Return the selected hyperparameters by replicate."""
    rows = read_table(path, text_columns(search)).to_dict("records")
    try:
        return {
            int(row["replicate"]): {name: _value(space, row[name]) for name, space in search.items()} for row in rows
        }
    except (KeyError, ValueError) as error:
        raise _damaged(path) from error


def _value(space: Space | Choices, cell: Any) -> Value:
    """Return the value of a hyperparameter in a cell."""
    if isinstance(space, Choices):
        return space.choices[space.index(cell)]
    return int(cell) if space.whole else float(cell)


def stacked(
    folder: Path, kind: str, contenders: Iterable[str], text: Mapping[str, Iterable[str]] | None = None
) -> pd.DataFrame:
    """Return the rows of folder/kind/<contender>.csv of all contenders, with a column `contender`.

    If there are none, the table is empty. `text` has the columns of each contender that are read as text.
    """
    paths = {name: folder / kind / f"{name}.csv" for name in contenders}
    columns = {name: (text or {}).get(name, ()) for name in paths}
    read = {name: read_table(path, columns[name]) for name, path in paths.items() if path.exists()}
    frames = [table.assign(contender=name) for name, table in read.items() if len(table)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame({"contender": [], "variant": []})


@dataclass(frozen=True)
class Targets:
    """What time to target counts up to: a value of `score`, a column of the curves, for each replicate."""

    score: str
    by_replicate: Mapping[int, float]

    @property
    def higher(self) -> bool:
        """Return whether higher scores are better."""
        return metric(self.score).higher


def targets_of(
    runs: pd.DataFrame, given: float | None, share: float = PRIMARY_SHARE, score: str = "val_accuracy"
) -> Targets | None:
    """Return the target of each replicate; None if the runs have no validation score, or `given` but not the study's.

    It is the value of the study's `score` that is `given` in the study, or else `share` of the median over contenders
    of their best score in that replicate. If it is not logged, the validation accuracy or loss stands for it. Untuned
    runs count if none is tuned.
    """
    scores = [name for name in dict.fromkeys((score, "val_accuracy", "val_loss")) if f"best_{name}" in runs]
    if not scores or (given is not None and scores[0] != score):
        return None
    found, tuned = scores[0], runs[runs["variant"] == "tuned"]
    best = {int(r): own[f"best_{found}"].dropna() for r, own in (tuned if len(tuned) else runs).groupby("replicate")}
    if not any(map(len, best.values())):
        return None
    higher = metric(found).higher
    return Targets(
        found, {r: replicate_target(own.tolist(), share, higher) if given is None else given for r, own in best.items()}
    )


def times_to_target(runs: pd.DataFrame, curves: pd.DataFrame, targets: Targets) -> list[int | None]:
    """Return the epoch, counted from 1, at which each run of one arm reached its replicate's target; None for a miss.

    `runs` and `curves` are the rows of the arm; the times have the order of `runs`.
    """
    by_replicate = curves.groupby("replicate")[targets.score].agg(list).to_dict() if len(curves) else {}
    return [
        time_to_target(by_replicate.get(r, ()), targets.by_replicate.get(r, math.nan), targets.higher)
        for r in runs["replicate"]
    ]


def replicate_values(
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    sweep: pd.DataFrame,
    epochs: int,
    target: float | None,
    within: float,
    prices: Mapping[str, Price] | None = None,
    names: Sequence[str] = tuple(HEADLINES),
    score: str = "val_accuracy",
) -> dict[Arm, dict[str, list[float]]]:
    """Return the values of each headline metric, replicate by replicate, for each contender and variant.

    `names` are the metrics that claims can be about, `score` is the one that targets and sweeps count by, and `target`
    is the one given in the study. Times that are counted up to a goal are restricted to the budget of
    `epochs`, and `reached` has 1 for each replicate that reached the goal, else 0. The variant `sweep` holds
    learning-rate tolerances: decades `within` of the sweep's best score.
    """
    by_arm: dict[Arm, dict[str, list[float]]] = {}
    targets = targets_of(runs, target, score=score)
    for arm, own, paths in arms_of(runs, curves):
        values = {name: own[name].tolist() for name in names if name in own and own[name].notna().all()}
        if targets is not None:
            values |= times_of(times_to_target(own, paths, targets), epochs, (prices or {}).get(arm[0]))
        elif TOLERANCE in values:
            taken = values[TOLERANCE]
            known = times_of([None if steps > epochs else steps for steps in taken], epochs, (prices or {}).get(arm[0]))
            values[TOLERANCE] = known.pop("epochs_to_target")
            values |= {name: own for name, own in known.items() if name != "steps_to_target"}
        by_arm[arm] = values
    for contender, points in sweep.groupby("contender", sort=False) if score in sweep else ():
        tolerances = [
            learning_rate_tolerance(own["learning_rate"].tolist(), (metric(score).sign * own[score]).tolist(), within)
            for _, own in points.groupby("replicate")
        ]
        by_arm[contender, "sweep"] = {"learning_rate_tolerance": tolerances}
    return by_arm


def arms_of(runs: pd.DataFrame, curves: pd.DataFrame) -> Iterator[tuple[Arm, pd.DataFrame, pd.DataFrame]]:
    """Yield each contender and variant with its runs, by replicate, and its curves."""
    paths = dict(list(curves.groupby(["contender", "variant"])))
    for (contender, variant), own in runs.sort_values("replicate").groupby(["contender", "variant"], sort=False):
        yield (contender, variant), own, paths.get((contender, variant), curves.iloc[:0])


def times_of(times: Sequence[float | None], epochs: int, price: Price | None) -> dict[str, list[float]]:
    """Return restricted times in epochs, and in steps and seconds if they are known, and which reached the target."""
    taken = restricted(times, epochs)
    values = {"epochs_to_target": taken, "reached": [float(time is not None) for time in times]}
    if price is not None and not math.isnan(price.steps_per_epoch):
        values["steps_to_target"] = [time * price.steps_per_epoch for time in taken]
        if not math.isnan(price.seconds_per_step):
            values["seconds_to_target"] = [steps * price.seconds_per_step for steps in values["steps_to_target"]]
    return values


def target_rows(
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    epochs: int,
    given: float | None,
    prices: Mapping[str, Price],
    score: str = "val_accuracy",
) -> list[dict[str, Any]]:
    """Return the rows of targets.csv: for each share and arm, how many reached the target and their restricted means.

    `share` is empty if the target is `given`. `target` is its median over replicates.
    """
    rows = []
    for share in SHARES if given is None else (None,):
        targets = targets_of(runs, given, share or PRIMARY_SHARE, score)
        for (contender, variant), own, paths in arms_of(runs, curves) if targets is not None else ():
            assert targets is not None
            values = times_of(times_to_target(own, paths, targets), epochs, prices.get(contender))
            means = {name: fmean(values[f"{name}_to_target"]) for name in TIMES if f"{name}_to_target" in values}
            place = {"contender": contender, "variant": variant, "share": share}
            counts = {"n": len(own), "reached": int(sum(values["reached"]))}
            rows.append({**place, "target": median(targets.by_replicate.values()), **counts, **means})
    return rows


def comparison(runs: pd.DataFrame, values: Values, targets: Targets | None) -> pd.DataFrame:
    """Return one row per contender and variant with n, and mean, sd and 95% t interval of each headline metric.

    `reached` is the number of replicates that reached the target (of functions: the tolerance); `target_val_accuracy`
    (or another score) is the median of the targets. A contender's first row also has its learning-rate tolerance.
    Validation metrics are left out if it has a score on the test part.
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
            if targets is not None:
                row[f"target_{targets.score}"] = median(targets.by_replicate.values())
            if "reached" in known:
                row["reached"] = int(sum(known["reached"]))
            tested = any(name.startswith("test_") for name in known)
            for name in known:
                shown = find_metric(name)
                if shown is not None and shown.compared and not (name.startswith("val_") and tested):
                    row |= _summary(name, known[name])
            rows.append(row)
    return pd.DataFrame(rows)


def _summary(name: str, values: Sequence[float]) -> dict[str, float]:
    estimate = t_interval(values)
    return {
        f"{name}_mean": estimate.mean,
        f"{name}_sd": estimate.sd,
        f"{name}_ci_low": estimate.low,
        f"{name}_ci_high": estimate.high,
    }
