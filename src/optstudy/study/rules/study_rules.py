"""The rules between the blocks of a study file: functions of the whole file that yield its problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from optstudy.metrics import ROUNDING
from optstudy.study.claim import MOST_PRIMARY, SWEPT, Arm, ClaimSpec, sum_to_zero
from optstudy.study.rules.block_rules import BLOCK_RULES, short_warm_up
from optstudy.study.rules.metric_rules import METRIC_RULES
from optstudy.study.schema import Contender, Data, Model, StudyFile
from optstudy.study.validation import NOTHING, Problem, Rule, blocks_of
from optstudy.tasks.datasets import DATASETS
from optstudy.tasks.kinds import kinds_of_examples, task_of
from optstudy.tasks.models import MODELS, ModelRow

TOKENIZER_KEYS = {"transformer": "tokenizer", "causal_lm": "tokens"}  # arguments of the data, by model
ANY_NETWORK = ModelRow("", frozenset(kinds_of_examples()))  # a class of the user, whose inputs are not known here


def _warm_ups_last_an_epoch(study: StudyFile) -> Iterator[Problem]:
    yield from short_warm_up(study.schedule, study.epochs)
    for number, contender in enumerate(study.optimizers):
        if contender.schedule is not None:
            problems = short_warm_up(contender.schedule, study.epochs)
            yield from (problem.below("optimizers", number) for problem in problems)


def _model_reads_the_data(study: StudyFile) -> Iterator[Problem]:
    """Report a model that does not read the study's data, or that of the pretraining."""
    yield from _unreadable(study.model, study.data)
    if study.pretraining is not None:
        data = study.pretraining.data
        for problem in _unreadable(study.model, data):
            message = f"the model {study.model.name or study.model.class_path!r} {problem.message}"
            yield Problem(("pretraining", "data", "name"), data.name, message)


def _unreadable(model: Model, data: Data) -> Iterator[Problem]:
    row, kind, side = MODELS.get(model.name or "", ANY_NETWORK), data.resolved()["kind"], data.side()
    if kind not in row.kinds:
        key, fitting = "class" if model.name is None else "name", [n for n, r in MODELS.items() if kind in r.kinds]
        message = f"does not read data of kind {kind!r}; these do: {', '.join(fitting) or 'your LightningModule alone'}"
        yield Problem(("model", key), model.name or model.class_path, message)
    if side is not None and side < row.least_side:
        yield Problem(("model", "name"), model.name, f"needs images of at least {row.least_side} pixels, not {side}")
    patch = model.resolved()["arguments"].get("patch", 1) if model.name else 1
    if side is not None and side % patch:  # torch's convolution drops the rest
        message = f"needs images of a multiple of {patch} pixels, not {side}"
        yield Problem(("model", "arguments", "patch"), patch, message)


def _heads_divide_the_width(study: StudyFile) -> Iterator[Problem]:
    arguments = study.model.resolved()["arguments"] if study.model.name else {}
    if "heads" in arguments and arguments["width"] % arguments["heads"]:
        message = f"must divide the width: {arguments['width']}"
        yield Problem(("model", "arguments", "heads"), arguments["heads"], message)


def _transformer_has_its_own_tokenizer(study: StudyFile) -> Iterator[Problem]:
    """Report data with another tokenizer than the transformer was trained with: its numbers mean other words."""
    key = TOKENIZER_KEYS.get(study.model.name or "")
    if key is None:
        return
    before = [(("pretraining", "data"), study.pretraining.data)] if study.pretraining is not None else []
    for path, data in [(("data",), study.data), *before]:
        arguments, folder = data.resolved()["arguments"], study.model.arguments.get("folder")
        if data.name is None or data.resolved()["kind"] not in MODELS[study.model.name or ""].kinds:
            continue  # another rule reports it
        if key not in arguments:
            having = [name for name, row in DATASETS.items() if key in row.arguments]
            message = f"its tokens are not those of the model: use {' or '.join(having)} with `{key}: {folder}`"
            yield Problem((*path, "name"), data.name, message)
        elif arguments[key] != folder:
            yield Problem((*path, "arguments", key), arguments[key], f"must be the model's own: {folder}")


def _search_has_a_metric_to_select_by(study: StudyFile) -> Iterator[Problem]:
    task, share = task_of(study.kind), study.data.validation_share
    if study.tuning.trials and task.examples and share == 0:
        yield Problem(("data", "validation_share"), share, "a search needs a validation part, or write `trials: 0`")
    if not study.tuning.trials and not study.untuned:
        yield Problem(("tuning", "trials"), 0, "with `untuned: false` there is nothing to train")


