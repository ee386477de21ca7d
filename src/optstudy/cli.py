"""The command line: run, check, report, ui. Heavy imports wait until a command needs them."""

from __future__ import annotations

import atexit
import errno
import gc
import os
import re
import signal
import sys
from collections.abc import Callable
from functools import partial
from inspect import signature
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from optstudy.environment import default_workers
from optstudy.errors import Stopped, StudyError, one_line

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")]
Workers = Annotated[int, typer.Option(min=1, help="Worker processes, one thread each.")]
Results = Annotated[Path, typer.Option(file_okay=False, help="Folder of the tables, one folder per study in it.")]


@app.callback()
def about() -> None:
    """Tuned with the same budget, which optimizer wins on this task, by how much, and how sure are we?"""


@app.command()
def run(
    study_file: StudyFile,
    workers: Workers = default_workers(),
    results: Results = Path("results"),
) -> None:
    """Tune, train and compare; take up what was interrupted."""
    from optstudy.study.study import load_study

    study = load_study(study_file)
    from optstudy.planning.layout import StudyPaths
    from optstudy.running.executors.processes import warm_up

    paths = StudyPaths(study, results)
    if not paths.journal.exists():  # a study that has begun may have nothing left to train
        warm_up()
    from rich.console import Console

    from optstudy.reporting.terminal import print_results, shown
    from optstudy.running import stages

    console = Console()
    say = partial(console.print, markup=False, soft_wrap=True)  # a path may hold brackets; a log is not 80 columns wide
    with shown(console, workers) as progress:
        comparison = stages.run(paths, workers, say, progress)
    print_results(console, study, paths.tables, comparison)
    say(f"Report: {paths.tables}/report.html, tables beside it. MLflow UI: make ui, or optstudy ui")


@app.command()
def check(
    study_file: StudyFile,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 1 where anything is found.")] = False,
    measure: Annotated[bool, typer.Option("--measure", help="Estimate its cost on this machine.")] = False,
    workers: Workers = default_workers(),
    results: Results = Path("results"),
) -> None:
    """Say what a study consists of, and what a reviewer would object to; trains nothing."""
    from optstudy.analysis.fairness import design_findings, smallest_p_line, table_findings
    from optstudy.metrics import counted
    from optstudy.planning.jobs import jobs_in
    from optstudy.study.study import load_study

    study = load_study(study_file)
    names = [contender.name for contender in study.optimizers]
    trainings = sum(jobs_in(study, name) for name in names)
    typer.echo(f"{study_file}: valid: {study.name}: {', '.join(names)}")
    typer.echo(
        f"{study.replicates} replicates, {study.tuning.trials} trials by {study.tuning.sampler} a search: "
        f"{counted(trainings, 'training')} of {counted(study.epochs, 'epoch')}"
    )
    findings = [*design_findings(study), *table_findings(study, results / study.name)]
    for finding in findings:
        typer.echo(f"{finding.contender or 'study'}: {finding.finding} (rule {finding.rule}; {finding.source})")
    if smallest_p_line(study):
        typer.echo(smallest_p_line(study))
    if measure:
        from optstudy.planning.layout import StudyPaths
        from optstudy.running.cost import cost_line, cost_of

        typer.echo(cost_line(cost_of(StudyPaths(study, results), workers)))
    if strict and findings:
        raise typer.Exit(1)


@app.command()
def report(
    study_files: Annotated[list[Path] | None, typer.Argument(metavar="[STUDY.yaml ...]")] = None,
    results: Results = Path("results"),
) -> None:
    """Rebuild tables, report, MLflow and Optuna from the journals alone; without a file, of every study in configs/."""
    from rich.console import Console

    from optstudy.planning.layout import StudyPaths
    from optstudy.reporting.pages import write_index
    from optstudy.reporting.terminal import print_results
    from optstudy.running import stages
    from optstudy.study.study import load_study

    console = Console()
    say = partial(console.print, markup=False, soft_wrap=True)
    given = study_files or sorted(Path("configs").glob("*.yaml"))
    places = [StudyPaths(load_study(path), results) for path in given]
    if not study_files:
        places = [place for place in places if place.journal.exists()]
        if not places:
            found = "none of its studies has begun" if given else "there is no study file in it"
            raise StudyError(f"configs: {found}: name study files, or stand in the folder where `optstudy run` was run")
    complete = []
    for paths in places:
        table = stages.report(paths, say)
        if table is not None:
            complete.append(paths.study.name)
            print_results(console, paths.study, paths.tables, table)
    if len(complete) > 1:
        write_index(results, complete)
        say(f"Index: {results}/index.html")
    if len(complete) < len(places):
        raise typer.Exit(1)


