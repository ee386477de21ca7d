"""Tables: floats are read back exactly, and the comparison has the values computed by hand."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from optstudy.analysis.price import Price
from optstudy.analysis.tables import (
    comparison,
    read_table,
    replicate_values,
    target_rows,
    targets_of,
    times_to_target,
    write_table,
)


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


NO_SWEEP = pd.DataFrame({"contender": []})
# In replicate 0 the medians over a, b, c are .7 of their best values, in replicate 1 .6.
BEST = {"a": [0.8, 0.6], "b": [0.7, 0.7], "c": [0.5, 0.4]}
CURVES = {
    "a": [[0.5, 0.695, 0.8], [0.5, 0.589, 0.6]],
    "b": [[0.6, 0.69, 0.7], [0.7, 0.6, 0.5]],
    "c": [[0.5, 0.5, 0.5], [0.4, 0.4, 0.4]],
}


def three_contenders() -> tuple[pd.DataFrame, pd.DataFrame]:
    runs = pd.concat([final_runs([0.9, 0.8], best).assign(contender=name) for name, best in BEST.items()])
    return runs, pd.concat([curves(values).assign(contender=name) for name, values in CURVES.items()])


def test_each_replicate_has_its_own_target_and_misses_count_as_the_budget() -> None:
    runs, paths = three_contenders()
    targets = targets_of(runs, None)
    assert targets is not None
    assert targets.score == "val_accuracy"
    assert targets.by_replicate == pytest.approx({0: 0.99 * 0.7, 1: 0.99 * 0.6})
    prices = {name: Price("cpu", "timed steps", 4, 0.5) for name in "ab"}
    values = replicate_values(runs, paths, NO_SWEEP, 3, None, 0.0, prices)
    # a: .695 is above .693, .589 is below .594; b: .69 is below .693, and .7 in the first epoch is above .594.
    assert values["a", "tuned"]["epochs_to_target"] == [2, 3]
    assert values["b", "tuned"]["epochs_to_target"] == [3, 1]
    assert values["c", "tuned"]["epochs_to_target"] == [3, 3]
    assert values["a", "tuned"]["reached"] == [1, 1]
    assert values["c", "tuned"]["reached"] == [0, 0]
    assert values["b", "tuned"]["steps_to_target"] == [12, 4]
    assert values["b", "tuned"]["seconds_to_target"] == [6, 2]
    assert "steps_to_target" not in values["c", "tuned"]  # the length of its epochs is not known
    table = comparison(runs, values, targets).set_index("contender")
    assert table["reached"].tolist() == [2, 2, 0]
    assert table["epochs_to_target_mean"].tolist() == [2.5, 2.0, 3.0]
    assert table["target_val_accuracy"].tolist() == pytest.approx([0.99 * 0.65] * 3)  # the median over replicates
    assert not [name for name in table if name.startswith(("steps_to", "seconds_to"))]


def test_the_table_of_targets_has_all_shares_computed_by_hand() -> None:
    runs, paths = three_contenders()
    rows = target_rows(runs, paths, 3, None, {"a": Price("cpu", "timed steps", 4, 0.5)})
    found = {(row["share"], row["contender"]): row for row in rows}
    assert len(found) == 3 * 3
    # At .98 (.686 and .588) a needs 2 and 2 epochs; at .995 (.6965 and .597) 3 and 3.
    assert [found[share, "a"]["epochs"] for share in (0.98, 0.99, 0.995)] == [2, 2.5, 3]
    assert [found[share, "b"]["epochs"] for share in (0.98, 0.99, 0.995)] == [1.5, 2, 2]
    assert (found[0.98, "a"]["steps"], found[0.98, "a"]["seconds"]) == (8, 4)
    assert {found[share, "c"]["reached"] for share in (0.98, 0.99, 0.995)} == {0}


def test_times_do_not_depend_on_the_unit_of_the_score() -> None:
    runs, paths = three_contenders()
    half = {"best_val_accuracy": runs["best_val_accuracy"] / 2}, {"val_accuracy": paths["val_accuracy"] / 2}
    whole = replicate_values(runs, paths, NO_SWEEP, 3, None, 0.0)
    assert replicate_values(runs.assign(**half[0]), paths.assign(**half[1]), NO_SWEEP, 3, None, 0.0) == {
        arm: {**values, "test_accuracy": whole[arm]["test_accuracy"]} for arm, values in whole.items()
    }


def test_a_target_of_the_study_is_that_of_every_replicate() -> None:
    runs, paths = three_contenders()
    targets = targets_of(runs, 0.65)
    assert targets is not None
    assert targets.by_replicate == {0: 0.65, 1: 0.65}
    [row] = [row for row in target_rows(runs, paths, 3, 0.65, {}) if row["contender"] == "b"]
    assert (row["share"], row["target"], row["n"], row["reached"], row["epochs"]) == (None, 0.65, 2, 2, 1.5)


def test_a_target_that_no_training_reaches_is_missed_by_all() -> None:
    runs, paths = three_contenders()
    values = replicate_values(runs, paths, NO_SWEEP, 3, 0.99, 0.0)
    assert {tuple(own["epochs_to_target"] + own["reached"]) for own in values.values()} == {(3, 3, 0, 0)}


def test_the_target_is_that_of_the_tuned_runs_if_any_is_tuned() -> None:
    runs = pd.concat([final_runs([0.9, 0.8], [0.7, 0.5]), final_runs([0.1, 0.1], [0.1, 0.1], "untuned")])
    tuned, untuned = targets_of(runs, None), targets_of(runs[runs["variant"] == "untuned"], None)
    assert tuned is not None
    assert untuned is not None
    assert tuned.by_replicate == pytest.approx({0: 0.693, 1: 0.495})
    assert untuned.by_replicate == pytest.approx({0: 0.099, 1: 0.099})
    assert targets_of(runs.drop(columns="best_val_accuracy"), None) is None


def test_without_accuracies_the_target_is_a_loss_above_the_median() -> None:
    runs, _ = three_contenders()
    losses = runs.rename(columns={"best_val_accuracy": "best_val_loss"})
    targets = targets_of(losses, None)
    assert targets is not None
    assert (targets.score, targets.higher) == ("val_loss", False)
    assert targets.by_replicate == pytest.approx({0: 1.01 * 0.7, 1: 1.01 * 0.6})
    own = losses[losses["contender"] == "b"]
    falling = curves([[0.9, 0.708, 0.707], [0.9, 0.8, 0.7]]).rename(columns={"val_accuracy": "val_loss"})
    assert times_to_target(own, falling, targets) == [3, None]
    assert targets_of(losses, 0.9) is None  # the study's target is an accuracy


def test_steps_to_tolerance_are_restricted_to_the_budget() -> None:
    runs = pd.DataFrame(
        {"contender": "a", "variant": "tuned", "replicate": range(3), "status": "completed", "loss": 0.1}
    ).assign(steps_to_tolerance=[7.0, 201.0, 200.0])
    empty, prices = pd.DataFrame({"contender": [], "variant": []}), {"a": Price("cpu", "timed steps", 1, 0.5)}
    values = replicate_values(runs, empty, NO_SWEEP, 200, None, 0.0, prices)
    assert values["a", "tuned"]["steps_to_tolerance"] == [7, 200, 200]
    assert values["a", "tuned"]["reached"] == [1, 0, 1]
    assert values["a", "tuned"]["seconds_to_target"] == [3.5, 100, 100]
    assert "steps_to_target" not in values["a", "tuned"]  # a step of a function is an epoch
    assert comparison(runs, values, None)["reached"].tolist() == [2]


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
    values = replicate_values(runs, epochs, NO_SWEEP, 2, None, 0.0)
    a, b = comparison(runs, values, targets_of(runs, None)).to_dict("records")
    assert a["test_accuracy_mean"] == pytest.approx(0.85)
    assert a["test_accuracy_sd"] == pytest.approx(0.0707106781)
    # t(0.975, 1) = 12.7062047; 12.7062047 * 0.0707106781 / sqrt(2) = 0.635310
    assert a["test_accuracy_ci_high"] - a["test_accuracy_mean"] == pytest.approx(0.63531, abs=1e-5)
    assert (b["test_accuracy_sd"], b["test_accuracy_ci_low"]) == (0.0, 0.6)


def test_a_sweep_gives_one_tolerance_per_replicate_shown_in_the_first_row() -> None:
    runs = final_runs([0.9, 0.8], [0.7, 0.5]).assign(contender="a")
    points = [(0, 0.01, 0.5), (0, 0.1, 0.9), (0, 1.0, 0.9), (1, 0.01, 0.9), (1, 0.1, 0.5), (1, 1.0, 0.1)]
    sweep = pd.DataFrame(points, columns=["replicate", "learning_rate", "val_accuracy"]).assign(contender="a")
    values = replicate_values(runs, curves([[0.7], [0.5]]).assign(contender="a"), sweep, 1, None, 0.2)
    # Linear between rates: within .2 of .9 from halfway between .5 and .9 on, so 1 + 1/2 and 1/2 decades.
    assert values["a", "sweep"]["learning_rate_tolerance"] == pytest.approx([1.5, 0.5])
    row = comparison(runs, values, None).iloc[0]
    assert row["learning_rate_tolerance_mean"] == pytest.approx(1.0)
