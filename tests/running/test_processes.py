"""The local executor: workers give the results of `train`, are reused, and never outlive the coordinator."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import psutil
import pytest
import torch

from builders import tiny
from optstudy.running.executors.processes import Workers
from optstudy.spec import RunResult, RunSpec, TrainingEnded
from optstudy.user_process import warm_up


def spec(replicate: int = 0) -> RunSpec:
    study = tiny()
    contender = study.optimizers[0]
    return study.spec(contender, replicate, 5, contender.row().defaults)


def run_code(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code, which can import what is beside this file, in a process of its own."""
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    found = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, folders))}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=folder, env=found, capture_output=True, text=True, timeout=120)


def ends(workers: Workers, count: int) -> list[tuple[object, RunResult]]:
    found: list[tuple[object, RunResult]] = []
    while len(found) < count:
        found += [(ticket, event.result) for ticket, event in workers.events() if isinstance(event, TrainingEnded)]
    return found


def test_workers_import_neither_mlflow_nor_optuna_and_give_the_results_of_train(tmp_path: Path) -> None:
    code = (
        "from optstudy.training.train import train\n"
        "import sys, torch; torch.set_num_threads(1)\n"
        "from test_processes import spec\n"
        "r = train([spec()])[0]\n"
        "print('METRICS', r.metrics['test/loss'], sorted({'mlflow', 'optuna'} & set(sys.modules)))"
    )
    alone = run_code(code, tmp_path)
    assert "[]" in alone.stdout, alone.stderr
    with Workers(1) as workers:
        workers.submit("ticket", [spec()])
        assert workers.free == 0
        [(ticket, result)] = ends(workers, 1)
        assert ticket == "ticket"
    assert f"METRICS {result.metrics['test/loss']} " in alone.stdout


def test_the_fork_server_ends_without_output(tmp_path: Path) -> None:
    code = "import optstudy.running.executors.worker_imports; print('imported', flush=True)"
    ran = run_code(code, tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "imported\n", "")


def test_ctrl_c_during_the_workers_imports_reaches_only_the_coordinator(tmp_path: Path) -> None:
    code = (
        "import os, psutil, signal, time\n"
        "from optstudy.running.executors.processes import Workers\n"
        "from optstudy.user_process import warm_up\n"
        "os.setsid()\n"  # signals go to all of this group, as those of a terminal do
        "seen = []\n"
        "signal.signal(signal.SIGINT, lambda *_: seen.append(1))\n"
        "warm_up()\n"
        "for _ in range(20):\n"
        "    os.killpg(0, signal.SIGINT)\n"
        "    time.sleep(0.05)\n"
        "assert psutil.STATUS_ZOMBIE not in [child.status() for child in psutil.Process().children()]\n"
        "from test_processes import ends, spec\n"
        "with Workers(1) as workers:\n"
        "    workers.submit('ticket', [spec()])\n"
        "    print(len(seen), [result.status for _, result in ends(workers, 1)], flush=True)"
    )
    ran = run_code(code, tmp_path)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "20 ['completed']\n", "")


def test_a_worker_is_free_when_its_trainings_have_ended() -> None:
    # The coordinator stops when nothing runs: a worker that ended its training but still counts as busy would end
    # the study before its last trainings are handed out.
    with Workers(2) as workers:
        for _ in range(3):
            workers.submit("a", [spec(0)])
            workers.submit("b", [spec(1)])
            time.sleep(0.2)  # often enough, both end before anyone looks
            assert sorted(str(ticket) for ticket, _ in ends(workers, 2)) == ["a", "b"]
            assert workers.free == 2


def where(item: str) -> tuple[str, int, set[str]]:
    return item, os.getpid(), {"mlflow", "optuna"} & set(sys.modules)


def test_map_uses_other_processes_in_order_once_a_training_has_run() -> None:
    with Workers(2) as workers:
        assert [found[:2] for found in workers.map(where, "abcd")] == [(item, os.getpid()) for item in "abcd"]
        workers.submit("ticket", [spec()])
        ends(workers, 1)
        found = workers.map(where, "abcd")
        workers.submit("again", [spec()])
        assert [ticket for ticket, _ in ends(workers, 1)] == ["again"]
    assert [item for item, _, _ in found] == list("abcd")
    processes = {process for _, process, _ in found}
    assert os.getpid() not in processes
    assert not any(map(psutil.pid_exists, processes))
    assert all(imported == set() for _, _, imported in found)  # of what a worker is forked off, too


def error_of_cuda(_: object = None) -> str:
    """Return what CUDA says to a process that wants to begin with it; empty where there is a GPU."""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # no driver; torch built without CUDA
        return str(error)
    return ""


def test_the_fork_server_has_not_initialised_cuda() -> None:
    # CUDA cannot be used in a fork of a process that has, were it to ask whether there is a GPU.
    with Workers(1) as workers:
        workers.submit("ticket", [spec()])
        ends(workers, 1)
        assert "fork" not in workers.map(error_of_cuda, "a")[0]


