"""The command line: run, check, plan, report, judge, ui. Heavy imports wait until a command needs them."""

from __future__ import annotations

import atexit
import errno
import io
import os
import re
import signal
import socket
import sys
import warnings
from collections.abc import Callable
from functools import partial
from inspect import signature
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from optstudy.cli_judge import judge
from optstudy.environment import default_workers
from optstudy.errors import Stopped, StoreIncomplete, StudyError, one_line

if TYPE_CHECKING:
    from optstudy.planning.layout import StudyPaths
    from optstudy.study.study import Study

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.")]
Workers = Annotated[int, typer.Option(min=1, help="Worker processes, one thread each.")]
Results = Annotated[Path, typer.Option(file_okay=False, help="Folder of the tables, with one folder per study.")]

SHOW_CURSOR = "\x1b[?25h"
BROKEN_PIPE = 128 + signal.SIGPIPE
RESUME = "Finished trainings are saved; run the same command to resume"


@app.callback()
def about() -> None:
    """Tuned with the same budget, which optimizer wins on this task, by how much, and how sure are we?"""


@app.command()
def run(
    study_file: StudyFile,
    workers: Workers = default_workers(),
    results: Results = Path("results"),
    accept_version: Annotated[
        int | None, typer.Option("--accept-version", help="Keep finished trainings of this older training version.")
    ] = None,
) -> None:
    """Tune, train and compare. Resume an interrupted study."""
    from optstudy.planning.layout import StudyPaths
    from optstudy.study.study import load_study
    from optstudy.user_process import warm_up

    study = load_study(study_file)
    paths = StudyPaths(study, results)
    if not paths.journal.exists():  # a study that has begun may have nothing left to train
        warm_up()
    from optstudy.reporting.terminal import make_console, print_results, shown
    from optstudy.running import stages

    console = make_console()
    say = partial(console.print, markup=False, soft_wrap=True)  # paths may hold brackets, and logs have no width
    incomplete = None
    with shown(console, workers) as on_progress:
        try:
            comparison = stages.run(paths, workers, say, on_progress, accept_version)
        except StoreIncomplete as error:
            comparison, incomplete = error.comparison, error
    print_results(console, study, paths.tables, comparison)
    say(f"Report: {paths.tables}/report.html, tables beside it. MLflow UI: make ui, or optstudy ui")
    if incomplete is not None:
        raise incomplete


@app.command()
def check(
    study_file: StudyFile,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if there are findings.")] = False,
    measure: Annotated[bool, typer.Option("--measure", help="Estimate its cost on this machine.")] = False,
    workers: Workers = default_workers(),
    results: Results = Path("results"),
) -> None:
    """Validate a study and try its parts; list what is left to train, and what a reviewer would object to.

    Trains and writes nothing.
    """
    from optstudy.analysis.findings import (
        design_findings,
        history_findings,
        smallest_p_line,
        table_findings,
    )
    from optstudy.planning.dry_run import group_lines, names_own_parts
    from optstudy.planning.journal import journal_folder
    from optstudy.planning.layout import StudyPaths
    from optstudy.study.study import load_study

    study = load_study(study_file)
    paths = StudyPaths(study, results)
    # A study of rows of our tables that is the first of its folder has nothing to try or to tell, and needs no slow
    # import. After others, it may be a later design on their data and seed.
    tells = any(journal_folder(paths.mlruns).glob("*.jsonl")) or names_own_parts(study)
    lines, session = _summary_lines(study_file, study), None
    if tells or measure:
        from optstudy.planning.new_trainings import journal_lines
        from optstudy.running.session import read_session

        session = read_session(paths)
        if study.tuning.widen:
            from optstudy.running.widening import with_wider_spaces

            session = with_wider_spaces(session, paths.contenders)
        lines += group_lines(session.study)
        lines += journal_lines(_at_its_look(session.paths), session.fingerprints, session.entries) if tells else []
    for line in lines:
        typer.echo(line)
    findings = [*design_findings(study), *table_findings(study, results / study.name)]
    if session is not None:
        history = session.history()
        findings += history_findings(study, history.confirmed, 0, history.number, history.changed)
    for finding in findings:
        typer.echo(f"{finding.contender or 'study'}: {finding.finding} (rule {finding.rule}; {finding.source})")
    if smallest_p_line(study):
        typer.echo(smallest_p_line(study))
    if measure and session is not None:
        from optstudy.running.cost import cost_line, cost_of

        typer.echo(cost_line(cost_of(session, workers)))
    if strict and findings:
        raise typer.Exit(1)


def _at_its_look(paths: StudyPaths) -> Study:
    """Return a study with the replicates at which its tables say that it is decided, else up to its last look."""
    from optstudy.files import read_rows

    study, claims = paths.study, read_rows(paths.tables / "claims.json")
    shown = {claim.get("n") for claim in claims}
    decided = claims and all(claim.get("verdict") != "inconclusive" for claim in claims)
    return next((study.at_look(look) for look in study.looks if decided and shown == {look}), study)


