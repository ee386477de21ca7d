"""Merging journals: the union by key in the order of the ends, whatever the order of the sources."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from builders import tiny
from optstudy.errors import StudyError
from optstudy.planning.journal import Entry, Stated, append, journal_path, read_journal
from optstudy.planning.layout import StudyPaths, prices_path
from optstudy.planning.merge import Merged, merge, write_evidence
from optstudy.spec import RunResult, TrainingEnded

STUDY = tiny()


def trained(path: Path, key: str, ended_ms: int = 30, accuracy: float = 0.5, data: str = "digits") -> Entry:
    study = tiny(data=data, model="linear")
    spec = study.spec(study.optimizers[0], 0, 5, {"learning_rate": 0.1})
    result = RunResult("completed", {"val/accuracy": accuracy}, ({"val/loss": 1 / 3},), 1.5)
    ended = TrainingEnded(0, result, 10, (20,), ended_ms, facts={"training_version": 1})
    return append(path, key, spec, {"data": "d", "split": "s", "user_code": ""}, ended, STATED)


STATED = Stated(("p",), (), 2, 0)


def paths_in(folder: Path) -> StudyPaths:
    return StudyPaths(STUDY, folder / "results", folder / "mlruns")


def test_a_merge_is_the_union_in_the_order_of_the_ends_whatever_the_order_of_the_sources(tmp_path: Path) -> None:
    for key, end in (("a", 40), ("b", 10), ("c", 30)):
        trained(tmp_path / "one.jsonl", key, end)
    for key, end in (("c", 35), ("d", 20)):  # `c` was trained twice: the earlier one counts
        trained(tmp_path / "two.jsonl", key, end)
    content = set[bytes]()
    for order in (("one", "two"), ("two", "one")):
        paths = paths_in(tmp_path / order[0])
        assert merge(paths, [tmp_path / f"{name}.jsonl" for name in order]) == Merged(4, 4, 0)
        entries = read_journal(paths.journal)
        assert [(key, entry.ended_ms) for key, entry in entries.items()] == [("b", 10), ("d", 20), ("c", 30), ("a", 40)]
        content.add(paths.journal.read_bytes())
    assert len(content) == 1


def test_merging_again_changes_nothing(tmp_path: Path) -> None:
    trained(tmp_path / "one.jsonl", "a")
    paths = paths_in(tmp_path)
    merge(paths, [tmp_path / "one.jsonl"])
    before = paths.journal.stat().st_mtime_ns, paths.journal.read_bytes()
    assert merge(paths, [tmp_path / "one.jsonl"]) == Merged(1, 0, 0)
    assert (paths.journal.stat().st_mtime_ns, paths.journal.read_bytes()) == before


def test_evidence_that_is_written_and_merged_elsewhere_is_the_same_journal(tmp_path: Path) -> None:
    here, there = paths_in(tmp_path / "here"), paths_in(tmp_path / "there")
    for key in ("a", "b"):
        trained(here.journal, key)
    prices_path(here.mlruns, "tiny").parent.mkdir(parents=True)
    prices_path(here.mlruns, "tiny").write_text(json.dumps({"sgd": {"seconds": 1}}))
    evidence = write_evidence(here)
    assert evidence == here.tables / "journal.jsonl.gz"
    first = evidence.read_bytes()
    assert write_evidence(here).read_bytes() == first
    assert merge(there, [here.tables]) == Merged(2, 2, 0)
    assert there.journal.read_bytes() == here.journal.read_bytes()
    assert json.loads(prices_path(there.mlruns, "tiny").read_text()) == {"sgd": {"seconds": 1}}


@pytest.mark.parametrize("given", [".", "mlruns", "mlruns/journal/tiny.jsonl"])
def test_a_project_is_named_by_its_folder_its_mlruns_or_its_journal_and_kept_weights_are_copied(
    tmp_path: Path, given: str
) -> None:
    here, there = paths_in(tmp_path / "here"), paths_in(tmp_path / "there")
    trained(here.journal, "a")
    weights = here.mlruns / "weights"
    weights.mkdir()
    for key in ("a", "of another study"):
        (weights / f"{key}.safetensors").write_bytes(b"weights")
    assert merge(there, [tmp_path / "here" / given]) == Merged(1, 1, 1)
    assert [path.name for path in (there.mlruns / "weights").iterdir()] == ["a.safetensors"]


def test_the_same_key_with_other_numbers_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    trained(tmp_path / "one.jsonl", "a", accuracy=0.5)
    trained(tmp_path / "two.jsonl", "a", accuracy=0.625)
    paths = paths_in(tmp_path)
    with pytest.raises(StudyError, match=r"one\.jsonl and .*two\.jsonl: same key, other numbers: a: "):
        merge(paths, [tmp_path / "one.jsonl", tmp_path / "two.jsonl"])
    assert not paths.journal.exists()
    merge(paths, [tmp_path / "one.jsonl"])
    with pytest.raises(StudyError, match="same key, other numbers"):
        merge(paths, [tmp_path / "two.jsonl"])
    assert list(read_journal(paths.journal)) == ["a"]


def test_what_is_no_journal_of_the_study_is_refused(tmp_path: Path) -> None:
    paths = paths_in(tmp_path)
    with pytest.raises(StudyError, match=r"has no journal of 'tiny': must be a journal, or a folder with journal"):
        merge(paths, [tmp_path / "nothing"])
    trained(tmp_path / "other.jsonl", "a", data="mnist")
    with pytest.raises(StudyError, match=r"other\.jsonl: has no training on the data of 'tiny'"):
        merge(paths, [tmp_path / "other.jsonl"])
    trained(tmp_path / "one.jsonl", "a")
    whole = gzip.compress((tmp_path / "one.jsonl").read_bytes())
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[:-20])
    with pytest.raises(StudyError, match=r"cut\.jsonl\.gz: is no whole gzip file"):
        merge(paths, [tmp_path / "cut.jsonl.gz"])
    assert not journal_path(paths.mlruns, "tiny").exists()
