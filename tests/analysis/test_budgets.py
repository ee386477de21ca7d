"""Laws of `analysis.budgets`: the shipped trials, hand-computed values, and the words for crossing points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from builders import tiny
from optstudy.analysis.budgets import (
    leads_by_budget,
    leads_in_words,
    numbers_of_trials,
    read_curves,
    tuning_curves,
    write_curves,
)
from optstudy.inference.tuning_curves import Lead, expected_best
from shipped_tables import shipped

ALIKE = dict.fromkeys(("adam", "adamw"), "adam or adamw")


@pytest.fixture(scope="module")
def digits() -> pd.DataFrame:
    return pd.DataFrame(tuning_curves(*shipped("digits")))


@pytest.mark.parametrize(
    ("study", "words"),
    [
        ("digits", "rmsprop with up to two trials, adam or adamw from three"),
        ("digits_lstm", "rmsprop with one trial, adam or adamw from two"),
        ("digits_transfer", "rmsprop with any number of trials"),
    ],
)
def test_rmsprop_leads_with_one_trial_in_all_shipped_studies(study: str, words: str) -> None:
    curves = pd.DataFrame(tuning_curves(*shipped(study)))
    assert leads_in_words(leads_by_budget(curves, "test_accuracy", ALIKE)) == words


def test_with_one_trial_the_expected_values_are_the_means_of_the_pool(digits: pd.DataFrame) -> None:
    _, tuning, values = shipped("digits")
    for row in digits[digits["trials"] == 1].to_dict("records"):
        own = tuning[tuning["contender"] == row["contender"]]
        assert row["validation"] == pytest.approx(own["val_accuracy"].mean())
        assert row["test"] == pytest.approx(own["test_accuracy"].mean())
        untuned = np.mean(values[row["contender"], "untuned"]["test_accuracy"])
        assert row["gain"] == pytest.approx(own["test_accuracy"].mean() - untuned)


def test_the_studys_own_number_of_trials_is_in_the_table_and_bands_contain_medians(digits: pd.DataFrame) -> None:
    assert set(digits[digits["trials"] == 6]["contender"]) == {"sgd", "momentum", "rmsprop", "adam", "adamw"}
    assert digits["trials"].max() == 24  # half of 48
    assert (digits["median_low"] <= digits["median"]).all()
    assert (digits["median"] <= digits["median_high"]).all()
    assert digits["median_high"].max() <= 1
    assert digits["tunability"].between(0, 1).all()


def test_chances_to_be_ahead_of_each_other_sum_to_one(digits: pd.DataFrame) -> None:
    by_name = {name: own.set_index("trials") for name, own in digits.groupby("contender")}
    both = by_name["adam"]["ahead_of_sgd"] + by_name["sgd"]["ahead_of_adam"]
    assert both.to_numpy() == pytest.approx(1)
    assert by_name["adam"]["ahead_of_adam"].isna().all()


def test_of_a_loss_lower_is_better() -> None:
    study = tiny(tuning={"trials": 2, "objective": "val/loss"}, replicates=4)
    rates = [1e-2, 1e-1] * 4
    tables = [
        pd.DataFrame(
            {"contender": name, "replicate": np.repeat(range(4), 2), "learning_rate": rates, "weight_decay": 1e-5}
        ).assign(val_loss=losses, test_loss=losses)
        for name, losses in (("sgd", np.arange(1.0, 9)), ("adam", np.arange(2.0, 10)))
    ]
    rows = pd.DataFrame(tuning_curves(study, pd.concat(tables), {("sgd", "untuned"): {"test_loss": [5.0, 5.0]}}))
    best = expected_best((-np.arange(1.0, 9)).tolist(), (-np.arange(1.0, 9)).tolist(), [2])[0]
    [two] = rows[(rows["contender"] == "sgd") & (rows["trials"] == 2)].to_dict("records")
    assert two["validation"] == pytest.approx(-best.validation)
    assert two["gain"] == pytest.approx(5 + best.test)
    assert two["median_low"] == 0  # a loss is not below zero
    assert two["ahead_of_adam"] > 0.5
    assert rows["tunability"].isna().all()
    assert leads_in_words(leads_by_budget(rows, "test_loss", {})) == "sgd with any number of trials"


def test_numbers_of_trials_go_up_to_half_of_the_pool() -> None:
    assert numbers_of_trials(8, 2) == [1, 2, 3, 4]
    assert numbers_of_trials(1, 1) == []
    assert {1, 2, 137, 500} <= set(numbers_of_trials(1000, 137))


@pytest.mark.parametrize(
    ("leads", "words"),
    [
        ([], ""),
        ([Lead(1, 9, "a")], "a with any number of trials"),
        ([Lead(1, 1, "a"), Lead(2, 9, "b")], "a with one trial, b from two"),
        ([Lead(1, 3, "a"), Lead(4, 11, "b"), Lead(12, 20, "a")], "a with up to three trials, b from four, a from 12"),
    ],
)
def test_leads_are_written_in_words(leads: list[Lead], words: str) -> None:
    assert leads_in_words(leads) == words


def test_the_table_is_read_as_it_was_written(digits: pd.DataFrame, tmp_path: Path) -> None:
    assert len(read_curves(tmp_path)) == 0
    assert leads_by_budget(read_curves(tmp_path), "test_accuracy", {}) == []
    write_curves(tmp_path, digits.astype(object).where(digits.notna(), None).to_dict("records"))
    pd.testing.assert_frame_equal(read_curves(tmp_path), digits, check_dtype=False)
    write_curves(tmp_path, [])
    assert len(read_curves(tmp_path)) == 0


@pytest.mark.parametrize("text", ["", "\0", "kind,subject\nclaim,1\n", 'contender,"trials\n1'])
def test_a_damaged_table_has_no_rows(text: str, tmp_path: Path) -> None:
    (tmp_path / "tuning_curves.csv").write_text(text)
    assert len(read_curves(tmp_path)) == 0
