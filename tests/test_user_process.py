"""A process for a user's code: it answers, survives what the code raises, and is replaced when the code ends it."""

from __future__ import annotations

import os
import sys
import time
from importlib import import_module
from multiprocessing.spawn import get_preparation_data
from pathlib import Path

import psutil
import pytest

from optstudy.errors import DataError, TrainingFailed
from optstudy.user_process import UserProcess, script_left_alone


def where() -> tuple[int, str, str]:
    return os.getpid(), os.getcwd(), os.environ.get("OPTSTUDY_DATA", "")


def answer_of(module: str) -> int:
    answer: int = import_module(module).answer()
    return answer


def raises(error: BaseException) -> None:
    raise error


def leaves(folder: str, code: int) -> None:
    (Path(folder) / "called").open("a").write("x")
    os._exit(code)


def closes_its_pipe_and_hangs() -> None:
    os.closerange(3, 256)
    time.sleep(36000)


def test_calls_share_one_process_that_ends_with_the_block() -> None:
    with UserProcess() as process:
        first, second = (process.call("key", where)[0] for _ in range(2))
        assert first == second != os.getpid()
    assert not psutil.pid_exists(first)


def test_it_has_the_folder_environment_and_imports_of_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with UserProcess() as process:
        process.call("key", where)  # the server runs
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPTSTUDY_DATA", "elsewhere")
    (tmp_path / "added.py").write_text("def answer():\n    return 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    with UserProcess() as process:
        assert process.call("key", where)[1:] == (str(tmp_path), "elsewhere")
        assert process.call("key", answer_of, "added") == 42


def test_errors_for_users_are_raised_as_they_are_and_a_defect_with_its_traceback() -> None:
    with UserProcess() as process:
        with pytest.raises(TrainingFailed, match=r"^so it is$"):
            process.call("key", raises, TrainingFailed("so it is"))
        with pytest.raises(RuntimeError, match=r"in another process:\n(.*\n)*ValueError: a defect"):
            process.call("key", raises, ValueError("a defect"))
        with pytest.raises(DataError, match=r"^key: SystemExit: 3$"):
            process.call("key", raises, SystemExit(3))


def test_what_ended_it_is_not_tried_again_and_others_go_on(tmp_path: Path) -> None:
    with UserProcess() as process:
        for _ in range(2):
            with pytest.raises(DataError, match=r"^model: its process ended with exit code 7 \(as os\._exit does\)$"):
                process.call("model", leaves, str(tmp_path), 7)
        assert process.call("data", where)[0] != os.getpid()
    assert (tmp_path / "called").read_text() == "x"


def test_code_that_closes_the_pipe_and_hangs_is_ended() -> None:
    with UserProcess() as process:
        before = process.call("key", where)[0]
        with pytest.raises(DataError, match=r"^key: its process was ended by SIGKILL"):
            process.call("key", closes_its_pipe_and_hangs)
    assert not psutil.pid_exists(before)


def test_an_answer_that_takes_too_long_is_not_waited_for() -> None:
    with UserProcess(limit=3) as process, pytest.raises(DataError, match=r"^key: no answer within 3 s; .* `timeout`"):
        process.call("key", time.sleep, 36000)


def test_processes_do_not_import_the_users_script(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script without a guard would run again in each of them, and one on standard input cannot be imported."""
    script = sys.modules["__main__"]
    monkeypatch.setattr(script, "__file__", "script.py", raising=False)
    monkeypatch.setattr(script, "__spec__", None)
    assert "init_main_from_path" in get_preparation_data("a process")
    with script_left_alone():
        assert not {"init_main_from_name", "init_main_from_path"} & set(get_preparation_data("a process"))
    assert "init_main_from_path" in get_preparation_data("a process")
