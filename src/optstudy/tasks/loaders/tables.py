"""Tables: a CSV or Parquet file with a column for each feature and one for the target, to rows of numbers.

Numbers are standardised by the rows that are not test rows. Text is a category, encoded one-hot. Missing values are
errors: what to do about them is the user's decision.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from optstudy.errors import DataError, one_line
from optstudy.paths import below_root
from optstudy.tasks.arrays import Arrays

TEST_SEED = 0  # the test part belongs to the data set, not to a replicate
MOST_CATEGORIES = 1000  # of a column: one with more identifies rows
PARQUET = (".parquet", ".pq")


def table(path: str, target: str, test: str, test_share: float) -> Arrays:
    """Return a table whose column `target` has real numbers.

    The test rows are those of the file `test`, or a share of the rows, drawn once for all replicates.
    """
    rows, held = _parts(path, target, test, test_share)
    y, test_y = (_numbers(f"{path}: column {target!r}", part.pop(target)) for part in (rows, held))
    x, test_x = _features(path, rows, held)
    return Arrays(x, y.astype(np.float32), test_x, test_y.astype(np.float32), classes=1)


def table_classes(path: str, target: str, test: str, test_share: float) -> Arrays:
    """Return a table whose column `target` has classes: text or whole numbers, in any order."""
    rows, held = _parts(path, target, test, test_share)
    names, y = np.unique(rows.pop(target).astype(str).to_numpy(dtype=str), return_inverse=True)
    found = held.pop(target).astype(str).to_numpy(dtype=str)
    unknown = sorted(set(found) - set(names))
    if unknown:
        raise DataError(f"{path}: column {target!r}: the class {str(unknown[0])!r} is in test rows only")
    x, test_x = _features(path, rows, held)
    return Arrays(x, y.astype(np.int64), test_x, np.searchsorted(names, found).astype(np.int64), classes=len(names))


def diabetes() -> Arrays:
    """Return scikit-learn's 442 diabetes patients (Efron et al. 2004): ten measurements, the progression a year later.

    A fifth of them, drawn once, are test rows.
    """
    from sklearn.datasets import load_diabetes

    frame = load_diabetes(as_frame=True, scaled=False).frame
    rows, held = _drawn(frame, 0.2)
    y, test_y = (part.pop("target").to_numpy(dtype=np.float32) for part in (rows, held))
    x, test_x = _features("diabetes", rows, held)
    return Arrays(x, y, test_x, test_y, classes=1)


def _parts(path: str, target: str, test: str, test_share: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows to train on and the test rows, without missing values."""
    rows = _read(path, target)
    if not test:
        return _drawn(rows, test_share)
    held = _read(test, target)
    if list(held) != list(rows):
        differing = sorted(set(held) ^ set(rows)) or list(held)
        raise DataError(f"{test}: expected the columns of {path} in their order; differing: {', '.join(differing)}")
    return rows, held


def _drawn(rows: pd.DataFrame, share: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    order = np.random.default_rng(TEST_SEED).permutation(len(rows))
    count = round(share * len(rows))
    if not 0 < count < len(rows):
        raise DataError(f"test_share {share:g} of {len(rows)} rows leaves no row to test or to train on")
    return rows.iloc[np.sort(order[count:])].copy(), rows.iloc[np.sort(order[:count])].copy()


def _read(path: str, target: str) -> pd.DataFrame:
    """Return a file's rows. Raises DataError if they cannot be read, or lack the target or a value."""
    file = below_root(path)
    try:
        rows = pd.read_parquet(file) if Path(path).suffix.lower() in PARQUET else pd.read_csv(file)
    except OSError:
        raise
    except Exception as error:  # pandas and pyarrow raise errors of their own
        raise DataError(f"{path}: cannot be read as a table: {one_line(error)}") from error
    rows.columns = [str(name) for name in rows.columns]
    if target not in rows:
        raise DataError(f"{path}: has no column {target!r}; it has {', '.join(rows)}")
    missing = rows.isna().to_numpy()
    if missing.any():
        row, column = (int(axis[0]) for axis in np.nonzero(missing))
        raise DataError(
            f"{path}: row {row + 1}, column {rows.columns[column]!r}: a value is missing, the first of "
            f"{int(missing.sum())}: fill them in, or leave out the rows or the column"
        )
    return rows


def _features(path: str, rows: pd.DataFrame, held: pd.DataFrame) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the encoded features (n, features) of both parts, float32."""
    if not len(rows.columns):
        raise DataError(f"{path}: has no column besides the target")
    pairs = [_encoded(f"{path}: column {name!r}", rows[name], held[name]) for name in rows]
    x, test_x = (np.concatenate(part, axis=1, dtype=np.float32) for part in zip(*pairs, strict=True))
    return x, test_x


def _encoded(place: str, train: pd.Series, test: pd.Series) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return a column of both parts: standardised numbers (n, 1), or a column for each category of the training rows.

    A category that only test rows have is zero in all of them.
    """
    if pd.api.types.is_numeric_dtype(train) and not pd.api.types.is_bool_dtype(train):
        numbers, others = _numbers(place, train), _numbers(place, test)
        mean, sd = numbers.mean(), numbers.std() or 1.0
        return ((numbers - mean) / sd)[:, None], ((others - mean) / sd)[:, None]
    names = np.unique(train.astype(str).to_numpy(dtype=str))
    if len(names) > MOST_CATEGORIES:
        raise DataError(f"{place}: has {len(names)} categories, at most {MOST_CATEGORIES} are encoded: leave it out")
    first, second = (part.astype(str).to_numpy(dtype=str)[:, None] == names for part in (train, test))
    return first, second


def _numbers(place: str, column: pd.Series) -> NDArray[np.float64]:
    """Return a column of finite numbers. Raises DataError for another."""
    try:
        numbers: NDArray[np.float64] = column.to_numpy(dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{place}: expected numbers: {error}") from error
    if not np.isfinite(numbers).all():
        raise DataError(f"{place}: expected finite numbers, found {numbers[~np.isfinite(numbers)][0]}")
    return numbers