def _summary_lines(study_file: Path, study: Study) -> list[str]:
    """Return what a study consists of, in words."""
    from optstudy.metrics import counted
    from optstudy.planning.jobs import jobs_in

    names = [contender.name for contender in study.optimizers]
    most = counted(sum(jobs_in(study, name) for name in names), "training")
    if len(study.looks) > 1:
        first = study.at_look(study.looks[0])
        most = f"{sum(jobs_in(first, name) for name in names)} to {most}"
    looks = f"{', '.join(map(str, study.looks[:-1]))} or " if len(study.looks) > 1 else ""
    search = f"{study.tuning.trials} {study.tuning.sampler} trials per search"
    return [
        f"{study_file}: valid: {study.name}: {', '.join(names)}",
        f"{looks}{study.looks[-1]} replicates, {search}: {most} of {counted(study.epochs, 'epoch')}",
    ]


@app.command()
def plan(study_file: StudyFile, workers: Workers = default_workers(), results: Results = Path("results")) -> None:
    """Say how many replicates and trials decide a study's claims, from the trials of a pilot; train nothing.

    The pilot is the study itself, if it has been run, else a shipped study.
    """
    from optstudy.analysis.planner import effects_of, forecasts, plan_sentence, read_pilot
    from optstudy.planning.layout import StudyPaths
    from optstudy.reporting.terminal import make_console, plan_table
    from optstudy.study.study import load_study

    study = load_study(study_file)
    pilot = read_pilot(study, results, Path("docs/results"))
    seconds = pilot.seconds()
    if not pilot.own:  # its seconds are those of another machine
        from optstudy.running.cost import cost_of
        from optstudy.running.session import read_session

        seconds = cost_of(read_session(StudyPaths(study, results)), workers).each
    left_out, found = effects_of(study, pilot, pilot.budget)[1], forecasts(study, pilot, seconds)
    console = make_console()
    console.print(plan_table(pilot.name, found, workers))
    console.print(f"{plan_sentence(study, found, left_out, workers)}.", markup=False, soft_wrap=True)


@app.command()
def report(
    study_files: Annotated[list[Path] | None, typer.Argument(metavar="[STUDY.yaml ...]")] = None,
    results: Results = Path("results"),
) -> None:
    """Rebuild tables and report from the journals, complete MLflow and Optuna; by default all studies in configs/."""
    from optstudy.planning.layout import StudyPaths
    from optstudy.reporting.pages import write_index
    from optstudy.reporting.terminal import make_console, print_results
    from optstudy.running import stages
    from optstudy.study.study import load_study

    console = make_console()
    say = partial(console.print, markup=False, soft_wrap=True)
    files = study_files or sorted(Path("configs").glob("*.yaml"))
    studies = [StudyPaths(load_study(path), results) for path in files]
    if not study_files:
        studies = [paths for paths in studies if paths.journal.exists()]
        if not studies:
            reason = "none of its studies has been started" if files else "there is no study file in it"
            raise StudyError(
                f"configs: {reason}: name study files, or change to the folder where `optstudy run` was run"
            )
    complete, incomplete = [], list[str]()
    for paths in studies:
        try:
            table = stages.report(paths, say)
        except StoreIncomplete as error:
            table = error.comparison
            incomplete.append(f"{paths.study.name}: {error}")
        if table is not None:
            complete.append(paths.study.name)
            print_results(console, paths.study, paths.tables, table)
    if len(complete) > 1:
        write_index(results, complete)
        say(f"Index: {results}/index.html")
    if len(complete) < len(studies):
        raise typer.Exit(1)
    if incomplete:
        raise StoreIncomplete("\n".join(incomplete))


app.command()(judge)


