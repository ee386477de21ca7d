"""The rules between the keys of one block of a study file: functions that yield the problems of the block."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any

from optstudy.catalogue import EXTRA_PACKAGES, OPTIMIZERS, SCHEDULES, ScheduleRow, optimizer_path
from optstudy.keys import canonical
from optstudy.study.claim import ClaimSpec
from optstudy.study.contender_blocks import Average, Schedule
from optstudy.study.groups import Group, split_name
from optstudy.study.hyperparameters import (
    BETAS,
    comes_with_torch,
    decay_of,
    is_beta,
    optimizer_class,
    parameters_of,
    row_of_class,
)
from optstudy.study.rules.group_rules import (
    group_says_what_it_means,
    groups_fit_the_contender,
    needed_by_groups,
    problem_with_value,
)
from optstudy.study.schema import Contender, Data, Looks, Model, Pretraining, Tuning
from optstudy.study.spaces import Categories, Interval
from optstudy.study.validation import LARGEST_COUNT, NOTHING, Block, Problem, Rule
from optstudy.tasks.datasets import DATASETS
from optstudy.tasks.kinds import KINDS, kinds_of_own_data
from optstudy.tasks.models import MODELS

LEAST_FIRST_LOOK = 6  # the exact test of five replicates has no p below 0.05


def _ends_are_whole(interval: Interval) -> Iterator[Problem]:
    for key in ("low", "high") if interval.whole else ():
        if getattr(interval, key) != int(getattr(interval, key)):
            yield Problem((key,), getattr(interval, key), "must be a whole number, because of `whole: true`")


def _choices_are_distinct(categories: Categories) -> Iterator[Problem]:
    for number, value in enumerate(categories.choices):
        if value in categories.choices[:number]:
            yield Problem(("choices", number), value, "is there already (true counts as 1, and false as 0)")


def _low_is_below_high(interval: Interval) -> Iterator[Problem]:
    low, high = interval.low, interval.high
    if low >= high:
        yield Problem(("low",), low, f"must be below high {high:g}")
    if not interval.log and not math.isfinite(high - low):
        yield Problem(("high",), high, f"is too far from low {low:g}: their difference is not a finite number")
    if interval.log and low <= 0:
        yield Problem(("low",), low, "must be above 0 in a log space (or write `log: false`)")


def _name_or_class_is_given(block: Data | Model) -> Iterator[Problem]:
    if (block.name is None) == (block.class_path is None):
        yield Problem((), NOTHING, "give either `name`, or `class: package.module.Name`")


def _arguments_fit_the_row(block: Data | Model) -> Iterator[Problem]:
    """Report arguments that are unknown, missing, or not of the type of the row's default."""
    row = (DATASETS if isinstance(block, Data) else MODELS).get(block.name or "")
    if row is None:
        return
    for key, value in block.arguments.items():
        message = f"{block.name} has no argument {key}; allowed: {', '.join(row.arguments) or 'none'}"
        if key in row.arguments:
            message = _argument_problem(value, row.arguments[key])
        if message:
            yield Problem(("arguments", key), value, message)
    for key, default in row.arguments.items():
        if default is None and key not in block.arguments:
            yield Problem(("arguments", key), NOTHING, f"{block.name} needs this argument")


def _argument_problem(value: Any, default: Any) -> str:
    """Return what is wrong with an argument, by the type of its default; empty if nothing is."""
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "must be true or false"
    if isinstance(default, int) and not (type(value) is int and 1 <= value <= LARGEST_COUNT):
        return f"must be a whole number of at least 1 and at most {LARGEST_COUNT}"
    if isinstance(default, float) and not _is_number(value, zero=default == 0):
        return f"must be a finite number {'of 0 or more' if default == 0 else 'above 0'}"
    if (default is None or isinstance(default, str)) and not isinstance(value, str):
        return "must be text"
    if isinstance(default, list) and not _is_subset(value, default):
        return f"must be a list of at least two of {default}, each once"
    return ""


def _is_number(value: Any, zero: bool) -> bool:
    """Return whether a value is a finite number above 0, or 0 if `zero` says so."""
    return type(value) in {int, float} and 0 <= value <= sys.float_info.max and (zero or value > 0)


def _is_subset(values: Any, allowed: list[Any]) -> bool:
    """Return whether `values` lists two or more of `allowed`, each once; `true` is not 1."""
    if not isinstance(values, list) or not all(type(one) is type(allowed[0]) and one in allowed for one in values):
        return False
    return len(set(values)) == len(values) >= 2


def _arguments_of_a_class_are_plain(block: Data | Model) -> Iterator[Problem]:
    """Report arguments that JSON cannot hold as they are: the key of a training is made from them."""
    for key, value in block.arguments.items() if block.class_path is not None else ():
        try:
            same = json.loads(canonical(value)) == value
        except (TypeError, ValueError):
            same = False
        if not same:
            allowed = "must be text, a finite number, true, false, null, or lists or mappings by text of these"
            yield Problem(("arguments", key), value, allowed)


