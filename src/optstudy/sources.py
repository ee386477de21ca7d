"""The source of what trains: of a user's own class, and of all of his that it imports, without running it."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

INSTALLED = frozenset({"site-packages", "dist-packages"})  # folders whose modules are not the user's to edit


def normalized_source(source: str, without: frozenset[str] = frozenset()) -> str:
    """Return `source` without comments, docstrings, and the tables at its top level that `without` names."""
    tree = ast.parse(source)
    tree.body = [node for node in tree.body if without.isdisjoint(_assigned(node))]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _assigned(node: ast.stmt) -> list[str]:
    targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets if isinstance(node, ast.Assign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def own_sources(module: str) -> dict[str, str]:
    """Return the normalized source of a user's module, of the packages that it lies in and of all that they import.

    By name. What is installed is left out, unless it is of the package that `module` is of; what is imported by names
    that are made while the program runs is not found.
    """
    found, seen, todo = dict[str, str](), set[str](), [module]
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        todo += [name.rpartition(".")[0]] if "." in name else []
        path = _file(name, installed=name.partition(".")[0] == module.partition(".")[0])
        if path is not None:
            source = path.read_text(encoding="utf-8")
            found[name] = normalized_source(source)
            package = name if path.name == "__init__.py" else name.rpartition(".")[0]
            todo += _imported(ast.parse(source), package)
    return found


def _file(module: str, installed: bool) -> Path | None:
    """Return the source file of a user's module; None for others', and for names that are no module's.

    Python runs the packages that a module lies in to find it: of others, nothing is looked for but the outermost.
    """
    outer = module.partition(".")[0]
    if outer in sys.stdlib_module_names or outer in sys.builtin_module_names:
        return None
    try:
        top = importlib.util.find_spec(outer)
        places = [] if top is None else [top.origin or "", *(top.submodule_search_locations or [])]
        if top is None or not (installed or all(INSTALLED.isdisjoint(Path(place).parts) for place in places)):
            return None
        found = top if module == outer else importlib.util.find_spec(module)
    except (ImportError, ValueError):  # no module, but what a module holds; one that was made, not found
        return None
    return Path(found.origin) if found is not None and found.origin and found.origin.endswith(".py") else None


def _imported(tree: ast.Module, package: str) -> Iterator[str]:
    """Yield the names that a module of `package` imports, which may be modules or what they hold."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            with suppress(ImportError):  # of a package that there is not: that it cannot be imported is said elsewhere
                base = importlib.util.resolve_name(base, package)
                yield from (base, *(f"{base}.{alias.name}" for alias in node.names))
