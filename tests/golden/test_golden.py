"""The golden law, as cases.py states it: pinned numbers change with `TRAINING_VERSION` only; each row has a case."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from golden.cases import CASES, NOT_PINNED, SAME_TORCH_ONLY, TABLES, Case
from golden.make_golden import Refused, changes, closest, compute, pin
from golden.store import FOLDER, Bits, Values, encode, platform_facts, read_all
from optstudy.keys import TRAINING_VERSION

FACTS = platform_facts()
PINNED = read_all(FOLDER)
GOLDEN = closest(PINNED, FACTS)
PIN = "Run `make golden`, and commit tests/golden/values."
ROWS = [f"{table}/{row}" for table, rows in TABLES.items() for row in rows]


@pytest.mark.parametrize("name", CASES)
def test_a_golden_case_computes_the_numbers_that_were_pinned(name: str) -> None:
    case = CASES[name]
    if case.needs:
        pytest.importorskip(case.needs)
    if GOLDEN is not None and GOLDEN.training_version != TRAINING_VERSION:
        pytest.skip("the values are of another TRAINING_VERSION, which fails another test")
    if GOLDEN is None or name not in GOLDEN.cases:
        pytest.fail(f"golden case {name} is not pinned yet. {PIN}", pytrace=False)
    if name in SAME_TORCH_ONLY and GOLDEN.platform["torch"] != FACTS["torch"]:
        pytest.skip(SAME_TORCH_ONLY[name])
    computed = compute(case)
    if message := changes(GOLDEN, name, computed, FACTS, case.tolerance):
        pytest.fail(message, pytrace=False)
    if added := ", ".join(set(computed) - set(GOLDEN.cases[name])):
        pytest.fail(f"golden case {name}: not pinned yet: {added}. {PIN}", pytrace=False)


@pytest.mark.parametrize("row", ROWS)
def test_each_row_of_each_table_has_a_golden_case(row: str) -> None:
    has_case = any(name == row or name.startswith(f"{row}/") for name in CASES)
    if has_case == (row in NOT_PINNED):
        pytest.fail(
            f"the row {row} needs a golden case, or else a reason in NOT_PINNED: tests/golden/cases.py", pytrace=False
        )


def test_rows_that_are_not_pinned_exist() -> None:
    assert set(NOT_PINNED) <= set(ROWS)


def test_cases_that_need_the_same_torch_exist() -> None:
    assert set(SAME_TORCH_ONLY) <= set(CASES)


def test_golden_values_are_of_this_training_version_and_of_cases_that_exist() -> None:
    for golden in PINNED:
        if golden.training_version != TRAINING_VERSION or not set(golden.cases) <= set(CASES):
            pytest.fail(f"tests/golden/values has another TRAINING_VERSION, or old cases. {PIN}", pytrace=False)


# The tools of the law.

HERE, ELSEWHERE = {"machine": "here"}, {"machine": "elsewhere"}


def values(loss: float = 0.5, **more: Any) -> Values:
    return encode({"loss": loss, "weights": np.array([loss], dtype=np.float32), "answers": Bits(str(loss)), **more})


def pin_all(folder: Path, facts: Mapping[str, str], version: int = 1, **computed: Values) -> str:
    cases = {name: Case(dict, 1e-3) for name in computed}
    return pin(folder, cases, computed, facts, version)


def test_make_golden_adds_cases_and_values_and_keeps_the_others(tmp_path: Path) -> None:
    pin_all(tmp_path, HERE, a=values())
    pin_all(tmp_path, HERE, a=values(more=3), b=values(2.0))
    [golden] = read_all(tmp_path)
    assert golden.cases == {"a": values(more=3), "b": values(2.0)}


def test_make_golden_refuses_to_drop_a_value_of_a_case(tmp_path: Path) -> None:
    pin_all(tmp_path, HERE, a=values(more=3))
    with pytest.raises(Refused, match="more: is no longer computed"):
        pin_all(tmp_path, HERE, a=values())


@pytest.mark.parametrize("change", [0.1 + 1e-9, "text", None, 0.2])
def test_make_golden_refuses_to_change_a_value_while_the_training_version_stands(change: Any, tmp_path: Path) -> None:
    pin_all(tmp_path, HERE, a=values(more=0.1))
    before = read_all(tmp_path)
    with pytest.raises(Refused, match=r"case a(.|\n)*more: pinned 0\.1(.|\n)*TRAINING_VERSION(.|\n)*make golden"):
        pin_all(tmp_path, HERE, a=values(more=change), b=values())
    assert read_all(tmp_path) == before


def test_make_golden_pins_all_cases_again_after_a_bump_and_drops_older_files(tmp_path: Path) -> None:
    pin_all(tmp_path, HERE, a=values(), b=values())
    pin_all(tmp_path, ELSEWHERE, a=values(), b=values())
    pin_all(tmp_path, HERE, version=2, a=values(0.7))
    [golden] = read_all(tmp_path)
    assert (golden.training_version, golden.platform, golden.cases) == (2, HERE, {"a": values(0.7)})
    with pytest.raises(Refused):
        pin_all(tmp_path, HERE, version=1, a=values(0.7))


def test_a_new_platform_gets_a_file_only_if_its_numbers_agree_within_the_tolerance(tmp_path: Path) -> None:
    pin_all(tmp_path, HERE, a=values())
    with pytest.raises(Refused, match="loss"):
        pin_all(tmp_path, ELSEWHERE, a=values(0.502))
    pin_all(tmp_path, ELSEWHERE, a=values(0.5002))
    assert [golden.platform for golden in read_all(tmp_path)] == [ELSEWHERE, HERE]


@pytest.mark.parametrize(
    "change", [{"count": 3}, {"status": "diverged"}, {"ids": np.array([1, 2, 4])}, {"loss": np.nan}]
)
def test_whole_numbers_and_text_are_equal_on_every_platform(change: dict[str, Any], tmp_path: Path) -> None:
    exact: dict[str, Any] = {"count": 2, "status": "completed", "ids": np.array([1, 2, 3]), "loss": 0.5}
    pin_all(tmp_path, HERE, a=encode(exact))
    pin_all(tmp_path, ELSEWHERE, a=encode(exact))
    with pytest.raises(Refused, match=next(iter(change))):
        pin_all(tmp_path, {"machine": "a third"}, a=encode({**exact, **change}))


@pytest.mark.parametrize(
    "number", [0.1, -0.0, 5e-324, 1e308, float("nan"), float("-inf"), 3, True, None, "x", [0.1, 2]]
)
def test_a_value_is_read_as_the_bits_that_were_written(number: Any, tmp_path: Path) -> None:
    pin_all(tmp_path, HERE, a={"x": number})
    [golden] = read_all(tmp_path)
    assert repr(golden.cases["a"]["x"]) == repr(number)
