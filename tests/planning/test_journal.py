"""The journal: entries are read back as they were written, altered lines are refused, one process holds a study."""

from __future__ import annotations

import json
import math
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builders import tiny
from optstudy.errors import StudyError, StudyHeld
from optstudy.planning.journal import Entry, Stated, _checksum, append, hold, read_journal
from optstudy.spec import RunResult, TrainingEnded

STATED = Stated(("p", "q"), ("e",), 8, 3, {"epochs": 2})
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


def test_of_400_flipped_bits_each_is_refused_with_its_line_or_costs_the_last_line(tmp_path: Path) -> None:
    path, rng = tmp_path / "s.jsonl", random.Random(0)
    written = [appended(path, key) for key in "abcdefgh"]
    whole = path.read_bytes()
    for place in [*range(-8, 0), *(rng.randrange(8 * len(whole)) for _ in range(392))]:  # the last byte, and any
        altered = bytearray(whole)
        altered[place // 8] ^= 1 << place % 8
        path.write_bytes(altered)
        number = whole[: place // 8 % len(whole)].count(b"\n") + 1
        if place // 8 in (-1, len(whole) - 1):  # the end of the last line is gone: it counts as torn
            assert list(read_journal(path).values()) == written[:-1]
            continue
        with pytest.raises(StudyError, match=rf"s\.jsonl: line {number}: .*restore the line, or delete it"):
            read_journal(path)


def with_line(path: Path, change: Callable[[dict[str, Any]], object]) -> str:
    """Change the second line of a journal, with a checksum that matches; return what reading it says."""
    for key in "abc":
        appended(path, key)
    lines = path.read_bytes().splitlines(keepends=True)
    record = json.loads(lines[1])
    del record["checksum"]
    change(record)
    content = json.dumps(record).encode()[:-1]
    lines[1] = content + f', "checksum": "{_checksum(content)}"}}\n'.encode()
    path.write_bytes(b"".join(lines))
    with pytest.raises(StudyError) as caught:
        read_journal(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


SENSELESS: dict[str, Callable[[dict[str, Any]], object]] = {
    "accuracy 7": lambda line: line["result"]["metrics"].update({"test/accuracy": 7}),
    "accuracy nan": lambda line: line["result"]["metrics"].update({"test/accuracy": math.nan}),
    "accuracy text": lambda line: line["result"]["metrics"].update({"test/accuracy": "0.5"}),
    "accuracy null": lambda line: line["result"]["metrics"].update({"test/accuracy": None}),
    "accuracy true": lambda line: line["result"]["metrics"].update({"test/accuracy": True}),
    "accuracy of an epoch": lambda line: line["result"]["curve"][0].update({"val/accuracy": -1}),
    "loss infinite": lambda line: line["result"]["metrics"].update({"test/loss": math.inf}),
    "status": lambda line: line["result"].update(status="banana"),
    "metrics a list": lambda line: line["result"].update(metrics=[0.5]),
    "metrics null": lambda line: line["result"].update(metrics=None),
    "curve a number": lambda line: line["result"].update(curve=1),
    "curve too long": lambda line: line["result"].update(curve=[{}, {}]),
    "result a list": lambda line: line.update(result=[]),
    "result missing": lambda line: line.pop("result"),
    "seconds": lambda line: line["result"].update(seconds="1"),
    "answers": lambda line: line["result"].update(answers="x:y"),
    "no answers": lambda line: line["result"].update(answers="8"),
    "key": lambda line: line.update(key=5),
    "spec a list": lambda line: line.update(spec=[1]),
    "spec without data": lambda line: line["spec"].pop("data"),
    "data text": lambda line: line["spec"].update(data="digits"),
    "data without kind": lambda line: line["spec"]["data"].pop("kind"),
    "data of an unknown kind": lambda line: line["spec"]["data"].update(kind="smell"),
    "epochs": lambda line: line["spec"].update(epochs="2"),
    "hyperparameters": lambda line: line["spec"].update(hyperparameters={"learning_rate": "0.1"}),
    "pretrained": lambda line: line["spec"].update(pretrained={}),
    "digests": lambda line: line.update(digests={}),
    "digest": lambda line: line["digests"].update(data=1),
    "facts": lambda line: line.update(facts={"training_version": "x"}),
    "times": lambda line: line.update(epoch_ms=["a"]),
    "claims": lambda line: line.update(claims={"primary": "p", "exploratory": [], "replicates": 2}),
}


@pytest.mark.parametrize("name", SENSELESS)
def test_a_line_with_a_value_that_makes_no_sense_is_refused_by_its_number(name: str, tmp_path: Path) -> None:
    message = with_line(tmp_path / "s.jsonl", SENSELESS[name])
    assert "s.jsonl: line 2: " in message
    assert message.endswith("; use the version of optstudy that wrote this line, or restore the line")


NEWER: dict[str, Callable[[dict[str, Any]], object]] = {
    "colour": lambda line: line.update(colour="red"),
    "result.energy": lambda line: line["result"].update(energy=1.0),
    "spec.teacher": lambda line: line["spec"].update(teacher=None),
    "claims.withdrawn": lambda line: line["claims"].update(withdrawn=[]),
}


@pytest.mark.parametrize("key", NEWER)
def test_a_key_of_a_newer_version_is_named_as_such(key: str, tmp_path: Path) -> None:
    message = with_line(tmp_path / "s.jsonl", NEWER[key])
    assert message.endswith(f"line 2: written by a newer version of optstudy, with {key}: use that version")


@pytest.mark.parametrize("suffix", ["lock", "holder"])
def test_a_lock_that_is_a_link_is_refused_and_its_target_is_left_alone(suffix: str, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("precious")
    (tmp_path / f"s.{suffix}").symlink_to("precious")
    with pytest.raises(StudyError, match=rf"s\.{suffix}: is a link to precious"), hold(tmp_path / "s.jsonl"):
        raise AssertionError("it is held")
    assert (tmp_path / "precious").read_text() == "precious"


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
