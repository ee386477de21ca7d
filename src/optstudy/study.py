"""The study file as frozen types: load_study(path) reads one, and reports every mistake in it at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator

from optstudy.claims import MOST_PRIMARY, TOPICS, Arm
from optstudy.datasets import DATASETS
from optstudy.errors import StudyError
from optstudy.metrics import HEADLINES
from optstudy.models import MODELS
from optstudy.optimizers import OPTIMIZERS, Row, Space, import_class
from optstudy.runs import RunSpec, derive_seed


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


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]
Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
Count = Annotated[int, Field(strict=True, ge=1)]


SWEPT = "learning_rate_tolerance"
FUNCTION_METRICS = frozenset({"steps_to_tolerance", "sign_changes", "loss"})


class Frozen(BaseModel):
    """Frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Interval(Frozen):
    """The space of one searched hyperparameter."""

    low: Number
    high: Number
    log: bool = True

    @model_validator(mode="after")
    def _ordered(self) -> Interval:
        if self.low >= self.high:
            raise ValueError(f"low {self.low:g} must lie below high {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"low {self.low:g} must be above 0 in a log space (or write `log: false`)")
        return self


class Schedule(Frozen):
    """The course of the learning rate over the whole budget."""

    name: Literal["cosine", "constant"] = "cosine"
    interval: Literal["epoch", "step"] = "epoch"
    warmup: Annotated[Number, Field(ge=0, lt=1)] = 0.0


def _named(value: Any) -> Any:
    """Let `digits` stand for {name: digits}."""
    return {"name": value} if isinstance(value, str) else value


class Data(Frozen):
    """Which data set, how its training part is cut, and how its inputs are scaled and augmented."""

    name: str | None = None
    class_path: str | None = Field(default=None, alias="class")
    kind: Literal["image", "sequence", "text"] | None = None
    arguments: dict[str, Any] = {}
    validation_share: Annotated[Number, Field(ge=0, lt=1)] = 0.2
    train_size: Count | None = None
    scaling: Literal["unit", "standardised"] = "unit"
    augment: tuple[Literal["crop", "flip"], ...] = ()

    @field_validator("name")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        return _in_table(name, DATASETS)

    @model_validator(mode="after")
    def _fits(self) -> Data:
        _name_or_class(self.name, self.class_path)
        if self.class_path is None and self.kind is not None:
            raise ValueError("`kind` goes with `class`; the kinds of named data sets are known")
        if self.class_path is not None and self.kind is None:
            raise ValueError("a `class` needs `kind`: image, sequence or text")
        if self.name is not None:
            _known_arguments(self.name, self.arguments, DATASETS[self.name].arguments)
        kind = self.resolved()["kind"]
        if self.scaling != "unit" and kind not in {"image", "sequence"}:
            raise ValueError(f"scaling {self.scaling!r} needs data of kind image or sequence, not {kind}")
        if self.augment and kind != "image":
            raise ValueError(f"augment needs data of kind image, not {kind}")
        return self

    def resolved(self) -> dict[str, Any]:
        """Return `RunSpec.data`."""
        settings = self.model_dump(include={"validation_share", "train_size", "scaling", "augment"})
        if self.name is None:
            return {"name": None, "kind": self.kind, "load": self.class_path, "arguments": self.arguments, **settings}
        row = DATASETS[self.name]
        arguments = {**row.arguments, **self.arguments}
        return {"name": self.name, "kind": row.kind, "load": row.load, "arguments": arguments, **settings}

    def side(self) -> int | None:
        """Return the side of an image in pixels, where it is known."""
        if self.name is None:
            return None
        row = DATASETS[self.name]
        return row.side or {**row.arguments, **self.arguments}.get("size")


class Model(Frozen):
    """Which network, its own arguments, and the weights that it starts from."""

    name: str | None = None
    class_path: str | None = Field(default=None, alias="class")
    arguments: dict[str, Any] = {}
    pretrained: str | None = None
    pretrained_by: str = ""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str | None) -> str | None:
        return _in_table(name, MODELS)

    @model_validator(mode="after")
    def _fits(self) -> Model:
        _name_or_class(self.name, self.class_path)
        if self.name is not None:
            _known_arguments(self.name, self.arguments, MODELS[self.name].arguments)
        if self.pretrained is not None and self.pretrained.startswith("torchvision:") and self.name != "torchvision":
            raise ValueError("pretrained: `torchvision:...` needs the model `torchvision`")
        return self

    def resolved(self) -> dict[str, Any]:
        """Return `RunSpec.model`."""
        if self.name is None:
            return {"name": None, "network": self.class_path, "arguments": self.arguments}
        row = MODELS[self.name]
        return {"name": self.name, "network": row.network, "arguments": {**row.arguments, **self.arguments}}


