"""The values and search spaces of hyperparameters, as a study file states them."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import Field, PlainSerializer, PlainValidator

from optstudy.catalogue import Choices, Space, Value
from optstudy.study.hyperparameters import BETAS
from optstudy.study.validation import Block, Flag, Number


def _value(value: Any) -> Value:
    """Return true, false, text, a finite number as a float, or a list of these as a tuple; ValueError for others.

    A list may contain null, and its whole numbers stay whole.
    """
    if isinstance(value, list | tuple) and value:
        return tuple(one if one is None or (type(one) is int and abs(one) < 2**53) else _single(one) for one in value)
    return _single(value)


def _single(value: Any) -> bool | float | str:
    if isinstance(value, bool | str):
        return value
    try:
        number = float(value) if isinstance(value, int | float) else math.nan
    except OverflowError:
        number = math.nan
    if not math.isfinite(number):
        raise ValueError("must be a finite number, true or false, text, or a list of these")
    return number


def typed(name: str, value: Value, whole: bool) -> Value:
    """Return a value of a hyperparameter in the type that its optimizer takes, so that equal values have equal keys."""
    if name.rpartition(".")[2] == BETAS and isinstance(value, tuple):
        return tuple(float(one) if type(one) is int else one for one in value)
    return int(value) if whole and isinstance(value, int | float) and not isinstance(value, bool) else value


AnyValue = Annotated[Value, PlainValidator(_value), PlainSerializer(lambda value: value)]


class Interval(Block):
    """The search space of a hyperparameter: numbers, or with `whole` the whole numbers, from low to high."""

    low: Number
    high: Number
    log: Flag = True
    whole: Flag = False

    def space(self, name: str, whole: bool) -> Space:  # noqa: ARG002  # as that of Categories
        """Return the space; `whole` says whether the optimizer takes whole numbers only."""
        return Space(self.low, self.high, self.log, whole or self.whole)


class Categories(Block):
    """The search space of a hyperparameter that is chosen from a list: values without order."""

    choices: Annotated[tuple[AnyValue, ...], Field(min_length=2, max_length=100)]

    def space(self, name: str, whole: bool) -> Choices:
        """Return the space of the hyperparameter of that name."""
        return Choices(tuple(typed(name, one, whole) for one in self.choices))


def interval_or_choices(value: Any) -> Interval | Categories:
    """Return `{low, high}` or `{choices}`. A union of types would report the problems of both."""
    if isinstance(value, Interval | Categories):
        return value
    return (Categories if isinstance(value, dict) and "choices" in value else Interval).model_validate(value)
