"""Classes given as objects: those of a program become a module with all they use, whose name depends on the source."""

from __future__ import annotations

import ast
import linecache
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from optstudy.cell_classes import with_paths
from optstudy.errors import StudyError

CELL = '''
import math
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer as Parent
from typing import Optional

EPS = 1e-8
SCALES = {"a": (1, 2.0), "b": None}

def halved(x: Tensor) -> Tensor:
    return scaled(x, 0.5)

def scaled(x, by, eps=EPS):
    return F.relu(x) * by + eps

class Base(Parent):
    def __init__(self, params, lr=0.1, rho: Optional[float] = None):
        super().__init__(params, dict(lr=lr))

def marked(cls):
    cls.marked = SCALES["a"]
    return cls

@marked
class Mine(Base):
    """A class of a cell."""

    @torch.no_grad()
    def step(self, closure=None):
        big = [p for group in self.param_groups for p in group["params"]]
        for p in big:
            p.sub_(halved(p.grad), alpha=math.sqrt(self.param_groups[0]["lr"]))
'''


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a function that runs source as the cell of a notebook does, in `__main__`."""
    main = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", main)
    count = 0

    def run(source: str) -> ModuleType:
        nonlocal count
        count += 1
        name = f"<cell {count}>"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        exec(compile(source, name, "exec"), vars(main))
        return main

    yield run
    for number in range(count):
        linecache.cache.pop(f"<cell {number + 1}>", None)


def module_of(thing: Any) -> tuple[str, str, str]:
    """Return the path of a class, and the name and source of its module."""
    content, modules = with_paths({"optimizers": [{"class": thing}]})
    [(name, source)] = modules.items()
    return content["optimizers"][0]["class"], name, source


def test_the_module_has_all_that_the_class_uses_and_works_elsewhere(program: Any) -> None:
    path, name, source = module_of(program(CELL).Mine)
    assert path == f"{name}.Mine"
    elsewhere: dict[str, Any] = {"__name__": name}
    exec(compile(source, name, "exec"), elsewhere)
    assert elsewhere["Mine"].marked == (1, 2.0)
    weights = torch.nn.Parameter(torch.ones(2))
    weights.grad = torch.tensor([2.0, -2.0])
    elsewhere["Mine"]([weights], lr=0.25).step()
    assert weights.tolist() == pytest.approx([0.5, 1.0])  # 1 - sqrt(0.25) * (relu(g) / 2 + 1e-8)


def test_the_modules_name_depends_on_the_code_of_all_that_is_used_and_not_on_comments(program: Any) -> None:
    _, name, _ = module_of(program(CELL).Mine)
    again = CELL.replace('"""A class of a cell."""', "# another comment").replace("class Mine", "\n\nclass Mine")
    assert module_of(program(again).Mine)[1] == name
    assert module_of(program("unrelated = object()\n" + CELL).Mine)[1] == name
    changes = (("scaled(x, 0.5)", "scaled(x, 0.6)"), ("EPS = 1e-8", "EPS = 1e-7"), ("lr=0.1", "lr=0.2"))
    assert len({name, *(module_of(program(CELL.replace(*change)).Mine)[1] for change in changes)}) == 4


def test_the_module_compiles_and_names_no_more_than_is_used(program: Any) -> None:
    _, _, source = module_of(program(CELL + "\nmore = torch.ones(3)\nclass Other: pass\n").Mine)
    defined = [getattr(node, "name", "") for node in ast.parse(source).body]
    assert [name for name in defined if name] == [
        "scaled",
        "halved",
        "Base",
        "marked",
        "Mine",
    ] or "Other" not in defined
    assert "more" not in source


def test_a_class_of_a_module_is_named_by_its_path() -> None:
    content, modules = with_paths({"model": {"class": torch.nn.Linear}, "optimizers": ["sgd", {"class": "a.B"}]})
    assert content == {"model": {"class": "torch.nn.modules.linear.Linear"}, "optimizers": ["sgd", {"class": "a.B"}]}
    assert modules == {}


def test_a_class_that_uses_values_without_a_source_is_refused_by_name(program: Any) -> None:
    main = program(
        "import torch\nTABLE = torch.ones(3)\nclass Mine(torch.optim.SGD):\n    def step(self): TABLE.sum()\n"
    )
    with pytest.raises(
        StudyError, match=r"study: optimizers\.0\.class: Mine: uses TABLE, 'tensor.*import it in the cell"
    ):
        with_paths({"optimizers": [{"class": main.Mine}]})


def test_a_class_without_a_source_is_refused(program: Any) -> None:
    main = program("import torch")
    exec("class Mine(torch.optim.SGD):\n    def step(self): pass\n", vars(main))
    with pytest.raises(StudyError, match=r"optimizers\.0\.class: Mine: the source of Mine is not known"):
        with_paths({"optimizers": [{"class": main.Mine}]})


def test_a_class_inside_a_function_is_refused() -> None:
    class Inside(torch.optim.SGD):
        pass

    with pytest.raises(StudyError, match="Inside: must be defined by `class` or `def` at the top"):
        with_paths({"optimizers": [{"class": Inside}]})


@pytest.mark.parametrize("value", [object(), torch.ones(2), Path("data"), {1, 2}, torch.optim.SGD])
def test_a_value_that_no_study_file_holds_is_refused_with_its_key(value: Any) -> None:
    with pytest.raises(StudyError, match=r"^study: data\.arguments\.train: .*: must be text, a number"):
        with_paths({"data": {"arguments": {"train": value}}})