def _in_table(name: str | None, table: Mapping[str, Any]) -> str | None:
    if name is not None and name not in table:
        raise ValueError(f"must be one of {', '.join(table)}")
    return name


def _name_or_class(name: str | None, class_path: str | None) -> None:
    if (name is None) == (class_path is None):
        raise ValueError("give either `name`, or `class: package.module.Name`")
    if class_path is not None and not callable(import_class(class_path)):
        raise ValueError(f"class {class_path!r} must be a class or a function")


def _known_arguments(name: str, given: Mapping[str, Any], allowed: Mapping[str, Any]) -> None:
    """Raise ValueError where an argument is unknown, lacking, or not of its default's type."""
    for key, value in given.items():
        if key not in allowed:
            raise ValueError(f"argument {key!r} is unknown to {name}; allowed: {', '.join(allowed) or 'none'}")
        default = allowed[key]
        if isinstance(default, int) and not (type(value) is int and value >= 1):
            raise ValueError(f"argument {key}: {value!r}: must be a whole number of at least 1")
        if isinstance(default, float) and not (type(value) in {int, float} and value > 0):
            raise ValueError(f"argument {key}: {value!r}: must be a number above 0")
        if (default is None or isinstance(default, str)) and not isinstance(value, str):
            raise ValueError(f"argument {key}: {value!r}: must be text")
        if isinstance(default, list) and not (isinstance(value, list) and value and set(value) <= set(default)):
            raise ValueError(f"argument {key}: {value!r}: must be a list of some of {default}")
    lacking = [key for key, default in allowed.items() if default is None and key not in given]
    if lacking:
        raise ValueError(f"{name} needs the arguments {', '.join(lacking)}")


class Contender(Frozen):
    """One entry under `optimizers:`, resolved to the row that it stands for."""

    name: Name
    like: str | None = None
    class_path: str | None = Field(default=None, alias="class")
    defaults: dict[str, Number] = {}
    fixed: dict[str, bool | Number] = {}
    search: dict[str, Interval] = {}
    decay: Literal["coupled", "decoupled"] | None = None
    schedule: Annotated[Schedule, BeforeValidator(_named)] | None = None
    clip: Positive | None = None
    freeze: tuple[str, ...] = ()
    from_scratch: bool = False

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _row_exists(self) -> Contender:
        if self.class_path is not None and self.like is not None:
            raise ValueError("give `like` or `class`, not both")
        if self.class_path is None:
            if (self.like or self.name) not in OPTIMIZERS:
                raise ValueError(
                    f"optimizer {self.like or self.name!r} must be one of {', '.join(OPTIMIZERS)} "
                    "(or give `like: one of these`, or `class: package.module.Name` with `search`)"
                )
        elif not self.search:
            raise ValueError("a `class` needs `search`, for example learning_rate: {low: 1.0e-4, high: 1.0e-1}")
        twice = sorted(set(self.fixed) & set(self.search))
        if twice:
            raise ValueError(f"{', '.join(twice)} cannot be both in `fixed` and in `search`")
        self.row()
        return self

    def row(self) -> Row:
        """Return the optimizer's row of the table with this entry's overrides; `fixed` takes a key out of the search.

        Raises ValueError where the class is no optimizer or does not take a hyperparameter.
        """
        base = (
            OPTIMIZERS[self.like or self.name] if self.class_path is None else _class_row(self.class_path, self.decay)
        )
        spaces = {key: Space(space.low, space.high, space.log) for key, space in self.search.items()}
        search = {key: space for key, space in {**base.search, **spaces}.items() if key not in self.fixed}
        fixed = {key: value for key, value in {**base.fixed, **self.fixed}.items() if key not in search}
        searched_before = {key: value for key, value in base.fixed.items() if key in search}
        defaults = {**base.defaults, **searched_before, **self.defaults}
        defaults = {key: float(value) for key, value in defaults.items() if key not in fixed}
        if self.class_path is not None or self.defaults or self.fixed or self.search:
            _check_arguments(base.optimizer, {**defaults, **fixed, **dict.fromkeys(search, 0.0)})
        return Row(base.optimizer, self.decay or base.decay, defaults, fixed, search)


