"""Tables of runs that cannot be compared are refused with the column, the row, the value and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from optstudy.errors import StudyError
from optstudy.judging.user_runs import Columns, check_numbers, read_csv, rows_where, user_runs

Write = Callable[[str, str], Path]
GOOD = "optimizer,seed,acc\nsgd,0,0.7\nsgd,1,0.8\nadam,0,0.9\nadam,1,0.8\n"
SEARCH = "optimizer,seed,val_acc,acc\nsgd,0,0.5,0.7\nsgd,0,0.6,0.6\nsgd,1,0.5,0.8\nadam,0,0.7,0.9\nadam,1,nan,0.1\n"
SEARCH += "adam,1,0.2,0.4\n"


def refused(write: Write, text: str, **columns: object) -> str:
    path = write(text, "runs.csv")
    given = {"group": "optimizer", "pair": "seed", "metric": "acc"} | columns
    with pytest.raises(StudyError) as error:
        user_runs(str(path), read_csv(path), Columns(**given), higher=True)  # type: ignore[arg-type]
    return str(error.value).replace(str(path), "runs.csv")


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("", {}, "runs.csv: cannot be read as a CSV"),
        ("optimizer,seed,acc\n", {}, "runs.csv: has no rows"),
        ("optimizer,acc,acc\nsgd,1,2\n", {}, "runs.csv: the header has the column 'acc' more than once"),
        ("optimizer,seed,acc\nsgd,0,0.5,7\n", {}, "runs.csv: rows have more cells than the header, which has 3"),
        ('optimizer,seed,acc\n"sgd,0,0.5\n', {}, "runs.csv: cannot be read as a CSV"),
        (GOOD.replace(",", ";"), {}, "runs.csv: --group: 'optimizer': is not a column; columns: optimizer;seed;acc"),
        (GOOD, {"metric": "accuracy"}, "--metric: 'accuracy': is not a column; columns: acc, optimizer, seed"),
        (GOOD, {"pair": "fold"}, "--pair: 'fold': is not a column"),
        (GOOD, {"pair": "optimizer"}, "--pair: 'optimizer': is --group, too"),
        (GOOD, {"select": "acc", "pair": ""}, "--select: 'acc': is --metric, too"),
        (GOOD, {"metric": "seed", "pair": "", "select": "acc"}, "needs --pair"),
        (GOOD.replace("0.9", "good"), {}, "runs.csv: row 3: acc: 'good': must be a number"),
        (GOOD.replace("0.9", "nan"), {}, "runs.csv: row 3: acc: 'nan': is not a finite number (1 of 4 rows)"),
        (GOOD.replace("0.9", "-inf"), {}, "row 3: acc: '-inf': is not a finite number"),
        (GOOD.replace("0.9", ""), {}, "row 3: acc: '': is not a finite number"),
        (GOOD.replace("0.9", "1e999"), {}, "row 3: acc: '1e999': is not a finite number"),
        (GOOD.replace("adam,0", ",0"), {}, "runs.csv: row 3: optimizer: is empty"),
        (GOOD.replace("adam,0", "adam, "), {}, "runs.csv: row 3: seed: is empty"),
        (GOOD.replace("adam", "sgd").replace("sgd,1", "sgd,2", 1), {"pair": ""}, "has a single value, 'sgd'"),
        ("optimizer,seed,acc\nsgd,0,0.5\nadam,0,0.6\n", {}, "1 of its 1 values have a run in each group"),
        ("optimizer,seed,acc\nsgd,0,0.5\nadam,0,0.6\n", {"pair": ""}, "optimizer 'sgd': has a single run"),
        (
            GOOD.replace("adam,0", "adam,5").replace("adam,1", "adam,6"),
            {},
            "0 of its 4 values have a run in each group",
        ),
        (GOOD + "adam,1,0.8\n", {}, "runs.csv: row 4 and row 5 are equal; remove one"),
        (GOOD + "adam,1,0.9\n", {}, "optimizer 'adam', seed '1': has 2 rows, but one is compared"),
        (
            GOOD.replace("acc", "test_acc"),
            {"metric": "test_acc", "select": "test_loss"},
            "--select: 'test_loss': is not",
        ),
        ("optimizer,seed,acc\n,0,\n", {}, "runs.csv: no row has a value of optimizer, or of the metric"),
        (GOOD, {"where": "State = finished"}, "--where: 'State': is not a column"),
        (GOOD, {"where": "optimizer = lion"}, "leaves no row; optimizer is one of sgd, adam"),
        (GOOD, {"where": "optimizer is adam"}, "must be conditions such as"),
        (GOOD, {"where": "seed = 0 or seed = 1"}, "conditions are joined by `and`"),
        ("optimizer,seed,acc\n" + "".join(f"g{n},{s},1\n" for n in range(13) for s in (0, 1)), {}, "has 13 values; at"),
    ],
)
def test_a_table_that_cannot_be_compared_is_refused(
    text: str, columns: dict[str, object], message: str, write: Write
) -> None:
    assert message in refused(write, text, **columns)


def test_selecting_by_test_values_is_refused(write: Write) -> None:
    text = SEARCH.replace("val_acc", "test_loss")
    assert "--select: 'test_loss': selecting by test values" in refused(write, text, select="test_loss")


def test_files_that_are_no_csv_are_refused(tmp_path: Path) -> None:
    for content in (b"\x89PNG\r\n\x1a\n\x00\xff\xfe", b"\xff\xfea\x00,\x00"):
        (tmp_path / "runs.csv").write_bytes(content)
        with pytest.raises(StudyError, match="cannot be read as a CSV"):
            read_csv(tmp_path / "runs.csv")
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(StudyError, match="is not a file"):
            read_csv(path)


@pytest.mark.parametrize(("margin", "diverged"), [(0.0, None), (-1.0, None), (float("nan"), None), (0.1, float("inf"))])
def test_numbers_that_cannot_be_used_are_refused(margin: float, diverged: float | None) -> None:
    with pytest.raises(StudyError, match=r"--(margin|diverged): "):
        check_numbers(margin, diverged)


def test_spaces_around_names_and_cells_and_seeds_written_as_floats_make_no_difference(write: Write) -> None:
    text = GOOD.replace(",", " , ").replace("adam , 0", "adam , 0.0").replace("adam , 1", "adam , 1.")
    runs = user_runs("t", read_csv(write(text, "runs.csv")), Columns("optimizer", "seed", "acc"), higher=True)
    assert runs.values == {"sgd": {"0": 0.7, "1": 0.8}, "adam": {"0": 0.9, "1": 0.8}}


def test_values_are_kept_by_group_and_pair(write: Write) -> None:
    runs = user_runs("t", read_csv(write("\ufeff" + GOOD, "bom.csv")), Columns("optimizer", "seed", "acc"), higher=True)
    assert runs.values == {"sgd": {"0": 0.7, "1": 0.8}, "adam": {"0": 0.9, "1": 0.8}}


def test_the_best_validation_value_selects_and_missing_ones_never_do(write: Write) -> None:
    columns = Columns("optimizer", "seed", "acc", select="val_acc")
    runs = user_runs("t", read_csv(write(SEARCH, "runs.csv")), columns, higher=True)
    assert runs.values == {"sgd": {"0": 0.6, "1": 0.8}, "adam": {"0": 0.9, "1": 0.4}}
    assert runs.candidates == {"sgd": (2, 1), "adam": (1, 2)}


def test_the_metric_of_rows_that_are_not_selected_may_be_missing(write: Write) -> None:
    columns = Columns("optimizer", "seed", "acc", select="val_acc")
    text = SEARCH.replace("sgd,0,0.5,0.7", "sgd,0,0.5,")
    runs = user_runs("t", read_csv(write(text, "runs.csv")), columns, higher=True)
    assert runs.values["sgd"] == {"0": 0.6, "1": 0.8}
    assert runs.diverged == {}


@pytest.mark.parametrize(("suffix", "kept"), [(":max", 0.6), (":min", 0.7), ("", 0.6)])
def test_the_user_may_say_which_value_of_a_column_is_best(suffix: str, kept: float, write: Write) -> None:
    columns = Columns("optimizer", "seed", "acc", select=f"value{suffix}")
    runs = user_runs("t", read_csv(write(SEARCH.replace("val_acc", "value"), "runs.csv")), columns, higher=True)
    assert runs.values["sgd"]["0"] == kept


def test_of_a_loss_the_lowest_selects(write: Write) -> None:
    columns = Columns("optimizer", "seed", "acc", select="val_loss")
    runs = user_runs("t", read_csv(write(SEARCH.replace("val_acc", "val_loss"), "runs.csv")), columns, higher=True)
    assert runs.values["sgd"] == {"0": 0.7, "1": 0.8}


def test_rows_without_group_and_metric_are_left_out_and_counted(write: Write) -> None:
    runs = user_runs(
        "t", read_csv(write(GOOD + ",,\n,7,\n", "runs.csv")), Columns("optimizer", "seed", "acc"), higher=True
    )
    assert runs.values == {"sgd": {"0": 0.7, "1": 0.8}, "adam": {"0": 0.9, "1": 0.8}}
    assert runs.blank == 2


def test_a_diverged_run_counts_as_the_given_value(write: Write) -> None:
    columns = Columns("optimizer", "seed", "acc", diverged=0.1)
    runs = user_runs("t", read_csv(write(GOOD.replace("0.9", "NaN"), "runs.csv")), columns, higher=True)
    assert runs.values["adam"] == {"0": 0.1, "1": 0.8}
    assert runs.diverged == {"adam": 1}


@pytest.mark.parametrize(
    ("where", "left"),
    [
        ("seed != 2 and State=finished", {"sgd": ["0", "1"], "adam": ["0", "1"]}),
        ("State != 'crashed' AND `optimizer` != \"lion\"", {"sgd": ["0", "1"], "adam": ["0", "1"]}),
        ("seed != 0.0 and optimizer != lion", {"sgd": ["1"], "adam": ["1"]}),
    ],
)
def test_conditions_leave_out_rows_and_compare_numbers_as_numbers(
    where: str, left: dict[str, list[str]], write: Write
) -> None:
    text = GOOD.replace("\n", ",finished\n").replace("acc,finished", "acc,State") + "lion,0,,crashed\n"
    kept = rows_where("t", read_csv(write(text, "runs.csv")), where)
    assert kept.groupby("optimizer", sort=False)["seed"].agg(list).to_dict() == left


def test_pairs_that_a_group_lacks_are_left_out_and_named(write: Write) -> None:
    runs = user_runs(
        "t", read_csv(write(GOOD + "adam,2,0.9\n", "runs.csv")), Columns("optimizer", "seed", "acc"), higher=True
    )
    assert runs.values["adam"] == {"0": 0.9, "1": 0.8}
    assert runs.left_out == ["Only seed with a run in each group are compared, 2 of 3: sgd lacks 2."]
