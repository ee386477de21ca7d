"""The blocks inside a contender: the course of its learning rate, the average of its weights, its adapters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from optstudy.catalogue import SCHEDULES
from optstudy.study.hyperparameters import schedule_function
from optstudy.study.validation import Block, Count, Number, Positive, one_of

Share = Annotated[Number, Field(gt=0, lt=1)]
Multiple = Annotated[Number, Field(ge=0, le=1)]


class Schedule(Block):
    """The course of the learning rate over the whole budget: a row of the table with its arguments, or a function."""

    name: Annotated[str, one_of(SCHEDULES)] | None = None
    class_path: Annotated[str, AfterValidator(schedule_function)] | None = Field(default=None, alias="class")
    interval: Literal["epoch", "step"] = "epoch"
    warmup: Annotated[Number, Field(ge=0, lt=1)] = 0.0
    start: Multiple | None = None
    end: Multiple | None = None
    at: Annotated[tuple[Share, ...], Field(min_length=1)] | None = None
    factor: Multiple | None = None
    power: Annotated[Positive, Field(le=100)] | None = None
    rise: Share | None = None
    decay: Annotated[Number, Field(gt=0, le=1)] | None = None
    timescale: Annotated[Number, Field(gt=0, le=1)] | None = None

    @classmethod
    def keys(cls, given: Any) -> list[str]:
        """Return the keys of the schedule that is named, or all if none is."""
        row = SCHEDULES.get(str(given.get("name"))) if isinstance(given, Mapping) else None
        return super().keys(given) if row is None else ["name", "interval", "warmup", *row.arguments]

    @property
    def function(self) -> str:
        """Return the name of a row of the table, or the path of the user's function."""
        return self.class_path or self.name or "cosine"

    @property
    def given(self) -> dict[str, float | tuple[float, ...]]:
        """Return the arguments that are given."""
        return self.model_dump(exclude={"name", "class_path", "interval", "warmup"}, exclude_none=True)

    def resolved(self) -> dict[str, Any]:
        """Return `RunSpec.schedule`; arguments at their defaults are left out."""
        defaults = SCHEDULES[self.function].arguments if self.function in SCHEDULES else {}
        changed = {key: value for key, value in self.given.items() if value != defaults.get(key)}
        return {"name": self.function, "interval": self.interval, "warmup": self.warmup, **changed}


class Average(Block):
    """The average of the weights by which a contender is judged."""

    name: Literal["ema", "swa"]
    decay: Share = 0.999
    start: Annotated[Number, Field(ge=0, lt=1)] = 0.75

    def resolved(self) -> dict[str, Any]:
        """Return `RunSpec.average`."""
        key = "decay" if self.name == "ema" else "start"
        return {"name": self.name, key: getattr(self, key)}


class Lora(Block):
    """The adapters that a contender trains in place of the pretrained weights (see `tasks.adapters`)."""

    rank: Count = 8
    alpha: Positive = 16.0
    targets: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]

    def resolved(self) -> dict[str, Any]:
        """Return `RunSpec.lora`."""
        return self.model_dump()