def _class_row(path: str, decay: Literal["coupled", "decoupled"] | None) -> Row:
    """Return the row of a user's optimizer class: its own signature gives the defaults."""
    import inspect

    from torch.optim import Optimizer

    cls = import_class(path)
    if not (isinstance(cls, type) and issubclass(cls, Optimizer)):
        raise ValueError(f"class {path!r} must be a subclass of torch.optim.Optimizer")
    parameters = inspect.signature(cls).parameters
    names = {"learning_rate": "lr", "weight_decay": "weight_decay"}
    defaults = {
        name: float(parameters[torch_name].default)
        for name, torch_name in names.items()
        if torch_name in parameters and isinstance(parameters[torch_name].default, int | float)
    }
    return Row(path, decay or "coupled", defaults, {}, {})


def _check_arguments(path: str, hyperparameters: Mapping[str, Any]) -> None:
    """Raise ValueError where the optimizer's class does not take one of the hyperparameters."""
    import inspect

    from optstudy.optimizers import torch_arguments

    parameters = inspect.signature(import_class(path)).parameters
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    unknown = [name for name in torch_arguments(hyperparameters) if name not in parameters]
    if unknown:
        allowed = [name for name in parameters if name != "params"]
        raise ValueError(
            f"{path} takes no {', '.join(unknown)}; allowed: learning_rate, beta1, beta2, {', '.join(allowed)}"
        )


class Tuning(Frozen):
    """The search: the same for each contender and replicate."""

    trials: Annotated[int, Field(strict=True, ge=0)] = 6
    sampler: Literal["sobol", "random", "tpe"] = "sobol"
    objective: Literal["val/accuracy", "val/loss", "loss"] | None = None
    once: bool = False


class Pretraining(Frozen):
    """The one training, before all others, whose weights (but for the head) every contender starts from."""

    data: Annotated[Data, BeforeValidator(_named)]
    optimizer: Contender
    epochs: Count
    batch_size: Count = 64
    schedule: Annotated[Schedule, BeforeValidator(_named)] = Schedule()


class Sweep(Frozen):
    """Learning rates from end to end of a contender's space, the rest at its defaults: how much the rate matters."""

    contenders: Annotated[tuple[str, ...], Field(min_length=1)]
    points: Annotated[int, Field(strict=True, ge=3)] = 7
    within: Positive = 0.01


class Claim(Frozen):
    """A statement about a contrast of contenders, written down before the first run."""

    statement: Annotated[str, Field(min_length=1)]
    topic: str = ""
    better: str | None = None
    than: Annotated[tuple[str, ...], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)] = ()
    weights: dict[str, Number] = {}
    metric: Annotated[str, BeforeValidator(lambda value: str(value).replace("/", "_"))] = "test_accuracy"
    margin: Positive | None = None
    primary: bool = True

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, metric: str) -> str:
        return str(_in_table(metric, HEADLINES))

    @field_validator("topic")
    @classmethod
    def _known_topic(cls, topic: str) -> str:
        return topic and str(_in_table(topic, TOPICS))

    @model_validator(mode="after")
    def _is_a_contrast(self) -> Claim:
        short = self.better is not None or bool(self.than)
        if short == bool(self.weights) or (short and not (self.better and self.than)):
            raise ValueError("give either `better` and `than`, or `weights`")
        if abs(sum(self.contrast("tuned").values())) > 1e-9:
            raise ValueError("the weights must sum to zero")
        return self

    def contrast(self, variant: str) -> dict[Arm, float]:
        """Return the weights by contender and variant, positive for the side that is claimed to be better.

        A name is `contender`, in `variant`, or `contender/variant`; sweeps have a variant of their own.
        """
        if self.better is not None:
            named = [(self.better, 1.0), *((name, -1.0 / len(self.than)) for name in self.than)]
        else:
            named = list(self.weights.items())
        if self.metric == SWEPT:
            variant = "sweep"
        found: dict[Arm, float] = {}
        for name, weight in named:
            contender, _, said = name.partition("/")
            found[contender, said or variant] = found.get((contender, said or variant), 0.0) + weight
        return found


