"""The rules of groups of parameters: functions that yield the problems of a group, or of a contender's groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from optstudy.catalogue import OPTIMIZERS, Value, optimizer_path
from optstudy.study.groups import Group, optimizer_of_group, split_name
from optstudy.study.hyperparameters import parameters_of, problem_with, trains_matrices_only
from optstudy.study.schema import Contender
from optstudy.study.validation import NOTHING, Problem


def group_says_what_it_means(group: Group) -> Iterator[Problem]:
    """Report a group that means all parameters or none, and one with two optimizers."""
    if not (group.ndim or group.names or group.modules or group.hidden):
        yield Problem((), NOTHING, "give `ndim`, `names`, `modules` or `hidden: true`: which parameters it means")
    if group.like is not None and group.class_path is not None:
        yield Problem(("like",), group.like, "give `like` or `class`, not both")
    if group.like is not None and OPTIMIZERS[group.like].groups:
        yield Problem(("like",), group.like, "has groups of its own: name the optimizer of this group alone")


def groups_fit_the_contender(contender: Contender) -> Iterator[Problem]:
    """Report groups that the contender cannot have, two of one name, and multiples of what it does not have."""
    row = OPTIMIZERS.get(contender.optimizer)
    if contender.groups and row is not None and row.groups:
        yield Problem(("groups",), NOTHING, f"{contender.optimizer} has groups of its own: choose `like` another row")
        return
    counts = Counter(group.name for group in contender.groups)
    if twice := [name for name, count in counts.items() if count > 1]:
        yield Problem(("groups",), twice, "groups of a contender must have distinct names")
    if contender.class_path and not contender.groups and trains_matrices_only(contender.class_path):
        message = "trains only matrices: name the optimizer of the other parameters in `groups`"
        yield Problem(("class",), contender.class_path, message)
    yield from _multiples(contender)


def _multiples(contender: Contender) -> Iterator[Problem]:
    """Report multiples of what the contender has no value of or the group no use for, and groups' second values."""
    base = contender.unchanged()
    known = {**base.defaults, **base.fixed, **contender.fixed, **contender.defaults}
    for number, group in enumerate(base.groups):
        path = optimizer_of_group(contender.optimizer, group)
        for key, factor in group.multiply.items():
            message = problem_with(path, key, 1.0) if contender.groups else ""  # groups of a row of the table fit
            if key not in known:
                message = f"the contender has no value of {key} to multiply: give it in `fixed` or in `defaults`"
            if message:
                yield Problem(("groups", number, "multiply", key), factor, message)
            name = f"{group.name}.{key}"
            for block in ("fixed", "search", "defaults"):
                if name in getattr(contender, block):
                    message = f"the group {group.name} has {factor:g} times the contender's {key} already (`multiply`)"
                    yield Problem((block, name), NOTHING, message)


def needed_by_groups(contender: Contender) -> Iterator[str]:
    """Yield the hyperparameters without a default of the groups' own classes."""
    for group in contender.groups:
        if group.class_path is not None:
            needed = parameters_of(group.class_path).needed
            yield from (f"{group.name}.{key}" for key in needed if key not in group.multiply)


def problem_with_value(contender: Contender, key: str, value: Value) -> str:
    """Return what is wrong with a hyperparameter of a contender, or of one of its groups; empty if nothing is."""
    name, hyperparameter = split_name(key)
    groups = {group.name: group for group in contender.unchanged().groups}
    if not name:
        return problem_with(optimizer_path(contender.optimizer), key, value)
    if name not in groups:
        return f"there is no group {name!r}; {'groups: ' + ', '.join(groups) if groups else 'the contender has none'}"
    return problem_with(optimizer_of_group(contender.optimizer, groups[name]), hyperparameter, value)
