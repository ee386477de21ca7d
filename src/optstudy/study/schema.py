"""The blocks of a study file as frozen types: their keys, types and defaults (rules.py has the rules between keys)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    PrivateAttr,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

from optstudy.catalogue import OPTIMIZERS, SAMPLERS, OptimizerRow, Space
from optstudy.metrics import COMPUTED, METRICS, column_of, main_first
from optstudy.study.claim import ClaimSpec
from optstudy.study.contender_blocks import Average, Lora, Schedule
from optstudy.study.groups import Group, with_groups
from optstudy.study.hyperparameters import (
    Decay,
    class_row,
    optimizer_class,
    whole_numbers,
    whole_numbers_of_row,
    without_single_betas,
)
from optstudy.study.spaces import AnyValue, Categories, Interval, interval_or_choices, typed
from optstudy.study.validation import (
    LARGEST_COUNT,
    Block,
    Count,
    Flag,
    Name,
    Number,
    Positive,
    Problem,
    all_problems,
    one_of,
)
from optstudy.tasks.custom_data import data_source
from optstudy.tasks.datasets import DATASETS
from optstudy.tasks.kinds import kinds_of_own_data, task_of
from optstudy.tasks.models import MODELS, model_source

by_name = BeforeValidator(lambda value: {"name": value} if isinstance(value, str) else value)  # digits: {name: digits}


class Data(Block):
    """The data set, how its training part is split, and how its inputs are scaled and augmented."""

    name: Annotated[str, one_of(DATASETS)] | None = None
    class_path: Annotated[str, AfterValidator(lambda path: data_source(path) and path)] | None = Field(
        default=None, alias="class"
    )
    kind: Annotated[str, one_of(kinds_of_own_data())] | None = None
    arguments: dict[str, Any] = Field(default={})
    validation_share: Annotated[Number, Field(ge=0, lt=1)] = 0.2
    train_size: Count | None = None
    scaling: Literal["unit", "standardised"] = "unit"
    augment: tuple[Literal["crop", "flip"], ...] = ()
    batches: Literal["shuffled", "by_length"] = "shuffled"

    def resolved(self) -> dict[str, Any]:
        """Return `RunSpec.data`."""
        settings = self.model_dump(include={"validation_share", "train_size", "scaling", "augment"})
        if self.batches != "shuffled":  # left out by default, so that it changes no key of a training without it
            settings["batches"] = self.batches
        kind, defaults = self.kind, dict[str, Any]()
        if self.name is not None:
            kind, defaults = DATASETS[self.name].kind, dict(DATASETS[self.name].arguments)
        arguments = {**defaults, **self.arguments}
        return {"name": self.name, "class": self.class_path, "kind": kind, "arguments": arguments, **settings}

    def side(self) -> int | None:
        """Return the side of an image in pixels, None if it is not known."""
        row = DATASETS.get(self.name or "")
        return None if row is None else row.side or {**row.arguments, **self.arguments}.get("size")


class Model(Block):
    """The network, its arguments, and the weights that it starts from."""

    name: Annotated[str, one_of(MODELS)] | None = None
    class_path: Annotated[str, AfterValidator(lambda path: model_source(path) and path)] | None = Field(
        default=None, alias="class"
    )
    arguments: dict[str, Any] = Field(default={})
    pretrained: Annotated[str, Field(min_length=1)] | None = None
    pretrained_by: str = ""

    def resolved(self) -> dict[str, Any]:
        """Return `RunSpec.model`."""
        defaults = MODELS[self.name].arguments if self.name is not None else {}
        return {"name": self.name, "class": self.class_path, "arguments": {**defaults, **self.arguments}}


class Contender(Block):
    """One entry under `optimizers`: a row of the optimizer table with changes, or a class."""

    name: Name
    like: Annotated[str, one_of(OPTIMIZERS)] | None = None
    class_path: Annotated[str, AfterValidator(lambda path: optimizer_class(path) and path)] | None = Field(
        default=None, alias="class"
    )
    defaults: dict[str, AnyValue] = Field(default={})
    fixed: dict[str, AnyValue] = Field(default={})
    search: dict[
        str,
        Annotated[
            Interval | Categories,
            PlainValidator(interval_or_choices),
            PlainSerializer(lambda block: block.model_dump(exclude_defaults=True)),
        ],
    ] = Field(default={})
    decay: Decay | None = None
    schedule: Annotated[Schedule, by_name] | None = None
    clip: Positive | None = None
    clip_value: Positive | None = None
    average: Annotated[Average, by_name] | None = None
    groups: tuple[Group, ...] = ()
    freeze: tuple[str, ...] = ()
    lora: Lora | None = None
    from_scratch: Flag = False

    @model_validator(mode="after")
    def _optimizer_is_known(self) -> Self:
        if self.class_path is None and self.optimizer not in OPTIMIZERS:
            allowed = f"{', '.join(OPTIMIZERS)} (or give `like: one of these`, or `class` with `search`)"
            raise all_problems([Problem(("name",), self.name, f"must be one of {allowed}")])
        return self

    @property
    def optimizer(self) -> str:
        """Return `RunSpec.optimizer`: the name of a row of the table, or the path of a class."""
        return self.class_path or self.like or self.name

    def row(self) -> OptimizerRow:
        """Return the optimizer's row of the table with the changes of this entry."""
        return self._row

    @cached_property
    def _row(self) -> OptimizerRow:
        """Compute the row: once, so that a study which another process has loaded needs no class of the user.

        `fixed` removes a hyperparameter from the search. A hyperparameter that is searched and has no default keeps
        its class's.
        """
        base = self.unchanged()
        base = replace(base, fixed=without_single_betas(base.fixed, {*self.fixed, *self.search, *self.defaults}))
        whole = whole_numbers_of_row(base) | self._whole_numbers_of_classes()
        spaces = {key: space.space(key, key in whole) for key, space in self.search.items()}
        whole |= {key for key, space in spaces.items() if isinstance(space, Space) and space.whole}
        search = {key: space for key, space in {**base.search, **spaces}.items() if key not in self.fixed}
        fixed = {key: value for key, value in {**base.fixed, **self.fixed}.items() if key not in search}
        fixed = {key: typed(key, value, key in whole) for key, value in fixed.items()}
        fixed_in_table = {key: value for key, value in base.fixed.items() if key in search}
        defaults = {**base.defaults, **fixed_in_table, **self.defaults}
        defaults = {key: typed(key, value, key in whole) for key, value in defaults.items() if key not in fixed}
        decay = "decoupled" if fixed.get("decoupled_weight_decay") else base.decay
        return replace(base, decay=decay, defaults=defaults, fixed=fixed, search=search)

    def unchanged(self) -> OptimizerRow:
        """Return the row of the table, or that of the class, with its groups and without the changes of this entry."""
        row = OPTIMIZERS.get(self.optimizer)
        if row is None:
            row = class_row(self.optimizer, self.decay, self.fixed)
        return with_groups(row, tuple(g.resolved() for g in self.groups), self.fixed) if self.groups else row

    def _whole_numbers_of_classes(self) -> frozenset[str]:
        """Return the hyperparameters of classes that are whole numbers, those of groups with their full names."""
        own = self.class_path
        paths = {"": own} | {f"{g.name}.": g.class_path or (None if g.like else own) for g in self.groups}
        return frozenset(f"{prefix}{name}" for prefix, path in paths.items() if path for name in whole_numbers(path))


