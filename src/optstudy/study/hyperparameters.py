"""Which hyperparameters an optimizer's class takes, and what each may be; torch is imported for a class alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from optstudy.catalogue import OPTIMIZERS, OptimizerRow
from optstudy.user_code import import_class

Decay = Literal["coupled", "decoupled"]


@dataclass(frozen=True)
class Bounds:
    """What a number may be, in words and as a test."""

    words: str
    holds: Callable[[float], bool]


POSITIVE = Bounds("must be above 0", lambda value: value > 0)
NOT_NEGATIVE = Bounds("must be 0 or more", lambda value: value >= 0)
SHARE = Bounds("must be at least 0 and below 1", lambda value: 0 <= value < 1)

# torch takes some values that no update rule means: a momentum of -1, a weight decay that grows the weights.
BOUNDS: Mapping[str, Bounds] = {
    "learning_rate": POSITIVE,
    "weight_decay": NOT_NEGATIVE,
    "momentum": SHARE,
    "beta1": SHARE,
    "beta2": SHARE,
    "eps": POSITIVE,
}
# These mean the same in all of torch's classes, and may mean something else in a user's own.
TORCH_BOUNDS: Mapping[str, Bounds] = {
    "alpha": SHARE,
    "rho": SHARE,
    "dampening": SHARE,
    "lr_decay": NOT_NEGATIVE,
    "initial_accumulator_value": NOT_NEGATIVE,
}

# torch's names of what a study file calls otherwise, or decides elsewhere.
TORCHS_NAMES = {
    "lr": "write learning_rate",
    "betas": "write beta1 and beta2",
    "params": "`freeze` names parameters that are not trained",
}

# torch's classes whose weight decay is decoupled (the others' is coupled), and those that no study can train with.
DECOUPLED = frozenset({"AdamW", "Adafactor", "Muon"})
REFUSED = {
    "LBFGS": "its step needs a closure, which evaluates the loss several times",
    "SparseAdam": "it needs sparse gradients, and networks here have dense ones",
    "Muon": "it trains matrices alone, and networks have biases",
}


def optimizer_class(path: str) -> Any:
    """Return the optimizer class at `path`; raises ValueError where there is none, or none that can train here."""
    from torch.optim import Optimizer

    cls = import_class(path)
    if not (isinstance(cls, type) and issubclass(cls, Optimizer)) or cls is Optimizer:
        raise ValueError("must be a subclass of torch.optim.Optimizer")
    reason = next((REFUSED[name] for name in _torchs(cls) if name in REFUSED), "")
    closure = inspect.signature(cls.step).parameters.get("closure")
    if closure is not None and closure.default is closure.empty:
        reason = reason or REFUSED["LBFGS"]
    if reason:
        raise ValueError(f"cannot be used: {reason}")
    return cls


def _torchs(cls: type) -> list[str]:
    """Return the names of the classes of torch's that `cls` is, or is derived from."""
    return [base.__name__ for base in cls.__mro__ if is_torchs(base)]


def is_torchs(cls: type) -> bool:
    """Return whether the class comes with torch."""
    return f"{cls.__module__}.".startswith("torch.optim.")


def decay_of(cls: type, fixed: Mapping[str, Any]) -> Decay:
    """Return how a class applies weight decay, as far as torch's own code says: a user's own may do otherwise."""
    decoupled = fixed.get("decoupled_weight_decay") or DECOUPLED & set(_torchs(cls))
    return "decoupled" if decoupled else "coupled"


def class_row(path: str, decay: Decay | None, fixed: Mapping[str, Any]) -> OptimizerRow:
    """Return the row of a user's optimizer class: its own signature gives the defaults."""
    cls = optimizer_class(path)
    parameters = inspect.signature(cls).parameters
    names = {"learning_rate": "lr", "weight_decay": "weight_decay"}
    defaults = {
        name: float(parameters[torch_name].default)
        for name, torch_name in names.items()
        if torch_name in parameters and isinstance(parameters[torch_name].default, int | float)
    }
    return OptimizerRow(path, decay or decay_of(cls, fixed), defaults, {}, {})


@dataclass(frozen=True)
class Taken:
    """The hyperparameters that a class takes, by the study file's names: `float` or `bool`.

    `needed` have no default; with `more` the class takes any others, too.
    """

    kinds: Mapping[str, type]
    needed: tuple[str, ...] = ()
    more: bool = False


def taken(path: str) -> Taken:
    """Return what the class at `path` takes besides the parameters that it trains."""
    parameters = list(inspect.signature(import_class(path)).parameters.values())[1:]
    kinds = {name: kind for parameter in parameters for name, kind in _kinds(parameter)}
    needed = [p for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    more = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    return Taken(kinds, tuple(name for p in needed for name, _ in _kinds(p)), more)


def _kinds(parameter: inspect.Parameter) -> list[tuple[str, type]]:
    """Return a parameter's names in a study file; none where a study file cannot give it: text, or a tuple."""
    name, default = parameter.name, parameter.default
    if name == "betas":
        return [("beta1", float), ("beta2", float)]
    if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or isinstance(default, str | tuple | list):
        return []
    flag = isinstance(default, bool) or (default is None and "bool" in str(parameter.annotation))
    return [("learning_rate" if name == "lr" else name, bool if flag else float)]


def mistake_in(path: str, name: str, value: float | bool) -> str:
    """Return what is wrong with a hyperparameter's value, empty where nothing is; `path` is the optimizer's class."""
    if name in TORCHS_NAMES:
        return f"is torch's name: {TORCHS_NAMES[name]}"
    kind: type | None = float if _in_a_row(path, name) else None
    if kind is None:
        takes = taken(path)
        if name not in takes.kinds and not takes.more:
            return f"{path} takes no {name}; allowed: {', '.join(takes.kinds)}"
        kind = takes.kinds.get(name, float if name in BOUNDS else None)
    if kind is not None and isinstance(value, bool) != (kind is bool):
        return "must be true or false" if kind is bool else "must be a number, not true or false"
    if name == "maximize" and value is True:
        return "must be false: it would climb the loss"
    bounds = BOUNDS.get(name) or (TORCH_BOUNDS.get(name) if path.startswith("torch.optim.") else None)
    return bounds.words if bounds is not None and not bounds.holds(value) else ""


def _in_a_row(path: str, name: str) -> bool:
    """Return whether the table has the hyperparameter: the answer that needs no import of torch."""
    rows = [row for row in OPTIMIZERS.values() if row.optimizer == path]
    return any(name in {**row.defaults, **row.fixed, **row.search} for row in rows)
