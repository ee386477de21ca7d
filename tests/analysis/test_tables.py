"""Tables: floats are read back exactly, and the comparison has the values computed by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from optstudy.analysis.tables import comparison, median_best, read_table, replicate_values, write_table


def final_runs(accuracies: list[float], best: list[float], variant: str = "tuned") -> pd.DataFrame:
    return pd.DataFrame(
        {
            "variant": variant,
            "replicate": range(len(accuracies)),
            "status": "completed",
            "test_accuracy": accuracies,
            "generalisation_gap": [0.1] * len(accuracies),
            "best_val_accuracy": best,
        }
    )


def curves(values: list[list[float]], variant: str = "tuned") -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"variant": variant, "replicate": replicate, "epoch": epoch, "val_accuracy": value}
            for replicate, curve in enumerate(values)
            for epoch, value in enumerate(curve, start=1)
        ]
    )


def test_floats_and_empty_cells_are_read_back_as_written(tmp_path: Path) -> None:
    rows = [
        {"replicate": 0, "value": 0.1 + 0.2, "edge": ""},
        {"replicate": 1, "value": 1e-300, "edge": "learning_rate:low"},
    ]
    write_table(tmp_path / "t.csv", rows)
    assert read_table(tmp_path / "t.csv").to_dict("records") == rows


def test_a_contender_whose_name_is_a_number_keeps_its_name(tmp_path: Path) -> None:
    rows = [{"contender": "007", "n": 8}, {"contender": "1e3", "n": 8}]
    write_table(tmp_path / "t.csv", rows)
    assert read_table(tmp_path / "t.csv").to_dict("records") == rows


def test_the_comparison_has_the_values_computed_by_hand() -> None:
    runs = pd.concat(
        [
            final_runs([0.9, 0.8], [0.7, 0.5]).assign(contender="a"),
            final_runs([0.6, 0.6], [0.6, 0.4]).assign(contender="b"),
        ]
    )
    epochs = pd.concat(
        [curves([[0.5, 0.7], [0.5, 0.5]]).assign(contender="a"), curves([[0.6, 0.6], [0.4, 0.4]]).assign(contender="b")]
    )
    target = median_best(runs)
    assert target == pytest.approx(0.55)  # the median of .7, .5, .6, .4
    values = replicate_values(runs, epochs, pd.DataFrame({"contender": []}), 2, target, 0.0)
    assert values["a", "tuned"]["epochs_to_target"] == [2, 3]  # a miss counts as epochs + 1
    a, b = comparison(runs, values, target).to_dict("records")
    assert a["target_val_accuracy"] == target
    assert a["test_accuracy_mean"] == pytest.approx(0.85)
    assert a["test_accuracy_sd"] == pytest.approx(0.0707106781)
    # t(0.975, 1) = 12.7062047; 12.7062047 * 0.0707106781 / sqrt(2) = 0.635310
    assert a["test_accuracy_ci_high"] - a["test_accuracy_mean"] == pytest.approx(0.63531, abs=1e-5)
    assert (a["epochs_to_target_mean"], b["epochs_to_target_mean"]) == ((2 + 3) / 2, (1 + 3) / 2)
    assert (b["test_accuracy_sd"], b["test_accuracy_ci_low"]) == (0.0, 0.6)


def test_the_target_is_the_median_of_the_tuned_runs_if_any_is_tuned() -> None:
    runs = pd.concat([final_runs([0.9, 0.8], [0.7, 0.5]), final_runs([0.1, 0.1], [0.1, 0.1], "untuned")])
    assert median_best(runs) == pytest.approx(0.6)
    assert math.isnan(median_best(runs.drop(columns="best_val_accuracy")))


def test_a_sweep_gives_one_tolerance_per_replicate_shown_in_the_first_row() -> None:
    runs = final_runs([0.9, 0.8], [0.7, 0.5]).assign(contender="a")
    points = [(0, 0.01, 0.5), (0, 0.1, 0.9), (0, 1.0, 0.9), (1, 0.01, 0.9), (1, 0.1, 0.5), (1, 1.0, 0.1)]
    sweep = pd.DataFrame(points, columns=["replicate", "learning_rate", "val_accuracy"]).assign(contender="a")
    values = replicate_values(runs, curves([[0.7], [0.5]]).assign(contender="a"), sweep, 1, 0.6, 0.2)
    # Linear between rates: within .2 of .9 from halfway between .5 and .9 on, so 1 + 1/2 and 1/2 decades.
    assert values["a", "sweep"]["learning_rate_tolerance"] == pytest.approx([1.5, 0.5])
    row = comparison(runs, values, 0.6).iloc[0]
    assert row["learning_rate_tolerance_mean"] == pytest.approx(1.0)
