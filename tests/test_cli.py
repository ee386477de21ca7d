"""The command line: light where it must be, and one exit code for each kind of end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conftest import tiny
from optstudy.stages import Place
from synthetic import fill_journal

ROOT = Path(__file__).parents[1]
HEAVY = ("pytorch_lightning", "torch", "torchvision", "mlflow", "optuna", "matplotlib")


def python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("arguments", [["--help"], ["check", str(ROOT / "configs" / "digits.yaml")]])
def test_help_and_check_import_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys, optstudy.cli as cli\n"
        f"sys.argv = ['optstudy', *{arguments!r}]\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        f"print('HEAVY', sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    ended = python(code, tmp_path)
    assert "HEAVY []" in ended.stdout, ended.stdout + ended.stderr


def test_report_imports_no_lightning(tmp_path: Path) -> None:
    place = Place(tiny(), tmp_path / "results", tmp_path / "mlruns")
    fill_journal(place)
    (tmp_path / "study.yaml").write_text(
        "name: tiny\ndata: digits\nmodel: linear\nepochs: 2\nbatch_size: 256\nreplicates: 2\n"
        "optimizers: [sgd, adam]\ntuning: {trials: 2}\n"
    )
    code = (
        "import sys, optstudy.cli as cli\n"
        "sys.argv = ['optstudy', 'report', 'study.yaml']\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        "print('HEAVY', sorted({'pytorch_lightning', 'torchvision', 'torch'} & set(sys.modules)))"
    )
    ended = python(code, tmp_path)
    assert "HEAVY []" in ended.stdout, ended.stdout + ended.stderr
    assert (tmp_path / "results" / "tiny" / "report.html").exists()


def test_an_unknown_option_exits_2(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "optstudy.cli", "run", "--nothing"], cwd=tmp_path, capture_output=True, text=True
    )
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr


def test_a_training_that_fails_exits_1_names_itself_and_is_tried_again(tmp_path: Path) -> None:
    # NAdam refuses a negative momentum_decay when it is built: a failure of the training's own.
    study = tmp_path / "study.yaml"
    study.write_text(
        "name: failing\ndata: digits\nmodel: linear\nepochs: 1\nbatch_size: 512\nreplicates: 2\nuntuned: false\n"
        "optimizers:\n  - sgd\n  - name: nadam\n    class: torch.optim.NAdam\n    fixed: {momentum_decay: -1.0}\n"
        "    search:\n      learning_rate: {low: 1.0e-3, high: 1.0e-1}\ntuning:\n  trials: 1\n"
    )
    for _ in range(2):
        command = [sys.executable, "-m", "optstudy.cli", "run", str(study)]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert ended.returncode == 1, ended.stderr
        assert "nadam, replicate 0, trial 0: ValueError: Invalid momentum_decay" in ended.stderr
        assert "Traceback" not in ended.stderr
    journal = tmp_path / "mlruns" / "journal" / "failing.jsonl"
    assert journal.read_bytes().count(b"\n") == 4  # SGD's two trials and two final runs: done, and kept


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_ends_the_command_also_where_a_finalizer_swallows_its_exception(
    name: str, code: int, tmp_path: Path
) -> None:
    script = (
        "import os, signal, time\n"
        "from optstudy.cli import exits\n"
        "class Finalized:\n"
        "    def __del__(self):\n"
        f"        os.kill(os.getpid(), signal.{name})\n"
        "        time.sleep(0.1)\n"
        "def command():\n"
        "    Finalized()\n"
        "    print('went on', flush=True)\n"
        "    time.sleep(60)\n"
        "exits(command)"
    )
    ended = python(script, tmp_path)
    assert "went on" in ended.stdout  # the first exception was lost
    assert ended.returncode == code
    assert f"ended by {name}; the same command takes it up again" in ended.stderr
