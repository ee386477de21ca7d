"""Code that a user brings: importing it, and a fingerprint of the modules that it needs, taken without running them."""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import inspect
import io
import sys
import tokenize
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

INSTALLED = frozenset({"site-packages", "dist-packages"})  # folders whose modules the user does not edit
NOT_THE_USERS = frozenset({"torch", "torchvision", "optstudy"})
STATEMENT_STARTS = frozenset({tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT})
IGNORED_TOKENS = frozenset({tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER})


def import_class(path: str) -> Any:
    """Return the object at `package.module.Name`.

    Raises ValueError with a message for users if there is none.
    """
    module, _, name = path.rpartition(".")
    if not module or not all(part.isidentifier() for part in path.split(".")):
        raise ValueError(f"{path!r} is not a path like package.module.Name")
    try:
        imported = importlib.import_module(module)
    except (Exception, SystemExit) as error:  # a user's own module may raise anything when it is imported
        raise ValueError(f"module {module!r} cannot be imported ({type(error).__name__}: {error})") from error
    if not hasattr(imported, name):
        raise ValueError(f"module {module!r} has no {name!r}")
    return getattr(imported, name)


@cache
def user_code_digest(path: str) -> str:
    """Return the digest of the user's modules that the class at `path` needs; empty for a class of a library."""
    module = path.rpartition(".")[0]
    sources = {} if module.partition(".")[0] in NOT_THE_USERS else user_sources(module)
    if not sources:
        return ""
    text = "\0".join(f"{name}\0{source}" for name, source in sorted(sources.items()))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def user_sources(module: str) -> dict[str, str]:
    """Return the normalized source of a user's module, of its packages and of all modules of the user they import.

    By name. Installed packages are left out, except the package of `module` itself. Imports by names that the program
    computes are not found.
    """
    sources, seen, todo = dict[str, str](), set[str](), [module]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        todo += [name.rpartition(".")[0]] if "." in name else []
        path = _source_file(name, installed=name.partition(".")[0] == module.partition(".")[0])
        if path is not None:
            source = path.read_text(encoding="utf-8")
            sources[name] = normalized_source(source)
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            todo += _imported_names(ast.parse(source), package)
    return sources


def normalized_source(source: str) -> str:
    """Return the tokens of `source` without comments, docstrings and layout: the same text for each Python version.

    Since Python 3.12 an f-string is several tokens; they are joined again.
    """
    tokens = [token for token in _joined_fstrings(source) if token[0] not in IGNORED_TOKENS]
    kept, start = list[str](), True
    for (kind, text), (next_kind, _) in pairwise([*tokens, (tokenize.NEWLINE, "")]):
        if start and tokenize.NEWLINE in (kind, next_kind) and kind in (tokenize.STRING, tokenize.NEWLINE):
            continue  # a string alone, with the end of its line, is a docstring or has no effect
        kept.append(tokenize.tok_name[kind] if kind in STATEMENT_STARTS else text)
        start = kind in STATEMENT_STARTS
    return "\n".join(kept)


def _joined_fstrings(source: str) -> Iterator[tuple[int, str]]:
    """Yield (kind, text) of each token; an f-string is one STRING, as it is before Python 3.12."""
    begin, end = getattr(tokenize, "FSTRING_START", None), getattr(tokenize, "FSTRING_END", None)
    lines, depth, at = source.splitlines(keepends=True), 0, (0, 0)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == begin:
            at = at if depth else token.start
            depth += 1
        elif token.type == end:
            depth -= 1
            if not depth:
                yield tokenize.STRING, _text_between(lines, at, token.end)
        elif not depth:
            yield token.type, token.string


def _text_between(lines: Sequence[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    """Return the source from `start` to `end`, each a line counted from 1 and a column counted from 0."""
    part = list(lines[start[0] - 1 : end[0]])
    part[-1] = part[-1][: end[1]]
    part[0] = part[0][start[1] :]
    return "".join(part)


def _source_file(module: str, installed: bool) -> Path | None:
    """Return the source file of a user's module; None for other modules, and for names that are not modules.

    Nothing is run: Python's own search for a module in a package would run the package.
    """
    outer = module.partition(".")[0]
    if outer in sys.stdlib_module_names or outer in sys.builtin_module_names:
        return None
    try:
        top = importlib.util.find_spec(outer)
        places = [] if top is None else [top.origin or "", *(top.submodule_search_locations or [])]
        if top is None or not (installed or all(INSTALLED.isdisjoint(Path(place).parts) for place in places)):
            return None
    except (ImportError, ValueError):  # the name of something in a module, or of a module that a program made
        return None
    file, folders = Path(top.origin or ""), [Path(place) for place in top.submodule_search_locations or ()]
    for part in module.split(".")[1:]:
        files = [folder / name for folder in folders for name in (f"{part}/__init__.py", f"{part}.py")]
        file = next((path for path in files if path.is_file()), Path())
        folders = [folder / part for folder in folders]
    return file if file.suffix == ".py" else None


def _imported_names(tree: ast.Module, package: str) -> Iterator[str]:
    """Yield the names that a module of `package` imports: modules, or what modules contain."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            with suppress(ImportError):  # a relative import outside a package fails elsewhere, with a message
                base = importlib.util.resolve_name(base, package)
                yield from (base, *(f"{base}.{alias.name}" for alias in node.names))


def constructor_arguments(cls: type) -> dict[str, inspect.Parameter]:
    """Return the named arguments of the constructor of an optimizer's class, without the parameters to train.

    A constructor with `**kwargs` usually passes them on: those of its base classes are included.
    """
    from torch.optim import Optimizer

    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__[: cls.__mro__.index(Optimizer)]:
        if "__init__" not in vars(base):
            continue
        _, *parameters = inspect.signature(vars(base)["__init__"]).parameters.values()  # without self
        named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)][1:]
        if "defaults" in [parameter.name for parameter in named]:  # a base class that is called as torch's Optimizer is
            break
        found = {**{parameter.name: parameter for parameter in named}, **found}
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return found


def accepts_more(cls: type) -> bool:
    """Return whether the constructor of a class has `**kwargs`, and so accepts arguments of any name."""
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(cls).parameters.values())


def may_decay(cls: type) -> bool:
    """Return whether the constructor of an optimizer's class takes a weight decay."""
    return accepts_more(cls) or "weight_decay" in constructor_arguments(cls)


def is_users_function(value: object) -> bool:
    """Return whether a value is a Python function, wrapped or not, from outside the standard library."""
    function = inspect.unwrap(value) if callable(value) else value
    return inspect.isfunction(function) and function.__module__.partition(".")[0] not in sys.stdlib_module_names