class Study(Frozen):
    """One study file; docs/study-file.md explains each key."""

    name: Name
    question: str = ""
    seed: Annotated[int, Field(strict=True, ge=0)] = 0
    data: Annotated[Data, BeforeValidator(_named)]
    model: Annotated[Model, BeforeValidator(_named)]
    epochs: Count
    batch_size: Count = 64
    schedule: Annotated[Schedule, BeforeValidator(_named)] = Schedule()
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    clip: Positive | None = None
    decay_all: bool = False
    replicates: Annotated[int, Field(strict=True, ge=2)] = 8
    optimizers: Annotated[tuple[Contender, ...], Field(min_length=1)]
    pretraining: Pretraining | None = None
    tuning: Tuning = Tuning()
    untuned: bool = True
    stack: Literal["auto", "on", "off"] = "auto"
    sweep: Sweep | None = None
    target: Annotated[Number, Field(gt=0, le=1)] | None = None
    claims: tuple[Claim, ...] = ()

    @field_validator("optimizers")
    @classmethod
    def _distinct(cls, contenders: tuple[Contender, ...]) -> tuple[Contender, ...]:
        twice = [name for name, count in Counter(c.name.lower() for c in contenders).items() if count > 1]
        if twice:
            raise ValueError(
                f"contenders must have distinct names, upper and lower case apart; twice: {', '.join(twice)}"
            )
        return contenders

    @model_validator(mode="after")
    def _fits(self) -> Study:
        for data in [self.data] + ([self.pretraining.data] if self.pretraining else []):
            _reads(self.model, data)
        function = self.data.resolved()["kind"] == "function"
        if function != (self.objective == "loss"):
            raise ValueError("tuning.objective must be `loss` for a function, and val/accuracy or val/loss for data")
        if self.tuning.trials and not function and self.data.validation_share == 0:
            raise ValueError("data.validation_share 0 leaves nothing to select on: it needs tuning.trials 0")
        if not self.tuning.trials and not self.untuned:
            raise ValueError("tuning.trials 0 and untuned false leave nothing to train")
        if (self.model.pretrained == "pretraining") != (self.pretraining is not None):
            raise ValueError("model.pretrained `pretraining` and the block `pretraining` go together")
        scratch = [contender.name for contender in self.optimizers if contender.from_scratch]
        if scratch and self.model.pretrained is None:
            raise ValueError(f"from_scratch ({', '.join(scratch)}) needs model.pretrained")
        return self

    @model_validator(mode="after")
    def _sweep_fits(self) -> Study:
        if self.sweep is None:
            return self
        searched = [c.name for c in self.optimizers if "learning_rate" in self.row(c).search]
        unknown = [name for name in self.sweep.contenders if name not in searched]
        if unknown or self.kind == "function":
            raise ValueError(
                f"sweep.contenders ({', '.join(self.sweep.contenders)}) must be contenders that search learning_rate "
                f"on data with a validation part; here: {', '.join(searched) if self.kind != 'function' else 'none'}"
            )
        return self

    @model_validator(mode="after")
    def _claims_fit(self) -> Study:
        for number, claim in enumerate(self.claims):
            for contender, variant in claim.contrast(self.variants[0]):
                allowed = self._sides(claim.metric)
                if (contender, variant) not in allowed:
                    names = ", ".join(f"{name}/{which}" for name, which in allowed)
                    raise ValueError(f"claims.{number}: {contender}/{variant} has no {claim.metric}; these do: {names}")
        statements = [claim.statement for claim in self.claims]
        if len(set(statements)) < len(statements):
            raise ValueError("claims must have distinct statements")
        primary = sum(claim.primary for claim in self.claims)
        if primary > MOST_PRIMARY:
            raise ValueError(
                f"claims: {primary} are primary, at most {MOST_PRIMARY} can be: mark some `primary: false`"
            )
        return self

    def _sides(self, metric: str) -> list[Arm]:
        if metric == SWEPT:
            return [(name, "sweep") for name in (self.sweep.contenders if self.sweep else ())]
        if (metric in FUNCTION_METRICS) != (self.kind == "function"):
            return []
        return [(contender.name, variant) for contender in self.optimizers for variant in self.variants]

    @property
    def variants(self) -> tuple[str, ...]:
        """Return the variants of its final runs, the more telling first."""
        return (("tuned",) if self.tuning.trials else ()) + (("untuned",) if self.untuned else ())

    @property
    def kind(self) -> str:
        """Return the kind of the study's data."""
        return str(self.data.resolved()["kind"])

    @property
    def objective(self) -> str:
        """Return the metric that a search selects by: validation accuracy, of a function its value, unless said."""
        return self.tuning.objective or ("loss" if self.kind == "function" else "val/accuracy")

    @property
    def pretrained_by(self) -> str:
        """Return the optimizer that made the weights which contenders start from, empty where there are none."""
        if self.pretraining is not None:
            return self.pretraining.optimizer.name
        return (self.model.pretrained_by or "not stated") if self.model.pretrained else ""

    def row(self, contender: Contender) -> Row:
        """Return the contender's row of the table; parameters of a function do not decay."""
        row = contender.row()
        if self.kind != "function":
            return row
        defaults, search = dict(row.defaults), dict(row.search)
        defaults.pop("weight_decay", None)
        search.pop("weight_decay", None)
        return replace(row, defaults=defaults, search=search)

    def contender(self, name: str) -> Contender:
        """Return the contender of that name; raises StudyError where there is none."""
        for contender in self.optimizers:
            if contender.name == name:
                return contender
        names = ", ".join(contender.name for contender in self.optimizers)
        raise StudyError(f"{self.name}: contender: {name!r}: must be one of {names}")

    def spec(
        self,
        contender: Contender,
        replicate: int,
        seed: int,
        hyperparameters: Mapping[str, float],
        weights: str = "",
        stacked: bool = False,
    ) -> RunSpec:
        """Return the training of `hyperparameters` in a replicate; `weights` is the digest of those it starts from."""
        row = self.row(contender)
        fresh = self.model.pretrained is None or contender.from_scratch
        return RunSpec(
            data=self.data.resolved(),
            model=self.model.resolved(),
            optimizer=row.optimizer,
            hyperparameters={**row.fixed, **hyperparameters},
            schedule=(contender.schedule or self.schedule).model_dump(),
            epochs=self.epochs,
            batch_size=self.batch_size,
            precision=self.precision,
            clip=contender.clip if contender.clip is not None else self.clip,
            decay_all=self.decay_all,
            freeze=contender.freeze,
            pretrained=None if fresh else {"source": str(self.model.pretrained), "digest": weights},
            split_seed=derive_seed(self.seed, replicate, "split"),
            seed=seed,
            stacked=stacked,
        )

    def pretraining_spec(self) -> RunSpec:
        """Return the training of the block `pretraining`."""
        block = self.pretraining
        assert block is not None
        row = block.optimizer.row()
        return RunSpec(
            data=block.data.resolved(),
            model=self.model.resolved(),
            optimizer=row.optimizer,
            hyperparameters={**row.fixed, **row.defaults},
            schedule=block.schedule.model_dump(),
            epochs=block.epochs,
            batch_size=block.batch_size,
            precision=self.precision,
            clip=block.optimizer.clip,
            decay_all=self.decay_all,
            freeze=(),
            pretrained=None,
            split_seed=derive_seed(self.seed, "pretraining", "split"),
            seed=derive_seed(self.seed, "pretraining"),
            stacked=False,
        )


