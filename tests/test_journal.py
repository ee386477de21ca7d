"""The journal: what was appended is read back, a torn line is dropped, and one process holds a study."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import tiny
from optstudy.errors import StudyHeld
from optstudy.journal import Entry, append, hold, read_journal
from optstudy.runs import RunResult, TrainingEnded


def appended(path: Path, key: str) -> Entry:
    study = tiny()
    spec = study.spec(study.optimizers[0], 0, 5, {"learning_rate": 0.1})
    result = RunResult("completed", {"test/accuracy": 0.1 + 0.2}, ({"val/loss": 1 / 3},), 1.5)
    return append(path, key, spec, TrainingEnded(0, result, 10, (20,), 30))


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
        "import sys, time; from pathlib import Path; from optstudy.journal import hold\n"
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