def _keys_fit_the_kind(data: Data) -> Iterator[Problem]:
    if data.class_path is None and data.kind is not None:
        yield Problem(("kind",), data.kind, "goes with `class`; the kinds of named data sets are known")
    if data.class_path is not None and data.kind is None:
        yield Problem(("kind",), NOTHING, f"a `class` needs it: one of {', '.join(kinds_of_own_data())}")
    kind = data.resolved()["kind"]
    given = [
        ("scaling", "scaling", data.scaling if data.scaling != "unit" else None),
        ("augment", "augment", list(data.augment)),
        ("batches", "tokens", data.batches if data.batches != "shuffled" else None),
    ]
    for key, needed, value in given if kind in KINDS else ():
        allowed = [name for name, row in KINDS.items() if getattr(row, needed)]
        if value and kind not in allowed:
            yield Problem((key,), value, f"needs data of kind {' or '.join(allowed)}, not {kind}")


def _pretrained_weights_are_known(model: Model) -> Iterator[Problem]:
    if (model.pretrained or "").startswith("torchvision:") and model.name != "torchvision":
        yield Problem(("pretrained",), model.pretrained, "`torchvision:...` needs the model `torchvision`")
    if model.pretrained_by and model.pretrained in (None, "pretraining"):
        message = "the block `pretraining` names the optimizer" if model.pretrained else "needs `pretrained`"
        yield Problem(("pretrained_by",), model.pretrained_by, message)


def _architecture_is_in_torchvision(model: Model) -> Iterator[Problem]:
    """Report an unknown architecture. Importing torchvision takes seconds, so only this model does it."""
    given = model.arguments.get("architecture")
    if model.name != "torchvision" or not isinstance(given, str):
        return
    from torchvision import models

    known = models.list_models(module=models)
    if given not in known:
        near = get_close_matches(given, known, n=5)
        hint = f"did you mean {' or '.join(near)}?" if near else f"allowed: {', '.join(known)}"
        yield Problem(("arguments", "architecture"), given, f"is not a torchvision classifier; {hint}")


def _name_is_not_another_optimizers(contender: Contender) -> Iterator[Problem]:
    """Report a row's name for another optimizer (outputs show the name alone), and names that mean a missing value."""
    row, fixed = contender.name.lower(), contender.fixed
    if contender.like is not None and contender.class_path is not None:
        yield Problem(("like",), contender.like, "give `like` or `class`, not both")
    if row in {"nan", "na", "null", "none"}:
        message = "means a missing value to programs that read the tables: choose another name"
        yield Problem(("name",), contender.name, message)
    if row not in OPTIMIZERS:
        return
    for key, other in (("like", contender.like), ("class", contender.class_path)):
        if other not in (None, row) and not (key == "class" and row_of_class(str(other)) == row):
            yield Problem((key,), other, f"{row!r} is the name of a row of the table: choose another name")
    if row == "sgd" and fixed.get("momentum"):
        yield Problem(("fixed", "momentum"), fixed["momentum"], "`sgd` means momentum 0: `momentum` is a row, too")
    if row == "sgd" and "momentum" in contender.search:
        yield Problem(("search",), ["momentum"], "`sgd` means momentum 0: choose another name, with `like: sgd`")
    if fixed.get("decoupled_weight_decay"):
        yield Problem(("fixed", "decoupled_weight_decay"), True, f"{row!r} means coupled decay: choose another name")


def _package_of_the_row_is_installed(contender: Contender) -> Iterator[Problem]:
    """Report a row of the table whose package is missing. It is looked for, and not imported."""
    module = optimizer_path(contender.optimizer).partition(".")[0]
    if contender.class_path is None and module in EXTRA_PACKAGES and find_spec(module) is None:
        key = "name" if contender.like is None else "like"
        message = f"needs the package {EXTRA_PACKAGES[module]}: pip install 'optstudy[optimizers]'"
        yield Problem((key,), contender.optimizer, message)


def _decay_is_given_only_if_unknown(contender: Contender) -> Iterator[Problem]:
    """Report a `decay` that the table or torch's own code already gives."""
    decay, path = contender.decay, contender.class_path
    if decay is not None and path is None:
        yield Problem(("decay",), decay, f"goes with `class`: the table gives the decay of {contender.optimizer}")
    elif decay is not None and path is not None:
        cls = optimizer_class(path)
        if comes_with_torch(cls) and decay_of(cls, contender.fixed) != decay:
            yield Problem(("decay",), decay, f"{path} has {decay_of(cls, contender.fixed)} decay")


