"""Runs that people already have: a table with one row for each run, read, checked and put into groups and pairs.

The rows come from a CSV or from MLflow. Cells are text until a column is used as numbers.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pandas as pd

from optstudy.errors import StudyError, message_of

MOST_GROUPS = 12
MOST_SHOWN = 20  # columns in a message
MOST_REPLICATES = 200  # runs of one group; the bootstrap of twelve groups then takes a few hundred megabytes
MISSING = {"", "none", "null", "na", "n/a"}  # besides nan and inf, which are floats
CONDITION = re.compile(
    r"""\s*(?:`(?P<quoted>[^`]+)`|(?P<name>[^\s=!'"`]+))\s*(?P<sign>!=|=)\s*"""
    r"""(?:'(?P<single>[^']*)'|"(?P<double>[^"]*)"|(?P<bare>[^\s'"]+))\s*""",
)


@dataclass(frozen=True)
class Columns:
    """Which columns of a table mean what.

    Attributes:
        group: The column whose values are compared, such as the optimizer.
        pair: The column that pairs runs of different groups, such as the seed; empty if the runs are not paired.
        metric: The column that the groups are compared by.
        select: Of several rows with one group and pair, the one with the best value of this column counts. `:min` or
            `:max` behind the name says which value is the best.
        diverged: The value of a run whose metric is missing or not finite; None if such runs are errors.
        where: Conditions on the rows: `COLUMN = VALUE`, `COLUMN != VALUE`, joined by `and`.
    """

    group: str
    pair: str
    metric: str
    select: str = ""
    diverged: float | None = None
    where: str = ""

    @property
    def selector(self) -> str:
        """Return the column that selects, without `:min` or `:max`."""
        return self.select.removesuffix(":min").removesuffix(":max")

    def selects_highest(self, higher: bool) -> bool:
        """Return whether the highest value selects: as given, else as the name says, else as for the metric."""
        given = self.select.removeprefix(self.selector)
        return given == ":max" if given else best_is_high(self.selector, higher)


@dataclass(frozen=True, eq=False)
class UserRuns:
    """The runs that are compared.

    Attributes:
        source: The file or experiment that they come from, for messages.
        rows: The compared rows, with all columns of the source; their labels name them in messages.
        values: The metric by group and pair. Unpaired runs are numbered from 0 within their group.
        candidates: Number of rows of each group from which each run was selected, by pair; empty without `select`.
        diverged: Number of runs of each group that got the value given for diverged runs.
        left_out: Notes about pairs that do not count, each a sentence.
        blank: Number of rows that have neither a group nor a metric.
    """

    source: str
    rows: pd.DataFrame
    values: Mapping[str, Mapping[str, float]]
    candidates: Mapping[str, Sequence[int]]
    diverged: Mapping[str, int]
    left_out: Sequence[str] = ()
    blank: int = 0


def check_numbers(margin: float | None, diverged: float | None) -> None:
    """Raise StudyError if a number of the command cannot be used."""
    if margin is not None and not (math.isfinite(margin) and margin > 0):
        raise StudyError(f"--margin: {margin:g}: must be a number above 0, in the metric's own unit")
    if diverged is not None and not math.isfinite(diverged):
        raise StudyError(f"--diverged: {diverged:g}: must be a finite number, the metric that a diverged run counts as")


