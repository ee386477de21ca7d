"""The tables: floats survive the disk, and the comparison's numbers are those computed by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from optstudy.results import comparison, read_table, write_table


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


def test_floats_and_empty_cells_survive_the_disk(tmp_path: Path) -> None:
    rows = [{"value": 0.1 + 0.2, "edge": ""}, {"value": 1e-300, "edge": "learning_rate:low"}]
    write_table(tmp_path / "t.csv", rows)
    assert read_table(tmp_path / "t.csv").to_dict("records") == rows


def test_the_comparison_by_hand() -> None:
    runs = {"a": final_runs([0.9, 0.8], [0.7, 0.5]), "b": final_runs([0.6, 0.6], [0.6, 0.4])}
    # The target is the median of the best validation accuracies .7, .5, .6, .4: .55.
    epochs = {"a": curves([[0.5, 0.7], [0.5, 0.5]]), "b": curves([[0.6, 0.6], [0.4, 0.4]])}
    rows = comparison(runs, epochs, epochs=2).to_dict("records")
    a, b = rows
    assert a["target_val_accuracy"] == pytest.approx(0.55)
    assert a["test_accuracy_mean"] == pytest.approx(0.85)
    assert a["test_accuracy_sd"] == pytest.approx(0.0707106781)
    # t(0.975, 1) = 12.7062047; 12.7062047 * 0.0707106781 / sqrt(2) = 0.635310
    assert a["test_accuracy_ci_high"] - a["test_accuracy_mean"] == pytest.approx(0.63531, abs=1e-5)
    assert a["epochs_to_target_mean"] == pytest.approx((2 + 3) / 2)  # a miss counts as epochs + 1
    assert b["epochs_to_target_mean"] == pytest.approx((1 + 3) / 2)
    assert (b["test_accuracy_sd"], b["test_accuracy_ci_low"]) == (0.0, 0.6)
