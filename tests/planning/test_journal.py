"""The journal: what was appended is read back, a torn line is dropped, and one process holds a study."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from builders import tiny
from optstudy.errors import StudyHeld
from optstudy.planning.journal import Entry, Stated, append, first_stated, hold, read_journal
from optstudy.spec import RunResult, TrainingEnded

STATED = Stated(("p", "q"), ("e",), 8)


def appended(path: Path, key: str, claims: Stated = STATED) -> Entry:
    study = tiny()
    spec = study.spec(study.optimizers[0], 0, 5, {"learning_rate": 0.1})
    result = RunResult("completed", {"test/accuracy": 0.1 + 0.2}, ({"val/loss": 1 / 3},), 1.5)
    return append(path, key, spec, TrainingEnded(0, result, 10, (20,), 30), claims)


def test_what_was_appended_is_read_back_to_the_last_bit(tmp_path: Path) -> None:
    path = tmp_path / "journal" / "s.jsonl"
    written = [appended(path, key) for key in ("a", "b")]
    assert list(read_journal(path).values()) == written


@pytest.mark.parametrize("torn", [1, 2, 40, 200])
def test_a_torn_last_line_is_dropped_and_the_next_append_is_whole(tmp_path: Path, torn: int) -> None:
    path = tmp_path / "s.jsonl"
    for key in ("a", "b"):
        appended(path, key)
    path.write_bytes(path.read_bytes()[:-torn])
    assert list(read_journal(path)) == ["a"]
    with hold(path):
        appended(path, "c")
    assert list(read_journal(path)) == ["a", "c"]


def test_one_process_holds_a_study_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    code = (
        "import sys, time; from pathlib import Path; from optstudy.planning.journal import hold\n"
        f"with hold(Path({str(path)!r})):\n    print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StudyHeld, match=str(other.pid)), hold(path):
            raise AssertionError("two hold the study")
        other.kill()
    with hold(path):
        pass


def test_what_the_first_training_stated_is_what_counts(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    for key, claims in (("a", STATED), ("b", Stated())):
        appended(path, key, claims)
    assert first_stated(read_journal(path)) == STATED


@pytest.mark.parametrize(("line", "expected"), [(["p", "e"], Stated(("p", "e"))), (None, Stated())])
def test_of_an_older_entry_every_claim_is_taken_as_primary(
    tmp_path: Path, line: list[str] | None, expected: Stated
) -> None:
    path = tmp_path / "s.jsonl"
    appended(path, "a")
    record = json.loads(path.read_text())
    del record["claims"]
    path.write_text(json.dumps(record if line is None else {**record, "claims": line}) + "\n")
    assert read_journal(path)["a"].claims == expected
