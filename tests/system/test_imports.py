"""The rule of imports between the packages, and the limits of their size."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "optstudy"
# What each package may import, besides itself and the modules directly below optstudy, which import only each other.
ALLOWED = {
    "tasks": set[str](),
    "inference": set[str](),
    "study": {"tasks"},
    "training": {"tasks"},
    "planning": {"study", "tasks", "training"},
    "analysis": {"inference", "study", "planning.journal", "planning.selection", "tasks.kinds"},
    "judging": {"inference"},
    "reporting": {"analysis", "inference", "judging", "study", "tasks.datasets", "tasks.functions", "tasks.kinds"},
    "records": {"analysis", "judging", "planning", "study", "tasks"},
    "running": {"analysis", "planning", "records", "reporting", "study", "tasks", "training"},
}
ALLOWED["commands"] = {*ALLOWED}
ENTRY_POINTS = {"__init__", "cli"}  # they may import anything
MODULES = {".".join(path.relative_to(SOURCE).with_suffix("").parts): path for path in SOURCE.rglob("*.py")}


def imports_of(module: str) -> set[str]:
    """Return the modules of optstudy that a module imports, at its top or inside functions."""
    nodes = ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8")))
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    names = {f"{node.module}.{alias.name}".removeprefix("optstudy.") for node in froms for alias in node.names}
    return {name if name in MODULES else name.rpartition(".")[0] for name in names} & MODULES.keys()


def allowed(importer: str, imported: str) -> bool:
    package, _, inside = importer.partition(".")
    target = imported.partition(".")[0]
    return "." not in imported or (inside != "" and not {target, imported}.isdisjoint({package, *ALLOWED[package]}))


def test_packages_import_only_what_the_rule_allows() -> None:
    pairs = [(module, one) for module in MODULES.keys() - ENTRY_POINTS for one in imports_of(module)]
    assert [pair for pair in pairs if not allowed(*pair)] == []
    assert {module.partition(".")[0] for module in MODULES if "." in module} == ALLOWED.keys()


def test_no_modules_import_each_other_in_a_circle() -> None:
    TopologicalSorter({module: imports_of(module) for module in MODULES}).prepare()  # raises CycleError


def test_modules_and_packages_are_small_and_named_after_what_they_hold() -> None:
    assert [
        module for module, path in MODULES.items() if len(path.read_text(encoding="utf-8").splitlines()) > 400
    ] == []
    folders = [path for path in (SOURCE, *SOURCE.rglob("*")) if path.is_dir() and path.name != "__pycache__"]
    assert [folder.name for folder in folders if len({*folder.glob("*.py")} - {folder / "__init__.py"}) > 13] == []
    assert {part for module in MODULES for part in module.split(".")} & {"utils", "core", "base", "helpers"} == set()