@app.command()
def ui(port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 5000) -> None:
    """Open the MLflow UI on the right store, on 127.0.0.1."""
    from optstudy.records.credentials import shown_address
    from optstudy.records.databases import SERVERS
    from optstudy.records.live import opening
    from optstudy.records.mlflow_runs import MLFLOW, create_store

    _check_port(port)
    with opening(MLFLOW):
        store = create_store(Path("mlruns"))
    if store.startswith(SERVERS):
        raise StudyError(f"MLFLOW_TRACKING_URI: {shown_address(store)!r}: is a server: open its own UI in a browser")
    Path("mlruns").mkdir(exist_ok=True)
    os.environ["UVICORN_APP_DIR"] = sys.prefix  # by default uvicorn imports from the current folder
    os.environ["MLFLOW_BACKEND_STORE_URI"] = store  # everybody on the machine can read the arguments of a command
    os.execv(sys.executable, [sys.executable, "-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(port)])


def _check_port(port: int) -> None:
    """Raise StudyError if the port cannot be listened on: MLflow's server would end with 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: a closed one needs no wait
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise StudyError(f"--port: {port}: {error.strerror}; choose another port") from error


def main() -> None:
    """Run the command line, and turn each kind of end into its exit code."""
    exits(_command_line)


def _command_line() -> object:
    """Run the command that the arguments name.

    typer's own `main` would end with 1 and no message for a BrokenPipeError, and call an EOFError an abort.
    """
    try:
        with typer.main.get_command(app).make_context("optstudy", sys.argv[1:]) as context:
            return context.command.invoke(context)
    except typer.Exit as end:
        return end.exit_code


def exits(command: Callable[..., object], *arguments: str) -> None:
    """Call `command`, and end the process with the exit code that the contract has for its end."""
    exit_codes = list[int]()
    atexit.register(_leave, exit_codes)  # handlers run in reverse order: this one comes last
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` ignores SIGHUP
            signal.signal(number, _interrupted)
    _ignore_settings_for_python()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # an encoding such as Latin-1 lacks characters of our messages
    code: object = 0
    try:
        _check_arguments(command, arguments)
        code = command(*arguments)  # click returns the code of typer.Exit if it is not standalone
    except Stopped as error:
        code = _say(str(error), error.code)
    except BrokenPipeError:  # the reader of the output has gone
        code = BROKEN_PIPE
    except Exception as error:
        code = _say(_no_space(error), 1) if _is_full(error) else _refused(error)
    exit_codes.append(code if isinstance(code, int) else 0)
    sys.exit(exit_codes[0])


def _ignore_settings_for_python() -> None:
    """Set what the user's environment would change in this process and in those that it starts.

    A study's own classes are in the current folder. It comes last in the path, because a file such as yaml.py in it
    would be imported in place of a library.
    """
    os.environ.pop("MPLBACKEND", None)  # a notebook's backend fails where Lightning imports matplotlib
    os.environ["LC_ALL"] = "C.UTF-8"  # a matplotlibrc may ask for the user's, which may not be installed
    os.environ.pop("PYTHONWARNINGS", None)  # `error` would make libraries fail
    sys.warnoptions.clear()  # workers are started with them
    warnings.simplefilter("ignore")  # of libraries: a user can do nothing about them
    os.environ["PYTHONSAFEPATH"] = "1"
    sys.path[:] = [*(folder for folder in sys.path if folder not in ("", os.getcwd())), os.getcwd()]


def _interrupted(number: int, _frame: FrameType | None) -> None:
    """End the process at once: an exception could be lost in a finalizer of a library.

    Nothing needs to be put away. The journal is complete after each training, its torn last line is dropped, workers
    end with their coordinator, and the operating system releases the lock.
    """
    if sys.stdout is not None and sys.stdout.isatty():
        os.write(sys.stdout.fileno(), SHOW_CURSOR.encode())  # progress bars hide it
    os.write(2, f"\nInterrupted by {signal.Signals(number).name}. {RESUME}.\n".encode())
    os._exit(128 + number)


def _leave(exit_codes: list[int]) -> None:
    """End the process here: unloading torch's modules takes 2 s (measured in benchmarks/LOG.md)."""
    if not exit_codes:  # a defect, or a SystemExit of somebody else
        return
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    finally:  # the reader may have gone
        os._exit(exit_codes[0])


def _check_arguments(command: Callable[..., object], arguments: tuple[str, ...]) -> None:
    """Raise StudyError if a script was not given the arguments of its function."""
    try:
        signature(command).bind(*arguments)
    except TypeError as error:
        names = " ".join(name.upper() for name in signature(command).parameters)
        raise StudyError(f"usage: python {sys.argv[0]} {names}") from error


def _refused(error: Exception) -> int:
    """Print what click (its errors have `show`) or the operating system refuses; raise anything else, a defect."""
    show = getattr(error, "show", None)
    if show is not None:
        show()
        return StudyError.code
    if isinstance(error, OSError) and error.filename is not None:  # no such folder, or no permission to write in it
        return _say(f"{error.filename}: {_reason(error)}", StudyError.code)
    raise error


def _reason(error: OSError) -> str:
    """Return why a file or folder cannot be used."""
    path = Path(os.fsdecode(error.filename))
    if path.is_symlink() and not path.exists():
        return f"is a link to {os.readlink(path)}, which does not exist: mount its disk, or remove the link"
    if isinstance(error, FileExistsError):
        return "must be a folder"
    return str(error.strerror)


def _is_full(error: Exception) -> bool:
    """Return whether the disk or the user's quota is full; safetensors reports it only in the words of Rust."""
    rust = re.search(r"\(os error (\d+)\)$", str(error))
    return (int(rust[1]) if rust else getattr(error, "errno", None)) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def _no_space(error: Exception) -> str:
    file = getattr(error, "filename2", None) or getattr(error, "filename", None)  # of two, the first was only read
    what = f"{file}: {error.strerror}" if isinstance(error, OSError) and file else one_line(error)
    return f"{what}. {RESUME} once there is space"


def _say(message: str, code: int) -> int:
    typer.echo(message, err=True)
    return code


if __name__ == "__main__":
    main()
