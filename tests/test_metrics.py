"""Values as people read them: digits by the width of the interval, differences in the metric's unit."""

from __future__ import annotations

import pytest

from optstudy.metrics import (
    METRICS,
    declare,
    difference,
    direction,
    find_metric,
    level,
    metric,
    number,
    present,
    probability,
    span,
)


@pytest.mark.parametrize(
    ("value", "half", "text"),
    [(0.97345, 0.0113, "0.973"), (0.97345, 0.00113, "0.9735"), (-3.14159, 0.5, "−3.14"), (123.4, 12.0, "123")],
)
def test_a_value_has_the_digits_that_its_interval_supports(value: float, half: float, text: str) -> None:
    assert number(value, half) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_is_written_in_words(value: float) -> None:
    assert number(value, 0.1) == "not finite"


def test_a_mean_is_written_with_its_interval() -> None:
    assert level(0.9731, 0.9623, 0.9839) == "0.973 ± 0.011"
    assert span(0.9731, 0.9623, 0.9839) == "0.973 (0.962 to 0.984)"


def test_differences_of_shares_are_in_percentage_points() -> None:
    assert difference("test_accuracy", 0.0184, 0.0051, 0.0317) == "+1.8 pp (0.5 to 3.2)"
    assert difference("epochs_to_target", -2.04, -3.3, -0.78) == "−2.0 epochs (−3.3 to −0.8)"


@pytest.mark.parametrize(("p", "text"), [(None, "–"), (0.0004, "< 0.001"), (0.0469, "0.047"), (0.62, "0.62")])
def test_p_values_have_two_or_three_decimals(p: float | None, text: str) -> None:
    assert probability(p) == text


# Of all metrics of the tables; of the others, less is better.
HIGHER = {"accuracy", "f1", "precision", "recall", "auroc", "kappa", "mcc", "r2", "tolerance"}


@pytest.mark.parametrize("name", METRICS)
def test_lower_is_better_for_losses_errors_gaps_and_counts_only(name: str) -> None:
    assert metric(name).higher == (name.rpartition("_")[2] in HIGHER and name != "steps_to_tolerance")
    assert direction(name) == ("maximize" if metric(name).higher else "minimize")


def test_a_metric_of_no_table_has_no_direction_until_a_study_declares_it() -> None:
    assert find_metric("test_regret") is None
    with pytest.raises(KeyError, match="test_regret: no table has this metric, and no study declares it"):
        metric("test_regret")
    declare("s", {"regret": {"better": "lower", "margin": None}})
    assert (metric("test_regret").label, metric("test_regret").higher) == ("test regret", False)


def test_metrics_are_in_the_order_of_the_table_but_the_objective_on_the_test_part_comes_first() -> None:
    columns = ["contender", "test_f1_mean", "epochs_to_target_mean", "test_accuracy_mean", "test_accuracy_sd"]
    assert present([*columns, "odd_mean"]) == ["test_accuracy", "epochs_to_target", "test_f1"]
    assert present(columns, "val/f1") == ["test_f1", "test_accuracy", "epochs_to_target"]
    assert present(columns, "val/loss") == ["test_accuracy", "epochs_to_target", "test_f1"]
    assert present(["epochs_to_target_mean", "val_f1_mean"], "val/f1") == ["val_f1", "epochs_to_target"]
    assert present(["steps_to_tolerance_mean", "loss_mean"], "loss") == ["steps_to_tolerance", "loss"]
