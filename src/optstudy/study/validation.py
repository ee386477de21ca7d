"""What all blocks of a study file share: types of values, and problems, each with path, value and what is allowed."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Collection, Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import PydanticCustomError

Key = str | int
NOTHING = object()  # the value of a key that is missing

LARGEST_COUNT = 10**9
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=64)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
Count = Annotated[int, Field(strict=True, ge=1, le=LARGEST_COUNT)]
Flag = Annotated[bool, Field(strict=True)]

# pydantic's words, and those of a study file.
WORDS = (
    (r"^Value error, ", ""),
    (r"^(Input|Tuple|String|Value|Dictionary) should", "must"),
    (r"a valid dictionary( or instance of \w+)?", "a mapping of keys"),
    (r"a valid tuple", "a list"),
    (r"a valid boolean", "true or false"),
    (r"a valid number", "a number"),
    (r"a valid string", "text (put it in quotes)"),
    (r"^Keys should be strings", "keys must be text"),
    (r" after validation, not \d+$", ""),
)


def one_of(allowed: Collection[str]) -> AfterValidator:
    """Return the validator of text that must be among `allowed`, such as the names of a table's rows."""

    def check(value: str) -> str:
        if value not in allowed:
            raise ValueError(f"must be one of {', '.join(filter(None, allowed))}{_near(value, allowed)}")
        return value

    return AfterValidator(check)


def _near(value: str, allowed: Collection[str]) -> str:
    """Return which of the allowed names is meant, as a question: `one_cycle` by `OneCycleLR`; empty if none is near."""
    names = {name.replace("_", ""): name for name in allowed if name}
    given = value.lower().replace("_", "").removesuffix("lr")
    near = get_close_matches(given, names, n=1) or [name for name in names if given.startswith(name)]
    return f"; did you mean {names[near[0]]}?" if near else ""


class Problem(NamedTuple):
    """A problem of a study file: the path of its key, the value there, and what is allowed."""

    path: tuple[Key, ...]
    value: Any
    message: str

    def below(self, *path: Key) -> Problem:
        """Return the problem as seen from the block that contains its own block at `path`."""
        return self._replace(path=(*path, *self.path))


Rule = Callable[[Any], Iterator[Problem]]


class Block(BaseModel):
    """A block of the study file. It is frozen, and unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @classmethod
    def keys(cls, _given: Any) -> list[str]:
        """Return the keys of a block in which `_given` was written."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    @model_validator(mode="wrap")
    @classmethod
    def _collect(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(value)
        except ValidationError as error:
            raise all_problems(_schema_problems(error, cls.keys(value))) from error


def all_problems(problems: Iterable[Problem]) -> PydanticCustomError:
    """Return one error with all problems; pydantic passes it on with the path of the block."""
    found = tuple(problems)
    text = "; ".join(f"{_dotted(problem.path)}: {problem.message}" for problem in found)
    return PydanticCustomError("problems", "{text}", {"text": text, "problems": found})


def _schema_problems(error: ValidationError, keys: Collection[str]) -> Iterator[Problem]:
    """Yield what pydantic reports about a block. A list with invalid entries is not reported as too short, too."""
    errors = error.errors()
    parents = {one["loc"][:-1] for one in errors}
    for one in errors:
        path, kind = one["loc"], one["type"]
        if kind == "problems":
            yield from (problem.below(*path) for problem in one["ctx"]["problems"])
        elif kind == "missing":
            yield Problem(path, NOTHING, "this key is required")
        elif kind == "extra_forbidden":
            yield Problem(path, one["input"], f"unknown key; allowed: {', '.join(keys)}")
        elif not (kind == "too_short" and path in parents):
            yield Problem(path, one["input"], _in_our_words(one["msg"]))


def _in_our_words(message: str) -> str:
    for pattern, words in WORDS:
        message = re.sub(pattern, words, message)
    return message


def blocks_of(part: Any, path: tuple[Key, ...] = ()) -> Iterator[tuple[tuple[Key, ...], Block]]:
    """Yield a block and all blocks inside it, each after its path."""
    if isinstance(part, Block):
        yield path, part
        inside: Iterable[tuple[Key, Any]] = [
            (field.alias or name, getattr(part, name)) for name, field in type(part).model_fields.items()
        ]
    else:
        inside = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, tuple) else []
    for key, one in inside:
        yield from blocks_of(one, (*path, key))


def problem_lines(path: Path, error: ValidationError) -> list[str]:
    """Return a line for each problem of the file at `path`: file, key path, value and what is allowed."""
    [one] = error.errors()
    return [
        _printable(f"{path}: {_dotted(problem.path) or 'the file'}: {_shown(problem.value)}{problem.message}"[:3000])
        for problem in one["ctx"]["problems"]
    ]


def _printable(text: str) -> str:
    """Escape line breaks and what a terminal would obey."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def _dotted(path: Iterable[Key]) -> str:
    return ".".join(_cut(str(key), 80) for key in path)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 3] + "..."


_REPR = reprlib.Repr()  # cuts long values before it formats them
_REPR.maxstring = _REPR.maxother = 80
_REPR.maxlist = _REPR.maxtuple = 10


def _shown(value: object) -> str:
    """Return a value's first 80 characters, and a colon; empty if there is no value."""
    return "" if value is NOTHING else _cut(_REPR.repr(value), 80) + ": "
