"""Writes the text of a new study file: a data set, contenders with their search spaces, a budget and a claim."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optstudy.catalogue import OPTIMIZERS, OptimizerRow, Space
from optstudy.metrics import HEADLINES, metric
from optstudy.study.hyperparameters import class_row
from optstudy.tasks.datasets import DATASETS
from optstudy.tasks.kinds import Task, task_of
from optstudy.tasks.models import MODELS
from optstudy.user_code import constructor_arguments, import_class

HALF_WIDTH = 1.5  # decades on each side of a class's default learning rate, as in the table
# Weight decay of a class by how it is applied: the spaces of Adam and of AdamW.
DECAYS: Mapping[str, Space] = {
    "coupled": OPTIMIZERS["adam"].interval("weight_decay"),
    "decoupled": OPTIMIZERS["adamw"].interval("weight_decay"),
}
CONSTANT = "  schedule: constant  # schedule-free: an average of its weights takes the place of a schedule"
NO_RATE = 1e-3  # where the search starts if a class has no default learning rate: that of Adam


@dataclass(frozen=True)
class Start:
    """What a new study trains on a data set, unless its file is edited."""

    model: str
    epochs: int = 20
    batch_size: int = 64


# As in the shipped studies; other data sets start with the first model that reads them.
STARTS: Mapping[str, Start] = {
    "digits": Start("cnn"),
    "mnist": Start("2c2d", 10, 128),
    "fashion_mnist": Start("2c2d", 10, 128),
    "kmnist": Start("2c2d", 10, 128),
    "cifar10": Start("3c3d", 30, 128),
    "cifar100": Start("3c3d", 30, 128),
    "trec6": Start("bag", 20, 32),
    "ravine": Start("point", 100),
    "rosenbrock": Start("point", 500),
}
# The network for a row that trains hidden matrices, such as muon, in place of one that has none.
WITH_HIDDEN_MATRICES: Mapping[str, str] = {"cnn": "mlp", "linear": "mlp"}


@dataclass(frozen=True)
class NewContender:
    """A contender of a new study: its name, and the lines of its entry under `optimizers`."""

    name: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Budget:
    """How much a new study trains; `epochs` of 0 are those of the data set's row in `STARTS`."""

    epochs: int = 0
    trials: int = 8
    replicates: int = 10


def possible_tasks() -> list[str]:
    """Return the data sets that a new study can be about: those whose arguments all have defaults."""
    return [name for name, row in DATASETS.items() if None not in row.arguments.values()]


def start_of(task: str) -> Start:
    """Return what a new study trains on a data set."""
    kind = DATASETS[task].kind
    known = [name for name, row in MODELS.items() if kind in row.kinds and None not in row.arguments.values()]
    return STARTS.get(task) or Start(known[0])


def contender_of_row(name: str) -> NewContender:
    """Return the contender of a row of the optimizer table, whose spaces are the row's."""
    row = OPTIMIZERS[name]
    spaces = ", ".join(f"{_in_words(key)} {_shown(row.interval(key))}" for key in row.search)
    comment = f"# searches {spaces}; {row.decay} decay"
    if row.rate_free:
        comment += "; its learning rate stays 1"
    if not row.schedule_free:
        return NewContender(name, (f"- {name}  {comment}",))
    return NewContender(name, (f"- name: {name}  {comment}", CONSTANT))