def _hyperparameters_are_valid(contender: Contender) -> Iterator[Problem]:
    """Report hyperparameters that the optimizer does not have, and invalid values or ends of intervals."""
    for block, values in (("defaults", contender.defaults), ("fixed", contender.fixed)):
        for key, value in values.items():
            if message := problem_with_value(contender, key, value):
                yield Problem((block, key), value, message)
    for key, space in contender.search.items():
        if isinstance(space, Categories):
            yield from _choices_are_valid(contender, key, space)
            continue
        of_low, of_high = (problem_with_value(contender, key, end) for end in (space.low, space.high))
        if of_low:
            yield Problem(("search", key, "low"), space.low, of_low)
        if of_high and of_high != of_low:
            yield Problem(("search", key, "high"), space.high, of_high)


def _choices_are_valid(contender: Contender, key: str, space: Categories) -> Iterator[Problem]:
    """Report invalid choices. Learning rates are none: their audit, redraws and figures need a scale."""
    if key == "learning_rate":
        yield Problem(("search", key), list(space.choices), "must be an interval: {low: 1.0e-4, high: 0.1}")
        return
    for number, value in enumerate(space.choices):
        if message := problem_with_value(contender, key, value):
            yield Problem(("search", key, "choices", number), value, message)


def _betas_are_given_in_one_way(contender: Contender) -> Iterator[Problem]:
    """Report betas that are given whole and one by one, for the contender or for one of its groups."""
    blocks = {key: name for name in ("fixed", "search", "defaults") for key in getattr(contender, name)}
    for key, name in blocks.items():
        single = [one for one in sorted(blocks) if is_beta(one) and split_name(one)[0] == split_name(key)[0]]
        if split_name(key)[1] == BETAS and single:
            message = f"are all of them, and there is {', '.join(single)}, too: write one or the other"
            yield Problem((name, key), NOTHING, message)


def _hyperparameters_are_given_once(contender: Contender) -> Iterator[Problem]:
    """Report hyperparameters that have two values, have no effect, or are missing."""
    fixed, search, defaults, path = contender.fixed, contender.search, contender.defaults, contender.class_path
    for key in sorted(set(fixed) & set(search)):
        yield Problem(("fixed", key), fixed[key], "cannot be both in `fixed` and in `search`")
    for key in sorted(set(defaults) & ({*fixed, *contender.unchanged().fixed} - set(search))):
        yield Problem(("defaults", key), defaults[key], "is fixed: give it in `fixed`, or search it")
    needed = [*(parameters_of(path).needed if path is not None else ()), *needed_by_groups(contender)]
    for key in needed:
        group, _ = split_name(key)
        if f"{group}.{BETAS}".lstrip(".") in {*fixed, *search} if is_beta(key) else split_name(key)[1] == BETAS:
            continue
        if key not in fixed and not (key in search and key in defaults):
            owner = path if "." not in key else f"the group {key.partition('.')[0]}"
            yield Problem((), NOTHING, f"{owner} needs {key}: in `fixed`, or in `search` and in `defaults`")


def _keys_of_a_search_have_trials(tuning: Tuning) -> Iterator[Problem]:
    for key in ("sampler", "once", "widen") if not tuning.trials else ():
        if getattr(tuning, key) != Tuning.model_fields[key].default:
            yield Problem((key,), getattr(tuning, key), "has no effect with `trials: 0`: leave the key out")
    if tuning.widen and tuning.once:
        yield Problem(("widen",), True, "needs searches of several replicates, and `once` has one: leave the key out")


def _optimizer_of_a_pretraining_is_not_searched(pretraining: Pretraining) -> Iterator[Problem]:
    """Report keys of the optimizer that have no effect on one training of a fresh network."""
    optimizer = pretraining.optimizer
    without_effect = {
        "search": (list(optimizer.search), "nothing is searched: write the values into `fixed` or `defaults`"),
        "schedule": (optimizer.schedule and optimizer.schedule.function, "write it as pretraining.schedule"),
        "freeze": (list(optimizer.freeze), "all parameters are trained"),
        "lora": (optimizer.lora and list(optimizer.lora.targets), "it has no pretrained weights to adapt"),
        "from_scratch": (optimizer.from_scratch, "it always is"),
    }
    for key, (value, reason) in without_effect.items():
        if value:
            yield Problem(("optimizer", key), value, f"has no effect in a pretraining: {reason}")