@pytest.mark.skipif(torch.version.cuda is None, reason="this build of torch knows no CUDA")
def test_a_fork_of_a_process_that_has_initialised_cuda_cannot_use_it(tmp_path: Path) -> None:
    code = (
        "import os, torch\n"
        "from test_processes import error_of_cuda\n"
        "torch.cuda.is_available()\n"
        "print(error_of_cuda() if os.fork() == 0 else os.wait() and '')"
    )
    ran = run_code(code, tmp_path)
    assert "fork" in ran.stdout, ran.stderr


def killed_elsewhere(here: int, item: str) -> str:
    if os.getpid() != here:
        os.kill(os.getpid(), signal.SIGKILL)
    return item.upper()


def test_map_computes_here_if_a_process_is_killed() -> None:
    with Workers(2) as workers:
        workers.submit("ticket", [spec()])
        ends(workers, 1)
        assert workers.map(partial(killed_elsewhere, os.getpid()), "ab") == ["A", "B"]


def kill_worker() -> None:
    server = next(c for c in psutil.Process().children() if "forkserver" in " ".join(c.cmdline()))
    [child] = server.children()
    child.kill()
    child.wait(timeout=60)


def test_a_killed_worker_fails_its_training_and_is_replaced() -> None:
    with Workers(1) as workers:
        workers.submit("killed", [spec()])
        kill_worker()
        [(ticket, result)] = ends(workers, 1)
        assert (ticket, result.status) == ("killed", "failed")
        assert "its process was ended by SIGKILL" in result.message
        workers.submit("again", [spec()])
        assert [(ticket, result.status) for ticket, result in ends(workers, 1)] == [("again", "completed")]
        kill_worker()  # while it idles
        workers.submit("third", [spec()])
        assert [(ticket, result.status) for ticket, result in ends(workers, 1)] == [("third", "completed")]


def test_the_fork_server_may_be_killed_at_any_time() -> None:
    def server() -> psutil.Process:
        [found] = [child for child in psutil.Process().children() if "forkserver" in " ".join(child.cmdline())]
        return found

    with Workers(2) as workers:
        warm_up()
        server().kill()  # before it is needed
        workers.submit("first", [spec()])
        assert [(ticket, result.status) for ticket, result in ends(workers, 1)] == [("first", "completed")]
        server().suspend()  # so that it is killed while it is waited for
        threading.Timer(2, server().kill).start()
        workers.submit("second", [spec()])
        workers.submit("third", [spec()])
        assert {(ticket, result.status) for ticket, result in ends(workers, 2)} == {
            ("second", "completed"),
            ("third", "completed"),
        }
        server().kill()
        assert workers.map(str.upper, "ab") == ["A", "B"]


def test_the_fork_server_ends_with_its_coordinator_even_during_its_imports(tmp_path: Path) -> None:
    code = (
        "import os, signal\n"
        "from multiprocessing import forkserver\n"
        "from optstudy.user_process import warm_up\n"
        "warm_up()\n"
        "print(forkserver._forkserver._forkserver_pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    server = psutil.Process(int(run_code(code, tmp_path).stdout))
    assert psutil.wait_procs([server], timeout=5)[1] == []


class Ends(torch.nn.Module):
    """A user's own, which ends its process, or hangs, where it is trained."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.head = how, torch.nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        exec(self.how)
        logits: torch.Tensor = self.head(x.flatten(1))
        return logits


def ending_spec(how: str) -> RunSpec:
    study = tiny(model={"class": "test_processes.Ends", "arguments": {"how": how}})
    return study.spec(study.optimizers[0], 0, 5, study.optimizers[0].row().defaults)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("sys.exit()", "SystemExit"),
        ("sys.exit('enough')", "SystemExit: enough"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("raise GeneratorExit", "GeneratorExit"),
        ("os._exit(0)", "its process ended with exit code 0 (as os._exit does)"),
        ("os._exit(5)", "its process ended with exit code 5 (as os._exit does)"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "its process was ended by SIGSEGV"),
    ],
)
def test_a_training_whose_code_ends_its_process_fails_with_a_message(how: str, message: str) -> None:
    with Workers(1) as workers:
        workers.submit("ends", [ending_spec(how)])
        [(_, result)] = ends(workers, 1)
        assert (result.status, result.message) == ("failed", message)
        workers.submit("next", [spec()])
        assert [result.status for _, result in ends(workers, 1)] == ["completed"]


def test_a_training_that_takes_longer_than_the_timeout_fails_and_its_worker_is_replaced() -> None:
    with Workers(2, timeout=30) as workers:
        workers.submit("hangs", [ending_spec("time.sleep(36000)")])
        workers.submit("trains", [spec()])
        results = dict(ends(workers, 2))
        assert results["trains"].status == "completed"
        assert results["hangs"].status == "failed"
        assert results["hangs"].message == "it took longer than the 30 s of `timeout`"
        assert workers.free == 2
        assert list(workers.events(timeout=0)) == []
        workers.submit("next", [spec()])
        assert [result.status for _, result in ends(workers, 1)] == ["completed"]