def _pretrained_weights_exist(study: StudyFile) -> Iterator[Problem]:
    if (study.model.pretrained == "pretraining") != (study.pretraining is not None):
        message = "`pretrained: pretraining` and the block `pretraining` go together"
        yield Problem(("model", "pretrained"), study.model.pretrained, message)
    for number, contender in enumerate(study.optimizers):
        if contender.from_scratch and study.model.pretrained is None:
            yield Problem(("optimizers", number, "from_scratch"), True, "needs model.pretrained")
        if contender.lora is not None:
            yield from (problem.below("optimizers", number, "lora") for problem in _without_adapters(study, contender))


def _without_adapters(study: StudyFile, contender: Contender) -> Iterator[Problem]:
    """Report adapters of a network that is not a pretrained transformer."""
    adapted = ("transformer", "causal_lm")
    if study.model.name not in adapted or study.model.pretrained is None:
        yield Problem(
            (), NOTHING, f"needs a model {' or '.join(adapted)} with `pretrained`: adapters change its weights"
        )
    elif contender.from_scratch:
        yield Problem((), NOTHING, "does not go with `from_scratch`: adapters change pretrained weights")


def _classes_have_a_search(study: StudyFile) -> Iterator[Problem]:
    for number, contender in enumerate(study.optimizers):
        if contender.class_path is not None and not contender.search:
            allowed = "a `class` needs one, for example learning_rate: {low: 1.0e-4, high: 0.1}"
            yield Problem(("optimizers", number, "search"), {}, allowed)


def _functions_have_no_keys_of_networks(study: StudyFile) -> Iterator[Problem]:
    """Report keys that have no effect on an analytic function, which has no examples, layers or weights."""
    if task_of(study.kind).examples:
        return
    message = f"has no effect, because {study.data.name} is an analytic function: leave the key out"
    for key in ("batch_size", "accumulate", "precision", "decay_all", "stack"):
        if getattr(study, key) not in (StudyFile.model_fields[key].default, "off"):
            yield Problem((key,), getattr(study, key), message)
    for key in ("validation_share", "train_size"):
        if getattr(study.data, key) != Data.model_fields[key].default:
            yield Problem(("data", key), getattr(study.data, key), message)
    if study.model.pretrained is not None:
        yield Problem(("model", "pretrained"), study.model.pretrained, message)
    for number, contender in enumerate(study.optimizers):
        if contender.freeze:
            yield Problem(("optimizers", number, "freeze"), list(contender.freeze), message)
        if contender.average is not None:
            yield Problem(("optimizers", number, "average"), contender.average.name, message)
        if groups := [group.name for group in contender.row().groups]:
            yield Problem(("optimizers", number, "groups"), groups, message)
        for block in ("defaults", "fixed", "search"):
            if "weight_decay" in getattr(contender, block):
                yield Problem(("optimizers", number, block, "weight_decay"), NOTHING, message)


def _batches_have_as_many_examples_as_parts(study: StudyFile) -> Iterator[Problem]:
    if study.accumulate > study.batch_size:
        message = f"must be at most the batch size, {study.batch_size}: it computes each batch in so many parts"
        yield Problem(("accumulate",), study.accumulate, message)


def _contenders_have_distinct_names(study: StudyFile) -> Iterator[Problem]:
    """Report names that appear twice, upper and lower case alike: they are names of files."""
    names = [contender.name for contender in study.optimizers]
    counts = Counter(name.lower() for name in names)
    if twice := [name for name in names if counts[name.lower()] > 1]:
        yield Problem(("optimizers",), twice, "contenders must have distinct names; case does not distinguish them")


def _sweep_is_over_searched_rates(study: StudyFile) -> Iterator[Problem]:
    searched = [one.name for one in study.optimizers if "learning_rate" in study.row(one).search]
    possible = searched if task_of(study.kind).examples and study.data.validation_share else []
    for name in study.sweep.contenders if study.sweep else ():
        if name not in possible:
            message = "must search learning_rate, on data with a validation part"
            yield Problem(("sweep", "contenders"), name, f"{message}; here: {', '.join(possible) or 'none'}")


def _claims_are_about_arms_with_the_metric(study: StudyFile) -> Iterator[Problem]:
    for number, claim in enumerate(study.claims):
        arms, first = _arms(study, claim.metric), (*study.variants, "")[0]
        if not arms:
            message = f"no contender of this study has it; they have {', '.join(study.columns)}"
            yield Problem(("claims", number, "metric"), claim.metric, message)
        elif claim.loses_less is not None:
            yield from _unknown_losers(study, number, claim, arms)
        else:
            for key, name in claim.named():
                if claim.arm(name, first) not in arms:
                    yield _no_such_arm(number, key, name, "/".join(claim.arm(name, first)), claim, map("/".join, arms))