def read_csv(path: Path) -> pd.DataFrame:
    """Return the rows of a CSV as text without spaces around it; their labels are `row 1`, `row 2`, ...

    Raises StudyError if the file is missing, empty, or no CSV with a header of different names.
    """
    if not path.is_file():
        raise StudyError(f"{path}: is not a file; give a CSV with one row for each run")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = [name.strip() for name in next(csv.reader(file), [])]
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (ValueError, csv.Error) as error:  # pandas' errors of parsing and of decoding are ValueErrors
        raise StudyError(
            f"{path}: cannot be read as a CSV in UTF-8 with a header and one row for each run: {message_of(error)}"
        ) from error
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise StudyError(f"{path}: the header has the column {twice[0]!r} more than once; rename one")
    if len(table.columns) != len(header) or not isinstance(table.index, pd.RangeIndex):
        raise StudyError(f"{path}: rows have more cells than the header, which has {len(header)}")
    if not len(table):
        raise StudyError(f"{path}: has no rows; it must have one row for each run")
    table = table.set_axis(header, axis="columns").apply(lambda cells: cells.str.strip())
    return table.set_axis([f"row {number}" for number in range(1, len(table) + 1)])


def user_runs(source: str, table: pd.DataFrame, columns: Columns, higher: bool) -> UserRuns:
    """Return the runs of a table by group and pair; `higher` says whether higher values of the metric are better.

    Raises StudyError, which names the column, the row and the value, if the table cannot be compared.
    """
    _check_names(source, table, columns)
    table, blank = _without_blank(rows_where(source, table, columns.where), columns)
    for name in filter(None, (columns.group, columns.pair)):
        _check_filled(source, table, name)
    if columns.pair:
        table = table.assign(**{columns.pair: table[columns.pair].map(_whole)})
    table, candidates = _selected(source, table, columns, higher) if columns.select else (table, {})
    if columns.pair:
        _check_one_row_each(source, table, columns)
    values, gone = _numbers(source, table, columns)
    by_group, left_out = _grouped(table, columns, values), list[str]()
    _check_groups(source, columns.group, by_group)
    if columns.pair:
        by_group, left_out = _complete(source, columns, by_group)
        table = table[table[columns.pair].isin(next(iter(by_group.values())))]
    _check_numbers_of_runs(source, columns, by_group)
    counts = table.loc[table.index.intersection(gone), columns.group].value_counts()
    diverged = {group: int(counts[group]) for group in by_group if group in counts}
    return UserRuns(source, table, by_group, candidates, diverged, left_out, blank)


def _without_blank(table: pd.DataFrame, columns: Columns) -> tuple[pd.DataFrame, int]:
    """Return the rows that have a group or a metric, and the number of others, such as parent runs in MLflow."""
    blank = (table[columns.group] == "") & (table[columns.metric] == "")
    return table[~blank], int(blank.sum())


def _grouped(table: pd.DataFrame, columns: Columns, values: pd.Series) -> dict[str, dict[str, float]]:
    """Return the values by group and pair; without pairs they are numbered."""
    by_group = {group: dict[str, float]() for group in dict.fromkeys(table[columns.group])}
    for row, group in table[columns.group].items():
        own = by_group[group]
        own[str(table.at[row, columns.pair]) if columns.pair else str(len(own))] = float(values[row])
    return by_group


def _whole(cell: str) -> str:
    """Return `3.0` as `3`: some tools write seeds as floats, and not for every group."""
    return cell.partition(".")[0] if re.fullmatch(r"-?\d+\.0*", cell) else cell


def _check_names(source: str, table: pd.DataFrame, columns: Columns) -> None:
    given = {"group": columns.group, "pair": columns.pair, "metric": columns.metric, "select": columns.selector}
    for option, name in given.items():
        if name and name not in table:
            raise StudyError(f"{source}: --{option}: {name!r}: is not a column; {_alternatives(name, table)}")
    used: dict[str, str] = {}
    for option, name in given.items():
        if name and name in used:
            raise StudyError(f"{source}: --{option}: {name!r}: is --{used[name]}, too; they must be different columns")
        used[name] = option
    if columns.select and not columns.pair:
        raise StudyError(
            f"{source}: --select: {columns.select!r}: needs --pair, which says which rows are alternatives"
        )
    if "test" in columns.select.lower():
        raise StudyError(
            f"{source}: --select: {columns.select!r}: selecting by test values makes the best of many runs look better "
            "than it is; select by a validation metric"
        )


