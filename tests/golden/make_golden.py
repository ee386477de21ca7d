"""Pins golden values: `make golden` runs this. cases.py says what may change, and when."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from golden.cases import CASES, Case
from golden.store import (
    FOLDER,
    Golden,
    Values,
    describe,
    differences,
    encode,
    file_of,
    platform_facts,
    read_all,
    write,
)
from golden.trainings import golden_conditions
from optstudy.keys import TRAINING_VERSION


class Refused(Exception):
    """Values would have changed while the training version stands; the message says which."""


def compute(case: Case) -> Values:
    """Return the encoded values of a case."""
    with golden_conditions():
        return encode(case.compute())


def closest(pinned: Sequence[Golden], facts: Mapping[str, str]) -> Golden | None:
    """Return the values of the platform that has the most in common with this one."""
    return max(pinned, key=lambda golden: sum(golden.platform.get(key) == facts[key] for key in facts), default=None)


def changes(golden: Golden, name: str, computed: Values, facts: Mapping[str, str], tolerance: float | None) -> str:
    """Return the message for values of a case that differ from the pinned ones by more than allowed, else ""."""
    lines = differences(golden.cases[name], computed, None if golden.platform == facts else tolerance)
    return describe(name, lines, golden, facts, tolerance) if lines else ""


def pin(
    folder: Path, cases: Mapping[str, Case], computed: Mapping[str, Values], facts: Mapping[str, str], version: int
) -> str:
    """Write the values of this platform, and remove those of older versions; return one line that says what was done.

    Raises Refused, and writes nothing, if a value differs from one that was pinned with the same training version.
    """
    pinned = read_all(folder)
    if any(golden.training_version > version for golden in pinned):
        raise Refused(f"Values were pinned with a TRAINING_VERSION above {version}, which must not go down.")
    current = [golden for golden in pinned if golden.training_version == version]
    compared = [(golden, name) for golden in current for name in cases if name in golden.cases]
    messages = [changes(golden, name, computed[name], facts, cases[name].tolerance) for golden, name in compared]
    if any(messages):
        raise Refused("\n".join(message for message in messages if message))
    for golden in pinned:
        if golden.training_version < version:
            file_of(golden.platform, folder).unlink()
    before = next((set(golden.cases) for golden in current if golden.platform == facts), set[str]())
    path = write(Golden(version, facts, computed), folder)
    now = set(computed)
    return f"{path.name}: {len(now - before)} cases added, {len(now & before)} kept, {len(before - now)} removed"


def main() -> str:
    """Compute all cases and pin them; return the error message if that is refused."""
    lacking = {case.needs for case in CASES.values() if case.needs and find_spec(case.needs) is None}
    if lacking:
        return f"not installed: {', '.join(sorted(lacking))}; all cases must be computed"
    try:
        print(
            pin(
                FOLDER, CASES, {name: compute(case) for name, case in CASES.items()}, platform_facts(), TRAINING_VERSION
            )
        )
    except Refused as refused:
        return f"{refused}\nNothing was written."
    return ""


if __name__ == "__main__":
    sys.exit(main() or 0)
