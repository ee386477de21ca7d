"""Writes tests/long_tests.txt, the tests that `make test` leaves to `make test-long`, from measured seconds.

    PYTEST_ADDOPTS=--durations=0 make test test-long > seconds.log
    PYTHONPATH=tests python -m long_tests seconds.log

It takes the longest tests until the others take `MINUTES` on two cores. A fixture's seconds count for the test that
waited for it.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

LINE = re.compile(r"^([0-9.]+)s (?:call|setup|teardown)\s+(\S.*?)\s*$", re.MULTILINE)
MINUTES = 6.0  # the suite's limit is 8, and importing and waiting take the rest
CORES = 2


def longest(log: str, minutes: float = MINUTES) -> list[str]:
    """Return the tests to leave out, in the order of their names."""
    seconds = Counter[str]()
    for number, test in LINE.findall(log):
        seconds[test] += float(number)
    total, left_out = sum(seconds.values()), list[str]()
    for test, taken in seconds.most_common():
        if total <= minutes * 60 * CORES:
            break
        total -= taken
        left_out.append(test)
    return sorted(left_out)


if __name__ == "__main__":
    found = longest("\n".join(Path(name).read_text(encoding="utf-8") for name in sys.argv[1:]))
    Path(__file__).with_suffix(".txt").write_text("\n".join(found) + "\n", encoding="utf-8")
    print(f"{len(found)} long tests")