def _keys_fit_the_schedule(schedule: Schedule) -> Iterator[Problem]:
    """Report keys without effect on the schedule, and steps that go back."""
    if schedule.name is not None and schedule.class_path is not None:
        yield Problem((), NOTHING, "give either `name` or `class`")
        return
    row = SCHEDULES.get(schedule.function, ScheduleRow(""))
    for key, value in schedule.given.items():
        if key not in row.arguments:
            allowed = f"its keys are {', '.join(row.arguments)}" if row.arguments else "it has no further keys"
            yield Problem((key,), value, f"has no effect on the schedule {schedule.function}: {allowed}")
    if row.warms_up and schedule.warmup:
        yield Problem(("warmup",), schedule.warmup, f"the schedule {schedule.function} rises by itself (`rise`)")
    if row.warms_up and schedule.interval == "epoch":
        message = f"the schedule {schedule.function} rises and falls within epochs: write `interval: step`"
        yield Problem(("interval",), schedule.interval, message)
    if schedule.at is not None and list(schedule.at) != sorted(set(schedule.at)):
        yield Problem(("at",), schedule.at, "must rise from share to share of the budget")
    if schedule.name == "exponential" and schedule.end == 0:
        yield Problem(("end",), schedule.end, "must be above 0: equal factors never reach it")


def _keys_fit_the_average(average: Average) -> Iterator[Problem]:
    key, allowed = ("start", "decay") if average.name == "ema" else ("decay", "start")
    if key in average.model_fields_set:
        yield Problem((key,), getattr(average, key), f"has no effect on {average.name}: its key is {allowed}")


def _warm_up_lasts_an_epoch(pretraining: Pretraining) -> Iterator[Problem]:
    return short_warm_up(pretraining.schedule, pretraining.epochs)


def short_warm_up(schedule: Schedule, epochs: int) -> Iterator[Problem]:
    """Report a warm-up by epochs that ends before the first epoch does, and so has no effect."""
    if schedule.interval == "epoch" and schedule.warmup and not round(schedule.warmup * epochs):
        message = f"is less than one of {epochs} epochs: write `interval: step`, a larger share, or 0"
        yield Problem(("schedule", "warmup"), schedule.warmup, message)


def _claim_is_a_contrast(claim: ClaimSpec) -> Iterator[Problem]:
    forms = {"better": claim.better, "worse": claim.worse, "loses_less": claim.loses_less, "weights": claim.weights}
    given = [key for key, value in forms.items() if value not in (None, {})]
    rivals = [key for key, names in (("than", claim.than), ("than_each", claim.than_each)) if names]
    if len(given) != 1:
        words = f"; this claim has {' and '.join(given)}" if given else ""
        yield Problem((), NOTHING, f"give one of `better`, `worse`, `loses_less` and `weights`{words}")
    elif given[0] in ("better", "worse") and len(rivals) != 1:
        message = f"`{given[0]}` needs either `than` (one contender, or the mean of several) or `than_each`"
        yield Problem((), NOTHING, message)
    elif given == ["loses_less"] and "than" in rivals:
        yield Problem(("than",), list(claim.than), "`loses_less` is about each contender: write `than_each`")
    elif given == ["weights"] and rivals:
        yield Problem((rivals[0],), list(getattr(claim, rivals[0])), "has no effect with `weights`: leave it out")


_OF_DATA_AND_MODEL: tuple[Rule, ...] = (
    _name_or_class_is_given,
    _arguments_fit_the_row,
    _arguments_of_a_class_are_plain,
)


def _looks_are_as_simulated(block: Looks) -> Iterator[Problem]:
    """Report looks for which the levels of inference/looks.py were not simulated: they might err too often."""
    first, *later = block.looks
    if first < LEAST_FIRST_LOOK:
        allowed = f"must be at least {LEAST_FIRST_LOOK}: fewer replicates decide nothing"
        yield Problem(("looks", 0), first, allowed)
    for number, (before, look) in enumerate(zip(block.looks, later, strict=False), start=1):
        most = before + first // 2
        if not before < look <= most:
            allowed = f"must be above {before} and at most {most}: a look adds at most half of the first"
            yield Problem(("looks", number), look, allowed)


BLOCK_RULES: Mapping[type[Block], tuple[Rule, ...]] = {
    Interval: (_low_is_below_high, _ends_are_whole),
    Categories: (_choices_are_distinct,),
    Data: (*_OF_DATA_AND_MODEL, _keys_fit_the_kind),
    Model: (*_OF_DATA_AND_MODEL, _pretrained_weights_are_known, _architecture_is_in_torchvision),
    Contender: (
        _name_is_not_another_optimizers,
        _package_of_the_row_is_installed,
        _decay_is_given_only_if_unknown,
        _hyperparameters_are_valid,
        _hyperparameters_are_given_once,
        _betas_are_given_in_one_way,
        groups_fit_the_contender,
    ),
    Group: (group_says_what_it_means,),
    Looks: (_looks_are_as_simulated,),
    Schedule: (_keys_fit_the_schedule,),
    Average: (_keys_fit_the_average,),
    Tuning: (_keys_of_a_search_have_trials,),
    Pretraining: (_optimizer_of_a_pretraining_is_not_searched, _warm_up_lasts_an_epoch),
    ClaimSpec: (_claim_is_a_contrast,),
}
