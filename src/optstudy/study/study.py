"""The study file as a frozen type: load_study(path) reads one, and reports every mistake in it at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BeforeValidator, Field, ValidationError

from optstudy.catalogue import OptimizerRow
from optstudy.errors import StudyError
from optstudy.keys import derive_seed
from optstudy.metrics import ROUNDING
from optstudy.spec import RunSpec
from optstudy.study.claim import MOST_PRIMARY, SWEPT, Arm, ClaimSpec, sum_to_zero
from optstudy.study.schema import (
    Contender,
    Count,
    Data,
    Flag,
    Model,
    Name,
    Number,
    Positive,
    Pretraining,
    Schedule,
    Sweep,
    Tuning,
    by_name,
    warms_up,
)
from optstudy.study.validation import NOTHING, Block, Key, Problem, lines
from optstudy.tasks.models import MODELS, ModelRow

OWN_MODEL = ModelRow("", frozenset({"image", "sequence", "text"}))  # what a user's own class may read
FUNCTION_METRICS = frozenset({"steps_to_tolerance", "sign_changes", "loss"})
VALIDATION_METRICS = frozenset({"epochs_to_target", "val_accuracy", "val_loss"})


def _variants(tuning: Tuning, untuned: bool) -> tuple[str, ...]:
    return (("tuned",) if tuning.trials else ()) + (("untuned",) if untuned else ())


def _kind(data: Data) -> str:
    return str(data.resolved()["kind"])


def _objective(data: Data, tuning: Tuning) -> str:
    return tuning.objective or ("loss" if _kind(data) == "function" else "val/accuracy")


def _row(contender: Contender, data: Data) -> OptimizerRow:
    row = contender.row()
    if _kind(data) != "function":
        return row
    defaults, search = dict(row.defaults), dict(row.search)
    defaults.pop("weight_decay", None)
    search.pop("weight_decay", None)
    return replace(row, defaults=defaults, search=search)


def _reads(model: Model, data: Data) -> Iterator[Problem]:
    """Yield what keeps the model from reading the data."""
    row, kind = (OWN_MODEL if model.name is None else MODELS[model.name]), _kind(data)
    if kind not in row.kinds:
        key, fitting = "class" if model.name is None else "name", [n for n, r in MODELS.items() if kind in r.kinds]
        message = f"does not read data of kind {kind!r}; these do: {', '.join(fitting)}"
        yield Problem(("model", key), model.name or model.class_path, message)
    side = data.side()
    if side is not None and side < row.least_side:
        yield Problem(("model", "name"), model.name, f"needs images of at least {row.least_side} pixels, not {side}")
    patch = model.resolved()["arguments"]["patch"] if model.name == "vit" else 1
    if side is not None and side % patch:  # torch's convolution leaves out what is no whole patch
        message = f"needs images of a multiple of {patch} pixels, not {side}"
        yield Problem(("model", "arguments", "patch"), patch, message)


def _heads_share_the_width(model: Model) -> Iterator[Problem]:
    given = model.resolved()["arguments"]
    if model.name == "vit" and given["width"] % given["heads"]:
        yield Problem(("model", "arguments", "heads"), given["heads"], f"must divide the width: {given['width']}")


def _shares_its_tokenizer(model: Model, data: Data, pretraining: Pretraining | None) -> Iterator[Problem]:
    """Yield a tokenizer whose numbers mean other words to a transformer than they did when it was trained."""
    folder = model.arguments.get("folder")
    before = [(("pretraining", "data"), pretraining.data)] if pretraining is not None else []
    for place, one in [(("data",), data), *before]:
        tokenizer = one.resolved()["arguments"].get("tokenizer") if one.name is not None else None
        if model.name == "transformer" and tokenizer not in (None, folder):
            yield Problem((*place, "arguments", "tokenizer"), tokenizer, f"must be the model's own: {folder}")


def _reads_before(model: Model, pretraining: Pretraining | None) -> Iterator[Problem]:
    """Yield what keeps the model from reading the data of the pretraining."""
    if pretraining is not None:
        for mistake in _reads(model, pretraining.data):
            message = f"the model {model.name or model.class_path!r} {mistake.message}"
            yield Problem(("pretraining", "data", "name"), pretraining.data.name, message)


def _can_select(data: Data, tuning: Tuning, untuned: bool) -> Iterator[Problem]:
    """Yield what leaves a search without a metric to select by, or a study without a training."""
    function = _kind(data) == "function"
    if function != (_objective(data, tuning) == "loss"):
        allowed = "must be `loss` for a function, and val/accuracy or val/loss for data"
        yield Problem(("tuning", "objective"), tuning.objective, allowed)
    if tuning.trials and not function and data.validation_share == 0:
        share = data.validation_share
        yield Problem(("data", "validation_share"), share, "leaves nothing to select on: it needs tuning.trials 0")
    if not tuning.trials and not untuned:
        yield Problem(("tuning", "trials"), 0, "with `untuned: false` there is nothing to train")


def _starts_somewhere(model: Model, pretraining: Pretraining | None) -> Iterator[Problem]:
    if (model.pretrained == "pretraining") != (pretraining is not None):
        allowed = "`pretraining` here and the block `pretraining` go together"
        yield Problem(("model", "pretrained"), model.pretrained, allowed)


def _scratch_differs(model: Model, optimizers: Sequence[Contender]) -> Iterator[Problem]:
    for number, contender in enumerate(optimizers):
        if contender.from_scratch and model.pretrained is None:
            yield Problem(("optimizers", number, "from_scratch"), True, "needs model.pretrained")


def _classes_are_searched(optimizers: Sequence[Contender]) -> Iterator[Problem]:
    for number, contender in enumerate(optimizers):
        if contender.class_path is not None and not contender.search:
            allowed = "a `class` needs one, for example learning_rate: {low: 1.0e-4, high: 0.1}"
            yield Problem(("optimizers", number, "search"), {}, allowed)


def _functions_have_no_layers(data: Data, model: Model, optimizers: Sequence[Contender]) -> Iterator[Problem]:
    if _kind(data) != "function":
        return
    if model.pretrained is not None:
        yield Problem(("model", "pretrained"), model.pretrained, f"{data.name} is a function, which has no weights")
    for number, contender in enumerate(optimizers):
        if contender.freeze:
            allowed = f"{data.name} is a function, which has no layers to freeze"
            yield Problem(("optimizers", number, "freeze"), list(contender.freeze), allowed)
        for block in ("defaults", "fixed", "search"):
            if "weight_decay" in getattr(contender, block):
                allowed = f"{data.name} is a function, of which nothing decays: leave the key out"
                yield Problem(("optimizers", number, block, "weight_decay"), NOTHING, allowed)


def _functions_have_no_batches(
    data: Data, batch_size: int, precision: str, decay_all: bool, stack: str
) -> Iterator[Problem]:
    """Yield what says how networks are trained, and a function is not."""
    given = {"batch_size": batch_size, "precision": precision, "decay_all": decay_all, "stack": stack}
    for key, value in given.items() if _kind(data) == "function" else ():
        if value not in {Study.model_fields[key].default, "off"}:
            allowed = f"{data.name} is a function, whose steps take no batches of a network: leave the key out"
            yield Problem((key,), value, allowed)


def _contenders_warm_up(optimizers: Sequence[Contender], epochs: int) -> Iterator[Problem]:
    for number, contender in enumerate(optimizers):
        if contender.schedule is not None:
            yield from (mistake.below("optimizers", number) for mistake in warms_up(contender.schedule, epochs))


def _distinct_names(optimizers: Sequence[Contender]) -> Iterator[Problem]:
    """Yield names that stand twice, upper and lower case apart: they are names of files."""
    names = [contender.name for contender in optimizers]
    counts = Counter(name.lower() for name in names)
    twice = [name for name in names if counts[name.lower()] > 1]
    if twice:
        yield Problem(("optimizers",), twice, "contenders must have distinct names, upper and lower case apart")


def _can_be_swept(data: Data, optimizers: Sequence[Contender], sweep: Sweep | None) -> Iterator[Problem]:
    searched = [c.name for c in optimizers if "learning_rate" in _row(c, data).search]
    here = ", ".join(searched) if _kind(data) != "function" and data.validation_share else ""
    for name in sweep.contenders if sweep else ():
        if name not in searched or not here:
            allowed = f"must search learning_rate, on data with a validation part; here: {here or 'none'}"
            yield Problem(("sweep", "contenders"), name, allowed)


def _sides(
    metric: str, data: Data, optimizers: Sequence[Contender], variants: Sequence[str], sweep: Sweep | None
) -> list[Arm]:
    """Return the contenders and variants that have a metric."""
    if metric == SWEPT:
        return [(name, "sweep") for name in (sweep.contenders if sweep else ())]
    if (metric in FUNCTION_METRICS) != (_kind(data) == "function"):
        return []
    return [(contender.name, variant) for contender in optimizers for variant in variants]


def _claims_are_about_contenders(
    data: Data,
    optimizers: Sequence[Contender],
    tuning: Tuning,
    untuned: bool,
    sweep: Sweep | None,
    claims: Sequence[ClaimSpec],
) -> Iterator[Problem]:
    variants = _variants(tuning, untuned)
    for number, claim in enumerate(claims):
        sides = _sides(claim.metric, data, optimizers, variants, sweep)
        names = ", ".join(f"{name}/{which}" for name, which in sides)
        if not sides:
            yield Problem(("claims", number, "metric"), claim.metric, "no contender of this study has it")
            continue
        for key, name in claim.named():
            contender, _, said = name.partition("/")
            variant = said or ("sweep" if claim.metric == SWEPT else variants[0])
            if (contender, variant) not in sides:
                message = f"{contender}/{variant} has no {claim.metric}; these do: {names}"
                yield Problem(("claims", number, key), name, message)


def _claims_compare(tuning: Tuning, untuned: bool, claims: Sequence[ClaimSpec]) -> Iterator[Problem]:
    """Yield claims whose weights are no contrast once `adam` and `adam/tuned` are seen to be one side."""
    for number, claim in enumerate(claims):
        weights = claim.contrast(next(iter(_variants(tuning, untuned)), "")).values()
        key, value = ("weights", claim.weights) if claim.weights else ("than", list(claim.than))
        if not sum_to_zero(weights):
            yield Problem(("claims", number, key), value, "must sum to zero")
        elif claim.named() and sum(abs(weight) > ROUNDING for weight in weights) < 2:
            message = "compares nothing: two sides must have weights that are not zero"
            yield Problem(("claims", number, key), value, message)


def _is_validated(data: Data, target: float | None, claims: Sequence[ClaimSpec]) -> Iterator[Problem]:
    """Yield what is measured on a validation part that the data has not."""
    function = _kind(data) == "function"
    if data.validation_share and not function:
        return
    needs = "needs data with a validation part: `validation_share` above 0"
    if target is not None:
        yield Problem(("target",), target, needs)
    for number, claim in enumerate(claims):
        if claim.metric in VALIDATION_METRICS and not function:
            yield Problem(("claims", number, "metric"), claim.metric, needs)


def _distinct_claims(claims: Sequence[ClaimSpec]) -> Iterator[Problem]:
    counts = Counter(claim.statement for claim in claims)
    for statement in (statement for statement, count in counts.items() if count > 1):
        yield Problem(("claims",), statement, "claims must have distinct statements")


def _few_are_primary(claims: Sequence[ClaimSpec]) -> Iterator[Problem]:
    primary = sum(claim.primary for claim in claims)
    if primary > MOST_PRIMARY:
        message = f"{primary} are primary, at most {MOST_PRIMARY} can be: mark some `primary: false`"
        yield Problem(("claims",), NOTHING, message)


def _on_or_off(value: Any) -> Any:
    """Read `on` and `off`, true and false in YAML 1.1, as the words that are meant."""
    return ("on" if value else "off") if isinstance(value, bool) else value


class Study(Block):
    """One study file; docs/study-file.md explains each key."""

    RULES = (
        _reads,
        _reads_before,
        _heads_share_the_width,
        _shares_its_tokenizer,
        warms_up,
        _contenders_warm_up,
        _classes_are_searched,
        _functions_have_no_layers,
        _functions_have_no_batches,
        _can_select,
        _starts_somewhere,
        _scratch_differs,
        _distinct_names,
        _can_be_swept,
        _claims_are_about_contenders,
        _claims_compare,
        _is_validated,
        _distinct_claims,
        _few_are_primary,
    )

    name: Name
    question: str = ""
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**63)] = 0
    data: Annotated[Data, BeforeValidator(by_name)]
    model: Annotated[Model, BeforeValidator(by_name)]
    epochs: Count
    batch_size: Count = 64
    schedule: Annotated[Schedule, BeforeValidator(by_name)] = Schedule()
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    clip: Positive | None = None
    decay_all: Flag = False
    replicates: Annotated[Count, Field(ge=2)] = 8
    optimizers: Annotated[tuple[Annotated[Contender, BeforeValidator(by_name)], ...], Field(min_length=1)]
    pretraining: Pretraining | None = None
    tuning: Tuning = Tuning()
    untuned: Flag = True
    stack: Annotated[Literal["auto", "on", "off"], BeforeValidator(_on_or_off)] = "auto"
    sweep: Sweep | None = None
    target: Annotated[Number, Field(gt=0, le=1)] | None = None
    claims: tuple[ClaimSpec, ...] = ()

    @classmethod
    def sound(cls, value: Mapping[str, Any], wrong: set[Key]) -> dict[str, Any]:
        """Return the fields without mistakes; in lists, a wrong entry's place is taken by one that offends no rule."""
        found = super().sound(value, wrong)
        for name, stand_in in (("optimizers", _contender_instead), ("claims", _claim_instead)):
            if name not in found and isinstance(value.get(name), list):
                found[name] = tuple(stand_in(number, entry) for number, entry in enumerate(value[name]))
        return found

    @property
    def variants(self) -> tuple[str, ...]:
        """Return the variants of its final runs, the more telling first."""
        return _variants(self.tuning, self.untuned)

    @property
    def kind(self) -> str:
        """Return the kind of the study's data."""
        return str(self.data.resolved()["kind"])

    @property
    def objective(self) -> str:
        """Return the metric that a search selects by: validation accuracy, of a function its value, unless said."""
        return _objective(self.data, self.tuning)

    @property
    def pretrained_by(self) -> str:
        """Return the optimizer that made the weights which contenders start from, empty where there are none."""
        if self.pretraining is not None:
            return self.pretraining.optimizer.name
        return (self.model.pretrained_by or "not stated") if self.model.pretrained else ""

    def row(self, contender: Contender) -> OptimizerRow:
        """Return the contender's row of the table; parameters of a function do not decay."""
        return _row(contender, self.data)

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
            optimizer=contender.optimizer,
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
            optimizer=block.optimizer.optimizer,
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