def _reads(model: Model, data: Data) -> None:
    """Raise ValueError where the model cannot read the data."""
    if model.name is None:
        return
    row, kind = MODELS[model.name], data.resolved()["kind"]
    if kind not in row.kinds:
        fitting = ", ".join(name for name, other in MODELS.items() if kind in other.kinds)
        raise ValueError(f"model {model.name!r} does not read data of kind {kind!r}; these do: {fitting}")
    side = data.side()
    if side is not None and side < row.least_side:
        raise ValueError(f"model {model.name!r} needs images of at least {row.least_side} pixels, not {side}")


def load_study(path: Path) -> Study:
    """Return the study in a YAML file; raises StudyError with one line per mistake."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise StudyError(f"{path}: the file cannot be read: {reason}") from error
    except yaml.YAMLError as error:
        raise StudyError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise StudyError(f"{path}: must be a mapping of keys (name, data, model, epochs, optimizers, ...)")
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        raise StudyError("\n".join(_mistakes(path, error))) from error


def _mistakes(path: Path, error: ValidationError) -> list[str]:
    return [
        f"{path}: {'.'.join(str(part) for part in mistake['loc']) or 'the file'}: {_shown(mistake)}"
        for mistake in error.errors()
    ]


def _shown(mistake: Any) -> str:
    kind, value = mistake["type"], mistake["input"]
    if kind == "missing":
        return "this key is required"
    if kind == "extra_forbidden":
        return f"unknown key (value {value!r}); the known keys are in docs/study-file.md"
    message = mistake["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    text = repr(value)
    return f"{text if len(text) <= 80 else text[:77] + '...'}: {message}"
