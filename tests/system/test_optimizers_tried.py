"""The table of docs/optimizers.md says what comes of training with each optimizer in it."""

from __future__ import annotations

import pytest

from optimizers_tried import DOCUMENT, HEADER, RULE, TRIED, is_installed, row


@pytest.mark.long
@pytest.mark.parametrize("name", TRIED)
def test_an_optimizer_trains_as_the_documentation_says(name: str) -> None:
    path, _ = TRIED[name]
    if not is_installed(path):
        pytest.skip("its package is not installed: pip install optstudy[optimizers]")
    assert row(name) in DOCUMENT.read_text(encoding="utf-8")


def test_the_documentation_lists_no_other_optimizers() -> None:
    rows = DOCUMENT.read_text(encoding="utf-8").partition(HEADER + RULE)[2].partition("\n\n")[0].splitlines()
    assert [line.split(" | ")[0].removeprefix("| ") for line in rows] == list(TRIED)