def _unknown_losers(study: StudyFile, number: int, claim: ClaimSpec, arms: Collection[Arm]) -> Iterator[Problem]:
    """Report what makes losses without tuning unknown: nobody is tuned or untuned, or a name is no contender's."""
    if set(study.variants) != {"tuned", "untuned"}:
        message = "needs tuned and untuned trainings: `trials` above 0 and `untuned: true`"
        yield Problem(("claims", number, "loses_less"), claim.loses_less, message)
        return
    both = list(dict.fromkeys(name for name, _ in arms if {(name, "tuned"), (name, "untuned")} <= set(arms)))
    for key, name in claim.named():
        if name not in both:
            yield _no_such_arm(number, key, name, name, claim, both)
    if not claim.rivals(both):
        yield Problem(("claims", number, "loses_less"), claim.loses_less, "there is no other contender to compare with")


def _no_such_arm(number: int, key: str, name: str, meant: str, claim: ClaimSpec, possible: Iterable[str]) -> Problem:
    message = f"{meant} has no {claim.metric}; these do: {', '.join(possible)}"
    return Problem(("claims", number, key), name, message)


def _arms(study: StudyFile, metric: str) -> list[Arm]:
    """Return the contenders and variants that have a metric."""
    if metric == SWEPT:
        return [(name, "sweep") for name in (study.sweep.contenders if study.sweep else ())]
    if metric not in study.columns:
        return []
    return [(contender.name, variant) for contender in study.optimizers for variant in study.variants]


def _claims_compare_two_sides(study: StudyFile) -> Iterator[Problem]:
    """Report weights that are no contrast. `adam` and `adam/tuned` are the same side in a study that tunes."""
    names = [contender.name for contender in study.optimizers]
    for number, claim in enumerate(study.claims):
        values = {"weights": claim.weights, "than": list(claim.than), "than_each": list(claim.than_each)}
        key, value = next(((key, value) for key, value in values.items() if value), ("loses_less", claim.loses_less))
        for contrast in claim.contrasts((*study.variants, "")[0], names):
            if not sum_to_zero(contrast.values()):
                yield Problem(("claims", number, key), value, "must sum to zero")
            elif sum(abs(weight) > ROUNDING for weight in contrast.values()) < 2:
                message = "compares nothing: two sides must have weights that are not zero"
                yield Problem(("claims", number, key), value, message)


def _claims_are_distinct_and_few_are_primary(study: StudyFile) -> Iterator[Problem]:
    counts = Counter(claim.statement for claim in study.claims)
    for statement in (statement for statement, count in counts.items() if count > 1):
        yield Problem(("claims",), statement, "claims must have distinct statements")
    primary = sum(claim.primary for claim in study.claims)
    if primary > MOST_PRIMARY:
        message = f"{primary} are primary, at most {MOST_PRIMARY} can be: mark some `primary: false`"
        yield Problem(("claims",), NOTHING, message)


def _looks_decide_primary_claims(study: StudyFile) -> Iterator[Problem]:
    if len(study.looks) > 1 and not any(claim.primary for claim in study.claims):
        message = "need a primary claim: a study stops when its primary claims are decided"
        yield Problem(("replicates", "looks"), list(study.looks), message)


RULES: tuple[Rule, ...] = (
    _warm_ups_last_an_epoch,
    _model_reads_the_data,
    _heads_divide_the_width,
    _transformer_has_its_own_tokenizer,
    _classes_have_a_search,
    _functions_have_no_keys_of_networks,
    _search_has_a_metric_to_select_by,
    *METRIC_RULES,
    _pretrained_weights_exist,
    _batches_have_as_many_examples_as_parts,
    _contenders_have_distinct_names,
    _sweep_is_over_searched_rates,
    _claims_are_about_arms_with_the_metric,
    _claims_compare_two_sides,
    _claims_are_distinct_and_few_are_primary,
    _looks_decide_primary_claims,
)


def problems_of(study: StudyFile) -> list[Problem]:
    """Return the problems inside the blocks; if there are none, those between the blocks."""
    inside = [
        problem.below(*path)
        for path, block in blocks_of(study)
        for rule in BLOCK_RULES.get(type(block), ())
        for problem in rule(block)
    ]
    return inside or [problem for rule in RULES for problem in rule(study)]
