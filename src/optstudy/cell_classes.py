"""Classes and functions that a program gives as objects: those of a notebook's cell or a script become a module.

A training's key must depend on all of a user's code, and worker processes must find it. So the module has the source of
the class and of everything of the program that it uses; its name has the digest of that source.
"""

from __future__ import annotations

import ast
import inspect
import linecache
import pickle
import symtable
import sys
import textwrap
from collections.abc import Iterator, Mapping
from types import FunctionType, ModuleType
from typing import Any

from optstudy.errors import StudyError
from optstudy.keys import digest
from optstudy.user_code import normalized_source


def with_paths(content: Any, key: str = "") -> tuple[Any, dict[str, str]]:
    """Return a study's content with paths for the classes in it, and the source of each module to write, by name.

    Raises StudyError for a class whose source is not known, and for other values that a study file cannot hold.
    """
    if isinstance(content, Mapping):
        pairs = {name: with_paths(one, f"{key}{name}.") for name, one in content.items()}
        return {name: one for name, (one, _) in pairs.items()}, _merged(modules for _, modules in pairs.values())
    if isinstance(content, list | tuple):
        parts = [with_paths(one, f"{key}{number}.") for number, one in enumerate(content)]
        return [one for one, _ in parts], _merged(modules for _, modules in parts)
    if isinstance(content, type | FunctionType) and key.endswith("class."):
        try:
            return _path_of(content)
        except ValueError as error:
            raise StudyError(f"study: {key[:-1]}: {content.__name__}: {error}") from error
    if content is None or isinstance(content, str | bool | int | float):
        return content, {}
    allowed = "must be text, a number, true, false, None, a list or a mapping; a class only under `class`"
    raise StudyError(f"study: {key[:-1] or 'it'}: {str(content)[:80]!r}: {allowed}")


def _merged(modules: Iterator[dict[str, str]]) -> dict[str, str]:
    return {name: source for one in modules for name, source in one.items()}


def _path_of(thing: type | FunctionType) -> tuple[str, dict[str, str]]:
    """Return the path of a class or function, and the module that it is in if that has to be written."""
    name = thing.__name__
    if thing.__qualname__ != name or not name.isidentifier():
        raise ValueError("must be defined by `class` or `def` at the top of a cell or module, not inside another one")
    if _is_of_a_module(thing):
        return f"{thing.__module__}.{name}", {}
    statements = dict[str, str]()
    _add(name, thing, statements)
    source = "\n".join(["from __future__ import annotations\n", *statements.values()])
    module = f"{name.lower()}_{digest(normalized_source(source))}"
    return f"{module}.{name}", {module: source}


def _is_of_a_module(thing: Any) -> bool:
    """Return whether other processes can import a class or function from the module that it says."""
    module = sys.modules.get(getattr(thing, "__module__", None) or "")
    known = module is not None and getattr(module, "__spec__", None) is not None and module.__name__ != "__main__"
    return known and getattr(module, thing.__name__, None) is thing


def _add(name: str, value: Any, statements: dict[str, str]) -> None:
    """Add the statement that gives `name` its value, after those of all that it uses. Raises ValueError if none can."""
    if name in statements:
        return
    if isinstance(value, ModuleType):
        statements[name] = f"import {value.__name__} as {name}\n"
    elif _is_plain(value):
        statements[name] = f"{name} = {value!r}\n"
    elif isinstance(value, type | FunctionType) and not _is_of_a_module(value) and "<" not in value.__qualname__:
        own = value.__name__
        if own not in statements:
            source, scope = _definition(value), vars(sys.modules[value.__module__])
            statements[own] = ""  # it may use itself
            for used in sorted(set(_global_names(symtable.symtable(source, own, "exec")))):
                if used in scope and not used.startswith("__"):
                    _add(used, scope[used], statements)
            del statements[own]  # so that it comes after what it uses
            statements[own] = source
        if name != own:
            statements[name] = f"{name} = {own}\n"
    else:
        own = getattr(value, "__name__", None) or getattr(value, "_name", None) or name
        module = pickle.whichmodule(value, own)  # type: ignore[attr-defined]
        if module == "__main__" or getattr(sys.modules.get(module), own, None) is not value:
            allowed = "import it in the cell, define it inside the class, or put the class into a module"
            raise ValueError(
                f"uses {name}, {str(value)[:60]!r}, which is neither code with a source nor plain: {allowed}"
            )
        statements[name] = f"from {module} import {own} as {name}\n"


def _is_plain(value: Any) -> bool:
    """Return whether a value is a constant that Python can read as it writes it."""
    try:
        return bool(ast.literal_eval(repr(value)) == value)
    except (ValueError, SyntaxError):
        return False


def _definition(thing: type | FunctionType) -> str:
    """Return the source of a class or function, with its decorators.

    `inspect.getsource` finds no class of a notebook: a class does not say in which cell it is, but its methods do.
    """
    for function in _functions(thing):
        code = inspect.unwrap(function).__code__
        lines = linecache.getlines(code.co_filename)
        try:
            tree = ast.parse("".join(lines))
        except SyntaxError:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == thing.__name__:
                first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
                if first <= code.co_firstlineno <= (node.end_lineno or first):
                    return textwrap.dedent("".join(lines[first - 1 : node.end_lineno])).rstrip() + "\n"
    raise ValueError(f"the source of {thing.__name__} is not known: define it in a cell, with a method, or in a file")


def _functions(thing: type | FunctionType) -> Iterator[FunctionType]:
    for value in vars(thing).values() if isinstance(thing, type) else [thing]:
        function = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
        if isinstance(inspect.unwrap(function) if callable(function) else None, FunctionType):
            yield function


def _global_names(table: symtable.SymbolTable) -> Iterator[str]:
    """Yield the names that source reads from its module, or from the builtins."""
    at_top = table.get_type() == "module"
    for symbol in table.get_symbols():
        if symbol.is_referenced() if at_top else symbol.is_global():
            yield symbol.get_name()
    for inside in table.get_children():
        yield from _global_names(inside)
