"""The hyperparameters of an optimizer's class, and their valid values; torch is imported for a class alone."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from optstudy.catalogue import OPTIMIZERS, OptimizerRow, Value
from optstudy.errors import one_line
from optstudy.user_code import accepts_more, constructor_arguments, import_class

Decay = Literal["coupled", "decoupled"]


@dataclass(frozen=True)
class Bounds:
    """The valid range of a number, in words and as a test."""

    words: str
    contains: Callable[[float], bool]


POSITIVE = Bounds("must be above 0", lambda value: value > 0)
NOT_NEGATIVE = Bounds("must be 0 or more", lambda value: value >= 0)
SHARE = Bounds("must be at least 0 and below 1", lambda value: 0 <= value < 1)

# torch accepts some values that make no sense: a momentum of -1, a weight decay that grows the weights.
BOUNDS: Mapping[str, Bounds] = {
    "learning_rate": POSITIVE,
    "weight_decay": NOT_NEGATIVE,
    "momentum": SHARE,
    "beta1": SHARE,
    "beta2": SHARE,
    "eps": POSITIVE,
    "d_coef": POSITIVE,  # Prodigy's factor of its estimate of the learning rate
}
# These mean the same in all classes of torch, but may mean something else in a user's class.
TORCH_BOUNDS: Mapping[str, Bounds] = {
    "alpha": SHARE,
    "rho": SHARE,
    "dampening": SHARE,
    "lr_decay": NOT_NEGATIVE,
    "initial_accumulator_value": NOT_NEGATIVE,
}

# torch's names for what has another name in a study file, or is decided elsewhere.
TORCHS_NAMES = {
    "lr": "write learning_rate",
    "params": "`freeze` names parameters that are not trained",
}

BETAS = "betas"  # given whole, or by beta1, beta2, ...


def is_beta(name: str) -> bool:
    """Return whether a hyperparameter, of a group or not, is one of the betas: beta1, beta2, ..."""
    own = name.rpartition(".")[2]
    return own.startswith("beta") and own[4:].isdecimal()


# torch's classes with decoupled weight decay (the others have coupled), those that a study cannot train with, and those
# that train parameters of two dimensions alone, which a study sends to them by `groups`.
DECOUPLED = frozenset({"AdamW", "Adafactor", "Muon"})
REFUSED = {"SparseAdam": "it needs sparse gradients, and networks here have dense ones"}
MATRICES_ONLY = frozenset({"Muon"})


def optimizer_class(path: str) -> Any:
    """Return the optimizer class at `path`. Raises ValueError if there is none, or if it cannot train here."""
    from torch.optim import Optimizer

    cls = import_class(path)
    if not (isinstance(cls, type) and issubclass(cls, Optimizer)) or cls is Optimizer:
        raise ValueError("must be a subclass of torch.optim.Optimizer")
    for name in _torch_bases(cls):
        if name in REFUSED:
            raise ValueError(f"cannot be used: {REFUSED[name]}")
    return cls


def schedule_function(path: str) -> str:
    """Return the path of a user's schedule. Raises ValueError if there is no function whose multiples can be used."""
    function = import_class(path)
    if not callable(function) or isinstance(function, type):
        raise ValueError("must be a function of `step` and `steps` that returns a multiple of the base rate")
    for step in range(11):
        try:
            factor = float(function(step, 10))
        except Exception as error:  # a user's function may raise anything
            raise ValueError(f"cannot be called with step {step} of 10: {one_line(error)}") from error
        if not (math.isfinite(factor) and factor >= 0):
            raise ValueError(f"returns {factor} after step {step} of 10: must be a finite number of 0 or more")
    return path


def _torch_bases(cls: type) -> list[str]:
    """Return the names of torch's classes among `cls` and its base classes."""
    return [base.__name__ for base in cls.__mro__ if comes_with_torch(base)]


