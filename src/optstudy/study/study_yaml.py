"""Reads the YAML of a study file: YAML 1.2 with its core schema, from a regular file of limited size.

ruamel.yaml parses the text into nodes. The values are built here, because the library expands aliases without a limit,
and reads dates and `1_000`, which are text in the core schema.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer, ComposerError
from ruamel.yaml.error import YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from optstudy.errors import StudyError

MOST_BYTES = 2**20
MOST_VALUES = 50_000  # an alias (`*name`) counts as what it stands for, and a text as one more per 100 characters
MOST_DEPTH = 100
MOST_DIGITS = 1000  # Python converts at most 4300

# https://yaml.org/spec/1.2.2/#103-core-schema: what is written without quotes and is not text.
CORE_SCHEMA: Sequence[tuple[re.Pattern[str], Callable[[str], Any]]] = (
    (re.compile(r"|~|null|Null|NULL"), lambda _: None),
    (re.compile(r"true|True|TRUE|false|False|FALSE"), lambda text: text.lower() == "true"),
    (re.compile(r"[-+]?[0-9]+"), int),
    (re.compile(r"0o[0-7]+"), lambda text: int(text, 8)),
    (re.compile(r"0x[0-9a-fA-F]+"), lambda text: int(text, 16)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"), lambda text: float(text.replace(".", ""))),
)
# The tags that the library gives to nodes; others were written into the file.
TAGS = re.compile(r"tag:yaml\.org,2002:(str|int|float|bool|null|timestamp|merge|value|map|seq)")


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
        return parse_yaml(content.decode("utf-8"))
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
    yaml = YAML(typ="safe", pure=True)
    yaml.Composer = _Composer
    try:
        node = yaml.compose(text)
    except YAMLError as error:
        mark, words = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        line = mark.line if mark else text.count("\n", 0, getattr(error, "position", 0))
        words = " ".join(str(words or "a character that YAML does not allow")[:200].split())
        raise _yaml_error(line, f"not valid YAML: {words}") from error
    except (ValueError, OverflowError) as error:  # of `\U` in quotes
        raise ValueError("not valid YAML: an escape in double quotes is not the number of a character") from error
    return None if node is None else _Builder().value(node)


TOO_MUCH = f"more than {MOST_VALUES} values or {MOST_DEPTH} levels, with all aliases (`*name`) expanded"


class _Composer(Composer):
    """Stops at too many values or levels: composing a whole MiB of them takes long."""

    count = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self.warn_double_anchors = False  # YAML allows them
        self.count += 1
        if self.count > MOST_VALUES or self.depth > MOST_DEPTH:
            raise ComposerError(None, None, TOO_MUCH, self.parser.peek_event().start_mark)
        return super().compose_node(parent, index)


class _Builder:
    """Builds values from nodes. The target of an alias is built, and counted, once more for each alias."""

    count = 0

    def value(self, node: Any, depth: int = 0) -> Any:
        line = node.start_mark.line
        self.count += 1 + (len(node.value) // 100 if isinstance(node, ScalarNode) else 0)
        if self.count > MOST_VALUES or depth > MOST_DEPTH:
            raise _yaml_error(line, TOO_MUCH)
        if not TAGS.fullmatch(node.tag):
            raise _yaml_error(line, f"tags such as `{node.tag[:80]}` are not allowed")
        if isinstance(node, SequenceNode):
            return [self.value(one, depth + 1) for one in node.value]
        return self._mapping(node, depth + 1) if isinstance(node, MappingNode) else _scalar(node)

    def _mapping(self, node: MappingNode, depth: int) -> dict[Any, Any]:
        """Return a mapping. Its own keys replace those that `<<` merges (from YAML 1.1, and still common)."""
        own: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key, line = self.value(key_node, depth), key_node.start_mark.line
            if isinstance(key, list | dict):
                raise _yaml_error(line, "keys must be text")
            if key in own:
                raise _yaml_error(line, f"the key {str(key)[:80]!r} appears twice in one block")
            own[key] = self.value(value_node, depth)
        merged = own.pop("<<", [])
        blocks = merged if isinstance(merged, list) else [merged]
        if not all(isinstance(block, dict) for block in blocks):
            raise _yaml_error(node.start_mark.line, "`<<` needs a mapping, or a list of mappings")
        return {key: value for block in [*reversed(blocks), own] for key, value in block.items()}


def _scalar(node: ScalarNode) -> Any:
    """Return the value of a scalar; quoted text and blocks stay text."""
    text, line = node.value, node.start_mark.line
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise _yaml_error(line, "text with a character that files cannot hold: NUL, or half of a surrogate pair")
    if node.style is not None or str(node.tag).endswith(":str"):
        return text
    convert = next((convert for pattern, convert in CORE_SCHEMA if pattern.fullmatch(text)), str)
    if convert is not str and len(text) > MOST_DIGITS:
        raise _yaml_error(line, f"a number has at most {MOST_DIGITS} digits")
    return convert(text)


def _yaml_error(line: int, words: str) -> ValueError:
    """Return the error about a line, which is counted from 0."""
    return ValueError(f"line {line + 1}: {words}")