def with_slash(name: Any) -> Any:
    """Return a metric's name as trainings log it, `val/accuracy`, also of `val_accuracy`, as tables have it."""
    return f"val/{name.removeprefix('val_')}" if isinstance(name, str) and name.startswith("val_") else name


class Tuning(Block):
    """The search, the same for each contender and replicate."""

    trials: Annotated[int, Field(strict=True, ge=0, le=LARGEST_COUNT)] = 6
    sampler: Annotated[str, one_of(SAMPLERS)] = "sobol"
    objective: Annotated[str, BeforeValidator(with_slash), Field(min_length=1)] | None = None
    once: Flag = False
    widen: Flag = False


class DeclaredMetric(Block):
    """A further metric: one that torchmetrics computes, or one that the user's LightningModule logs on each part."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")]
    better: Literal["higher", "lower"] | None = None
    chance: Number | None = None
    margin: Positive | None = None

    @property
    def is_new(self) -> bool:
        """Return whether no table has it, so that the file says which direction is better."""
        return f"val_{self.name}" not in METRICS


MOST_LOOKS = 6  # the levels of so many were simulated (inference/looks.py)
Replicates = Annotated[Count, Field(ge=2)]


class Looks(Block):
    """The numbers of replicates at which a study may stop, because its primary claims are decided."""

    looks: Annotated[tuple[Replicates, ...], Field(min_length=2, max_length=MOST_LOOKS)]


def _number_or_looks(value: Any) -> int | Looks:
    """Return a number of replicates, or `{looks: [...]}`. A union of types would report the problems of both."""
    kind: TypeAdapter[int | Looks] = TypeAdapter(Looks if isinstance(value, dict) else Replicates)
    try:
        return value if isinstance(value, Looks) else kind.validate_python(value)
    except ValidationError as error:
        [one] = error.errors()
        if one["type"] == "problems":
            raise all_problems(one["ctx"]["problems"]) from error
        raise PydanticCustomError("replicates", "{text}", {"text": one["msg"]}) from error


def _as_stated(value: int | Looks) -> int | dict[str, list[int]]:
    return {"looks": list(value.looks)} if isinstance(value, Looks) else value


class Pretraining(Block):
    """One training before all others. Every contender starts from its weights, except those of the last layer."""

    data: Annotated[Data, by_name]
    optimizer: Annotated[Contender, by_name]
    epochs: Count
    batch_size: Count = 64
    schedule: Annotated[Schedule, by_name] = Schedule()


class Sweep(Block):
    """Trainings at learning rates across a contender's space, with its other hyperparameters at their defaults."""

    contenders: Annotated[tuple[str, ...], Field(min_length=1)]
    points: Annotated[Count, Field(ge=3)] = 7
    within: Positive = 0.01