def trains_matrices_only(path: str) -> bool:
    """Return whether the class at `path` refuses parameters that do not have two dimensions, as torch's Muon does."""
    return bool(MATRICES_ONLY & set(_torch_bases(import_class(path))))


def comes_with_torch(cls: type) -> bool:
    """Return whether the class comes with torch."""
    return f"{cls.__module__}.".startswith("torch.optim.")


def decay_of(cls: type, fixed: Mapping[str, Any]) -> Decay | None:
    """Return how a class of torch applies weight decay; None for other classes, which have to be tried.

    `planning.weight_decay.found_decay` tries them.
    """
    if fixed.get("decoupled_weight_decay"):
        return "decoupled"
    if not comes_with_torch(cls):
        return None
    return "decoupled" if DECOUPLED & set(_torch_bases(cls)) else "coupled"


def class_row(path: str, decay: Decay | None, fixed: Mapping[str, Any]) -> OptimizerRow:
    """Return the row of a class that is not in the table, with the defaults of its signature."""
    cls = optimizer_class(path)
    parameters = constructor_arguments(cls)
    names = {"learning_rate": "lr", "weight_decay": "weight_decay"}
    defaults = {
        name: float(parameters[torch_name].default)
        for name, torch_name in names.items()
        if torch_name in parameters and isinstance(parameters[torch_name].default, int | float)
    }
    # D-Adaptation (arXiv:2301.07733) and Prodigy start from an estimate `d0`; schedule-free classes have modes.
    modes = all(callable(getattr(cls, mode, None)) for mode in ("train", "eval"))
    known = decay or decay_of(cls, fixed)
    return OptimizerRow(path, known, defaults, {}, {}, rate_free="d0" in parameters, schedule_free=modes)


@dataclass(frozen=True)
class Parameters:
    """The hyperparameters of a class, by their names in a study file.

    Attributes:
        kinds: `float`, `int`, `bool`, `str` or `tuple` for each.
        needed: Those without a default.
        more: Whether the class has `**kwargs`, and so accepts any other.
    """

    kinds: Mapping[str, type]
    needed: tuple[str, ...] = ()
    more: bool = False


def parameters_of(path: str) -> Parameters:
    """Return the hyperparameters of the class at `path`."""
    cls = import_class(path)
    parameters = constructor_arguments(cls).values()
    kinds = {name: kind for parameter in parameters for name, kind in _kinds(parameter)}
    needed = [name for p in parameters if p.default is p.empty for name, _ in _kinds(p)]
    return Parameters(kinds, tuple(needed), accepts_more(cls))


def _kinds(parameter: inspect.Parameter) -> list[tuple[str, type]]:
    """Return a parameter's names in a study file, and their kinds."""
    name, default, annotation = parameter.name, parameter.default, str(parameter.annotation)
    if name == BETAS:
        count = len(default) if isinstance(default, tuple | list) else 2
        return [*((f"beta{index}", float) for index in range(1, count + 1)), (BETAS, tuple)]
    if isinstance(default, tuple | list):
        return [(name, tuple)]
    if isinstance(default, str) or _words(parameter) - {"None", "Optional", "typing"} == {"str"}:
        return [(name, str)]
    if isinstance(default, bool) or (default is None and "bool" in annotation):
        return [(name, bool)]
    return [("learning_rate" if name == "lr" else name, int if _is_whole(parameter) else float)]


def _is_whole(parameter: inspect.Parameter) -> bool:
    """Return whether a parameter is a whole number: by its annotation, or without one by its default."""
    if parameter.annotation is not parameter.empty:
        return _words(parameter) & {"int", "float", "Tensor"} == {"int"}
    return isinstance(parameter.default, int) and parameter.name not in {"lr", *BOUNDS, *TORCH_BOUNDS}


def _words(parameter: inspect.Parameter) -> set[str]:
    """Return the words of a parameter's annotation; none if it has no annotation."""
    annotation = parameter.annotation
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    return set() if annotation is parameter.empty else set(re.findall(r"\w+", text))