def contender_of_class(path: str, decay: str, taken: Sequence[str], decays: bool = True) -> NewContender:
    """Return the contender of a class from outside the table.

    Args:
        path: Path of the class, which is imported.
        decay: How it applies weight decay: "coupled", "decoupled", "none", or empty if trying it did not show that.
        taken: Names that other contenders have.
        decays: Whether weights decay at all: the parameters of an analytic function do not.

    Raises ValueError if there is no such class, or nothing that could be searched.
    """
    row, arguments = class_row(path, None, {}), constructor_arguments(import_class(path))
    search, fixed, notes = dict[str, Space](), dict[str, float](), list[str]()
    if row.rate_free:
        fixed["learning_rate"] = _default_rate(row, 1.0)
        notes.append("it estimates its learning rate itself, so this factor of the estimate is not searched")
    elif "lr" in arguments:
        search["learning_rate"] = around(_default_rate(row, NO_RATE))
    if "d_coef" in arguments:
        search["d_coef"] = OPTIMIZERS["prodigy"].interval("d_coef")
    if decays and decay in DECAYS:
        search["weight_decay"] = DECAYS[decay]
    elif decays and "weight_decay" in arguments and not decay:
        fixed["weight_decay"] = 0.0
        notes.append("trying the class did not show how it decays weights: state `decay` to search it")
    if not search:
        raise ValueError("has nothing to search: neither `lr`, nor `weight_decay` whose effect can be measured")
    defaults = {"learning_rate": NO_RATE} if "learning_rate" in search and not row.defaults.get("learning_rate") else {}
    name = _name_of(path, taken)
    return NewContender(name, _class_lines(name, row, decay, (search, fixed, defaults), notes, _kept(arguments)))


def _default_rate(row: OptimizerRow, otherwise: float) -> float:
    rate = row.defaults.get("learning_rate", otherwise)
    assert isinstance(rate, int | float)
    return rate


def around(rate: float) -> Space:
    """Return three decades around a learning rate, with ends of one significant digit."""
    low, high = (float(f"{rate * 10**side:.0e}") for side in (-HALF_WIDTH, HALF_WIDTH))
    return Space(low, high)


def _name_of(path: str, taken: Sequence[str]) -> str:
    """Return a name for a class that no row and no other contender has."""
    package, _, cls = path.partition(".")[0], *path.rpartition(".")[1:]
    used = {name.lower() for name in (*OPTIMIZERS, *taken, "nan", "na", "null", "none")}
    short = cls.lower().strip("_")
    longer = f"{package.strip('_')}-{short}"
    numbered = (f"{longer}-{number}" for number in range(2, len(used) + 3))
    return next(name[:64] for name in (short, longer, *numbered) if name.lower() not in used)


def _kept(arguments: Mapping[str, Any]) -> str:
    """Return the arguments that keep the defaults of the class, in words."""
    kept = [
        f"{name} {parameter.default}"
        for name, parameter in arguments.items()
        if name not in ("lr", "weight_decay", "d_coef") and isinstance(parameter.default, int | float | tuple | str)
    ]
    return ", ".join(kept)


def _class_lines(
    name: str,
    row: OptimizerRow,
    decay: str,
    values: tuple[Mapping[str, Space], Mapping[str, float], Mapping[str, float]],
    notes: Sequence[str],
    kept: str,
) -> tuple[str, ...]:
    search, fixed, defaults = values
    lines = [f"- name: {name}", f"  class: {row.optimizer}"]
    if kept:
        lines += _wrapped(f"defaults of the class that stay as they are: {kept}")
    lines += [line for note in notes for line in _wrapped(note)]
    for block, given in (("fixed", fixed), ("defaults", defaults)):
        if given:
            lines += [f"  {block}:", *(f"    {key}: {_number(value)}" for key, value in given.items())]
    lines.append("  search:")
    reasons = {
        "learning_rate": "three decades around the default of the class",
        "weight_decay": f"{decay}, as trying the class shows",
        "d_coef": "factor of its estimate",
    }
    for key, space in search.items():
        lines.append(f"    {key}: {{low: {_number(space.low)}, high: {_number(space.high)}}}  # {reasons[key]}")
    return (*lines, *([CONSTANT] if row.schedule_free else []))


def _wrapped(text: str, width: int = 100) -> list[str]:
    """Return a comment inside a contender's entry, cut into lines."""
    lines, line = list[str](), "  #"
    for word in text.split():
        if len(line) + 1 + len(word) > width:
            lines.append(line)
            line = "  #"
        line += f" {word}"
    return [*lines, line]


