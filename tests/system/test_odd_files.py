"""What is wrong with files, folders and ports ends in one line and exit code 2, or is put right."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from builders import tiny, tiny_file
from optstudy.errors import StudyError
from optstudy.planning.layout import StudyPaths
from optstudy.running import stages
from synthetic import fill_journal


def optstudy(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "study.yaml").write_text(tiny_file())
    command = [sys.executable, "-m", "optstudy.cli", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("command", ["run", "report"])
@pytest.mark.parametrize("link", ["mlruns", "mlruns/journal", "results"])
def test_a_link_to_nowhere_is_called_that(link: str, command: str, tmp_path: Path) -> None:
    if link == "results" and command == "report":
        fill_journal(StudyPaths(tiny(), tmp_path / "elsewhere", tmp_path / "mlruns"))
    (tmp_path / link).parent.mkdir(exist_ok=True)
    (tmp_path / link).symlink_to("not-mounted")
    ended = optstudy(tmp_path, command, "study.yaml")
    reason = "is a link to not-mounted, which does not exist: mount its disk, or remove the link"
    assert (ended.returncode, ended.stderr) == (2, f"{link}: {reason}\n")


def test_a_file_where_a_folder_must_be_is_called_that(tmp_path: Path) -> None:
    (tmp_path / "mlruns").mkdir()
    (tmp_path / "mlruns" / "journal").touch()
    ended = optstudy(tmp_path, "report", "study.yaml")
    assert (ended.returncode, ended.stderr) == (2, "mlruns/journal: must be a folder\n")


@pytest.mark.parametrize(
    "garbage", [b"", *(pytest.param(one, marks=pytest.mark.long) for one in (b"\xff\x00{", b"[1, 2]\n", b"a,b\n1,2\n"))]
)
def test_damaged_results_are_written_again(garbage: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = StudyPaths(tiny(), Path("results"))
    fill_journal(paths)
    assert stages.report(paths, lambda _: None) is not None
    dated = ("provenance.json", "report.html")  # they show the time of now
    files = [path for path in paths.tables.rglob("*") if path.is_file() and path.name not in dated]
    before = {path: path.read_bytes() for path in files}
    for path in [*files, *(paths.tables / name for name in dated), *Path("mlruns/stacking").iterdir()]:
        path.write_bytes(garbage)
    with pytest.raises(StudyError, match="is damaged: `optstudy report` writes it again"):
        stages.compare_stage(paths)
    ended = optstudy(tmp_path, "check", "study.yaml")
    assert "Traceback" not in ended.stderr
    assert stages.report(paths, lambda _: None) is not None
    assert {path: path.read_bytes() for path in files} == before


@pytest.mark.parametrize("port", ["80000", "0", "-1", "http"])
def test_a_port_that_does_not_exist_is_refused(port: str, tmp_path: Path) -> None:
    ended = optstudy(tmp_path, "ui", "--port", port)
    assert ended.returncode == 2
    assert "--port" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        ended = optstudy(tmp_path, "ui", "--port", str(port))
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == f"--port: {port}: Address already in use; choose another port\n"


CODE = "import sys; from optstudy import cli\n"
LATE = (
    "from optstudy.reporting.terminal import make_console\ncli.exits(lambda: make_console().print('a line\\n' * 1000))"
)
WRITERS = {
    "typer": f"{CODE}cli.main()",
    "rich": f"{CODE}{LATE}",
    "print": f"{CODE}cli.exits(lambda: print('x' * 100_000))",
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_reader_that_has_gone_gives_141(writer: str, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(tiny_file())
    reader, pipe = os.pipe()
    os.close(reader)
    command = [sys.executable, "-u", "-c", WRITERS[writer], "check", "study.yaml"]
    ended = subprocess.run(command, cwd=tmp_path, stdout=pipe, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(pipe)
    assert (ended.returncode, ended.stderr) == (141, "")


def test_an_error_of_ours_is_not_called_an_abort_of_the_users(tmp_path: Path) -> None:
    command = "@cli.app.command()\ndef broken():\n    raise EOFError('Ran out of input')\n"
    code = f"{CODE}{command}sys.argv = ['optstudy', 'broken']\ncli.main()"
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1
    assert ended.stderr.endswith("EOFError: Ran out of input\n")
    assert "Abort" not in ended.stderr
