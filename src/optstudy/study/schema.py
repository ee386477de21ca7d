"""The blocks of a study file as frozen types (data, model, contender, claim, ...), each with its own rules."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainValidator, field_validator

from optstudy.catalogue import OPTIMIZERS, OptimizerRow, Space
from optstudy.keys import canonical
from optstudy.study.hyperparameters import Decay, class_row, decay_of, is_torchs, mistake_in, optimizer_class, taken
from optstudy.study.validation import NOTHING, Block, Problem
from optstudy.tasks.datasets import DATASETS
from optstudy.tasks.models import MODELS
from optstudy.user_code import import_class


def _number(value: Any) -> Any:
    """Read `1e-3`, a string in YAML 1.1, as the number that is meant; true and false are no numbers."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            raise ValueError("must be a number") from None
    return value


def _value(value: Any) -> float | bool:
    """Read true, false, or a finite number."""
    if isinstance(value, bool):
        return value
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError("must be a finite number, or true or false")
    return number


MOST = 10**9  # of whatever a study file counts
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]
Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
Count = Annotated[int, Field(strict=True, ge=1, le=MOST)]
Flag = Annotated[bool, Field(strict=True)]
VALIDATION_SHARE = 0.2


def _ordered(low: float, high: float, log: bool) -> Iterator[Problem]:
    if low >= high:
        yield Problem(("low",), low, f"must lie below high {high:g}")
    if not log and not math.isfinite(high - low):
        yield Problem(("high",), high, f"lies so far from low {low:g} that their difference is no finite number")
    if log and low <= 0:
        yield Problem(("low",), low, "must be above 0 in a log space (or write `log: false`)")


class Interval(Block):
    """The space of one searched hyperparameter."""

    RULES = (_ordered,)

    low: Number
    high: Number
    log: Flag = True


class Schedule(Block):
    """The course of the learning rate over the whole budget."""

    name: Literal["cosine", "constant"] = "cosine"
    interval: Literal["epoch", "step"] = "epoch"
    warmup: Annotated[Number, Field(ge=0, lt=1)] = 0.0


def by_name(value: Any) -> Any:
    """Let `digits` stand for {name: digits}."""
    return {"name": value} if isinstance(value, str) else value


def _name_or_class(name: str | None, class_path: str | None) -> Iterator[Problem]:
    if (name is None) == (class_path is None):
        yield Problem((), NOTHING, "give either `name`, or `class: package.module.Name`")
    if class_path is not None:
        try:
            found = import_class(class_path)
        except ValueError as error:
            yield Problem(("class",), class_path, str(error))
        else:
            if not callable(found):
                yield Problem(("class",), class_path, "must be a class or a function")


def _kind_goes_with_class(class_path: str | None, kind: str | None) -> Iterator[Problem]:
    if class_path is None and kind is not None:
        yield Problem(("kind",), kind, "goes with `class`; the kinds of named data sets are known")
    if class_path is not None and kind is None:
        yield Problem(("kind",), NOTHING, "a `class` needs it: image, sequence or text")


def _takes_arguments(table: Mapping[str, Any]) -> Callable[..., Iterator[Problem]]:
    """Return the rule that a row of the table takes what it is given, and is given what it needs."""

    def rule(name: str | None, arguments: Mapping[str, Any]) -> Iterator[Problem]:
        if name is not None:
            yield from _wrong_arguments(name, arguments, table[name].arguments)

    return rule


