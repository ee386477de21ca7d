"""The command line: its commands, and how each kind of end becomes an exit code. Heavy imports wait until needed."""

from __future__ import annotations

import atexit
import errno
import io
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable
from importlib.metadata import version
from inspect import signature
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from optstudy.commands.judge import judge
from optstudy.commands.new import new, optimizers, tasks
from optstudy.commands.studies import check, merge, plan, report, run
from optstudy.commands.ui import ui
from optstudy.errors import Stopped, StudyError, one_line

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
EXAMPLES = """
Examples:

optstudy new --task digits --optimizer torch.optim.NAdam   writes digits_nadam.yaml

optstudy check digits_nadam.yaml   validates it and counts its trainings

optstudy run digits_nadam.yaml   trains, compares, writes results/digits_nadam/report.html

optstudy ui --open   shows the study in MLflow
"""

COMPLETE = "_OPTSTUDY_COMPLETE"  # the variable by which a shell asks for completions
SHOW_CURSOR = "\x1b[?25h"
BROKEN_PIPE = 128 + signal.SIGPIPE
RESUME = "Finished trainings are saved; run the same command to resume"


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"optstudy {version('optstudy')}")
        raise typer.Exit


@app.callback(epilog=EXAMPLES)
def about(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Tuned with the same budget, which optimizer wins on this task, by how much, and how sure are we?"""


for command in (new, run, check, plan, report, merge, judge, ui, tasks, optimizers):
    app.command()(command)


def main() -> None:
    """Run the command line, and turn each kind of end into its exit code."""
    exits(_command_line)


def _command_line() -> object:
    """Run the command that the arguments name.

    typer's own `main` would end with 1 and no message for a BrokenPipeError, and call an EOFError an abort.
    """
    command = typer.main.get_command(app)
    if os.environ.get(COMPLETE):  # the shell asks for completions; typer's `main` answers and ends
        command.main(prog_name="optstudy", complete_var=COMPLETE)
    try:
        with command.make_context("optstudy", sys.argv[1:]) as context:
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
