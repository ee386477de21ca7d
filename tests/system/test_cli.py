"""The command line: light imports, and an exit code for each kind of end."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from builders import TINY, tiny, tiny_file
from optstudy.cli import app
from optstudy.errors import StudyError, StudyHeld, TrainingFailed
from optstudy.planning import journal
from optstudy.planning.layout import StudyPaths
from optstudy.running import stages
from optstudy.running.stages import prepare
from optstudy.study.study import load_study
from synthetic import answer_study, fill_journal

ROOT = Path(__file__).parents[2]
HEAVY = ("pytorch_lightning", "torch", "torchvision", "mlflow", "optuna", "matplotlib")


def python(code: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=120)


DEMO = str(ROOT / "configs" / "digits_demo.yaml")


@pytest.mark.parametrize("arguments", [["--help"], ["check", DEMO], ["optimizers"]])
def test_help_and_check_import_nothing_heavy(arguments: list[str], tmp_path: Path) -> None:
    code = (
        "import sys, optstudy.cli as cli\n"
        f"sys.argv = ['optstudy', *{arguments!r}]\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        f"print('HEAVY', sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    ended = python(code, tmp_path)
    assert "HEAVY []" in ended.stdout, ended.stdout + ended.stderr


def test_report_imports_neither_lightning_nor_torch(tmp_path: Path) -> None:
    paths = StudyPaths(tiny(), tmp_path / "results", tmp_path / "mlruns")
    fill_journal(paths)
    (tmp_path / "study.yaml").write_text(tiny_file())
    code = (
        "import sys, optstudy.cli as cli\n"
        "sys.argv = ['optstudy', 'report', 'study.yaml']\n"
        "try:\n    cli.main()\nexcept SystemExit as end:\n    assert end.code == 0, end.code\n"
        "print('HEAVY', sorted({'pytorch_lightning', 'torchvision', 'torch'} & set(sys.modules)))"
    )
    ended = python(code, tmp_path)
    assert "HEAVY []" in ended.stdout, ended.stdout + ended.stderr
    assert (tmp_path / "results" / "tiny" / "report.html").exists()


def test_the_version_is_printed() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"optstudy {version('optstudy')}\n")


def test_a_shell_is_told_the_commands_that_complete_a_word(tmp_path: Path) -> None:
    asked = {"_OPTSTUDY_COMPLETE": "complete_bash", "COMP_WORDS": "optstudy re", "COMP_CWORD": "1"}
    command = [sys.executable, "-m", "optstudy.cli"]
    ended = subprocess.run(command, cwd=tmp_path, env=os.environ | asked, capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stdout.split()) == (0, ["report"])


def test_a_notebook_shows_the_message_of_an_error_of_the_users_alone() -> None:
    assert StudyError("tuning.trials: -1")._render_traceback_() == ["StudyError: tuning.trials: -1"]


def test_an_unknown_option_exits_2(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "optstudy.cli", "run", "--nothing"], cwd=tmp_path, capture_output=True, text=True
    )
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr


TIRED = """
import torch


class Tired(torch.optim.SGD):
    def step(self, closure=None):
        self.steps = getattr(self, "steps", 0) + 1
        if self.steps == 2:
            raise ValueError("no more steps")
        return super().step(closure)
