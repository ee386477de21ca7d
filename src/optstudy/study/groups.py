"""Groups of parameters in a study file: their block, and how they change the row of their contender."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field

from optstudy.catalogue import OPTIMIZERS, OptimizerRow, ParameterGroup, optimizer_path
from optstudy.study.hyperparameters import class_row, optimizer_class
from optstudy.study.validation import Block, Flag, Name, Positive, one_of

Dimensions = Annotated[int, Field(strict=True, ge=0, le=10)]
Text = Annotated[str, Field(min_length=1)]
T = TypeVar("T")


class Group(Block):
    """A rule that says which parameters of a network it means, and which optimizer trains them."""

    name: Name
    like: Annotated[str, one_of(OPTIMIZERS)] | None = None
    class_path: Annotated[str, AfterValidator(lambda path: optimizer_class(path) and path)] | None = Field(
        default=None, alias="class"
    )
    ndim: Annotated[
        tuple[Dimensions, ...], BeforeValidator(lambda value: (value,) if isinstance(value, int) else value)
    ] = ()
    names: tuple[Text, ...] = ()
    modules: tuple[Text, ...] = ()
    hidden: Flag = False
    multiply: dict[Literal["learning_rate", "weight_decay"], Positive] = Field(default={})

    def resolved(self) -> ParameterGroup:
        """Return the group as a row of the table has it."""
        return ParameterGroup(
            name=self.name,
            optimizer=self.class_path or self.like,
            ndim=self.ndim,
            names=self.names,
            modules=self.modules,
            hidden=self.hidden,
            multiply={str(key): factor for key, factor in self.multiply.items()},
        )


def split_name(hyperparameter: str) -> tuple[str, str]:
    """Return the group of a hyperparameter and its name in the group: `muon.learning_rate`; no group if it has none."""
    group, _, name = hyperparameter.rpartition(".")
    return group, name


def own_part(hyperparameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters that are not those of a group."""
    return {name: value for name, value in hyperparameters.items() if not split_name(name)[0]}


def optimizer_of_group(contender: str, group: ParameterGroup) -> str:
    """Return the path of the class that trains a group of a contender, whose own optimizer is `contender`."""
    return optimizer_path(group.optimizer or contender)


def with_groups(row: OptimizerRow, groups: tuple[ParameterGroup, ...], fixed: Mapping[str, Any]) -> OptimizerRow:
    """Return a contender's row with the hyperparameters of its groups, which have optimizers of their own.

    What a group takes from the contender (`multiply`) is no hyperparameter of the group. `fixed` is the contender's.
    """
    for group in groups:
        own = _row_of(group, fixed)
        row = replace(
            row,
            defaults={**row.defaults, **_of_group(group, own.defaults)},
            fixed={**row.fixed, **_of_group(group, own.fixed)},
            search={**row.search, **_of_group(group, own.search)},
        )
    return replace(row, groups=groups)


def _of_group(group: ParameterGroup, values: Mapping[str, T]) -> dict[str, T]:
    """Return hyperparameters of a group's own optimizer by their full names."""
    return {f"{group.name}.{name}": value for name, value in values.items() if name not in group.multiply}


def _row_of(group: ParameterGroup, fixed: Mapping[str, Any]) -> OptimizerRow:
    """Return the row of a group's own optimizer; it is empty if the group has the contender's."""
    if group.optimizer is None:
        return OptimizerRow("", None, {}, {}, {})
    if group.optimizer in OPTIMIZERS:
        return OPTIMIZERS[group.optimizer]
    given = {name: value for key, value in fixed.items() for of, name in [split_name(key)] if of == group.name}
    return class_row(group.optimizer, None, given)


def resolved_groups(groups: tuple[ParameterGroup, ...]) -> tuple[dict[str, Any], ...]:
    """Return `RunSpec.groups`: what is not given is left out, so that a new setting changes no key."""
    return tuple(
        {
            key: list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value
            for key, value in vars(group).items()
            if value
        }
        for group in groups
    )
