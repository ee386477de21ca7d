"""Reads the YAML of a study file: YAML 1.2, from a regular file of limited size."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode

from optstudy.errors import StudyError

MOST_BYTES = 2**20
MOST_VALUES = 50_000  # an alias (`*name`) counts as what it stands for, and a text as one more per 100 characters
MOST_LEVELS = 100
MOST_DIGITS = 1000  # Python writes at most 4300


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file.

    Raises StudyError with one line if it is not a regular file of at most 1 MiB, not UTF-8, or not valid YAML.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe or a device may never end
            raise StudyError(f"{path}: must be a regular file")
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise StudyError(f"{path}: the file is too large: a study file has at most 1 MiB")
        return parse_yaml(content.decode("utf-8-sig"))
    except OSError as error:
        raise StudyError(f"{path}: the file cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise StudyError(f"{path}: the file cannot be read: it is not UTF-8 text") from error
    except ValueError as error:
        raise StudyError(f"{path}: {error}") from error


def parse_yaml(text: str) -> Any:
    """Return the value of the only YAML document in `text`, None if there is none.

    Raises ValueError with one line, which begins with the number of the line in `text` if it is known.
    """
    if text.count("\n") + text.count(",") > MOST_VALUES:  # so many values take long to read
        raise ValueError(f"the file is too large: it has more than {MOST_VALUES} lines or commas")
    if any(line.startswith("%") for line in text.splitlines()):
        raise ValueError("directives such as `%YAML 1.1` are not allowed: a study file is YAML 1.2")
    yaml = YAML(typ="safe", pure=True)
    yaml.composer.warn_double_anchors = False  # YAML allows them
    try:
        node = yaml.compose(text)
        if node is None:
            return None
        _check(node)
        return yaml.constructor.construct_document(node)
    except YAMLError as error:
        mark, words = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        line = mark.line if mark else text.count("\n", 0, getattr(error, "position", 0))
        words = " ".join(str(words or "a character that YAML does not allow")[:200].split())
        raise ValueError(f"line {line + 1}: not valid YAML: {words}") from error
    except RecursionError as error:
        raise ValueError("not a study file: it is nested too deeply") from error
    except (
        ValueError,
        OverflowError,
        LookupError,
        TypeError,
    ) as error:  # no such date or `\U`, `!!int ""`, a list as key
        raise ValueError(f"not valid YAML: {' '.join(str(error)[:200].split())}") from error


def _check(node: Any, level: int = 0, values: int = 0) -> int:
    """Return `values` plus the number of values in a node. An alias is its target's node, which counts each time.

    Raises MarkedYAMLError if values or levels are too many, and for text and numbers that other programs cannot hold.
    """
    inside, problem = node.value, ""
    values += 1
    if isinstance(node, ScalarNode):
        values += len(node.value) // 100
        inside = ()
        if "\0" in node.value or any("\ud800" <= character <= "\udfff" for character in node.value):
            problem = "text with a character that files cannot hold: NUL, or half of a surrogate pair"
        elif str(node.tag).endswith(":int") and len(node.value) > MOST_DIGITS:
            problem = f"a number has at most {MOST_DIGITS} digits"
    if values > MOST_VALUES or level > MOST_LEVELS:
        problem = f"more than {MOST_VALUES} values or {MOST_LEVELS} levels, with all aliases (`*name`) expanded"
    if problem:
        raise MarkedYAMLError(problem=problem, problem_mark=node.start_mark)
    for one in chain.from_iterable(inside) if isinstance(node, MappingNode) else inside:
        values = _check(one, level + 1, values)
    return values