def _number(value: float) -> str:
    """Write a number as YAML reads it: 0.5, 10.0, 3.0e-5."""
    if value == 0 or 1e-2 <= abs(value) < 1e4:
        return repr(float(value))
    mantissa, exponent = f"{value:.6e}".split("e")
    return f"{float(mantissa)}e{int(exponent)}"


def _in_words(key: str) -> str:
    """Return the name of a hyperparameter in words; one of a group is the key that a study file has."""
    return key if "." in key else key.replace("_", " ")


def _shown(space: Space) -> str:
    return f"{space.low:g} to {space.high:g}"


def study_name(task: str, contender: str) -> str:
    """Return the name of a new study, and of its file."""
    return valid_name(f"{task}_{contender}")


def valid_name(text: str) -> str:
    """Return text as the name of a study."""
    return re.sub("[^A-Za-z0-9]+", "_", text).strip("_")[:64] or "study"


def study_text(task: str, contenders: Sequence[NewContender], budget: Budget, file: str) -> str:
    """Return the text of a study file that compares the first contender with each of the others; `file` is its path."""
    start, row = start_of(task), DATASETS[task]
    grouped = any(one.name in OPTIMIZERS and OPTIMIZERS[one.name].groups for one in contenders)
    model = WITH_HIDDEN_MATRICES.get(start.model, start.model) if grouped else start.model
    what, name = task_of(row.kind), valid_name(Path(file).stem)
    rivals = [contender.name for contender in contenders[1:]]
    count = budget.trials + 2
    total = len(contenders) * budget.replicates * count
    lines = [
        f"# {len(contenders)} contenders, {budget.replicates} replicates of {budget.trials} trials and two final runs:"
        f" {total} trainings.",
        f"# `optstudy check {file} --measure` estimates how long they take here; `optstudy run {file}` trains them.",
        f"name: {name}",
        f"question: Tuned with the same budget, is {contenders[0].name} better than {_listed(rivals)} on {task}?",
        f"seed: {_seed(name)}  # all random numbers are derived from it; take a fresh one for another design",
        f"data: {task}",
        f"model: {model}",
        f"epochs: {budget.epochs or start.epochs}{'' if what.examples else '  # steps'}",
        *([f"batch_size: {start.batch_size}"] if what.examples else []),
        "schedule: cosine  # of all contenders that do not name their own",
        f"replicates: {budget.replicates}  # independent repetitions of split, search and seeds",
        "optimizers:",
        *(f"  {line}" for contender in contenders for line in contender.lines),
        "tuning:",
        f"  trials: {budget.trials}  # trainings of each search: the same for each contender and replicate",
        "  sampler: sobol",
        "untuned: true  # also train the defaults of each contender",
        *_claim(what, contenders[0].name, rivals),
    ]
    return "\n".join(lines) + "\n"


def _claim(task: Task, name: str, rivals: Sequence[str]) -> list[str]:
    """Return the claim that the first contender is better than each other one, on test data if a metric is of them."""
    possible = [key for key, row in HEADLINES.items() if key in task.metrics and row.margin]
    chosen = next((key for key in possible if key.startswith("test_")), possible[0])
    row = metric(chosen)
    margin = row.margin or 0.0
    unit = f" ({100 * margin:g} percentage points)" if row.share else ""
    return [
        "claims:  # stated before the first training; edit them now, not later",
        f"  - statement: {name} has a better {row.label} than {_listed(rivals)}",
        f"    better: {name}",
        f"    than_each: [{', '.join(rivals)}]",
        f"    metric: {chosen}",
        f"    margin: {_number(margin)}  # the smallest difference that matters{unit}",
    ]


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _seed(name: str) -> int:
    """Return a seed of its own for each name: designs on the same data and seed count as changes of one another."""
    return zlib.crc32(name.encode()) % 10_000
