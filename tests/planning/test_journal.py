"""The journal: entries are read back as they were written, altered lines are refused, one process holds a study."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from builders import tiny
from optstudy.errors import StudyError, StudyHeld
from optstudy.planning.journal import Entry, Stated, append, first_stated, hold, read_journal
from optstudy.spec import RunResult, TrainingEnded

STATED = Stated(("p", "q"), ("e",), 8)
FACTS = {"training_version": 1, "torch": "2.15.0", "device": "cpu"}


def appended(path: Path, key: str, claims: Stated = STATED) -> Entry:
    study = tiny()
    spec = study.spec(study.optimizers[0], 0, 5, {"learning_rate": 0.1})
    result = RunResult("completed", {"test/accuracy": 0.1 + 0.2}, ({"val/loss": 1 / 3},), 1.5)
    ended = TrainingEnded(0, result, 10, (20,), 30, facts=FACTS)
    return append(path, key, spec, {"data": "d", "split": "s", "user_code": ""}, ended, claims)


def test_entries_are_read_back_to_the_last_bit(tmp_path: Path) -> None:
    path = tmp_path / "journal" / "s.jsonl"
    written = [appended(path, key) for key in ("a", "b")]
    assert list(read_journal(path).values()) == written
    assert written[0].facts == FACTS
    assert written[0].digests == {"data": "d", "split": "s", "user_code": ""}


def test_each_line_is_json_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    for key in ("a", "b"):
        appended(path, key)
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["a", "b"]


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


def test_every_flipped_bit_of_a_line_is_refused_with_its_number(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    for key in ("a", "b"):
        appended(path, key)
    whole = path.read_bytes()
    begin, end = whole.index(b"\n") + 1, len(whole) - 1
    for at in range(begin, end, 7):
        altered = bytearray(whole)
        altered[at] ^= 1 << (at % 8)
        if altered[at] in b"\n":
            continue  # it makes two lines of one: the next test
        path.write_bytes(altered)
        with pytest.raises(StudyError, match=r"s\.jsonl: line 2: "):
            read_journal(path)


def test_a_line_that_is_split_in_two_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    appended(path, "a")
    path.write_bytes(path.read_bytes().replace(b", ", b"\n ", 1))
    with pytest.raises(StudyError, match="line 1: its checksum does not match"):
        read_journal(path)


def test_a_line_without_a_checksum_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    appended(path, "a")
    record = json.loads(path.read_text())
    del record["checksum"]
    path.write_text(json.dumps(record) + "\n")
    with pytest.raises(StudyError, match="wrote no checksums"):
        read_journal(path)


def test_one_process_holds_a_study_and_a_killed_process_holds_nothing(tmp_path: Path) -> None:
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


def test_the_claims_of_the_first_training_count(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    for key, claims in (("a", STATED), ("b", Stated())):
        appended(path, key, claims)
    assert first_stated(read_journal(path)) == STATED