def _are_plain(class_path: str | None, arguments: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield arguments of the user's own that JSON does not hold as they are: a training's key is made of it."""
    for key, value in arguments.items() if class_path is not None else ():
        try:
            same = json.loads(canonical(value)) == value
        except (TypeError, ValueError):
            same = False
        if not same:
            allowed = "must be text, a finite number, true, false, null, or lists or mappings by text of these"
            yield Problem(("arguments", key), value, allowed)


def _kind_allows(name: str | None, kind: str | None, scaling: str, augment: tuple[str, ...]) -> Iterator[Problem]:
    kind = kind if name is None else DATASETS[name].kind
    if scaling != "unit" and kind not in {"image", "sequence"}:
        yield Problem(("scaling",), scaling, f"needs data of kind image or sequence, not {kind}")
    if augment and kind != "image":
        yield Problem(("augment",), list(augment), f"needs data of kind image, not {kind}")


def _function_has_no_examples(name: str | None, validation_share: float, train_size: int | None) -> Iterator[Problem]:
    """Yield what cuts a training part that a function has not."""
    given = {"validation_share": validation_share, "train_size": train_size}
    unsaid = {"validation_share": VALIDATION_SHARE, "train_size": None}
    for key in given if name is not None and DATASETS[name].kind == "function" else ():
        if given[key] != unsaid[key]:
            yield Problem((key,), given[key], f"{name} is a function, which has no examples: leave the key out")


class Data(Block):
    """Which data set, how its training part is cut, and how its inputs are scaled and augmented."""

    RULES = (
        _name_or_class,
        _kind_goes_with_class,
        _takes_arguments(DATASETS),
        _are_plain,
        _kind_allows,
        _function_has_no_examples,
    )

    name: str | None = None
    class_path: str | None = Field(default=None, alias="class")
    kind: Literal["image", "sequence", "text"] | None = None
    arguments: dict[str, Any] = Field(default={})
    validation_share: Annotated[Number, Field(ge=0, lt=1)] = VALIDATION_SHARE
    train_size: Count | None = None
    scaling: Literal["unit", "standardised"] = "unit"
    augment: tuple[Literal["crop", "flip"], ...] = ()

    @field_validator("name")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        return _in_table(name, DATASETS)

    def resolved(self) -> dict[str, Any]:
        """Return `RunSpec.data`."""
        settings = self.model_dump(include={"validation_share", "train_size", "scaling", "augment"})
        if self.name is None:
            return {"name": None, "class": self.class_path, "kind": self.kind, "arguments": self.arguments, **settings}
        row = DATASETS[self.name]
        arguments = _arguments(self.arguments, row.arguments)
        return {"name": self.name, "class": None, "kind": row.kind, "arguments": arguments, **settings}

    def side(self) -> int | None:
        """Return the side of an image in pixels, where it is known."""
        if self.name is None:
            return None
        row = DATASETS[self.name]
        return row.side or {**row.arguments, **self.arguments}.get("size")


def _weights_fit(name: str | None, pretrained: str | None) -> Iterator[Problem]:
    if pretrained is not None and pretrained.startswith("torchvision:") and name != "torchvision":
        yield Problem(("pretrained",), pretrained, "`torchvision:...` needs the model `torchvision`")


def _maker_has_made_them(pretrained: str | None, pretrained_by: str) -> Iterator[Problem]:
    if pretrained_by and pretrained in (None, "pretraining"):
        known = "the block `pretraining` says it" if pretrained else "needs `pretrained`"
        yield Problem(("pretrained_by",), pretrained_by, known)


def _is_an_architecture(name: str | None, arguments: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield an architecture that torchvision lacks; it is imported only where one is named, which takes seconds."""
    given = arguments.get("architecture")
    if name != "torchvision" or not isinstance(given, str):
        return
    from torchvision import models

    known = models.list_models(module=models)
    if given not in known:
        near = ", ".join(get_close_matches(given, known, n=5)) or ", ".join(known)
        yield Problem(("arguments", "architecture"), given, f"is none of torchvision's classifiers, as {near}")


class Model(Block):
    """Which network, its own arguments, and the weights that it starts from."""

    RULES = (
        _name_or_class,
        _takes_arguments(MODELS),
        _are_plain,
        _weights_fit,
        _maker_has_made_them,
        _is_an_architecture,
    )

    name: str | None = None
    class_path: str | None = Field(default=None, alias="class")
    arguments: dict[str, Any] = Field(default={})
    pretrained: Annotated[str, Field(min_length=1)] | None = None
    pretrained_by: str = ""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        return _in_table(name, MODELS)

    def resolved(self) -> dict[str, Any]:
        """Return `RunSpec.model`."""
        if self.name is None:
            return {"name": None, "class": self.class_path, "arguments": self.arguments}
        arguments = _arguments(self.arguments, MODELS[self.name].arguments)
        return {"name": self.name, "class": None, "arguments": arguments}


def _in_table(name: str | None, table: Mapping[str, Any]) -> str | None:
    if name is not None and name not in table:
        raise ValueError(f"must be one of {', '.join(table)}")
    return name


def _arguments(given: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row's arguments, with those that are given; `1e-3` is a number where the row has one."""
    read = {key: _number(value) if isinstance(defaults[key], float) else value for key, value in given.items()}
    return {**defaults, **read}


def _wrong_arguments(name: str, given: Mapping[str, Any], allowed: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield arguments that are unknown, lacking, or not of their default's type."""
    for key, value in given.items():
        message = "" if key in allowed else f"{name} takes no {key}; allowed: {', '.join(allowed) or 'none'}"
        message = message or _wrong_argument(value, allowed[key])
        if message:
            yield Problem(("arguments", key), value, message)
    lacking = [key for key, default in allowed.items() if default is None and key not in given]
    for key in lacking:
        yield Problem(("arguments", key), NOTHING, f"{name} needs this argument")


def _wrong_argument(value: Any, default: Any) -> str:
    """Return what is wrong with an argument, by the type of its default; empty where nothing is."""
    if isinstance(default, int) and not (type(value) is int and 1 <= value <= MOST):
        return f"must be a whole number of at least 1 and at most {MOST}"
    if isinstance(default, float) and not _is_above_0(value):
        return "must be a finite number above 0"
    if (default is None or isinstance(default, str)) and not isinstance(value, str):
        return "must be text"
    if isinstance(default, list) and not (isinstance(value, list) and _are_some(value, default)):
        return f"must be a list of at least two of {default}, each once"
    return ""


def _is_above_0(value: Any) -> bool:
    """Return whether a number, or text that means one, is finite and above 0."""
    try:
        return type(value) in {int, float, str} and _value(value) > 0
    except ValueError:
        return False


def _are_some(values: Sequence[Any], allowed: Sequence[Any]) -> bool:
    """Return whether there are two or more values, each one of `allowed` (`true` is not 1), and none twice."""
    known = all(type(one) is type(allowed[0]) and one in allowed for one in values)
    return known and len(set(values)) == len(values) >= 2


def _one_row(name: str, like: str | None, class_path: str | None) -> Iterator[Problem]:
    """Yield what is wrong with the choice of the optimizer."""
    if like is not None and class_path is not None:
        yield Problem(("like",), like, "give `like` or `class`, not both")
    if class_path is not None:
        try:
            optimizer_class(class_path)
        except ValueError as error:
            yield Problem(("class",), class_path, str(error))
    elif (like or name) not in OPTIMIZERS:
        key, others = ("like", "") if like else ("name", " (or give `like: one of these`, or `class` with `search`)")
        yield Problem((key,), like or name, f"must be one of {', '.join(OPTIMIZERS)}{others}")


def _keeps_its_name(
    name: str,
    like: str | None,
    class_path: str | None,
    fixed: Mapping[str, float | bool],
    search: Mapping[str, Interval],
) -> Iterator[Problem]:
    """Yield what would give a table's name to another optimizer: every output shows the name alone."""
    row = name.lower()
    if row not in OPTIMIZERS:
        return
    for key, other in (("like", like), ("class", class_path)):
        if other is not None and other != row:
            yield Problem((key,), other, f"{row!r} is the name of a row of the table: choose another name")
    if row == "sgd" and fixed.get("momentum"):
        yield Problem(("fixed", "momentum"), fixed["momentum"], "`sgd` means momentum 0: `momentum` is a row, too")
    if row == "sgd" and "momentum" in search:
        yield Problem(("search",), ["momentum"], "`sgd` means momentum 0: choose another name, with `like: sgd`")
    if fixed.get("decoupled_weight_decay"):
        yield Problem(("fixed", "decoupled_weight_decay"), True, f"{row!r} means coupled decay: choose another name")


def _is_read_as_a_name(name: str) -> Iterator[Problem]:
    if name.lower() in {"nan", "na", "null", "none"}:
        yield Problem(("name",), name, "is a missing value to whoever reads the tables: choose another name")


def _decay_is_known(
    name: str, like: str | None, class_path: str | None, decay: Decay | None, fixed: Mapping[str, float | bool]
) -> Iterator[Problem]:
    """Yield a `decay` that the table or torch's own code contradicts, or makes needless."""
    if decay is None:
        return
    if class_path is None:
        yield Problem(("decay",), decay, f"goes with `class`: the table says what {like or name} has")
        return
    cls = _class_or_none(class_path)
    if cls is not None and is_torchs(cls) and decay_of(cls, fixed) != decay:
        yield Problem(("decay",), decay, f"{class_path} has {decay_of(cls, fixed)} decay")


def _takes_what_is_given(
    name: str,
    like: str | None,
    class_path: str | None,
    defaults: Mapping[str, float],
    fixed: Mapping[str, float | bool],
) -> Iterator[Problem]:
    """Yield hyperparameters that the optimizer does not take, and values that none may have."""
    path = _path(name, like, class_path)
    for block, values in (("defaults", defaults), ("fixed", fixed)):
        for key, value in values.items() if path else ():
            message = mistake_in(path, key, value)
            if message:
                yield Problem((block, key), value, message)


def _takes_what_is_searched(
    name: str, like: str | None, class_path: str | None, search: Mapping[str, Interval]
) -> Iterator[Problem]:
    """Yield spaces of hyperparameters that the optimizer does not take, and ends that none may have."""
    path = _path(name, like, class_path)
    for key, space in search.items() if path else ():
        at_low, at_high = mistake_in(path, key, space.low), mistake_in(path, key, space.high)
        if at_low:
            yield Problem(("search", key, "low"), space.low, at_low)
        if at_high and at_high != at_low:
            yield Problem(("search", key, "high"), space.high, at_high)


def _each_in_one_block(
    name: str,
    like: str | None,
    class_path: str | None,
    defaults: Mapping[str, float],
    fixed: Mapping[str, float | bool],
    search: Mapping[str, Interval],
) -> Iterator[Problem]:
    """Yield hyperparameters with two values of which one would be lost, and those that a class lacks."""
    for key in sorted(set(fixed) & set(search)):
        yield Problem(("fixed", key), fixed[key], "cannot be both in `fixed` and in `search`")
    row = OPTIMIZERS.get(like or name) if class_path is None else None
    for key in sorted(set(defaults) & ({*fixed, *(row.fixed if row else ())} - set(search))):
        yield Problem(("defaults", key), defaults[key], "is fixed: give it in `fixed`, or search it")
    if class_path is None:
        return
    for key in taken(class_path).needed if _path(name, like, class_path) else ():
        if key not in fixed and not (key in search and key in defaults):
            yield Problem((), NOTHING, f"{class_path} needs {key}: in `fixed`, or in `search` and in `defaults`")


def _path(name: str, like: str | None, class_path: str | None) -> str:
    """Return the path of the optimizer's class, empty where it cannot be used, which another rule tells."""
    if class_path is None:
        return OPTIMIZERS[like or name].optimizer if (like or name) in OPTIMIZERS else ""
    return "" if _class_or_none(class_path) is None else class_path


def _class_or_none(path: str) -> Any:
    """Return the class, None where it cannot be used, which another rule tells."""
    try:
        return optimizer_class(path)
    except ValueError:
        return None


class Contender(Block):
    """One entry under `optimizers:`, resolved to the row that it stands for."""

    RULES = (
        _one_row,
        _is_read_as_a_name,
        _keeps_its_name,
        _decay_is_known,
        _takes_what_is_given,
        _takes_what_is_searched,
        _each_in_one_block,
    )

    name: Name
    like: str | None = None
    class_path: str | None = Field(default=None, alias="class")
    defaults: dict[str, Number] = Field(default={})
    fixed: dict[str, Annotated[bool | float, PlainValidator(_value)]] = Field(default={})
    search: dict[str, Interval] = Field(default={})
    decay: Decay | None = None
    schedule: Annotated[Schedule, BeforeValidator(by_name)] | None = None
    clip: Positive | None = None
    freeze: tuple[str, ...] = ()
    from_scratch: Flag = False

    @property
    def optimizer(self) -> str:
        """Return `RunSpec.optimizer`: the name of a row of the table, or the path of a class."""
        return self.class_path or self.like or self.name

    def row(self) -> OptimizerRow:
        """Return the optimizer's row of the table with this entry's overrides; `fixed` takes a key out of the search.

        What is searched and has no default of its own stays at its class's.
        """
        if self.class_path is not None:
            base = class_row(self.class_path, self.decay, self.fixed)
        else:
            base = OPTIMIZERS[self.like or self.name]
        spaces = {key: Space(space.low, space.high, space.log) for key, space in self.search.items()}
        search = {key: space for key, space in {**base.search, **spaces}.items() if key not in self.fixed}
        fixed = {key: value for key, value in {**base.fixed, **self.fixed}.items() if key not in search}
        searched_before = {key: value for key, value in base.fixed.items() if key in search}
        defaults = {**base.defaults, **searched_before, **self.defaults}
        defaults = {key: float(value) for key, value in defaults.items() if key not in fixed}
        decay = "decoupled" if fixed.get("decoupled_weight_decay") else base.decay
        return OptimizerRow(base.optimizer, decay, defaults, fixed, search)


def _searches(trials: int, sampler: str, once: bool) -> Iterator[Problem]:
    """Yield what is said of a search that is not made."""
    given = {"sampler": sampler, "once": once}
    for key, value in given.items() if not trials else ():
        if value != Tuning.model_fields[key].default:
            yield Problem((key,), value, "with `trials: 0` nothing is searched: leave the key out")


class Tuning(Block):
    """The search: the same for each contender and replicate."""

    RULES = (_searches,)

    trials: Annotated[int, Field(strict=True, ge=0, le=MOST)] = 6
    sampler: Literal["sobol", "random", "tpe"] = "sobol"
    objective: Literal["val/accuracy", "val/loss", "loss"] | None = None
    once: Flag = False


def _trains_once(optimizer: Contender) -> Iterator[Problem]:
    """Yield what one training of a fresh network with an optimizer's defaults cannot heed."""
    ignored = {
        "search": (list(optimizer.search), "nothing is searched: write the values into `fixed` or `defaults`"),
        "schedule": (optimizer.schedule and optimizer.schedule.name, "write it as pretraining.schedule"),
        "freeze": (list(optimizer.freeze), "all parameters are trained"),
        "from_scratch": (optimizer.from_scratch, "it always is"),
    }
    for key, (value, reason) in ignored.items():
        if value:
            yield Problem(("optimizer", key), value, f"cannot be said of a pretraining: {reason}")


def warms_up(schedule: Schedule, epochs: int) -> Iterator[Problem]:
    """Yield a warm-up that ends before the first epoch does, and so does not happen."""
    if schedule.interval == "epoch" and schedule.warmup and not round(schedule.warmup * epochs):
        allowed = f"is less than one of {epochs} epochs: write `interval: step`, a larger share, or 0"
        yield Problem(("schedule", "warmup"), schedule.warmup, allowed)


class Pretraining(Block):
    """The one training, before all others, whose weights (but for the head) every contender starts from."""

    RULES = (_trains_once, warms_up)

    data: Annotated[Data, BeforeValidator(by_name)]
    optimizer: Annotated[Contender, BeforeValidator(by_name)]
    epochs: Count
    batch_size: Count = 64
    schedule: Annotated[Schedule, BeforeValidator(by_name)] = Schedule()


class Sweep(Block):
    """Learning rates from end to end of a contender's space, the rest at its defaults: how much the rate matters."""

    contenders: Annotated[tuple[str, ...], Field(min_length=1)]
    points: Annotated[Count, Field(ge=3)] = 7
    within: Positive = 0.01
