"""Files are written whole or not at all, and what a killed process leaves of them is removed."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from builders import tiny
from optstudy.files import draft_of, read_derived, remove_drafts, write_text
from optstudy.planning.layout import StudyPaths
from optstudy.running.stages import prepare


def test_a_file_that_cannot_be_written_whole_stays_as_it_was_and_leaves_no_draft(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    write_text(path, "before")
    with pytest.raises(UnicodeEncodeError), draft_of(path) as draft:
        draft.write_text("half \ud800", encoding="utf-8")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("table.csv", "before")]


def test_a_full_disk_is_reported_with_the_name_of_the_file(tmp_path: Path) -> None:
    code = "from pathlib import Path; from optstudy.cli import exits; from optstudy.files import write_text\n"
    command = [sys.executable, "-B", "-c", f"{code}exits(lambda: write_text(Path('table.csv'), 'x' * 5000))"]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, preexec_fn=limit, timeout=120)
    assert ended.returncode == 1
    assert ended.stderr.startswith("table.csv: File too large. Finished trainings are saved")
    assert list(tmp_path.iterdir()) == []


def test_only_drafts_are_removed_and_only_old_ones_if_others_write_there(tmp_path: Path) -> None:
    names = [".sgd.csv.22677", ".old.json.7", ".hidden", ".env.local", "sgd.csv", "notes.2024", ".config.d"]
    for name in names:
        (tmp_path / name).touch()
    os.utime(tmp_path / ".old.json.7", (0, 0))
    remove_drafts(tmp_path.iterdir(), age=3600)
    assert sorted(os.listdir(tmp_path)) == sorted(set(names) - {".old.json.7"})
    remove_drafts(tmp_path.iterdir())
    assert sorted(os.listdir(tmp_path)) == sorted(names[2:])


def test_the_next_start_removes_the_drafts_of_a_study_that_was_killed(tmp_path: Path) -> None:
    paths = StudyPaths(tiny(), tmp_path / "results", tmp_path / "mlruns")
    left = [paths.tables / "runs" / ".sgd.csv.22677", paths.tables / ".report.html.1"]
    other = [tmp_path / "results" / "other" / ".report.html.1", tmp_path / "mlruns" / "weights" / ".a.safetensors.1"]
    for path in left + other:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    prepare(paths, lambda _: None)
    assert [path for path in left + other if path.exists()] == other


@pytest.mark.parametrize("content", [b"", b"\xff\x00", b"[1]", b"{", b"[" * 100_000, None])
def test_a_derived_file_that_is_damaged_counts_as_missing(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "decisions.json").write_bytes(content)
    assert read_derived(tmp_path / "decisions.json") == {}
