"""The table of docs/optimizers.md says what comes of training with each optimizer in it."""

from __future__ import annotations

import pytest

from optimizers_tried import (
    DOCUMENT,
    HEADER,
    ROWS_HEADER,
    ROWS_RULE,
    RULE,
    TRIED,
    is_installed,
    row,
    table_row,
    with_table,
)
from optstudy.catalogue import OPTIMIZERS


@pytest.mark.long
@pytest.mark.parametrize("name", TRIED)
def test_an_optimizer_trains_as_the_documentation_says(name: str) -> None:
    path, _ = TRIED[name]
    if not is_installed(path):
        pytest.skip("its package is not installed: pip install optstudy[optimizers]")
    assert row(name) in DOCUMENT.read_text(encoding="utf-8")


def test_the_documentation_has_the_rows_of_the_table_as_they_are() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert with_table(text, map(table_row, OPTIMIZERS), ROWS_HEADER + ROWS_RULE) == text


def test_the_documentation_lists_no_other_optimizers() -> None:
    rows = DOCUMENT.read_text(encoding="utf-8").partition(HEADER + RULE)[2].partition("\n\n")[0].splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in rows] == list(TRIED)
