"""Tables become numbers: standardised by the training rows, text one-hot; what is missing or unknown is an error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from optstudy.errors import DataError
from optstudy.tasks.loaders.tables import MOST_CATEGORIES, diabetes, table, table_classes

ROWS = pd.DataFrame(
    {
        "area": [30.0, 50.0, 70.0, 90.0, 110.0],
        "rooms": [1, 2, 3, 4, 5],
        "town": ["Ulm", "Bonn", "Ulm", "Jena", "Bonn"],
        "new": [True, False, True, True, False],
        "same": [7, 7, 7, 7, 7],
        "price": [1.5, 2.5, 3.5, 4.5, 5.5],
    }
)
TEST = ROWS.assign(town=["Ulm", "Bonn", "Kiel", "Jena", "Bonn"], area=[70.0] * 5)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTSTUDY_DATA", str(tmp_path))
    ROWS.to_csv(tmp_path / "rows.csv", index=False)
    TEST.to_csv(tmp_path / "test.csv", index=False)


def test_numbers_are_standardised_by_the_training_rows_and_text_is_one_hot() -> None:
    arrays = table("rows.csv", "price", "test.csv", 0.2)
    numbers = (np.array([30, 50, 70, 90, 110]) - 70) / np.sqrt(800)
    assert arrays.x[:, 0] == pytest.approx(numbers)
    assert arrays.x[:, 1] == pytest.approx((np.arange(5) - 2) / np.sqrt(2))
    assert arrays.x[:, 2:5].tolist() == [[0, 0, 1], [1, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]]  # Bonn, Jena, Ulm
    assert arrays.x[:, 5:7].tolist() == [[0, 1], [1, 0], [0, 1], [0, 1], [1, 0]]  # False, True
    assert arrays.x[:, 7].tolist() == [0.0] * 5  # it does not vary
    assert arrays.test_x[2, 2:5].tolist() == [0, 0, 0]  # Kiel is in no training row
    assert arrays.test_x[:, 0].tolist() == [0.0] * 5
    assert (arrays.y.tolist(), arrays.y.dtype, arrays.classes) == ([1.5, 2.5, 3.5, 4.5, 5.5], np.float32, 1)


def test_a_parquet_file_is_read_as_the_csv_file_is(tmp_path: Path) -> None:
    ROWS.to_parquet(tmp_path / "rows.parquet")
    one, other = (table(f"rows.{ending}", "price", "", 0.4) for ending in ("csv", "parquet"))
    assert np.array_equal(one.x, other.x)
    assert np.array_equal(one.test_y, other.test_y)
    assert (len(one.y), len(one.test_y)) == (3, 2)
    assert sorted([*one.y, *one.test_y]) == ROWS["price"].tolist()  # a part each, and none twice


def test_classes_are_text_or_numbers_counted_in_their_order() -> None:
    arrays = table_classes("rows.csv", "town", "rows.csv", 0.2)
    assert (arrays.y.tolist(), arrays.classes, arrays.y.dtype) == ([2, 0, 2, 1, 0], 3, np.int64)
    assert table_classes("rows.csv", "rooms", "rows.csv", 0.2).y.tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(DataError, match=r"rows.csv: column 'town': the class 'Kiel' is in test rows only"):
        table_classes("rows.csv", "town", "test.csv", 0.2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"area": [30.0, None, 70.0, None, 110.0]}, "row 2, column 'area': a value is missing, the first of 2"),
        ({"price": ["1", "2", "3", "four", "5"]}, "column 'price': expected numbers: could not convert"),
        ({"area": [30.0, 50.0, np.inf, 90.0, 1.0]}, "column 'area': expected finite numbers, found inf"),
        ({"price": None}, "has no column 'price'; it has area, rooms, town, new, same"),
    ],
)
def test_what_cannot_be_learned_from_is_an_error_that_names_its_place(
    change: dict[str, object], message: str, tmp_path: Path
) -> None:
    changed = ROWS.drop(columns="price") if change == {"price": None} else ROWS.assign(**change)  # type: ignore[arg-type]
    changed.to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(DataError) as error:
        table("bad.csv", "price", "rows.csv" if "price" in changed else "", 0.2)
    assert message in str(error.value)


def test_a_column_that_identifies_rows_and_files_that_do_not_fit_are_errors(tmp_path: Path) -> None:
    count = MOST_CATEGORIES + 1
    pd.DataFrame({"id": [f"a{n}" for n in range(2 * count)], "y": range(2 * count)}).to_csv(tmp_path / "ids.csv")
    with pytest.raises(DataError, match=r"column 'id': has \d+ categories, at most 1000 are encoded: leave it out"):
        table("ids.csv", "y", "", 0.2)
    ROWS.drop(columns="area").to_csv(tmp_path / "less.csv", index=False)
    with pytest.raises(DataError, match=r"less.csv: expected the columns of rows.csv in their order; differing: area"):
        table("rows.csv", "price", "less.csv", 0.2)
    (tmp_path / "broken.parquet").write_bytes(b"no table")
    with pytest.raises(DataError, match=r"broken.parquet: cannot be read as a table"):
        table("broken.parquet", "price", "", 0.2)
    with pytest.raises(DataError, match=r"test_share 0.01 of 5 rows leaves no row to test or to train on"):
        table("rows.csv", "price", "", 0.01)


def test_diabetes_is_scikit_learns_whole_table() -> None:
    arrays = diabetes()
    assert (arrays.x.shape, arrays.test_x.shape) == ((354, 10), (88, 10))
    assert arrays.x.mean(0) == pytest.approx(np.zeros(10), abs=1e-5)
    assert arrays.x.std(0) == pytest.approx(np.ones(10), abs=1e-5)
    assert float(np.concatenate([arrays.y, arrays.test_y]).mean()) == pytest.approx(152.133, abs=1e-3)