"""


def test_a_failed_training_exits_1_is_named_and_is_repeated_by_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The second step fails, because one step is tried before any training begins.
    study = tmp_path / "study.yaml"
    (tmp_path / "tired.py").write_text(TIRED)
    study.write_text(
        "name: failing\ndata: digits\nmodel: linear\nepochs: 1\nbatch_size: 512\nreplicates: 2\nuntuned: false\n"
        "optimizers:\n  - sgd\n  - name: tired\n    class: tired.Tired\n"
        "    search:\n      learning_rate: {low: 1.0e-3, high: 1.0e-1}\ntuning:\n  trials: 1\n"
    )
    command = [sys.executable, "-m", "optstudy.cli", "run", str(study)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1, ended.stderr
    assert "tired, replicate 0, trial 0: ValueError: no more steps" in ended.stderr
    assert ended.stderr.count("no more steps") == 1  # the other trial failed alike and is counted in the same line
    assert "(and in 1 more of its trainings)" in ended.stderr
    assert "Traceback" not in ended.stderr
    monkeypatch.syspath_prepend(tmp_path)
    paths = StudyPaths(load_study(study), tmp_path / "results", tmp_path / "mlruns")
    with pytest.raises(TrainingFailed, match=r"tired, replicate 0, trial 0: .* 1 more of its trainings"):
        stages.run(paths, 1, lambda _: None, lambda _: None)
    journal = tmp_path / "mlruns" / "journal" / "failing.jsonl"
    assert journal.read_bytes().count(b"\n") == 4  # SGD's two trials and two final runs are kept


ENDS = {  # how a command ends -> exit code, standard output, the last line of standard error
    "return 3": (3, "exit handler\n", ""),
    "return None": (0, "exit handler\n", ""),
    "raise SystemExit(4)": (4, "exit handler\n", ""),
    "raise RuntimeError('a defect')": (1, "exit handler\n", "RuntimeError: a defect"),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_command_ends_with_its_exit_code_after_the_exit_handlers_of_libraries(end: str, tmp_path: Path) -> None:
    code = (
        "import atexit\n"
        "from optstudy.cli import exits\n"
        "def command():\n"
        "    atexit.register(print, 'exit handler')\n"
        f"    {end}\n"
        "exits(command)"
    )
    ran = python(code, tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr.rpartition("\n")[0].rpartition("\n")[2]) == ENDS[end]


FULL = {  # what fails on a full disk -> how the message begins
    "pathlib.Path('/dev/full').write_text('x')": "OSError: [Errno 28] No space left on device",
    "shutil.copyfile(shutil.__file__, '/dev/full')": "OSError: [Errno 28] No space left on device",
    "raise OSError(errno.ENOSPC, 'No space left on device', 'runs/sgd.csv')": "runs/sgd.csv: No space left on device",
    "raise OSError(errno.EFBIG, 'File too large', 'runs/sgd.csv')": "runs/sgd.csv: File too large",
    "raise OSError(errno.EDQUOT, 'Disk quota exceeded', 'a', None, 'b')": "b: Disk quota exceeded",
    "raise safetensors.SafetensorError('I/O error: No space left on device (os error 28)')": (
        "SafetensorError: I/O error: No space left on device (os error 28)"
    ),
}


@pytest.mark.parametrize("writing", FULL)
def test_a_full_disk_exits_1_with_one_line_that_says_how_to_resume(writing: str, tmp_path: Path) -> None:
    code = "import errno, pathlib, safetensors, shutil\nfrom optstudy.cli import exits\n"
    ended = python(f"{code}def command():\n    {writing}\nexits(command)", tmp_path)
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert line.startswith(FULL[writing])
    assert "the same command" in line


def test_an_error_of_the_system_that_names_no_file_is_a_defect_with_a_traceback(tmp_path: Path) -> None:
    code = "import errno\nfrom optstudy.cli import exits\ndef command():\n    raise OSError(errno.EIO, 'broken')\n"
    ended = python(f"{code}exits(command)", tmp_path)
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_ends_the_command_at_once_even_in_a_finalizer(name: str, code: int, tmp_path: Path) -> None:
    script = (
        "import os, signal, time\n"
        "from optstudy.cli import exits\n"
        "class Finalized:\n"
        "    def __del__(self):\n"  # Python drops an exception that is raised here
        f"        os.kill(os.getpid(), signal.{name})\n"
        "        time.sleep(0.1)\n"
        "def command():\n"
        "    Finalized()\n"
        "    print('continued', flush=True)\n"
        "exits(command)"
    )
    ended = python(script, tmp_path)
    assert (ended.returncode, ended.stdout) == (code, "")
    assert name in ended.stderr
    assert "the same command" in ended.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines").glob("*.py")), ids=lambda path: path.stem)
def test_a_pipeline_script_without_arguments_names_those_that_it_takes(path: Path, tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, str(path)], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    contender = " CONTENDER" if path.stem in ("tune", "train") else ""
    assert (ended.returncode, ended.stderr) == (2, f"usage: python {path} NAME{contender}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_stage_out_of_order_names_the_missing_file_and_the_stage_that_writes_it(tmp_path: Path) -> None:
    paths = StudyPaths(tiny(), tmp_path / "results", tmp_path / "mlruns")
    pretraining = {"data": "digits", "optimizer": "adam", "epochs": 1}
    tuned = StudyPaths(
        tiny(model={"name": "mlp", "pretrained": "pretraining"}, pretraining=pretraining, name="before"),
        tmp_path / "results",
        tmp_path / "mlruns",
    )
    for stage, file, command in (
        (lambda: stages.train(paths, "adam", 1, lambda _: None), "selected/adam.csv", "pipelines/tune.py tiny adam"),
        (lambda: stages.compare_stage(paths), "runs/sgd.csv", "pipelines/train.py tiny sgd"),
        (lambda: stages.tune(tuned, "sgd", 1, lambda _: None), ".safetensors", "pipelines/pretrain.py before"),
    ):
        with pytest.raises(StudyError, match=f"{file}: is missing.*`python {command}`"):
            stage()
    assert list(tmp_path.iterdir()) == []


def test_an_altered_line_of_the_journal_is_named_and_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "tiny.jsonl"
    fill_journal(StudyPaths(tiny(), tmp_path / "results", tmp_path / "mlruns"))
    [filled] = (tmp_path / "mlruns" / "journal").glob("*.jsonl")
    lines = filled.read_bytes().splitlines(keepends=True)
    for wrong in (
        lines[1][:40] + b"\n",
        b"3\n",
        b"{}\n",
        b"\xff\n",
        b'{"result": {"curve": []}, "epoch_ms": []}\n',
        b"\n",
    ):
        path.write_bytes(lines[0] + wrong + b"".join(lines[2:]))
        with pytest.raises(StudyError, match=r"tiny\.jsonl: line 2: .* delete it"):
            journal.read_journal(path)
    path.write_bytes(lines[0] + b"".join(lines[2:]) + lines[1][:40])
    assert len(journal.read_journal(path)) == len(lines) - 1


@pytest.mark.parametrize(("results", "words"), [("file", "is a file"), ("/proc/none", "/proc/none")])
def test_a_results_folder_that_cannot_be_made_exits_2_before_anything_is_trained(
    results: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(TINY))
    command = [sys.executable, "-m", "optstudy.cli", "run", "study.yaml", "--results", results]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 2, ended.stderr
    assert words in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "mlruns" / "journal" / "tiny.jsonl").exists()


def test_square_brackets_are_printed_literally_and_lines_are_not_wrapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    claim = {"statement": "adam [/i] wins", "better": "adam", "than": "sgd"}
    study = {**TINY, "name": "a-name-of-many-words", "question": "which [/b] one?", "claims": [claim]}
    Path("study.yaml").write_text(yaml.safe_dump(study))
    results = Path("[bold]" + "x" * 80)
    fill_journal(StudyPaths(tiny(**study), results))
    ended = CliRunner().invoke(app, ["report", "study.yaml", "--results", str(results)], catch_exceptions=False)
    assert ended.exit_code == 0
    assert "which [/b] one?" in ended.output
    assert "adam [/i] wins" in ended.output
    Path("study.yaml").write_text(yaml.safe_dump({**study, "replicates": 3}))
    ended = CliRunner().invoke(app, ["report", "study.yaml", "--results", str(results)], catch_exceptions=False)
    assert ended.exit_code == 1
    assert ended.output.splitlines() == [
        "a-name-of-many-words: 8 trainings are missing from the journal: optstudy run completes them"
    ]


def test_a_report_without_any_study_exits_2_and_writes_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "optstudy.cli", "report"]
    for reason in ("no study file", "none of its studies"):
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert ended.stderr.startswith("configs: ")
        assert reason in ended.stderr
        assert not (tmp_path / "results").exists()
        (tmp_path / "configs").mkdir(exist_ok=True)
        (tmp_path / "configs" / "study.yaml").write_text(yaml.safe_dump(TINY))


def test_only_the_tables_of_a_removed_contender_are_deleted(tmp_path: Path) -> None:
    paths = StudyPaths(tiny(), tmp_path / "results", tmp_path / "mlruns")
    answer_study(paths)
    (paths.tables / "runs" / "notes.txt").touch()
    alone = StudyPaths(tiny(optimizers=["adam"]), paths.results, paths.mlruns)
    lines = list[str]()
    prepare(alone, lines.append)
    assert any(line.startswith("sgd: ") for line in lines)
    kinds = ("resolved", "tuning", "selected", "runs", "curves", "answers", "sweep")
    left = sorted(str(path.relative_to(paths.tables)) for kind in kinds for path in (paths.tables / kind).iterdir())
    assert left == sorted(["runs/notes.txt", "resolved/adam.json", *(f"{kind}/adam.csv" for kind in kinds[1:])])


def test_preparing_a_study_that_another_process_holds_is_refused(tmp_path: Path) -> None:
    paths = StudyPaths(tiny(), tmp_path / "results", tmp_path / "mlruns")
    with journal.hold(paths.journal), pytest.raises(StudyHeld):
        prepare(paths, lambda _: None)
    assert not (tmp_path / "results").exists()


def test_each_study_stores_its_stacking_decisions_in_a_file_of_its_own(tmp_path: Path) -> None:
    one, other = (StudyPaths(tiny(name=name), tmp_path / "results", tmp_path / "mlruns") for name in ("one", "other"))
    prepare(one, lambda _: None)
    prepare(other, lambda _: None)
    files = sorted(path.name for path in (tmp_path / "mlruns" / "stacking").iterdir())
    assert files == ["one.json", "other.json"]


def test_no_output_mentions_a_removed_contender(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("OPTSTUDY_OPTUNA_STORAGE", raising=False)
    from mlflow import MlflowClient
    from mlflow.artifacts import list_artifacts

    from optstudy.records.mlflow_runs import tracking_uri

    both = StudyPaths(tiny(), tmp_path / "results", tmp_path / "mlruns")
    alone = StudyPaths(tiny(optimizers=["adam"]), both.results, both.mlruns)
    for paths in (both, alone):
        stages.compare(fill_journal(paths), stages.live_of(paths))
    client = MlflowClient(tracking_uri(both.mlruns))
    runs = client.search_runs([client.get_experiment_by_name("tiny").experiment_id])
    assert {run.data.tags["optstudy.contender"] for run in runs} == {"", "adam"}
    [comparison] = [run.info.run_id for run in runs if run.data.tags["optstudy.stage"] == "comparison"]
    kept = [
        file.path for file in list_artifacts(run_id=comparison, artifact_path="runs", tracking_uri=client.tracking_uri)
    ]
    assert kept == ["runs/adam.csv"]
    texts = [path.read_text() for path in both.tables.rglob("*.*") if path.suffix in {".csv", ".json"}]
    assert [text for text in texts if "sgd" in text.lower()] == []