def _contender_instead(number: int, entry: Any) -> Contender:
    """Return the contender, or, where it is wrong, one that others can name."""
    entry = by_name(entry)
    try:
        return Contender.model_validate(entry)
    except ValidationError:
        name = entry.get("name") if isinstance(entry, dict) else None
        return Contender.model_construct(name=str(name or number), like="sgd")


def _claim_instead(number: int, entry: Any) -> ClaimSpec:
    """Return the claim, or, where it is wrong, one about nobody."""
    try:
        return ClaimSpec.model_validate(entry)
    except ValidationError:
        return ClaimSpec.model_construct(statement=f"wrong {number}", primary=False)


class _Loader(yaml.SafeLoader):
    """Reads YAML; a key that stands twice, and text that no file name and no table can hold, are mistakes."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set[tuple[str, str]]()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and (key.tag, key.value) in seen:
                words = f"the key {key.value!r} stands twice in one block"
                raise yaml.constructor.ConstructorError(None, None, words, key.start_mark)
            seen.add((key.tag, str(key.value)))
        return node

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        value = super().construct_scalar(node)
        if isinstance(value, str) and ("\0" in value or value.encode("utf-8", "replace").decode() != value):
            raise yaml.constructor.ConstructorError(None, None, "text with a character that is none", node.start_mark)
        if node.tag == "tag:yaml.org,2002:int" and len(node.value) > 1000:  # Python shows none of more than 4300 digits
            raise yaml.constructor.ConstructorError(None, None, "a number too long to be meant", node.start_mark)
        return value


def load_study(path: Path) -> Study:
    """Return the study in a YAML file; raises StudyError with one line per mistake."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise StudyError(f"{path}: the file cannot be read: {reason}") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise StudyError(f"{path}: line {line}: not valid YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise StudyError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise StudyError(f"{path}: not a study file: it is nested too deeply") from error
    except ValueError as error:  # a date that is none
        raise StudyError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise StudyError(f"{path}: must be a mapping of keys (name, data, model, epochs, optimizers, ...)")
    try:
        return Study.model_validate(content)
    except ValidationError as error:
        raise StudyError("\n".join(lines(path, error))) from error