# What a value of each kind must be, and what it is instead.
WANTED = {bool: "true or false", str: "text (put it in quotes)", tuple: "a list", int: "a number", float: "a number"}


def problem_with(path: str, name: str, value: Value) -> str:
    """Return what is wrong with a hyperparameter of the class at `path`; empty if nothing is."""
    if name in TORCHS_NAMES:
        return f"is torch's name: {TORCHS_NAMES[name]}"
    kind = _kind_in_a_row(path, name)
    if kind is None:
        has = parameters_of(path)
        if name not in has.kinds and not has.more:
            return f"{path} has no {name}; allowed: {', '.join(has.kinds)}"
        kind = has.kinds.get(name, float if name in BOUNDS else None)
    if name == BETAS and kind is tuple:
        return _problem_with_betas(path, value)
    if kind is not None and WANTED[kind] != WANTED[type(value)]:
        given = f", not {WANTED[type(value)]}" if kind in (int, float) else ""
        return f"must be {WANTED[kind]}{given}"
    if kind is int and value != int(_number(value)):
        return "must be a whole number, as its default is (or annotate the argument of the class as a float)"
    if name == "maximize" and value is True:
        return "must be false: it would maximise the loss"
    bounds = BOUNDS.get(name) or (TORCH_BOUNDS.get(name) if path.startswith("torch.optim.") else None)
    is_number = isinstance(value, int | float)
    return bounds.words if bounds is not None and is_number and not bounds.contains(_number(value)) else ""


def _number(value: Value) -> float:
    assert isinstance(value, int | float), "its kind was checked"
    return value


def _problem_with_betas(path: str, value: Value) -> str:
    """Return what is wrong with betas that are given whole; empty if nothing is."""
    count = sum(map(is_beta, parameters_of(path).kinds))
    if not isinstance(value, tuple) or (count and len(value) != count):
        return f"must be a list of {count} numbers, one for each beta of {path}"
    inside = all(isinstance(one, int | float) and not isinstance(one, bool) and SHARE.contains(one) for one in value)
    return "" if inside else f"must be numbers; each {SHARE.words}"


def without_single_betas(values: Mapping[str, Value], given: Collection[str]) -> dict[str, Value]:
    """Return the hyperparameters of a row without the betas that are `given` whole, which take their place."""
    return {
        name: value
        for name, value in values.items()
        if not (is_beta(name) and name.rpartition(".")[0] + name.rpartition(".")[1] + BETAS in given)
    }


def row_of_class(path: str) -> str:
    """Return the name of the row whose class this is; empty if none, or several, such as three rows of torch's SGD.

    The class of a row with groups is that of its first group: that of `muon` is torch's Muon.
    """
    classes = {name: row.groups[0].optimizer if row.groups else row.optimizer for name, row in OPTIMIZERS.items()}
    rows = [name for name, cls in classes.items() if cls == path]
    return rows[0] if len(rows) == 1 else ""


def whole_numbers_of_row(row: OptimizerRow) -> frozenset[str]:
    """Return the hyperparameters of a row of the table that are whole numbers."""
    return frozenset(name for name, value in row.fixed.items() if type(value) is int)


def whole_numbers(path: str) -> frozenset[str]:
    """Return the hyperparameters of the class at `path` that are whole numbers."""
    return frozenset(name for name, kind in parameters_of(path).kinds.items() if kind is int)


def _kind_in_a_row(path: str, name: str) -> type | None:
    """Return the kind of a hyperparameter that the table has, which needs no import of torch; None if it has not."""
    rows = [row for row in OPTIMIZERS.values() if row.optimizer == path]
    values = [{**dict.fromkeys(row.search, 0.0), **row.defaults, **row.fixed} for row in rows]
    return next((type(own[name]) for own in values if name in own), None)
