"""What a table of runs does not show is a finding: one table for each, which differs from a sound one in one thing."""

from __future__ import annotations

import pandas as pd
import pytest

from optstudy.judging.gaps import findings
from optstudy.judging.user_runs import Columns, user_runs

COLUMNS = {"group": "optimizer", "pair": "seed", "metric": "acc", "select": "val_acc"}


def table(**changed: object) -> pd.DataFrame:
    """Return six seeds of two optimizers; a changed column is a text for all rows, or one for each optimizer."""
    rows = [
        {"optimizer": name, "seed": str(seed), "acc": f"0.{80 + seed}", "val_acc": f"0.{70 + seed}", "lr": rate}
        for name, rate in (("sgd", "0.1"), ("adam", "0.001"))
        for seed in range(6)
    ]
    for row in rows:
        for name, cell in changed.items():
            row[name] = str(cell[row["optimizer"]] if isinstance(cell, dict) else cell)
    return pd.DataFrame(rows, index=[f"row {number}" for number in range(1, len(rows) + 1)])


def found(runs: pd.DataFrame, **columns: object) -> list[str]:
    named = Columns(**(COLUMNS | columns))  # type: ignore[arg-type]
    return [one.finding for one in findings(user_runs("t", runs, named, higher=True), named)]


def test_sound_runs_have_no_findings() -> None:
    assert found(table(epochs=10, model="cnn", State="finished")) == []


@pytest.mark.parametrize(
    ("runs", "columns", "words"),
    [
        (table(), {"select": ""}, "how the hyperparameters of these runs were chosen is unknown"),
        (table(), {"pair": "", "select": ""}, "they could be: --pair seed"),
        (table(seed=1), {"pair": "", "select": ""}, "noise of both, of seeds and splits"),
        (table()[1:], {"pair": "", "select": ""}, "groups have unequal numbers of runs: sgd 5, adam 6"),
        (table()[1:], {}, "Only seed with a run in each group are compared, 5 of 6: sgd lacks 0."),
        (table()[lambda own: own["seed"] < "5"], {}, "5 pairs are too few for a significant difference"),
        (
            table(epochs={"sgd": 100, "adam": 50}),
            {},
            "unequal budgets: epochs differs between groups: sgd 100, adam 50",
        ),
        (table(model={"sgd": "cnn", "adam": "mlp"}), {}, "model differs between groups, too"),
        (table(lr=0.001), {}, "lr is 0.001 in all groups"),
        (table(State={"sgd": "finished", "adam": "crashed"}), {}, "runs that did not finish are compared: crashed 6"),
        (table(acc={"sgd": "nan", "adam": "0.9"}), {"diverged": 0.1}, "diverged runs count as 0.1: sgd 6"),
        (table(best_acc=0.5), {"metric": "best_acc"}, "best_acc seems to be the best over epochs"),
        (table(val_loss=0.5), {"metric": "val_loss"}, "val_loss is a validation value"),
    ],
)
def test_each_gap_is_a_finding(runs: pd.DataFrame, columns: dict[str, object], words: str) -> None:
    assert any(words in one for one in found(runs, **columns))


def test_runs_selected_from_unequal_numbers_of_trials_have_unequal_budgets() -> None:
    more = table()[lambda own: own["optimizer"] == "adam"].assign(val_acc="0.1", lr="1")
    runs = pd.concat([table(), more], ignore_index=True)
    assert found(runs) == ["unequal budgets: runs were selected from unequal numbers of rows: sgd 1 to 1, adam 2 to 2"]