def _alternatives(name: str, table: pd.DataFrame) -> str:
    """Return which columns a table has, those with a similar name first."""
    similar = get_close_matches(name, list(table.columns), n=5, cutoff=0.5)
    shown = [*similar, *(column for column in table.columns if column not in similar)]
    more = f" and {len(shown) - MOST_SHOWN} more" if len(shown) > MOST_SHOWN else ""
    return f"columns: {', '.join(shown[:MOST_SHOWN])}{more}"


def rows_where(source: str, table: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return the rows that meet all conditions; numbers are compared as numbers."""
    place = 0
    while place < len(where):
        found = CONDITION.match(where, place)
        if found is None:
            raise StudyError(
                f"{source}: --where: {where!r}: must be conditions such as model = 'cnn' and State != crashed"
            )
        name = found["quoted"] or found["name"]
        value = next(text for text in (found["single"], found["double"], found["bare"]) if text is not None)
        if name not in table:
            raise StudyError(f"{source}: --where: {name!r}: is not a column; {_alternatives(name, table)}")
        meets = table[name].map(lambda cell, value=value: _equal(cell, value)) == (found["sign"] == "=")
        if not meets.any():
            cells = ", ".join(list(dict.fromkeys(table[name]))[:8])
            raise StudyError(f"{source}: --where: {where!r}: leaves no row; {name} is one of {cells}")
        table, place = table[meets], found.end()
        joined = re.compile(r"and\s+", re.IGNORECASE).match(where, place)
        if joined is None and place < len(where):
            raise StudyError(f"{source}: --where: {where!r}: conditions are joined by `and`")
        place = joined.end() if joined else place
    return table


def _equal(cell: str, value: str) -> bool:
    try:
        return float(cell) == float(value)
    except ValueError:
        return cell == value


def _check_filled(source: str, table: pd.DataFrame, name: str) -> None:
    blank = table.index[table[name] == ""]
    if len(blank):
        raise StudyError(f"{source}: {blank[0]}: {name}: is empty; fill it, or leave the row out with --where")


def _numbers(source: str, table: pd.DataFrame, columns: Columns) -> tuple[pd.Series, pd.Index]:
    """Return the metric as numbers, and the rows that got the value of diverged runs."""
    values = _floats(source, table, columns.metric)
    gone = values.index[~np.isfinite(values)]
    if len(gone) and columns.diverged is None:
        row = gone[0]
        raise StudyError(
            f"{source}: {row}: {columns.metric}: {table.at[row, columns.metric]!r}: is not a finite number "
            f"({len(gone)} of {len(values)} rows). A run that diverged is a result: say what it counts with --diverged "
            "VALUE, such as 0.1, the accuracy of guessing one of ten classes. Leave out runs that never ended with "
            "--where"
        )
    return values.where(np.isfinite(values), columns.diverged), gone


def _floats(source: str, table: pd.DataFrame, name: str) -> pd.Series:
    """Return a column as numbers; nan where a cell is empty or says that there is no number."""
    cells = table[name].str.lower()
    values = []
    for row, cell in cells.items():
        try:
            values.append(math.nan if cell in MISSING else float(cell))
        except ValueError:
            raise StudyError(f"{source}: {row}: {name}: {table.at[row, name]!r}: must be a number") from None
    return pd.Series(values, index=table.index, dtype=float)


def _selected(
    source: str, table: pd.DataFrame, columns: Columns, higher: bool
) -> tuple[pd.DataFrame, dict[str, Sequence[int]]]:
    """Return the row of each group and pair with the best value of `select`, and from how many it was selected."""
    scores = _floats(source, table, columns.selector)
    keyed = (scores if columns.selects_highest(higher) else -scores).fillna(-math.inf)
    parts = keyed.groupby([table[columns.group], table[columns.pair]], sort=False)
    chosen = parts.idxmax()  # the first of equal ones
    sizes = parts.size()
    counts: dict[str, Sequence[int]] = {
        group: tuple(int(size) for size in sizes[group]) for group in dict.fromkeys(table[columns.group])
    }
    return table[table.index.isin(set(chosen))], counts


LOWER = re.compile(r"(?:^|[^a-z])(?:loss|error|err|perplexity|ppl|nll|mse|rmse|mae|wer|cer)(?:[^a-z]|$)", re.IGNORECASE)


def best_is_high(name: str, otherwise: bool = True) -> bool:
    """Return whether higher values of a column are better, by its name; `otherwise` if the name does not say."""
    if LOWER.search(name):
        return False
    return True if re.search(r"acc(?:uracy)?(?:[^a-z]|$)|f1|auc", name, re.IGNORECASE) else otherwise


def _check_one_row_each(source: str, table: pd.DataFrame, columns: Columns) -> None:
    same = table.duplicated(keep=False)
    if same.any():
        first = table[same].iloc[0]
        rows = table.index[(table == first).all(axis=1)]
        raise StudyError(f"{source}: {rows[0]} and {rows[1]} are equal; remove one")
    repeated = table.duplicated([columns.group, columns.pair], keep=False)
    if repeated.any():
        first = table[repeated].iloc[0]
        group, pair = first[columns.group], first[columns.pair]
        count = int(((table[columns.group] == group) & (table[columns.pair] == pair)).sum())
        raise StudyError(
            f"{source}: {columns.group} {group!r}, {columns.pair} {pair!r}: has {count} rows, but one is compared. If "
            "they are trials of a search, give --select COLUMN, the validation metric that selects one; if they are "
            "repetitions, average them first; or leave rows out with --where"
        )


def _check_groups(source: str, name: str, by_group: Mapping[str, object]) -> None:
    count = len(by_group)
    if count == 0:
        raise StudyError(f"{source}: no row has a value of {name}, or of the metric")
    if count < 2:
        raise StudyError(f"{source}: --group: {name!r}: has a single value, {next(iter(by_group))!r}; two are compared")
    if count > MOST_GROUPS:
        raise StudyError(
            f"{source}: --group: {name!r}: has {count} values; at most {MOST_GROUPS} are compared. Choose a column "
            "with fewer values, or leave some out with --where"
        )


def _complete(
    source: str, columns: Columns, by_group: Mapping[str, Mapping[str, float]]
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """Return the runs of those pairs that all groups have, and a note about the others."""
    every = list(dict.fromkeys(pair for own in by_group.values() for pair in own))
    common = [pair for pair in every if all(pair in own for own in by_group.values())]
    if len(common) < 2:
        counts = ", ".join(f"{group}: {', '.join(list(own)[:5])}" for group, own in by_group.items())
        raise StudyError(
            f"{source}: --pair: {columns.pair!r}: {len(common)} of its {len(every)} values have a run in each group; "
            f"an interval needs two ({counts}). Without --pair, the runs are compared unpaired"
        )
    lacking = {group: [pair for pair in every if pair not in own] for group, own in by_group.items()}
    words = "; ".join(f"{group} lacks {', '.join(gone)}" for group, gone in lacking.items() if gone)
    notes = [f"Only {columns.pair} with a run in each group are compared, {len(common)} of {len(every)}: {words}."]
    return {group: {pair: own[pair] for pair in common} for group, own in by_group.items()}, notes if words else []


def _check_numbers_of_runs(source: str, columns: Columns, by_group: Mapping[str, Mapping[str, float]]) -> None:
    for group, own in by_group.items():
        if len(own) < 2:
            raise StudyError(f"{source}: {columns.group} {group!r}: has a single run; an interval needs two")
        if len(own) > MOST_REPLICATES:
            raise StudyError(f"{source}: {columns.group} {group!r}: has {len(own)} runs; at most {MOST_REPLICATES}")
