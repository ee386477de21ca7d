"""What each optimizer costs: seconds per step and to the target, gradients, memory. The rows of price.csv."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from optstudy.metrics import GRADIENTS_PER_STEP
from optstudy.study.claim import Arm

if TYPE_CHECKING:
    import pandas as pd

TIMED = "timed steps"  # how seconds per step are known: measured apart, on an otherwise idle machine
TRAININGS = "trainings"  # or from the trainings themselves, their evaluations included
TEXTS = ("device", "source")  # the first columns of price.csv, which hold text


@dataclass(frozen=True)
class Price:
    """What a step of one contender costs.

    Attributes:
        device: On what the seconds were measured; empty if they are not known.
        source: `TIMED` or `TRAININGS`; empty if the seconds are not known.
        steps_per_epoch: Number of steps in an epoch; nan if it is not known, as all other numbers may be.
        seconds_per_step: Seconds of one step.
        parameter_bytes: Bytes of the trained parameters.
        state_bytes: Bytes of all tensors that the optimizer keeps between steps.
        peak_bytes: Largest memory that tensors took on the GPU; nan on a CPU, which does not tell.
    """

    device: str = ""
    source: str = ""
    steps_per_epoch: float = math.nan
    seconds_per_step: float = math.nan
    parameter_bytes: float = math.nan
    state_bytes: float = math.nan
    peak_bytes: float = math.nan


def seconds_of_trainings(runs: pd.DataFrame, steps: float) -> float:
    """Return the median seconds per step over the completed final `runs` of a contender, each of `steps` steps.

    They include the evaluations, and of stacked trainings they are a share of the stack's. nan if no run completed.
    """
    seconds = runs[runs["status"] == "completed"]["seconds"]
    return median(seconds.tolist()) / steps if len(seconds) else math.nan


def price_rows(
    prices: Mapping[str, Price], runs: pd.DataFrame, values: Mapping[Arm, Mapping[str, Sequence[float]]], variant: str
) -> list[dict[str, Any]]:
    """Return the rows of price.csv.

    `seconds_to_target` is the restricted mean over the replicates of `variant`. Gradients per step are the mean over
    its runs; only trainings that computed several record them.
    """
    rows = []
    for name, price in prices.items():
        own = runs[(runs["contender"] == name) & (runs["variant"] == variant)]
        gradients = own[GRADIENTS_PER_STEP].dropna() if GRADIENTS_PER_STEP in own else ()
        seconds = values.get((name, variant), {}).get("seconds_to_target", ())
        rows.append(
            {
                "contender": name,
                **vars(price),
                "gradients_per_step": fmean(gradients) if len(gradients) else 1.0,
                "seconds_to_target": fmean(seconds) if seconds else math.nan,
            }
        )
    return rows


def prices_in(table: pd.DataFrame) -> dict[str, Price]:
    """Return the prices in price.csv by contender; empty cells are not known."""
    numbers = [name for name in vars(Price()) if name not in TEXTS]
    return {
        str(row["contender"]): Price(
            _text(row["device"]), _text(row["source"]), *(float(_text(row[name]) or "nan") for name in numbers)
        )
        for row in table.to_dict("records")
    }


def _text(cell: object) -> str:
    return "" if cell is None or cell != cell else str(cell)  # a column without values is read as nan