@app.command()
def ui(port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 5000) -> None:
    """Open the MLflow UI on the right store, on 127.0.0.1."""
    from optstudy.records.live import opening
    from optstudy.records.mlflow_runs import MLFLOW, made_store

    with opening(MLFLOW):
        store = made_store(Path("mlruns"))
    arguments = ["--backend-store-uri", store, "--host", "127.0.0.1", "--port", str(port)]
    Path("mlruns").mkdir(exist_ok=True)
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "ui", *arguments])


class _Signalled(BaseException):
    """Ctrl-C or SIGTERM came; the argument is the signal."""


def _wind_down(number: int, _frame: FrameType | None) -> None:
    """Raise now, and again each second: an exception that meets a finalizer of some library's is lost there."""
    signal.signal(signal.SIGALRM, lambda _alarm, frame: _wind_down(number, frame))
    signal.alarm(1)
    raise _Signalled(number)


def main() -> None:
    """Run the command line and turn each kind of end into its exit code."""
    exits(lambda: app(standalone_mode=False))


def exits(command: Callable[..., object], *arguments: str) -> None:
    """Call `command` and end the process with the exit code that its end has in the contract."""
    gc.set_threshold(100_000)  # imports make a million objects that stay: less looking through them saves 0.5 s
    ended = list[int]()
    atexit.register(_leave, ended)  # first, so that it comes last
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _wind_down)
    sys.path.insert(0, os.getcwd())  # where a study's own classes lie; a console script leaves it out
    code: object = 0
    try:
        _check_arguments(command, arguments)
        code = command(*arguments)  # click returns the code of typer.Exit where it is not standalone
    except _Signalled as error:
        signal.alarm(0)
        number = signal.Signals(error.args[0])
        code = _say(f"ended by {number.name}; the same command takes it up again", 128 + number)
    except Stopped as error:
        code = _say(str(error), error.code)
    except Exception as error:
        code = _say(_no_space(error), 1) if _is_full(error) else _refused(error)
    ended.append(code if isinstance(code, int) else 0)
    sys.exit(ended[0])


def _leave(ended: list[int]) -> None:
    """End the process here by the code in `ended`: to take torch's modules apart costs 2 s."""
    if not ended:  # a defect, or somebody's own SystemExit
        return
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:  # whoever read may have gone
        os._exit(ended[0])


def _check_arguments(command: Callable[..., object], arguments: tuple[str, ...]) -> None:
    """Raise StudyError where a script has not been given what its function takes."""
    try:
        signature(command).bind(*arguments)
    except TypeError as error:
        names = " ".join(name.upper() for name in signature(command).parameters)
        raise StudyError(f"usage: python {sys.argv[0]} {names}") from error


def _refused(error: Exception) -> int:
    """Say what click (its errors have `show`) or the system refuses; raise anything else: it is a defect of ours."""
    show = getattr(error, "show", None)
    if show is not None:
        show()
        return StudyError.code
    if isinstance(error, OSError) and error.filename is not None:  # no such folder, or none to write in
        return _say(f"{error.filename}: {error.strerror}", StudyError.code)
    raise error


def _is_full(error: Exception) -> bool:
    """Return whether the disk, or the user's share of it, is full: safetensors has Rust's words alone for it."""
    rust = re.search(r"\(os error (\d+)\)$", str(error))
    return (int(rust[1]) if rust else getattr(error, "errno", None)) in (errno.ENOSPC, errno.EDQUOT)


def _no_space(error: Exception) -> str:
    file = getattr(error, "filename2", None) or getattr(error, "filename", None)  # of two, the first was only read
    what = f"{file}: {error.strerror}" if isinstance(error, OSError) and file else one_line(error)
    return f"{what}: nothing that was finished is lost; once there is space, the same command takes it up again"


def _say(message: str, code: int) -> int:
    typer.echo(message, err=True)
    return code


if __name__ == "__main__":
    main()