class StudyFile(Block):
    """The keys of a study file; docs/study-file.md explains each."""

    name: Name
    question: str = ""
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**63)] = 0
    data: Annotated[Data, by_name]
    model: Annotated[Model, by_name]
    epochs: Count
    batch_size: Count = 64
    schedule: Annotated[Schedule, by_name] = Schedule()
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    accumulate: Count = 1
    clip: Positive | None = None
    clip_value: Positive | None = None
    decay_all: Flag = False
    stated_replicates: Annotated[int | Looks, PlainValidator(_number_or_looks), PlainSerializer(_as_stated)] = Field(
        default=8, alias="replicates"
    )
    optimizers: Annotated[tuple[Annotated[Contender, by_name], ...], Field(min_length=1)]
    pretraining: Pretraining | None = None
    tuning: Tuning = Tuning()
    untuned: Flag = True
    stack: Literal["auto", "on", "off"] = "auto"
    sweep: Sweep | None = None
    target: Number | None = None
    timeout: Positive | None = None
    metrics: tuple[Annotated[DeclaredMetric, by_name], ...] = ()
    claims: tuple[ClaimSpec, ...] = ()
    _look: int | None = PrivateAttr(default=None)
    _spaces: dict[str, Space] = PrivateAttr(default={})

    @property
    def looks(self) -> tuple[int, ...]:
        """Return the numbers of replicates at which the study may stop: of most studies there is one."""
        return self.stated_replicates.looks if isinstance(self.stated_replicates, Looks) else (self.stated_replicates,)

    @property
    def replicates(self) -> int:
        """Return the number of replicates: at the study's last look, unless `at_look` chose another."""
        return self._look or self.looks[-1]

    @property
    def replicates_as_stated(self) -> int | dict[str, list[int]]:
        """Return the value of `replicates` in the study file."""
        return _as_stated(self.stated_replicates)

    def at_look(self, replicates: int) -> Self:
        """Return the study with so many replicates. Their trainings are the first of those of any later look."""
        study = self.model_copy()
        study._look = replicates
        return study

    def with_spaces(self, rates: Mapping[str, Space]) -> Self:
        """Return the study with other spaces of learning rates than its file states, by contender."""
        study = self.model_copy()
        study._spaces = {**self._spaces, **rates}
        return study

    @property
    def spaces(self) -> Mapping[str, Space]:
        """Return the spaces of learning rates that are others than the file states, by contender."""
        return self._spaces

    @property
    def variants(self) -> tuple[str, ...]:
        """Return the variants of the final runs; claims are about the first unless they name another."""
        return (("tuned",) if self.tuning.trials else ()) + (("untuned",) if self.untuned else ())

    @property
    def kind(self) -> str:
        """Return the kind of the study's data."""
        return str(self.data.resolved()["kind"])

    @property
    def objective(self) -> str:
        """Return the metric that a search selects by."""
        return self.tuning.objective or next(iter(task_of(self.kind).objectives), "")

    @property
    def score(self) -> str:
        """Return the column of the curves that targets and sweeps count by: the objective, of classes the accuracy."""
        accuracy, own = "val_accuracy", column_of(self.objective)
        return accuracy if own == "val_loss" and accuracy in task_of(self.kind).metrics else own

    @property
    def columns(self) -> list[str]:
        """Return the columns of results that claims can be about, first the one that belongs to the objective."""
        declared = [f"{part}_{own.name}" for own in self.metrics for part in ("test", "val")]
        known = [name for name in METRICS if name in task_of(self.kind).metrics]
        return main_first(dict.fromkeys([*known, *declared]), self.objective)

    @property
    def new_metrics(self) -> dict[str, dict[str, Any]]:
        """Return what the file says about metrics that no table has: {name: {"better", "margin"}}."""
        return {own.name: {"better": own.better, "margin": own.margin} for own in self.metrics if own.is_new}

    @property
    def trained_metrics(self) -> dict[str, float | None] | None:
        """Return `RunSpec.metrics`: what is computed, or scored otherwise, because the file declares it."""
        found = {own.name: own.chance for own in self.metrics if own.name in COMPUTED or own.chance is not None}
        return found or None

    def row(self, contender: Contender) -> OptimizerRow:
        """Return the contender's row of the optimizer table; parameters of an analytic function do not decay."""
        row = contender.row()
        if contender.name in self._spaces:
            row = replace(row, search={**row.search, "learning_rate": self._spaces[contender.name]})
        if task_of(self.kind).examples:
            return row
        defaults = {name: value for name, value in row.defaults.items() if name != "weight_decay"}
        search = {name: space for name, space in row.search.items() if name != "weight_decay"}
        return replace(row, defaults=defaults, search=search)
