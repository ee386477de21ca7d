"""The list of long tests names tests that there are, and is the shortest that leaves the rest within its minutes."""

from __future__ import annotations

from pathlib import Path

from long_tests import longest

ROOT = Path(__file__).parents[1]


def test_each_long_test_is_defined_in_its_file() -> None:
    names = (ROOT / "tests" / "long_tests.txt").read_text(encoding="utf-8").splitlines()
    assert names == sorted(set(names))
    for name in names:
        path, _, rest = name.partition("::")
        assert f"def {rest.partition('[')[0]}(" in (ROOT / path).read_text(encoding="utf-8"), name


def test_the_longest_tests_are_left_out_until_the_others_take_their_minutes() -> None:
    log = "100.00s call     t.py::a[x y]\n20.50s setup    t.py::b\n40.00s call     t.py::b\n0.01s teardown t.py::c\n"
    assert longest(log, minutes=1) == ["t.py::a[x y]"]  # 60.51 s are left, and two cores have 120 s
    assert longest(log, minutes=0.5) == ["t.py::a[x y]", "t.py::b"]
    assert longest(log, minutes=2) == []
