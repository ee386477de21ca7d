"""Prices: seconds of trainings per step, rows computed by hand, and the same prices read back from price.csv."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from optstudy.analysis.price import TIMED, Price, price_rows, prices_in, seconds_of_trainings
from optstudy.analysis.tables import read_table, write_table

RUNS = pd.DataFrame(
    {
        "contender": ["adam"] * 3 + ["sam"] * 3,
        "variant": ["tuned", "tuned", "untuned"] * 2,
        "status": ["completed", "diverged", "completed"] * 2,
        "seconds": [3.0, 90.0, 5.0, 4.0, 90.0, 8.0],
        "gradients_per_step": [math.nan] * 3 + [2.0, 2.0, 3.0],
    }
)


def test_the_seconds_per_step_of_trainings_are_their_median_without_diverged_ones() -> None:
    assert seconds_of_trainings(RUNS[RUNS["contender"] == "adam"], 40) == pytest.approx(4.0 / 40)
    assert math.isnan(seconds_of_trainings(RUNS[RUNS["status"] == "diverged"], 40))


def test_a_row_has_the_restricted_seconds_and_the_gradients_of_its_runs() -> None:
    prices = {"adam": Price("cpu (x)", TIMED, 10, 0.5, 400, 808), "sam": Price()}
    values = {("adam", "tuned"): {"seconds_to_target": [10.0, 20.0, 30.0]}, ("sam", "tuned"): {}}
    adam, sam = price_rows(prices, RUNS, values, "tuned")
    assert (adam["contender"], adam["seconds_per_step"], adam["seconds_to_target"]) == ("adam", 0.5, 20.0)
    assert (adam["gradients_per_step"], sam["gradients_per_step"]) == (1, 2)
    assert (adam["state_bytes"], adam["parameter_bytes"]) == (808, 400)
    assert math.isnan(sam["seconds_to_target"])


def test_prices_are_read_back_as_written(tmp_path: Path) -> None:
    prices = {
        "7": Price("cuda (x)", TIMED, 10.0, 0.1 + 0.2, 400, 808, 1e9),
        "sam": Price("cuda (x)", TIMED, 10.0, 1e-7),
    }
    write_table(tmp_path / "price.csv", price_rows(prices, RUNS, {}, "tuned"))
    again = prices_in(read_table(tmp_path / "price.csv"))
    assert again["7"] == prices["7"]
    assert str(again["sam"]) == str(prices["sam"])  # nan is not equal to itself
    write_table(tmp_path / "unknown.csv", price_rows({"adam": Price()}, RUNS, {}, "tuned"))
    assert str(prices_in(read_table(tmp_path / "unknown.csv"))) == str({"adam": Price()})
