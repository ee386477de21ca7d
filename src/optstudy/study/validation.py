"""What is wrong in a study file: rules between the keys of a block, and every mistake in words, all at once."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, TypeAdapter, ValidationError, model_validator
from pydantic_core import PydanticCustomError

Key = str | int
NOTHING = object()  # the value of a key that is not there

# pydantic's words and a study file's.
WORDS = (
    (r"^Value error, ", ""),
    (r"^(Input|Tuple|String|Value|Dictionary) should", "must"),
    (r"a valid dictionary( or instance of \w+)?", "a mapping of keys"),
    (r"a valid tuple", "a list"),
    (r"a valid boolean", "true or false"),
    (r"a valid string", "text (put it in quotes)"),
    (r"^Keys should be strings", "keys must be text"),
    (r" after validation, not \d+$", ""),
)


class Problem(NamedTuple):
    """One mistake: where, seen from its block; the value that stands there; what is allowed."""

    path: tuple[Key, ...]
    value: Any
    message: str

    def below(self, *path: Key) -> Problem:
        """Return the mistake as seen from the block that holds its own at `path`."""
        return self._replace(path=(*path, *self.path))


Rule = Callable[..., Iterator[Problem]]


class Block(BaseModel):
    """A block of the study file: frozen, unknown keys are errors.

    `RULES` are functions of some of its fields, which their parameters name. A rule is asked also where other fields
    are wrong, so that a file's mistakes come all at once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    RULES: ClassVar[tuple[Rule, ...]] = ()

    @model_validator(mode="wrap")
    @classmethod
    def _whole(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            block = handler(value)
        except ValidationError as error:
            found = list(_mistakes(error, cls))
            wrong = {key for mistake in found for key in mistake.path[:1]}
            sound = cls.sound(value, wrong) if isinstance(value, dict) else {}
            _raise_all([*found, *cls._broken(sound)])
        _raise_all(cls._broken({name: getattr(block, name) for name in cls.model_fields}))
        return block

    @classmethod
    def sound(cls, value: Mapping[str, Any], wrong: set[Key]) -> dict[str, Any]:
        """Return the fields of a block whose keys are not among the `wrong` ones."""
        found: dict[str, Any] = {}
        for name, field in cls.model_fields.items():
            key = field.alias or name
            if key in value and key not in wrong:
                kind: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
                found[name] = TypeAdapter(kind).validate_python(value[key])
            elif key not in value and not field.is_required():
                found[name] = field.get_default()
        return found

    @classmethod
    def _broken(cls, found: Mapping[str, Any]) -> Iterator[Problem]:
        for rule in cls.RULES:
            needs = inspect.signature(rule).parameters
            if all(name in found for name in needs):
                yield from rule(**{name: found[name] for name in needs})


def _raise_all(mistakes: Iterable[Problem]) -> None:
    """Raise one error that has them all, if there are any; pydantic passes it on with the place of the block."""
    found = tuple(mistakes)
    if found:
        text = "; ".join(f"{'.'.join(map(str, mistake.path))}: {mistake.message}" for mistake in found)
        raise PydanticCustomError("mistakes", "{text}", {"text": text, "mistakes": found})


def _mistakes(error: ValidationError, block: type[BaseModel]) -> Iterator[Problem]:
    """Return what pydantic found in a block. A list whose entries are wrong is not too short as well."""
    errors = error.errors()
    inside = {one["loc"][:-1] for one in errors}
    for one in errors:
        place, kind = one["loc"], one["type"]
        if kind == "mistakes":
            yield from (mistake.below(*place) for mistake in one["ctx"]["mistakes"])
        elif kind == "missing":
            yield Problem(place, NOTHING, "this key is required")
        elif kind == "extra_forbidden":
            keys = ", ".join(field.alias or name for name, field in block.model_fields.items())
            yield Problem(place, one["input"], f"unknown key; allowed: {keys}")
        elif not (kind == "too_short" and place in inside):
            yield Problem(place, one["input"], _worded(one["msg"]))


def _worded(message: str) -> str:
    for theirs, ours in WORDS:
        message = re.sub(theirs, ours, message)
    return message


def lines(path: Path, error: ValidationError) -> list[str]:
    """Return a line for each mistake in the file at `path`: file, key path, value and what is allowed."""
    [one] = error.errors()
    return [
        f"{path}: {'.'.join(map(str, place)) or 'the file'}: {_shown(value)}{message}"
        for place, value, message in one["ctx"]["mistakes"]
    ]


def _shown(value: object) -> str:
    """Return a value's first 80 characters, and a colon."""
    try:
        text = "" if value is NOTHING else repr(value)
    except (ValueError, RecursionError):  # of more than 4300 digits, or nested a thousand deep
        text = "a value too large to be shown"
    return (text if len(text) <= 80 else text[:77] + "...") + (": " if text else "")
