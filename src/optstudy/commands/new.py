"""The commands `new`, `tasks` and `optimizers`: a study file to start from, and the tables that it is made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from optstudy.errors import StudyError

if TYPE_CHECKING:
    from optstudy.catalogue import Hyperparameters, Space
    from optstudy.study.new_study import NewContender
    from optstudy.user_process import UserProcess

DEFAULT_RIVALS = "momentum,adamw"


def new(
    *,
    task: Annotated[str, typer.Option(help="Data set: a name that `optstudy tasks` lists.")],
    optimizer: Annotated[str, typer.Option(help="A name that `optstudy optimizers` lists, or package.module.Class.")],
    against: Annotated[str, typer.Option(help="Its rivals, names or classes with commas.")] = DEFAULT_RIVALS,
    output: Annotated[Path | None, typer.Option(dir_okay=False, help="The file; TASK_OPTIMIZER.yaml if not given.")] = (
        None
    ),
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of a training; by default the task's.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Trials of each search.")] = 8,
    replicates: Annotated[int, typer.Option(min=2, help="Independent repetitions.")] = 10,
) -> None:
    """Write a complete study file that compares an optimizer with others; `optstudy run` needs no edit of it."""
    from optstudy.study.new_study import Budget, possible_tasks, study_name, study_text
    from optstudy.study.study import validated
    from optstudy.study.study_yaml import parse_yaml
    from optstudy.tasks.datasets import DATASETS
    from optstudy.user_process import UserProcess

    if task in DATASETS and task not in (possible := possible_tasks()):
        needed = " and ".join(f"`{name}`" for name, value in DATASETS[task].arguments.items() if value is None)
        raise StudyError(
            f"--task: {task!r}: reads your own data, and needs {needed}: start from a data set with --task "
            f"{possible[0]}, then write the data's block (docs/study-file.md)"
        )
    _check_name("--task", task, possible_tasks())
    with UserProcess() as process:
        contenders = _contenders(task, optimizer, against, process)
        path = output or Path(f"{study_name(task, contenders[0].name)}.yaml")
        if path.exists():
            raise StudyError(f"--output: {path}: exists already, and is not overwritten: give another file")
        text = study_text(task, contenders, Budget(epochs or 0, trials, replicates), str(path))
        content = parse_yaml(text)
        if any("class" in entry for entry in content["optimizers"] if isinstance(entry, dict)):
            process.call(str(path), validated, path, content)
        else:
            validated(path, content)
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
    typer.echo(f"{path}: {', '.join(one.name for one in contenders)} on {task}. Next: optstudy run {path}")


def _check_name(option: str, value: str, allowed: list[str]) -> None:
    """Raise StudyError if a value is not allowed; of names that are close, it says which."""
    if value not in allowed:
        near = get_close_matches(value, allowed, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise StudyError(f"{option}: {value!r}: {hint}must be one of {', '.join(allowed)}")


def _contenders(task: str, optimizer: str, against: str, process: UserProcess) -> list[NewContender]:
    """Return the contenders, the new optimizer first. Raises StudyError with a line for what is wrong."""
    rivals = [name.strip() for name in against.split(",") if name.strip()]
    if against == DEFAULT_RIVALS:
        rivals = [name for name in rivals if name != optimizer]
    if not rivals:
        raise StudyError(f"--against: {against!r}: must name at least one other optimizer")
    found: list[NewContender] = []
    for option, given in [("--optimizer", optimizer), *(("--against", rival) for rival in rivals)]:
        one = _contender(option, given, task, [other.name for other in found], process)
        if one.name in [other.name for other in found]:
            raise StudyError(f"{option}: {given!r}: is a contender already")
        found.append(one)
    return found


def _contender(option: str, given: str, task: str, taken: list[str], process: UserProcess) -> NewContender:
    from optstudy.catalogue import OPTIMIZERS
    from optstudy.study.hyperparameters import row_of_class
    from optstudy.study.new_study import contender_of_row
    from optstudy.tasks.datasets import DATASETS
    from optstudy.tasks.kinds import task_of

    row = given if given in OPTIMIZERS else row_of_class(given)
    if row:
        return contender_of_row(row)
    if "." not in given:
        _check_name(option, given, [*OPTIMIZERS, "a class as package.module.Name"])
    decays = task_of(DATASETS[task].kind).examples
    return process.call(f"{option}: {given!r}", _contender_of_class, option, given, taken, decays)


def _contender_of_class(option: str, path: str, taken: list[str], decays: bool) -> NewContender:
    """Return the contender of a class, which is imported and tried: for another process."""
    from optstudy.study.hyperparameters import class_row, optimizer_class
    from optstudy.study.new_study import contender_of_class
    from optstudy.user_code import may_decay

    try:
        cls = optimizer_class(path)
        row = class_row(path, None, {})
        decay = "none" if not may_decay(cls) else row.decay or _found(path, row.defaults)
        return contender_of_class(path, decay, taken, decays)
    except ValueError as error:
        raise StudyError(f"{option}: {path!r}: {error}") from error


def _found(path: str, defaults: Hyperparameters) -> str:
    from optstudy.planning.weight_decay import found_decay

    try:
        return found_decay(path, defaults)
    except Exception:  # a user's class may raise anything
        return ""


def tasks() -> None:
    """List the data sets: kind, the model that `optstudy new` takes, size, and what each needs."""
    from optstudy.study.new_study import possible_tasks, start_of
    from optstudy.tasks.datasets import DATASETS

    rows = []
    for name, row in DATASETS.items():
        model = start_of(name).model if name in possible_tasks() else "-"
        rows.append((name, row.kind, model, row.about or f"needs {', '.join(_needed(row.arguments))}"))
    _print_table(("data set", "kind", "model", "what it is and needs"), rows)


def _needed(arguments: Mapping[str, object]) -> list[str]:
    return [name for name, default in arguments.items() if default is None] or ["nothing"]


def optimizers() -> None:
    """List the optimizers: weight decay, search spaces and package."""
    from importlib.util import find_spec

    from optstudy.catalogue import EXTRA_PACKAGES, OPTIMIZERS

    rows, missing = [], set[str]()
    for name, row in OPTIMIZERS.items():
        module = row.optimizer.partition(".")[0]
        package = EXTRA_PACKAGES.get(module, module)
        if find_spec(module) is None:
            missing.add(package)
        rate = _shown(row.rates) if row.rates else "estimated"
        rows.append((name, str(row.decay), rate, _shown(row.interval("weight_decay")), package))
    _print_table(("optimizer", "decay", "learning rates", "weight decays", "package"), rows)
    if missing:
        typer.echo(f"Not installed: {', '.join(sorted(missing))}. pip install 'optstudy[optimizers]'")
    typer.echo("Any other torch.optim.Optimizer works by its class: docs/optimizers.md.")


def _shown(space: Space) -> str:
    return f"{space.low:g} to {space.high:g}"


def _print_table(heading: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Print columns; the last one is not padded."""
    widths = [max(len(row[column]) for row in (heading, *rows)) for column in range(len(heading) - 1)]
    for row in (heading, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        typer.echo("  ".join([*cells, row[-1]]))
