"""A user's code that exits, crashes or hangs: a message that names its key, and never the end of the coordinator."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from optstudy.errors import StudyError
from optstudy.planning.preflight import fingerprints_of
from optstudy.study.study import load_study

# A module with all that a user may bring; CRASH_<place> marks where a line of the test goes.
MODULE = """
import ctypes, os, signal, sys, time
import torch
CRASH_import


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(4, 2)
        CRASH_init

    def forward(self, x):
        CRASH_forward
        return self.head(x.flatten(1))


def data():
    CRASH_data
    x = torch.rand(400, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    return x, torch.arange(400) % 2, x, torch.arange(400) % 2


class Own(torch.optim.SGD):
    def __init__(self, params, lr=0.1, weight_decay=0.0):
        super().__init__(params, lr=lr, weight_decay=weight_decay)
        CRASH_optimizer

    def step(self, closure=None):
        CRASH_step
        return super().step(closure)
"""
STUDY = """
name: own
data: {class: mine.data, kind: image}
model: {class: mine.Net}
epochs: 1
batch_size: 100
replicates: 2
optimizers:
  - sgd
  - {name: own, class: mine.Own, search: {learning_rate: {low: 1.0e-3, high: 1.0e-1}}}
tuning: {trials: 1}
untuned: false
"""

# What a user's line does -> what the message says of it.
CRASHES = {
    "sys.exit()": "SystemExit",
    "sys.exit(3)": "SystemExit: 3",
    "os._exit(0)": "its process ended with exit code 0 (as os._exit does)",
    "os._exit(5)": "its process ended with exit code 5 (as os._exit does)",
    "raise KeyboardInterrupt": "KeyboardInterrupt",
    "raise GeneratorExit('odd')": "GeneratorExit: odd",
    "ctypes.string_at(0)": "its process was ended by SIGSEGV",
    "os.kill(os.getpid(), signal.SIGKILL)": "its process was ended by SIGKILL",
    "os.abort()": "its process was ended by SIGABRT",
}
# Where it stands -> the key and the value that the message names.
PLACES = {
    "import": r"study\.yaml: data\.class: 'mine\.data'",
    "init": r"own: model\.class: mine\.Net, arguments \{\}",
    "forward": r"own: model\.class: mine\.Net, arguments \{\}",
    "data": r"own: data\.class: mine\.data",
    "optimizer": r"own: optimizers: own: mine\.Own",
    "step": r"own: optimizers: own: mine\.Own",
}


def write(folder: Path, study: str = STUDY, **crashes: str) -> None:
    module = MODULE
    for place, line in crashes.items():
        module = module.replace(f"CRASH_{place}\n", f"{line}\n")
    (folder / "mine.py").write_text(re.sub(r"CRASH_\w+", "pass", module))
    (folder / "study.yaml").write_text(study)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def message_of_the_trial() -> str:
    """Return what loading the study and trying its parts refuse; all of it in this process, as in a notebook."""
    with pytest.raises(StudyError) as caught:
        fingerprints_of(load_study(Path("study.yaml")))
    return str(caught.value)


# The first crash at each place, and each crash at the first place; all others are among the long tests.
CASES = [
    pytest.param(
        crash, place, marks=[pytest.mark.long] * (crash != next(iter(CRASHES)) and place != next(iter(PLACES)))
    )
    for crash in CRASHES
    for place in PLACES
]


@pytest.mark.parametrize(("crash", "place"), CASES)
def test_code_that_ends_its_process_is_named_by_key_and_the_coordinator_lives(
    crash: str, place: str, here: Path
) -> None:
    write(here, **{place: crash})
    message = message_of_the_trial()
    assert re.match(rf"{PLACES[place]}: .*{re.escape(CRASHES[crash])}", message), message
    assert "Traceback" not in message
    assert {path.name for path in here.iterdir()} <= {"mine.py", "study.yaml", "__pycache__"}


@pytest.mark.parametrize(
    "place", [next(iter(PLACES)), *(pytest.param(one, marks=pytest.mark.long) for one in [*PLACES][1:])]
)
def test_code_that_never_answers_is_ended_after_the_timeout(place: str, here: Path) -> None:
    write(here, f"{STUDY}timeout: 5\n", **{place: "time.sleep(36000)"})
    message = message_of_the_trial()
    assert re.match(rf"{PLACES[place]}: no answer within 5 s; .*set `timeout` in the study file", message), message


def optstudy(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "optstudy.cli", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


FIVE = (
    STUDY.partition("  - sgd\n")[0]
    + "".join(
        f"  - {{name: {name}, class: mine.{name}, search: {{learning_rate: {{low: 1.0e-3, high: 1.0e-1}}}}}}\n"
        for name in ("Exits", "Quits", "Crashes", "Raises", "Asserts")
    )
    + "tuning: {trials: 1}\n"
)
FIVE_STEPS = {
    "Exits": "sys.exit(3)",
    "Quits": "os._exit(0)",
    "Crashes": "os.kill(os.getpid(), signal.SIGSEGV)",
    "Raises": "raise RuntimeError('no')",
    "Asserts": "assert False, 'never'",
}


@pytest.mark.parametrize("command", ["check", "run"])
def test_five_contenders_that_cannot_train_are_all_named_at_once(command: str, tmp_path: Path) -> None:
    write(tmp_path, FIVE)
    with (tmp_path / "mine.py").open("a") as file:
        for name, line in FIVE_STEPS.items():
            file.write(f"\n\nclass {name}(torch.optim.SGD):\n    def step(self, closure=None):\n        {line}\n")
    ended = optstudy(tmp_path, command, "study.yaml")
    assert (ended.returncode, ended.stdout, "Traceback" in ended.stderr) == (2, "", False)
    lines = ended.stderr.strip().splitlines()
    assert [line.split(":")[2].strip() for line in lines] == list(FIVE_STEPS)
    assert not (tmp_path / "results").exists()
    assert not (tmp_path / "mlruns").exists()


@pytest.mark.parametrize("crash", ["sys.exit()", "os._exit(0)", "raise KeyboardInterrupt"])
def test_code_that_ends_a_training_fails_it_with_exit_code_1(crash: str, tmp_path: Path) -> None:
    write(tmp_path, f"{STUDY}stack: off\n", forward=f"if len(x) > 2: {crash}")  # two examples are tried
    ended = optstudy(tmp_path, "run", "study.yaml", "--workers", "1")
    assert (ended.returncode, "Traceback" in ended.stderr) == (1, False)
    for contender in ("sgd", "own"):
        line = f"{contender}, replicate 0, trial 0: {CRASHES[crash]} (and in 1 more of its trainings)"
        assert line in ended.stderr.splitlines()


def test_check_and_run_name_the_key_of_code_that_exits_and_exit_2(tmp_path: Path) -> None:
    write(tmp_path, data="os._exit(0)")
    for command in ("check", "run"):
        ended = optstudy(tmp_path, command, "study.yaml")
        assert (ended.returncode, ended.stdout) == (2, "")
        assert re.fullmatch(rf"{PLACES['data']}: its process ended with exit code 0 .*\n", ended.stderr)
